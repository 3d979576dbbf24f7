"""Filling in what is missing: the mean given the rest, against the conditional law by enumeration."""

from __future__ import annotations

import pytest
import torch

from deepbelief.energy.rbm import RBM
from deepbelief.errors import InvalidArgumentError
from deepbelief.protocols import Completer
from tests.oracle.checks import known_parts
from tests.oracle.joint import Joint
from tests.oracle.pvalues import FALSE_ALARM, means_p_value
from tests.oracle.zoo import PAIRS, tiny_rbm


@pytest.mark.parametrize(("visible", "hidden"), PAIRS[::2])
def test_completion_is_the_mean_given_the_rest(visible: str, hidden: str, generator: torch.Generator) -> None:
    rbm = tiny_rbm(visible, hidden, generator)
    joint, known = Joint.of(rbm), known_parts(rbm)
    row = joint.draw(1, generator)[0]
    x = row[: rbm.visible.size].expand(2000, -1).clone()
    filled = rbm.complete(x, known.expand_as(x), generator=generator, n_steps=20, n_average=2)
    mean, _ = joint.given(row, torch.cat([known, torch.zeros(rbm.hidden.size).bool()])).moments()
    assert means_p_value(filled, mean[: rbm.visible.size]) > FALSE_ALARM


def test_missing_values_are_never_read(generator: torch.Generator) -> None:
    rbm = tiny_rbm("bernoulli", "bernoulli", generator)
    known = torch.tensor([[True, False, True]])
    filled = [
        rbm.complete(torch.tensor([[1.0, x, 0.0]]).double(), known, generator=torch.Generator().manual_seed(0))
        for x in (0.0, 1.0, float("nan"))
    ]
    assert torch.equal(filled[0], filled[1])
    assert torch.equal(filled[0], filled[2])
    assert filled[0][0, [0, 2]].tolist() == [1.0, 0.0]


def test_each_case_may_miss_something_else(generator: torch.Generator) -> None:
    rbm = tiny_rbm("spin", "bernoulli", generator)
    x = torch.tensor([[1.0, -1.0, 1.0], [-1.0, -1.0, 1.0]]).double()
    known = torch.tensor([[True, True, False], [False, True, True]])
    filled = rbm.complete(x, known, generator=generator)
    assert torch.equal(filled[known], x[known])
    assert ((filled > -1) & (filled < 1))[~known].all()


def test_an_average_longer_than_the_chain_gets_a_sentence() -> None:
    with pytest.raises(InvalidArgumentError, match=r"n_average must be .*at most 10. Got n_average=150"):
        RBM(2, 2).complete(torch.zeros(1, 2), torch.ones(1, 2).bool(), n_steps=10, n_average=150)


def test_it_is_a_completer() -> None:
    assert isinstance(RBM(2, 2), Completer)
