"""Named sets: splits, search order, checksums, formats; files are made here, nothing is downloaded."""

import dataclasses
import gzip
import hashlib

import numpy as np
import pytest
import torch
from scipy.io import savemat
from sklearn.datasets import load_digits

from deepbelief.data import download, formats, sets
from deepbelief.data.registry import SETS, FileSpec
from deepbelief.data.sets import list_sets, load_set
from deepbelief.errors import DataNotFoundError, InvalidArgumentError, InvalidDataError


@pytest.fixture(autouse=True)
def no_folders_of_this_machine(monkeypatch, tmp_path):
    monkeypatch.delenv("DEEPBELIEF_DATA", raising=False)
    monkeypatch.setattr(download, "cache_folder", lambda: tmp_path / "cache")


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return gzip.compress(header + array.tobytes())


def sha(content):
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def small(monkeypatch):
    """Two small sets that share their file names, as MNIST and Fashion-MNIST do, and their contents by name."""
    contents = {}
    for name, value in (("small", 1), ("other", 2)):
        files = {
            "images.gz": idx(np.full((6, 2, 2), value, dtype=np.uint8)),
            "labels.gz": idx(np.arange(6, dtype=np.uint8)),
        }
        contents[name] = files
        group = tuple(FileSpec(file, (sha(content),)) for file, content in files.items())
        spec = dataclasses.replace(
            SETS["mnist"], name=name, image_shape=(2, 2), parts={"train": (group,), "test": (group,)}
        )
        monkeypatch.setitem(SETS, name, spec)
    monkeypatch.setattr(sets, "VALID_OF_60_000", 2)
    return contents


def put(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def test_digits_are_built_in_and_their_splits_partition_them():
    whole, train, test, fit, valid = (load_set("digits", split=s) for s in ("all", "train", "test", "fit", "valid"))
    np.testing.assert_array_equal(whole.x.numpy(), load_digits().data)
    assert [len(part) for part in (train, test, fit, valid)] == [1438, 359, 1151, 287]
    for one, other, both in ((train, test, whole), (fit, valid, train)):
        joined = sorted(map(tuple, torch.cat([one.x, other.x]).tolist()))
        assert joined == sorted(map(tuple, both.x.tolist()))
    assert float(whole.scaled().max()) == 1.0
    assert whole.x.dtype == torch.uint8


def test_digits_split_is_stratified():
    per_class = torch.bincount(load_set("digits", split="all").y)
    held = torch.bincount(load_set("digits", split="test").y)
    assert ((held - 0.2 * per_class).abs() <= 0.5).all()


@pytest.mark.parametrize("layout", ["set folder", "flat", "the set's own folder"])
def test_files_are_found_in_each_layout(tmp_path, small, layout):
    folder = tmp_path / "data"
    put(folder if layout == "flat" else folder / "small", small["small"])
    data = load_set("small", data_dir=folder / "small" if layout == "the set's own folder" else folder)
    assert data.x.unique().tolist() == [1]
    assert data.y.tolist() == list(range(6))


def test_the_search_order_is_argument_environment_cache(tmp_path, small, monkeypatch):
    with pytest.raises(DataNotFoundError):
        load_set("small", download=False)
    put(tmp_path / "cache" / "small", small["small"])
    assert listing("small").where == str(tmp_path / "cache" / "small")
    put(tmp_path / "env" / "small", small["small"])
    monkeypatch.setenv("DEEPBELIEF_DATA", str(tmp_path / "env"))
    assert listing("small").where == str(tmp_path / "env" / "small")
    put(tmp_path / "arg" / "small", small["small"])
    assert listing("small", tmp_path / "arg").where == str(tmp_path / "arg" / "small")


def listing(name, data_dir=None):
    return next(row for row in list_sets(data_dir) if row.name == name)


def test_files_of_another_set_with_the_same_names_are_passed_over(tmp_path, small):
    put(tmp_path / "flat", small["other"])
    put(tmp_path / "cache" / "small", small["small"])
    assert load_set("small", data_dir=tmp_path / "flat").x.unique().tolist() == [1]
    assert load_set("other", data_dir=tmp_path / "flat").x.unique().tolist() == [2]


def test_a_damaged_file_is_refused_with_a_sentence_and_told_in_the_listing(tmp_path, small):
    put(tmp_path / "small", {**small["small"], "images.gz": b"damaged"})
    with pytest.raises(InvalidDataError, match=r"images\.gz must have the sha256 sum .* Delete the file"):
        load_set("small", data_dir=tmp_path)
    assert listing("small", tmp_path).where is None
    assert "images.gz must have the sha256 sum" in listing("small", tmp_path).problem


def test_fit_and_valid_divide_train_in_order(tmp_path, small):
    put(tmp_path / "small", small["small"])
    assert load_set("small", split="fit", data_dir=tmp_path).y.tolist() == [0, 1, 2, 3]
    assert load_set("small", split="valid", data_dir=tmp_path).y.tolist() == [4, 5]
    assert len(load_set("small", split="all", data_dir=tmp_path)) == 12


def test_an_absent_set_says_which_file_to_put_where(tmp_path, small):
    with pytest.raises(DataNotFoundError) as caught:
        load_set("small", download=False)
    assert f"Put images.gz and labels.gz into {tmp_path / 'cache' / 'small'}" in str(caught.value)
    with pytest.raises(DataNotFoundError, match=r"Put freyfaces\.npz or frey_rawface\.mat into"):
        load_set("frey")


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(InvalidArgumentError, match="Did you mean 'fashion-mnist'"):
        load_set("fashion_mnist")
    with pytest.raises(InvalidArgumentError, match="Did you mean 'valid'"):
        load_set("digits", split="validation")


def test_the_listing_names_every_set():
    rows = {row.name: row for row in list_sets()}
    assert set(rows) >= {"digits", "mnist", "fashion-mnist", "binarized-mnist", "olivetti", "frey"}
    assert rows["digits"].where == "built in"
    assert rows["mnist"].where is None
    assert (rows["mnist"].cases, rows["mnist"].n_features) == (70_000, 784)


def test_every_downloadable_file_has_a_checksum():
    files = [f for spec in SETS.values() for groups in spec.parts.values() for group in groups for f in group]
    assert all(file.sha256 for file in files if file.urls)
    assert any(file.urls for file in files)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (idx(np.zeros((2, 2), dtype=np.uint8))[:-5], "whole gzip file"),
        (gzip.compress(b"hello"), "Got the beginning 68656c6c"),
        (gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 9]) + b"123"), "must hold 9 bytes of data. Got 3"),
        (b"no gzip", "whole gzip file"),
        (gzip.compress(b""), "must be an idx file"),
    ],
    ids=["cut", "not idx", "too short", "not gzip", "empty"],  # gzip holds the time, which must not enter a test's name
)
def test_bad_idx_files_get_a_sentence(tmp_path, content, sentence):
    (tmp_path / "x.gz").write_bytes(content)
    with pytest.raises(InvalidDataError, match=sentence):
        formats.read_idx(tmp_path / "x.gz")


