"""What is chosen where nobody says: passes, batches and rates; long enough on few cases, no longer on many."""

from typing import Any

import numpy as np
import pytest
from sklearn.base import clone

from deepbelief.errors import InvalidArgumentError
from deepbelief.estimators.boltzmann_network import DeepBoltzmannMachine
from deepbelief.estimators.classifier import DeepBeliefClassifier
from deepbelief.estimators.columns import Columns
from deepbelief.estimators.effort import filled, tuning_passes
from deepbelief.estimators.network import DeepBeliefNetwork
from deepbelief.estimators.rbm import RBM


@pytest.mark.parametrize(
    ("n_cases", "given", "epochs", "batch_size"),
    [
        (30, {}, 100, 20),
        (1438, {}, 42, 20),
        (4999, {}, 12, 20),
        (5000, {}, 60, 100),
        (20_000, {}, 15, 100),
        (60_000, {}, 10, 100),
        (60_000, {"epochs": 3}, 3, 100),
        (1438, {"batch_size": 500}, 100, 500),
        (1438, {"epochs": 0, "batch_size": 7}, 0, 7),
    ],
)
@pytest.mark.parametrize("kind", [RBM, DeepBeliefNetwork, DeepBoltzmannMachine])
def test_passes_and_batches_that_are_left_open(
    kind: Any, n_cases: int, given: dict[str, int], epochs: int, batch_size: int
) -> None:
    estimator = kind(**given)
    chosen = filled(estimator, n_cases, Columns("bernoulli"), 64)
    assert (chosen.epochs, chosen.batch_size) == (epochs, batch_size)
    assert estimator.get_params() == kind(**given).get_params()  # what is stored is what was given


@pytest.mark.parametrize(
    ("given", "visible", "n_columns", "rate"),
    [
        ({}, "bernoulli", 784, 0.2),
        ({"momentum": 0.5}, "bernoulli", 784, 0.1),
        ({"centred": False}, "bernoulli", 784, 0.05),
        ({"learning": "pl"}, "bernoulli", 784, 0.05),
        ({"hidden": "gaussian"}, "bernoulli", 784, 0.05),
        ({}, "poisson", 784, 0.05),
        ({}, "spin", 784, 0.1),
        ({"learning": "pl"}, "spin", 784, 0.05),
        ({}, "gaussian", 100, 0.05),
        ({}, "gaussian", 101, 0.02),
        ({"learning_rate": 0.3}, "gaussian", 101, 0.3),
    ],
)
def test_rates_that_are_left_open(given: dict[str, Any], visible: str, n_columns: int, rate: float) -> None:
    assert filled(RBM(**given), 1000, Columns(visible), n_columns).learning_rate == rate


def test_layers_above_real_columns_learn_bits() -> None:
    chosen = filled(DeepBeliefNetwork((9, 8, 7)), 1000, Columns("gaussian"), 200)
    assert chosen.learning_rate == [0.02, 0.2, 0.2]


def test_steps_of_back_propagation_that_are_left_open() -> None:
    assert [tuning_passes(n, size) for n, size in ((50, 8), (600, 20), (1000, 20), (60_000, 100))] == [
        400,
        100,
        100,
        100,
    ]


def patterns() -> np.ndarray:
    """Two patterns under noise: independent units cannot couple the columns."""
    draw = np.random.default_rng(0)
    side = draw.integers(0, 2, (400, 1))
    return np.where(draw.random((400, 8)) < 0.1, 1 - side, side).astype(float)


@pytest.mark.parametrize(
    "kind",
    [RBM(6, random_state=0), DeepBeliefNetwork((6, 6), random_state=0), DeepBoltzmannMachine((60, 6), random_state=0)],
)
def test_few_cases_are_learned_from_without_settings(kind: Any) -> None:
    """The likelihood, or its lower bound, stands a nat above that of independent units."""
    x = patterns()
    train, new = x[:300], x[300:]
    mean = train.mean(0)
    independent = (new * np.log(mean) + (1 - new) * np.log(1 - mean)).sum(1).mean()
    model = clone(kind).fit(train)
    assert max(row["epoch"] for row in model.history_) == 100
    assert model.batch_size is model.epochs is None
    assert float(model.log_likelihood(new).mean()) > independent + 1


def test_two_layers_and_few_labels_learn_without_settings() -> None:
    x = patterns()
    y = x.sum(1) > 4
    model = DeepBeliefClassifier((50, 50), random_state=0).fit(x[:20], y[:20], X_unlabeled=x[20:300])
    assert len(model.fine_tune_history_) == 400
    assert model.score(x[300:], y[300:]) > 0.9


def test_what_is_given_is_checked() -> None:
    for kind in (RBM(), DeepBeliefNetwork((3, 2)), DeepBoltzmannMachine((3, 2))):
        for wrong in ({"epochs": -1}, {"batch_size": 0}, {"epochs": 1.5}):
            with pytest.raises(InvalidArgumentError, match=next(iter(wrong))):
                clone(kind).set_params(**wrong).fit(np.eye(4))
    for wrong in ({"pretrain_epochs": -1}, {"batch_size": 0}, {"fine_tune_epochs": 1.5}):
        with pytest.raises(InvalidArgumentError, match="epochs" if "batch_size" not in wrong else "batch_size"):
            DeepBeliefClassifier((3, 2)).set_params(**wrong).fit(np.eye(4), [0, 1, 0, 1])
