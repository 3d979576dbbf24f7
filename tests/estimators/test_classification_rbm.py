"""The classifying estimator: missing labels, labels of any kind, what it draws and completes, saving and resuming."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from deepbelief import ClassificationRBM, load_estimator
from deepbelief.errors import InvalidArgumentError, InvalidDataError

X, Y = load_digits(return_X_y=True)
X = X / 16
NAMES = np.array([f"digit {i}" for i in range(10)], dtype=object)


@pytest.fixture(scope="module")
def model() -> ClassificationRBM:
    return ClassificationRBM(40, epochs=8, learning_rate=0.02, random_state=0).fit(X[:1200], NAMES[Y[:1200]])


def test_it_classifies_and_its_posteriors_are_the_modules(model: ClassificationRBM) -> None:
    assert model.score(X[1200:], NAMES[Y[1200:]]) > 0.85  # one guess in ten is right by chance
    with torch.no_grad():
        wanted = model.module_.double().classify(torch.from_numpy(X[1200:])).numpy()
    model.module_.float()
    np.testing.assert_allclose(model.predict_proba(X[1200:]), wanted, atol=1e-5)
    assert model.transform(X[:5]).shape == (5, 40)


def test_draws_have_the_label_that_was_asked_for(model: ClassificationRBM) -> None:
    drawn = model.sample(5, label="digit 3", n_steps=5, random_state=0)
    assert drawn.shape == (5, 64)
    assert np.array_equal(drawn, model.sample(5, label=["digit 3"] * 5, n_steps=5, random_state=0))
    with pytest.raises(InvalidArgumentError, match="label must be one of"):
        model.sample(label="digit 11")


def test_gaps_are_filled_and_cases_scored(model: ClassificationRBM) -> None:
    rows = X[:3].copy()
    rows[:, 10] = np.nan
    filled = model.complete(rows, n_steps=5, n_average=2)
    assert np.array_equal(np.delete(filled, 10, 1), np.delete(rows, 10, 1))
    assert np.isfinite(filled).all()
    bits = ClassificationRBM(6, epochs=1, random_state=0).fit(X[:100] > 0.5, Y[:100])
    assert bits.log_likelihood(X[:4] > 0.5).kind == "exact"


def test_the_number_minus_one_is_no_label() -> None:
    labels = Y[:600].copy()
    labels[::2] = -1
    options = {"epochs": 2, "random_state": 0, "n_components": 8}
    half = ClassificationRBM(**options).fit(X[:600], labels)
    assert half.classes_.tolist() == list(range(10))
    alone = ClassificationRBM(**options).fit(X[1:600:2], Y[1:600:2])
    assert not np.array_equal(half.predict_proba(X), alone.predict_proba(X))  # cases without a label teach as well
    assert ClassificationRBM(2, epochs=1).fit(X[:4], [-1, -1, 1, 1]).classes_.tolist() == [-1, 1]
    with pytest.raises(InvalidDataError, match="at least 2 classes"):
        ClassificationRBM().fit(X[:4], [3, 3, 3, 3])


@pytest.mark.parametrize("objective", ["discriminative", "generative"])
def test_every_objective_learns(objective: str) -> None:
    model = ClassificationRBM(30, objective=objective, epochs=8, learning_rate=0.02, random_state=0)
    assert model.fit(X[:1200], Y[:1200]).score(X[1200:], Y[1200:]) > 0.3  # by chance 0.1


def test_hidden_units_of_several_values_take_the_number_of_values() -> None:
    """Units of two values 0 and 1, by two names, are one model."""
    bits = X[:100] > 0.5
    options = {"epochs": 1, "objective": "discriminative", "random_state": 0}
    two = ClassificationRBM(4, hidden="binomial", n_values=2, **options).fit(bits, Y[:100])
    plain = ClassificationRBM(4, **options).fit(bits, Y[:100])
    np.testing.assert_allclose(two.predict_proba(bits), plain.predict_proba(bits), atol=1e-6)
    assert ClassificationRBM(4, hidden="binomial", n_values=4, **options).fit(bits, Y[:100]).transform(bits).max() > 1


def test_it_is_saved_and_resumed(tmp_path: Path) -> None:
    settings = {"n_components": 8, "epochs": 3, "learning": "pcd", "random_state": 0}
    model = ClassificationRBM(**settings, checkpoint_dir=tmp_path / "checkpoint").fit(X[:200], NAMES[Y[:200]])
    loaded = load_estimator(model.save(tmp_path / "model"))
    assert np.array_equal(loaded.predict(X), model.predict(X))
    again = ClassificationRBM(**settings).fit(X[:200], NAMES[Y[:200]], resume_from=tmp_path / "checkpoint")
    assert np.array_equal(again.predict_proba(X), model.predict_proba(X))


def test_wrong_settings_are_refused() -> None:
    for name, value in {"objective": "hybird", "learning": "exact", "precision": "fp8"}.items():
        with pytest.raises(InvalidArgumentError, match=f"{name} must be one of"):
            ClassificationRBM(**{name: value}).fit(X[:20], Y[:20])
