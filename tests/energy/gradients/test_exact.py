"""The exact gradient, plain and centred, against automatic differentiation of the enumerated likelihood."""

from __future__ import annotations

import pytest
import torch

from deepbelief.energy.dbm import DBM
from deepbelief.energy.gradients.deep import DBMLearning
from deepbelief.energy.gradients.exact import ExactModel
from deepbelief.energy.gradients.procedure import LikelihoodLearning
from deepbelief.energy.rbm import RBM
from deepbelief.errors import InvalidArgumentError
from deepbelief.types import Batch
from tests.oracle.checks import exact_gradient, largest_gap, library_gradient, make_context
from tests.oracle.joint import Joint, mean_log_likelihood
from tests.oracle.zoo import ENUMERABLE, tiny_rbm

ROUNDING = 1e-9


def some_cases(rbm: RBM, n: int, generator: torch.Generator) -> torch.Tensor:
    return rbm.sample(n, n_steps=2, generator=generator)


@pytest.mark.parametrize("centred", [False, True], ids=["plain", "centred"])
@pytest.mark.parametrize(("visible", "hidden"), ENUMERABLE)
def test_gradient_is_that_of_the_likelihood(
    visible: str, hidden: str, centred: bool, generator: torch.Generator
) -> None:
    rbm = tiny_rbm(visible, hidden, generator)
    batch = Batch(some_cases(rbm, 4, generator))
    wanted = exact_gradient(rbm, batch, centred=centred)
    assert largest_gap(library_gradient(rbm, batch, ExactModel(), centred=centred), wanted) < ROUNDING
    by_gradient = library_gradient(rbm, batch, ExactModel(), centred=centred, momentum=0.5)  # not in one product
    assert largest_gap(by_gradient, wanted) < ROUNDING


@pytest.mark.parametrize("centred", [False, True], ids=["plain", "centred"])
@pytest.mark.parametrize("momentum", [0.0, 0.5], ids=["in one product", "by the gradient"])
def test_gradient_of_weighted_and_decayed_learning(centred: bool, momentum: float, generator: torch.Generator) -> None:
    rbm = tiny_rbm("gaussian", "categorical", generator)
    weight = torch.rand(5, generator=generator, dtype=torch.float64) + 0.1
    batch = Batch(some_cases(rbm, 5, generator), weight=weight)
    wanted = exact_gradient(rbm, batch, centred=centred, l2=0.3)
    found = library_gradient(rbm, batch, ExactModel(), centred=centred, l2=0.3, momentum=momentum)
    assert largest_gap(found, wanted) < ROUNDING


@pytest.mark.parametrize(("visible", "hidden"), [("gaussian", "spin"), ("bernoulli", "categorical")])
def test_centred_gradients_point_uphill(visible: str, hidden: str, generator: torch.Generator) -> None:
    """The centred step is steepest ascent in other coordinates, so its product with the plain gradient is positive."""
    rbm = tiny_rbm(visible, hidden, generator)
    batch = Batch(some_cases(rbm, 4, generator))
    plain, centred = (library_gradient(rbm, batch, ExactModel(), centred=flag) for flag in (False, True))
    assert sum((plain[name] * centred[name]).sum() for name in plain) > 0
    assert largest_gap(plain, centred) > 1e-3


def test_the_gradient_vanishes_where_the_data_is_the_model(generator: torch.Generator) -> None:
    rbm = tiny_rbm("side_by_side", "spin", generator)
    joint = Joint.of(rbm)
    v = torch.cat(list(rbm.visible.states()))
    weight = torch.exp(-rbm.free_energy(v) - joint.log_z).detach()
    gradient = library_gradient(rbm, Batch(v, weight=weight), ExactModel())
    assert max(value.abs().max().item() for value in gradient.values()) < ROUNDING


@pytest.mark.parametrize("weight", [None, [0.5, 2.0, 0.0, 1.0]], ids=["equal", "weighted"])
def test_it_watches_the_exact_likelihood(weight: list[float] | None, generator: torch.Generator) -> None:
    rbm = tiny_rbm("spin", "spin", generator)
    x = some_cases(rbm, 4, generator)
    shares = None if weight is None else torch.tensor(weight).double()
    before = mean_log_likelihood(rbm, x, shares)
    watched = LikelihoodLearning(rbm, ExactModel()).step(Batch(x, weight=shares), make_context(generator))
    torch.testing.assert_close(watched["log_likelihood"], before)


def test_it_watches_no_likelihood_where_the_batch_holds_means_of_hidden_layers(generator: torch.Generator) -> None:
    dbm = DBM([3, 2, 2], generator=generator)
    assert "log_likelihood" not in DBMLearning(dbm, ExactModel()).step(
        Batch(torch.zeros(4, 3)), make_context(generator)
    )


def test_too_large_a_model_gets_a_sentence(generator: torch.Generator) -> None:
    with pytest.raises(InvalidArgumentError, match=r'at most 65536 states.*Use learning="pcd"'):
        ExactModel().start(RBM(17, 17), torch.zeros(1, 17), generator, rank=0, world_size=1)
