"""Named tables and series with anomalies: formats, and what is said where files are absent or others."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from deepbelief.data import anomaly_sets, download
from deepbelief.data.anomaly_sets import ADBENCH, anomaly_sets_here, load_adbench, load_nab, load_skab
from deepbelief.data.registry import FileSpec
from deepbelief.errors import DataNotFoundError, InvalidArgumentError, InvalidDataError

HEAD = "datetime;a;b;c;d;e;f;g;h;anomaly;changepoint\n"


@pytest.fixture(autouse=True)
def no_folders_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DEEPBELIEF_DATA", raising=False)
    monkeypatch.setattr(download, "cache_folder", lambda: tmp_path / "cache")


def expecting(spec: anomaly_sets.AnomalySpec, content: bytes) -> anomaly_sets.AnomalySpec:
    name = spec.parts["all"][0][0].name
    return dataclasses.replace(spec, parts={"all": ((FileSpec(name, (hashlib.sha256(content).hexdigest(),)),),)})


def test_a_table_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, X=np.arange(6, dtype=np.uint8).reshape(3, 2), y=np.array([0, 1, 0]))
    (tmp_path / "38_thyroid.npz").write_bytes(buffer.getvalue())
    monkeypatch.setitem(ADBENCH, "thyroid", expecting(ADBENCH["thyroid"], buffer.getvalue()))
    found = load_adbench("thyroid", data_dir=tmp_path)
    assert (found.x.dtype, found.x.tolist(), found.odd.tolist()) == (
        np.float64,
        [[0, 1], [2, 3], [4, 5]],
        [False, True, False],
    )
    assert (len(found), anomaly_sets_here(tmp_path)) == (3, ["thyroid"])


def test_series_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("data/valve1/1.csv", HEAD + "t;1;2;3;4;5;6;7;8;0.0;0.0\nt;1;2;3;4;5;6;7;9;1.0;0.0\n")
        archive.writestr("data/other/2.csv", HEAD + "t;1;2;3;4;5;6;7;8;0.0;0.0\n")
        archive.writestr("data/anomaly-free/anomaly-free.csv", "datetime;a;b;c;d;e;f;g;h\nt;1;2;3;4;5;6;7;8\n")
    (tmp_path / "SKAB-data.zip").write_bytes(buffer.getvalue())
    other, valve = load_skab(data_dir=tmp_path)
    assert (other.name, valve.name, valve.odd.tolist()) == ("other/2", "valve1/1", [False, True])
    assert valve.x[1].tolist() == [1, 2, 3, 4, 5, 6, 7, 9]
    (normal,) = load_skab(normal=True, data_dir=tmp_path)
    assert (normal.name, normal.x.tolist(), normal.odd.tolist()) == (
        "anomaly-free/anomaly-free",
        [[1, 2, 3, 4, 5, 6, 7, 8]],
        [False],
    )


def test_steps_in_a_labelled_window_are_odd_ends_included(tmp_path: Path) -> None:
    times = [f"2014-04-01 00:0{minute}:00" for minute in range(5)]
    text = "timestamp,value\n" + "".join(f"{time},{i / 2}\n" for i, time in enumerate(times))
    labels = {"real/one.csv": [[f"{times[1]}.000000", f"{times[2]}.000000"], [f"{times[4]}.000000"] * 2]}
    with zipfile.ZipFile(tmp_path / "NAB-data.zip", "w") as archive:
        archive.writestr("data/real/two.csv", text)
        archive.writestr("data/real/one.csv", text)
        archive.writestr("labels/combined_windows.json", json.dumps(labels))
    one, two = load_nab(data_dir=tmp_path)
    assert (one.name, one.x.tolist()) == ("real/one", [[0], [0.5], [1], [1.5], [2]])
    assert one.odd.tolist() == [False, True, True, False, True]
    assert (two.name, two.odd.any()) == ("real/two", False)
    with pytest.raises(DataNotFoundError, match=r"NAB-data\.zip"):
        load_nab(data_dir=tmp_path / "nowhere")


def test_absent_and_unknown_and_other_files_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataNotFoundError, match=r"4_breastw\.npz"):
        load_adbench("breastw", data_dir=tmp_path)
    with pytest.raises(InvalidArgumentError, match="Did you mean 'thyroid'"):
        load_adbench("thyroids", data_dir=tmp_path)
    buffer = io.BytesIO()
    np.savez(buffer, Z=np.zeros(3))
    (tmp_path / "4_breastw.npz").write_bytes(buffer.getvalue())
    with pytest.raises(InvalidDataError, match="sha256"):
        load_adbench("breastw", data_dir=tmp_path)
    monkeypatch.setitem(ADBENCH, "breastw", expecting(ADBENCH["breastw"], buffer.getvalue()))
    with pytest.raises(InvalidDataError, match="must hold X and y"):
        load_adbench("breastw", data_dir=tmp_path)
