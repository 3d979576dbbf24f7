"""What the top layer adds to the bound, against enumeration."""

from __future__ import annotations

import pytest
import torch

from deepbelief.belief.dbn import DBN
from deepbelief.belief.gain import gain_of_top, tied_start
from deepbelief.errors import InvalidArgumentError
from deepbelief.types import Bound
from tests.oracle import stack
from tests.oracle.joint import Joint
from tests.oracle.pvalues import FALSE_ALARM, means_p_value
from tests.oracle.zoo import tiny_dbn

KINDS = ["bernoulli", "bernoulli", "bernoulli"]


def measured(dbn: DBN, x: torch.Tensor, generator: torch.Generator) -> Bound:
    start = tied_start(dbn.top, dbn.layers[-2])
    samples = [(joint := Joint.of(rbm)).halves(joint.draw(500, generator))[0] for rbm in (start, dbn.top)]
    return gain_of_top(dbn, x, *samples, betas=10, generator=generator)


def exact_gain(dbn: DBN, x: torch.Tensor) -> float:
    """The bound of the whole stack minus that of the stack without its top."""
    return (stack.bound(dbn, x) - stack.bound(DBN(dbn.layers[:-1]), x)).mean().item()


@pytest.mark.parametrize("n_layers", [2, 3])
def test_the_gain_is_the_difference_of_the_bounds(n_layers: int, generator: torch.Generator) -> None:
    dbn = tiny_dbn(KINDS + ["bernoulli"] * (n_layers - 2), None, generator)
    x = dbn.visible.sample(torch.zeros(20, dbn.visible.size).double(), generator)
    wanted, runs = exact_gain(dbn, x), [measured(dbn, x, generator) for _ in range(60)]
    values = torch.tensor([float(run) for run in runs], dtype=torch.float64)
    assert means_p_value(values, wanted) > FALSE_ALARM
    said = torch.tensor([run.stderr**2 for run in runs]).mean().sqrt().item()
    assert said == pytest.approx(values.std().item(), rel=0.5)  # the error of a standard deviation of 60 runs is 9 %
    assert {run.kind for run in runs} == {"lower_bound"}


def test_a_tied_start_gains_nothing(generator: torch.Generator) -> None:
    dbn = tiny_dbn(KINDS, None, generator)
    same = DBN([dbn.layers[0], tied_start(dbn.top, dbn.layers[0])])
    x = dbn.visible.sample(torch.zeros(20, dbn.visible.size).double(), generator)
    assert measured(same, x, generator).value.abs().max() < 1e-9


def test_one_layer_has_no_gain() -> None:
    with pytest.raises(InvalidArgumentError, match="at least 2 layers"):
        gain_of_top(DBN.of_sizes([3, 2]), torch.zeros(2, 3), torch.zeros(2, 2), torch.zeros(2, 2))
