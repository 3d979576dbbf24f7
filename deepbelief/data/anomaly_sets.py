"""Named tables with marked anomalies, found (as the other named sets are) in a data folder.

"adbench" is nine of ADBench's classical sets (Han et al. 2022), each one table of normal cases and anomalies; "skab" is
the Skoltech Anomaly Benchmark (Katser & Kozitsin 2020), time series of eight sensors of a water circulation test bed;
"nab" is a part of the Numenta Anomaly Benchmark (Ahmad et al. 2017), series of one value.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepbelief.data.download import fetch_files, find_files
from deepbelief.data.npz import load_npz
from deepbelief.data.registry import FileSpec
from deepbelief.errors import InvalidDataError, check_choice

SENSORS = 8


@dataclass(frozen=True)
class AnomalySpec:
    """One named set: its file with its checksum."""

    name: str
    description: str
    source: str
    licence: str
    parts: Mapping[str, tuple[tuple[FileSpec, ...], ...]]
    subfolders: tuple[str, ...]


@dataclass(frozen=True)
class AnomalySet:
    """Cases ``x`` (n, d) and which of them are anomalies, ``odd`` (n,); a series keeps the order of time."""

    name: str
    x: NDArray[np.float64]
    odd: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.x)


def load_adbench(name: str, *, data_dir: str | Path | None = None) -> AnomalySet:
    """One of ADBench's tables, such as "thyroid"; ``ADBENCH`` names those that are known.

    Raises `DataNotFoundError` with the file to put there where it is absent.
    """
    check_choice("name", name, ADBENCH)
    (path,) = fetch_files(ADBENCH[name], "all", data_dir)
    arrays = load_npz(path, map_above=1 << 40)
    if "X" not in arrays or "y" not in arrays or len(arrays["X"]) != len(arrays["y"]):
        raise InvalidDataError(f"{path.name} must hold X and y of one length. Got {', '.join(arrays)}.")
    return AnomalySet(name, arrays["X"].astype(np.float64), arrays["y"].astype(bool))


def load_skab(*, normal: bool = False, data_dir: str | Path | None = None) -> list[AnomalySet]:
    """The 34 series with anomalies, in order of their names; or with `normal` the one series without any.

    ``SKAB-data.zip`` holds the folder ``data`` of the benchmark's repository.
    """
    (path,) = fetch_files(SKAB, "all", data_dir)
    with zipfile.ZipFile(path) as archive:
        tables = (name for name in archive.namelist() if name.endswith(".csv"))
        names = sorted(name for name in tables if ("anomaly-free" in name) is normal)
        return [_series(name, archive.read(name)) for name in names]


def load_nab(*, data_dir: str | Path | None = None) -> list[AnomalySet]:
    """The series of the Numenta Anomaly Benchmark that are here, one column each, in order of their names.

    ``NAB-data.zip`` holds ``data`` (or some of its folders) and ``labels`` of the benchmark's repository. The labels
    are windows: all steps around an anomaly count as odd, most of which look as usual.
    """
    (path,) = fetch_files(NAB, "all", data_dir)
    with zipfile.ZipFile(path) as archive:
        labels = json.loads(archive.read("labels/combined_windows.json"))
        series = sorted(name for name in archive.namelist() if name.endswith(".csv"))
        return [_stream(name.removeprefix("data/"), archive.read(name), labels) for name in series]


def anomaly_sets_here(data_dir: str | Path | None = None) -> list[str]:
    """The names of ADBench's tables that are in a data folder."""
    return [name for name, spec in ADBENCH.items() if find_files(spec, "all", data_dir) is not None]


def _series(name: str, raw: bytes) -> AnomalySet:
    """Lines ``time;8 sensors`` or ``time;8 sensors;anomaly;changepoint`` under a line of names."""
    text = raw.decode("utf-8")
    columns = range(1, min(SENSORS + 2, text.partition("\n")[0].count(";") + 1))
    table = np.loadtxt(io.StringIO(text), delimiter=";", skiprows=1, usecols=columns, ndmin=2)
    odd = table[:, SENSORS] > 0 if len(columns) > SENSORS else np.zeros(len(table), dtype=bool)
    return AnomalySet("/".join(Path(name).with_suffix("").parts[-2:]), table[:, :SENSORS], odd)


