"""What `deepbelief fit` holds out of a mapped file is a view of it, learned from and scored as a copy is."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deepbelief.data.files import read_file
from deepbelief.data.part import RowsOf
from deepbelief.estimators.anomaly import AnomalyDetector
from deepbelief.estimators.bernoulli_rbm import BernoulliRBM
from deepbelief.estimators.classifier import DeepBeliefClassifier
from deepbelief.estimators.rbm import RBM
from deepbelief.recipes import fit_data

CASES = 300


@pytest.fixture
def file(tmp_path: Path) -> Path:
    bits = np.random.default_rng(0).integers(0, 2, (CASES, 8)).astype(np.float32)
    np.savez(tmp_path / "bits.npz", x=bits, y=np.where(bits[:, 0] > 0, "on", "off"))
    return tmp_path / "bits.npz"


@pytest.mark.parametrize("in_order", [False, True])
def test_held_out_cases_of_a_mapped_file_are_a_view(
    in_order: bool, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"held_out": 0.2, "in_order": in_order}
    copied = fit_data.read_fit_data(str(file), **options)
    monkeypatch.setattr(fit_data, "read_file", partial(read_file, map_above=0))
    mapped = fit_data.read_fit_data(str(file), **options)
    assert mapped.test is not None
    assert copied.test is not None
    for ours, theirs in ((mapped.train, copied.train), (mapped.test, copied.test)):
        assert type(ours.x) is (np.memmap if in_order else RowsOf)
        assert len(ours) == len(theirs)
        np.testing.assert_array_equal(ours.x[:], theirs.x)
        np.testing.assert_array_equal(np.asarray(ours.x), theirs.x)
        np.testing.assert_array_equal(ours.y, theirs.y)
    model = DeepBeliefClassifier((4,), pretrain_epochs=1, fine_tune_epochs=2, random_state=0)
    found = [model.fit(d.train.x, d.train.y).predict_proba(d.test.x) for d in (mapped, copied)]  # type: ignore[union-attr]
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(
    "made",
    [
        BernoulliRBM(n_components=3, n_iter=1, random_state=0),
        AnomalyDetector(RBM(3, epochs=1, random_state=0), random_state=0),
    ],
)
def test_estimators_that_know_nothing_but_arrays_take_a_view(made: Any, file: Path) -> None:
    bits = np.load(file)["x"]
    np.save(file.with_suffix(".npy"), bits)
    rows = RowsOf(np.load(file.with_suffix(".npy"), mmap_mode="r"), np.arange(1, CASES, 2))
    torch.testing.assert_close(*[torch.from_numpy(made.fit(x).score_samples(x)) for x in (rows, bits[1::2])])
