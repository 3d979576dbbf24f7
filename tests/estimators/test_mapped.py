"""Estimators learn from a mapped file without taking it into memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deepbelief.data.memmap import MemmapSource
from deepbelief.data.part import RowsOf
from deepbelief.estimators import learning
from deepbelief.estimators.network import DeepBeliefNetwork
from deepbelief.estimators.rbm import RBM

ROWS, SIDE = 3000, 6
OPTIONS: dict[str, Any] = {"n_components": 4, "epochs": 1, "random_state": 0, "verbose": 0}


@pytest.fixture
def pictures(tmp_path: Path) -> np.memmap[Any, Any]:
    x = np.random.default_rng(0).integers(0, 2, (ROWS, SIDE, SIDE)).astype(np.uint8)
    np.save(tmp_path / "x.npy", x)
    return np.load(tmp_path / "x.npy", mmap_mode="r")


@pytest.mark.parametrize("kind", ["bits", "real"])
def test_a_mapped_file_streams(kind: str, pictures: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind == "real":
        np.save(tmp_path / "real.npy", pictures.astype(np.float32) * 5 - 1)
        pictures = np.load(tmp_path / "real.npy", mmap_mode="r")
    sources, make = [], learning.make_source
    monkeypatch.setattr(learning, "make_source", lambda *a, **o: sources.append(make(*a, **o)) or sources[-1])
    mapped, held = RBM(**OPTIONS).fit(pictures), RBM(**OPTIONS).fit(np.array(pictures))
    assert isinstance(sources[0], MemmapSource)
    assert not isinstance(sources[1], MemmapSource)
    assert mapped.visible_ == held.visible_ == ("bernoulli" if kind == "bits" else "gaussian")
    np.testing.assert_array_equal(mapped.score_samples(pictures), mapped.score_samples(np.array(pictures)))
    if kind == "real":
        np.testing.assert_array_equal(mapped.mean_, held.mean_)


def test_every_entry_of_a_mapped_file_is_checked(tmp_path: Path) -> None:
    x = np.lib.format.open_memmap(tmp_path / "x.npy", mode="w+", dtype=np.float32, shape=(20_000, 3))
    x[19_999, 2] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        RBM(**OPTIONS).fit(x)


@pytest.mark.parametrize("kind", ["bits", "real"])
@pytest.mark.parametrize("made", [RBM, DeepBeliefNetwork])
def test_what_is_kept_of_a_mapped_file_trains_as_a_copy_of_it(
    made: Any, kind: str, pictures: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "real":
        np.save(tmp_path / "real.npy", pictures.astype(np.float32) * 5 - 1)
        pictures = np.load(tmp_path / "real.npy", mmap_mode="r")
    size = {"n_components": 4} if made is RBM else {"hidden_layer_sizes": (4, 3), "report_bounds": True}
    options = OPTIONS | size | {"validation_fraction": 0.2, "watch": ("free_energy_gap",), "epochs": 2}
    options = {name: value for name, value in options.items() if made is RBM or name != "n_components"}
    parts, make = [], learning.make_source
    monkeypatch.setattr(learning, "make_source", lambda x, *a, **o: parts.append(x) or make(x, *a, **o))
    mapped = made(**options).fit(pictures)
    assert [type(part) for part in parts] == [RowsOf, RowsOf]
    assert sorted(np.concatenate([part.index for part in parts])) == list(range(ROWS))

    def copied(x: Any, *more: Any, **others: Any) -> MemmapSource:
        return MemmapSource(np.array(x[:]), *more, **{name: v for name, v in others.items() if name != "binarizer"})

    monkeypatch.setattr(learning, "make_source", copied)
    copy = made(**options).fit(pictures)
    for name, value in copy.module_.state_dict().items():
        assert torch.equal(mapped.module_.state_dict()[name], value)
    watched = [
        [row["free_energy_gap"] for row in fitted.history_ if "free_energy_gap" in row] for fitted in (mapped, copy)
    ]
    assert watched[0] == watched[1] != []


def test_holding_cases_out_takes_no_memory_of_the_size_of_the_file(tmp_path: Path) -> None:
    x = np.lib.format.open_memmap(tmp_path / "x.npy", mode="w+", dtype=np.uint8, shape=(1 << 17, 128))  # sparse
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    tracemalloc.start()
    try:
        RBM(2, epochs=1, batch_size=8192, validation_fraction=0.2, random_state=0).fit(x)
        assert tracemalloc.get_traced_memory()[1] < x.nbytes / 2
    finally:
        tracemalloc.stop()
