"""The estimator of a CycleGAN: two sets, two ways, sentences, resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepbelief import CycleGAN
from deepbelief.errors import InvalidDataError

RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(5, 2, (90, 3)), RANDOM.normal(-100, 30, (70, 2))
SMALL: dict[str, Any] = {"hidden_layer_sizes": (8,), "random_state": 0}


def test_each_set_keeps_its_own_scale() -> None:
    model = CycleGAN(epochs=60, **SMALL).fit(X, Y)
    assert (np.abs(model.transform(X).mean(0) - Y.mean(0)) < Y.std(0)).all()
    assert (np.abs(model.inverse_transform(Y).mean(0) - X.mean(0)) < X.std(0)).all()


def test_labels_of_two_kinds_divide_the_cases() -> None:
    both = np.concatenate([X, X + 7])
    labels = np.repeat(["a", "b"], len(X))
    divided = CycleGAN(epochs=1, **SMALL).fit(both, labels).transform(X)
    assert np.array_equal(divided, CycleGAN(epochs=1, **SMALL).fit(X, X + 7).transform(X))


def test_values_in_the_unit_interval_stay_there() -> None:
    model = CycleGAN(epochs=1, **SMALL).fit(RANDOM.random((40, 3)), RANDOM.random((30, 2)))
    made = model.transform(RANDOM.random((5, 3)))
    assert 0 <= made.min() <= made.max() <= 1
    assert model.mean_ is None


def test_resumed_is_never_stopped(tmp_path: Path) -> None:
    whole = CycleGAN(epochs=3, schedule="constant", **SMALL).fit(X, Y)
    CycleGAN(epochs=1, schedule="constant", checkpoint_dir=tmp_path, **SMALL).fit(X, Y)
    again = CycleGAN(epochs=3, schedule="constant", **SMALL).fit(X, Y, resume_from=tmp_path)
    assert np.array_equal(whole.transform(X), again.transform(X))


def test_what_does_not_fit_gets_a_sentence() -> None:
    with pytest.raises(InvalidDataError, match="labels of two kinds"):
        CycleGAN(epochs=1).fit(X, None)
    with pytest.raises(InvalidDataError, match="Got 90 of 90 kinds"):
        CycleGAN(epochs=1).fit(X, np.arange(90))
    with pytest.raises(InvalidDataError, match="must have 2 columns"):
        CycleGAN(epochs=1, **SMALL).fit(X, Y).inverse_transform(X)
    with pytest.raises(InvalidDataError, match="different widths"):
        CycleGAN(epochs=1, identity=1.0, **SMALL).fit(X, Y)