def test_binarized_text_and_npz_read_alike(tmp_path):
    bits = np.random.default_rng(0).integers(0, 2, (5, 784), dtype=np.uint8)
    (tmp_path / "t.amat").write_text("".join(" ".join(map(str, row)) + "\n" for row in bits))
    np.savez(tmp_path / "b.npz", train=bits)
    for name in ("t.amat", "b.npz"):
        np.testing.assert_array_equal(formats.read_binarized("train", [tmp_path / name])[0], bits)


def test_olivetti_pictures_are_put_upright(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 255, (400, 64, 64), dtype=np.uint8)
    savemat(tmp_path / "o.mat", {"faces": pictures.transpose(0, 2, 1).reshape(400, 4096).T})
    images, people = formats.read_olivetti("all", [tmp_path / "o.mat"])
    np.testing.assert_array_equal(images.reshape(400, 64, 64), pictures)
    assert people[[0, 9, 10, 399]].tolist() == [0, 0, 1, 39]


def test_frey_frames_read_alike_from_either_file_and_split_in_time(tmp_path):
    frames = np.random.default_rng(0).integers(0, 255, (1965, 560), dtype=np.uint8)
    savemat(tmp_path / "frey_rawface.mat", {"ff": frames.T})
    np.savez(tmp_path / "f.npz", frames=frames)
    for name in ("frey_rawface.mat", "f.npz"):
        np.testing.assert_array_equal(formats.read_frey("all", [tmp_path / name])[0], frames)
    train, test = (load_set("frey", split=split, data_dir=tmp_path).x for split in ("train", "test"))
    np.testing.assert_array_equal(torch.cat([train, test]).numpy(), frames)
    savemat(tmp_path / "frey_rawface.mat", {"other": frames})
    with pytest.raises(InvalidDataError, match="must hold an array 'ff'"):
        load_set("frey", data_dir=tmp_path)
