"""How long a deep Boltzmann machine learns where nobody says: long enough on few cases, no longer on many."""

import numpy as np
import pytest

from deepbelief.errors import InvalidArgumentError
from deepbelief.estimators.boltzmann_network import DeepBoltzmannMachine


@pytest.mark.parametrize(
    ("n_cases", "given", "epochs", "batch_size"),
    [
        (1438, {}, 40, 20),
        (4999, {}, 12, 20),
        (5000, {}, 40, 100),
        (20_000, {}, 15, 100),
        (60_000, {}, 10, 100),
        (60_000, {"epochs": 3}, 3, 100),
        (1438, {"batch_size": 500}, 40, 500),
        (1438, {"epochs": 0, "batch_size": 7}, 0, 7),
    ],
)
def test_passes_and_batches_that_are_left_open(n_cases: int, given: dict, epochs: int, batch_size: int) -> None:
    assert DeepBoltzmannMachine(**given)._effort(n_cases) == (epochs, batch_size)


def test_few_cases_are_learned_from_without_settings() -> None:
    """Two patterns under noise: independent units cannot couple the columns, the machine's lower bound must."""
    draw = np.random.default_rng(0)
    side = draw.integers(0, 2, (400, 1))
    x = np.where(draw.random((400, 8)) < 0.1, 1 - side, side).astype(float)
    train, new = x[:300], x[300:]
    mean = train.mean(0)
    independent = (new * np.log(mean) + (1 - new) * np.log(1 - mean)).sum(1).mean()
    machine = DeepBoltzmannMachine((60, 6), random_state=0).fit(train)
    assert len(machine.history_) == 40
    assert machine.batch_size is machine.epochs is None  # what was stored is what was given
    assert float(machine.log_likelihood(new).mean()) > independent + 1


def test_what_is_given_is_checked() -> None:
    for wrong in ({"epochs": -1}, {"batch_size": 0}, {"epochs": 1.5}):
        with pytest.raises(InvalidArgumentError, match=next(iter(wrong))):
            DeepBoltzmannMachine((3, 2), **wrong).fit(np.eye(4))
