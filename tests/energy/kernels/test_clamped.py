"""Clamps: a variable of several entries is held whole or not at all, by every model that can be clamped."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from deepbelief.belief.dbn import DBN
from deepbelief.energy.boltzmann import BoltzmannMachine
from deepbelief.energy.conditional_rbm import ConditionalRBM
from deepbelief.energy.dbm import DBM
from deepbelief.energy.kernels.clamped import average_means, check_clamp, run_chain
from deepbelief.energy.rbm import RBM
from deepbelief.errors import InvalidArgumentError, InvalidDataError
from deepbelief.rng import make_generator
from deepbelief.types import Clamp
from deepbelief.units.bernoulli import Bernoulli
from deepbelief.units.categorical import Categorical
from deepbelief.units.multinomial import Multinomial
from deepbelief.units.pooled import Pooled
from deepbelief.units.side_by_side import SideBySide

Fill = Callable[[Tensor, Tensor], Tensor]


def mixed() -> SideBySide:
    return SideBySide([Bernoulli(2), Categorical(2, 3)])


def fillers() -> dict[str, Fill]:
    rbm, machine = RBM(mixed(), Bernoulli(4)), BoltzmannMachine(mixed(), Bernoulli(2))
    dbm, conditional = DBM([mixed(), Bernoulli(4), Bernoulli(3)]), ConditionalRBM(mixed(), Bernoulli(4), 2)
    dbn = DBN([RBM(mixed(), Bernoulli(4)), RBM(Bernoulli(4), Bernoulli(3))])
    steps = {"generator": make_generator(0), "n_steps": 4}
    return {
        "rbm": lambda x, known: rbm.complete(x, known, **steps),
        "rbm sample": lambda x, known: rbm.sample(len(x), condition=Clamp(x, known), **steps),
        "boltzmann": lambda x, known: machine.complete(x, known, **steps),
        "boltzmann sample": lambda x, known: machine.sample(len(x), condition=Clamp(x, known), **steps),
        "dbm": lambda x, known: dbm.complete(x, known, **steps),
        "dbm sample": lambda x, known: dbm.sample(len(x), condition=Clamp(x, known), **steps),
        "conditional": lambda x, known: conditional.complete(x, known, torch.zeros(len(x), 2), **steps),
        "conditional sample": lambda x, known: conditional.sample(
            torch.zeros(len(x), 2), condition=Clamp(x, known), **steps
        ),
        "dbn": lambda x, known: dbn.complete(x, known, **steps),
    }


X = torch.tensor([[1.0, 0, 0, 1, 0, 0, 0, 1]]).expand(3, -1)


def test_a_chain_of_no_steps_fills_in_nothing_and_is_refused() -> None:
    for rbm in (RBM(4, 3), DBN.of_sizes([4, 3, 2])):
        with pytest.raises(InvalidArgumentError, match="n_steps must be at least 1"):
            rbm.complete(torch.ones(2, 4), torch.arange(4) < 2, n_steps=0)


@pytest.mark.parametrize("name", fillers())
def test_a_part_of_a_variable_cannot_be_known(name: str) -> None:
    fill = fillers()[name]
    whole = torch.tensor([1, 0, 1, 1, 1, 0, 0, 0]).bool().expand(3, -1)
    assert torch.equal(fill(X, whole)[whole], X[whole])
    part = whole.clone()
    part[1, 6] = True
    with pytest.raises(InvalidDataError, match="known must hold all 3 entries of a group"):
        fill(X, part)
    with pytest.raises(InvalidDataError, match="known must have 8 columns"):
        fill(X, whole[:, :7])


def test_pooled_groups_are_held_whole() -> None:
    check_clamp(Pooled(2, 2), Clamp(torch.zeros(4), torch.tensor([True, True, False, False])))
    with pytest.raises(InvalidDataError, match="all 2 entries"):
        check_clamp(Pooled(2, 2), Clamp(torch.zeros(4), torch.tensor([True, False, False, False])))
    with pytest.raises(InvalidDataError, match="all 3 entries"):  # counts that share a total are one variable
        check_clamp(Multinomial(3, 5), Clamp(torch.zeros(3), torch.tensor([True, False, False])))


class Counter:
    """A kernel whose state counts its steps, and whose mean is the count."""

    def step(self, state: int, *, clamp: Clamp | None, generator: torch.Generator | None) -> tuple[int, Tensor]:
        return state + 1, torch.tensor(float(state + 1))


def test_the_last_steps_are_averaged() -> None:
    assert run_chain(Counter(), 0, 5, generator=None) == (5, torch.tensor(5.0))
    clamp = Clamp(torch.zeros(1), torch.zeros(1).bool())
    for n_average, expected in ((1, 8.0), (8, 4.5), (None, 5.5)):  # of 8 steps; None: the last 6
        found = average_means(
            Counter(), 0, lambda mean: mean, clamp=clamp, n_steps=8, n_average=n_average, generator=None
        )
        assert found.item() == expected