def _stream(name: str, raw: bytes, labels: Mapping[str, list[list[str]]]) -> AnomalySet:
    """Lines ``time,value`` under a line of names; a step is odd in any of its file's windows, ends included."""
    table = np.loadtxt(io.StringIO(raw.decode("utf-8")), delimiter=",", skiprows=1, dtype=str, ndmin=2)
    times = table[:, 0].astype("datetime64[s]")
    odd = np.zeros(len(times), dtype=bool)
    for window in labels.get(name, []):
        first, last = np.array(window, dtype="datetime64[s]")
        odd |= (first <= times) & (times <= last)
    return AnomalySet(str(Path(name).with_suffix("")), table[:, 1:].astype(np.float64), odd)


_ADBENCH_SUMS = {
    "2_annthyroid": "e738f7c58a8740d2c4aac4c71ff49ce5e1d1aa16f44178135fc9c09df05fad1b",
    "4_breastw": "4f37ce07dbc25ddad8178fdc6d664ab46d2d0000ee28c2787c3c7ff3c03ef9f6",
    "6_cardio": "bc5009bde6930b4d298b594f31b34485a9a17210cff0e8fb00a8c3068b885a2d",
    "18_Ionosphere": "bca46cb0cfd1bf9ddef6cde5ad2215d54fb0189508d0d4c4eb98e788cad69001",
    "23_mammography": "a0308ac9712d78321073b1c2dc98dc37665c0f35c1cc33019416fe8f8d7de7ea",
    "29_Pima": "215454bb263a2f040945c9ea7bd7f06f1e89a61a3143bdb6f196e3887e801a7d",
    "31_satimage-2": "1b056e357f801b8b20c3f380a30224a3c4088d7ed764ec5a24828dc9b1918d6f",
    "32_shuttle": "26900b0f6be45d9ddb7a402c9b2f956ceda42d23a8ca4cf4406b8bc1352823d1",
    "38_thyroid": "8de161b3f235b7647bb0b39a836d983ff61d67bf234edac461da2d71e889cb87",
}


def _adbench(file: str, sha256: str) -> AnomalySpec:
    name = file.split("_", 1)[1].lower()
    return AnomalySpec(
        name=name,
        description=f"ADBench's classical table {name}: normal cases and marked anomalies",
        source="S. Han, X. Hu, H. Huang, M. Jiang, Y. Zhao, NeurIPS 2022",
        licence="BSD-2-Clause (the collection); the tables have their publishers' own terms",
        parts={"all": ((FileSpec(f"{file}.npz", (sha256,)),),)},
        subfolders=("adbench", "adbench-classical"),
    )


ADBENCH: dict[str, AnomalySpec] = {
    spec.name: spec for spec in (_adbench(file, sha256) for file, sha256 in _ADBENCH_SUMS.items())
}
# a folder is zipped by whoever fetches it, so no checksum is right for all
SKAB = AnomalySpec(
    name="skab",
    description="Skoltech Anomaly Benchmark: 34 series of 8 sensors with marked anomalies",
    source="I. D. Katser, V. O. Kozitsin, 2020",
    licence="GPL-3.0",
    parts={"all": ((FileSpec("SKAB-data.zip"),),)},
    subfolders=("skab",),
)
NAB = AnomalySpec(
    name="nab",
    description="Numenta Anomaly Benchmark, four of its folders: 25 series of one value with windows around anomalies",
    source="S. Ahmad, A. Lavin, S. Purdy, Z. Agha, Neurocomputing 262, 2017",
    licence="MIT",
    parts={"all": ((FileSpec("NAB-data.zip"),),)},
    subfolders=("nab",),
)
