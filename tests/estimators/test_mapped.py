"""Estimators learn from a mapped file without taking it into memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepbelief.data.memmap import MemmapSource
from deepbelief.estimators import learning
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
