"""Named sets of documents: formats, splits, checksums and what is said where files are absent; files are made here."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from deepbelief.data import download
from deepbelief.data.registry import FileSpec
from deepbelief.data.text_sets import TEXT_SETS, load_counts, where_counts_are
from deepbelief.errors import DataNotFoundError, InvalidArgumentError, InvalidDataError

FEAT = {
    "train.feat.gz": gzip.compress(b"1 2:3 4:1\n1 3:2\n1\n1 4:1 2:1\n1 2:1\n"),
    "test.feat.gz": gzip.compress(b"1 3:5\n1 2:1 3:1\n"),
    "vocab.new": b"_eos_ 0\nalpha 9\nbeta 8\ngamma 7\n",
}
X = {"train": [[3, 0, 1], [0, 2, 0], [0, 0, 0], [1, 0, 1], [1, 0, 0]], "test": [[0, 5, 0], [1, 1, 0]]}


@pytest.fixture(autouse=True)
def no_folders_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DEEPBELIEF_DATA", raising=False)
    monkeypatch.setattr(download, "cache_folder", lambda: tmp_path / "cache")


def put(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, files: dict[str, bytes]) -> Path:
    """Files in a folder, and the set's checksums replaced by theirs."""
    folder.mkdir(parents=True)
    for file, content in files.items():
        (folder / file).write_bytes(content)
    summed = {file: FileSpec(file, (hashlib.sha256(content).hexdigest(),)) for file, content in files.items()}
    parts = {
        part: tuple(tuple(summed[file.name] for file in group) for group in groups)
        for part, groups in TEXT_SETS[name].parts.items()
    }
    monkeypatch.setitem(TEXT_SETS, name, dataclasses.replace(TEXT_SETS[name], parts=parts))
    return folder


@pytest.mark.parametrize("folder", ["20news", "."])
def test_lines_of_ids_and_counts_are_read(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, tmp_path / "data" / folder, "20news", FEAT)
    for split in ("train", "test"):
        found = load_counts("20news", split=split, data_dir=tmp_path / "data")
        assert sparse.issparse(found.x)
        assert found.x.toarray().tolist() == X[split]
        assert (found.vocabulary, found.y, found.x.dtype) == (["alpha", "beta", "gamma"], None, np.int32)
        assert found.lengths.tolist() == [sum(row) for row in X[split]]
        assert len(found) == len(X[split])
    assert load_counts("20news", split="all", data_dir=tmp_path / "data").x.shape == (7, 3)
    assert where_counts_are("20news", tmp_path / "data") == str(tmp_path / "data" / folder)


def test_fit_and_valid_divide_the_training_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, tmp_path / "20news", "20news", FEAT)
    monkeypatch.setenv("DEEPBELIEF_DATA", str(tmp_path))
    fit, valid = (load_counts("20news", split=split).x.toarray().tolist() for split in ("fit", "valid"))
    assert len(valid) == 1
    assert sorted(fit + valid) == sorted(X["train"])


def test_an_npz_with_classes_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = {"vocab": np.array([b"alpha", b"beta"]), "groups": np.array([b"x.y", b"z"])}
    wanted = {"train": sparse.csr_matrix([[2, 0], [0, 7]]), "test": sparse.csr_matrix([[1, 1]])}
    for part, x in wanted.items():
        arrays |= {f"{part}_data": x.data.astype(np.uint16), f"{part}_indices": x.indices.astype(np.uint16)}
        arrays |= {f"{part}_indptr": x.indptr, f"{part}_labels": np.arange(x.shape[0], dtype=np.uint8)}
    np.savez(tmp_path / "made.npz", **arrays)  # type: ignore[arg-type]
    content = {"20news_bydate_bow5000.npz": (tmp_path / "made.npz").read_bytes()}
    put(monkeypatch, tmp_path / "20news", "20news-5000", content)
    found = load_counts("20news-5000", split="train", data_dir=tmp_path)
    assert found.x.toarray().tolist() == [[2, 0], [0, 7]]
    assert found.y is not None
    assert (found.y.tolist(), found.vocabulary, found.class_names) == ([0, 1], ["alpha", "beta"], ["x.y", "z"])


def test_a_damaged_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = put(monkeypatch, tmp_path / "20news", "20news", FEAT)
    (folder / "vocab.new").write_bytes(b"_eos_ 0\nalpha 9\n")
    with pytest.raises(InvalidDataError, match="must have the sha256 sum"):
        load_counts("20news", data_dir=tmp_path)


def test_absent_files_get_a_sentence(tmp_path: Path) -> None:
    assert where_counts_are("20news", tmp_path) is None
    with pytest.raises(
        DataNotFoundError, match=r"Put train.feat.gz and vocab.new into .*20news, or set DEEPBELIEF_DATA"
    ):
        load_counts("20news", data_dir=tmp_path)
    with pytest.raises(InvalidArgumentError, match="name must be one of '20news', '20news-5000'"):
        load_counts("20new", data_dir=tmp_path)
