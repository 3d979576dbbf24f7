"""Mean field and TAP: exact without couplings, a bound and an expansion of the right order with weak ones."""

from __future__ import annotations

import pytest
import torch

from deepbelief.energy.partition.choose import log_z
from deepbelief.energy.partition.tap import Magnetizations, mean_field_log_z, solve, tap_log_z
from deepbelief.energy.rbm import RBM
from deepbelief.errors import InvalidArgumentError
from tests.oracle.joint import Joint
from tests.oracle.zoo import tiny_rbm


def scaled(rbm: RBM, factor: float) -> RBM:
    twin = rbm.empty_like()
    twin.load_state_dict(rbm.state_dict())
    with torch.no_grad():
        twin.weight.mul_(factor)
    return twin


def error(rbm: RBM, order: int) -> float:
    return float(mean_field_log_z(rbm, order=order)) - Joint.of(rbm).log_z.item()


@pytest.fixture
def rbm(generator: torch.Generator) -> RBM:
    return tiny_rbm("bernoulli", "bernoulli", generator, scale=1.0)


@pytest.mark.parametrize("order", [1, 2])
def test_exact_without_couplings(rbm: RBM, order: int) -> None:
    assert abs(error(scaled(rbm, 0.0), order)) < 1e-12


@pytest.mark.parametrize("order", [1, 2])
def test_the_first_term_left_out_is_of_the_next_order(rbm: RBM, order: int) -> None:
    """Halving the weights divides the error by 2 to the power of the first order that is left out."""
    ratio = error(scaled(rbm, 0.004), order) / error(scaled(rbm, 0.002), order)
    assert ratio == pytest.approx(2 ** (order + 1), rel=0.15)


def test_mean_field_is_a_lower_bound(generator: torch.Generator) -> None:
    for _ in range(20):
        rbm = tiny_rbm("bernoulli", "bernoulli", generator, scale=2.0)
        assert error(rbm, 1) < 0
    assert mean_field_log_z(rbm, order=1).kind == "lower_bound"


@pytest.mark.parametrize("order", [1, 2])
def test_solutions_are_stationary(rbm: RBM, order: int) -> None:
    start = Magnetizations(torch.full((1, 3), 0.4).double(), torch.full((1, 3), 0.6).double())
    found = solve(scaled(rbm, 0.5), start, n_steps=500, order=order)
    v, h = found.v.requires_grad_(), found.h.requires_grad_()
    value = tap_log_z(scaled(rbm, 0.5), Magnetizations(v, h), order=order).sum()
    for gradient in torch.autograd.grad(value, [v, h]):
        assert gradient.abs().max() < 1e-9


def test_other_units_and_orders_are_refused(generator: torch.Generator) -> None:
    with pytest.raises(InvalidArgumentError, match="bernoulli units in both"):
        mean_field_log_z(tiny_rbm("spin", "bernoulli", generator))
    with pytest.raises(InvalidArgumentError, match="order must be 1"):
        mean_field_log_z(RBM(2, 2), order=3)


def test_log_z_knows_both_by_name(rbm: RBM) -> None:
    assert log_z(rbm, "mean_field").kind == "lower_bound"
    assert float(log_z(rbm, "tap")) == float(mean_field_log_z(rbm))
