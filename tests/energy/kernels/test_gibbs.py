"""Gibbs sampling leaves the law as it is: chains start exactly at p, take a step, and must still have the law p."""

from __future__ import annotations

import pytest
import torch

from deepbelief.energy.kernels.gibbs import BlockGibbs, ChainState
from deepbelief.energy.rbm import RBM
from deepbelief.protocols import Kernel
from deepbelief.types import Clamp
from tests.oracle.checks import gibbs_keeps_the_law
from tests.oracle.joint import Joint
from tests.oracle.pvalues import FALSE_ALARM, corrected, means_p_value
from tests.oracle.zoo import PAIRS, tiny_rbm

N = 10_000
close = torch.testing.assert_close


@pytest.mark.parametrize("clamped", [False, True], ids=["free", "clamped"])
@pytest.mark.parametrize(("visible", "hidden"), PAIRS)
def test_a_step_keeps_the_law(visible: str, hidden: str, clamped: bool, generator: torch.Generator) -> None:
    rbm = tiny_rbm(visible, hidden, generator)
    assert gibbs_keeps_the_law(rbm, N, generator, clamped=clamped) > FALSE_ALARM


def test_steps_from_anywhere_end_at_the_law(generator: torch.Generator) -> None:
    rbm = tiny_rbm("bernoulli", "categorical", generator)
    kernel = BlockGibbs(rbm)
    state = kernel.start_at(torch.ones(N, 3).double(), generator=generator)
    joint = Joint.of(rbm)
    first = joint.p_value(torch.cat([state.v, state.h], 1))
    for _ in range(40):
        state, _ = kernel.step(state, generator=generator)
    assert first < FALSE_ALARM < joint.p_value(torch.cat([state.v, state.h], 1))


def test_draws_of_the_model_have_its_law(generator: torch.Generator) -> None:
    rbm = tiny_rbm("side_by_side", "spin", generator)
    v = rbm.sample(N, n_steps=40, generator=generator)
    h = rbm.sample_h_from_v(v, generator)
    assert Joint.of(rbm).p_value(torch.cat([v, h], 1)) > FALSE_ALARM


def test_draws_under_a_condition_have_the_conditional_law(generator: torch.Generator) -> None:
    rbm = tiny_rbm("bernoulli", "bernoulli", generator, scale=1.0)
    clamp = Clamp(torch.tensor([1.0, 0.0, 0.0]).double(), torch.tensor([True, False, False]))
    v = rbm.sample(N, condition=clamp, n_steps=40, generator=generator)
    z = torch.cat([v, rbm.sample_h_from_v(v, generator)], 1)
    none = torch.zeros(3)
    joint = Joint.of(rbm).given(torch.cat([clamp.values, none.double()]), torch.cat([clamp.known, none.bool()]))
    assert joint.p_value(z) > FALSE_ALARM


def test_chains_start_at_the_means_of_the_data(generator: torch.Generator) -> None:
    rbm = tiny_rbm("with_gaussian", "bernoulli", generator)
    state = BlockGibbs(rbm).init(N, generator=generator)
    expected_h = rbm.mean_h_from_v(state.v)
    p_values = [means_p_value(state.v, rbm.visible_offset), means_p_value(state.h - expected_h, torch.zeros(3))]
    assert corrected(p_values) > FALSE_ALARM


def test_a_step_tells_the_means_that_it_drew_from(generator: torch.Generator) -> None:
    rbm = tiny_rbm("spin", "categorical", generator)
    before = BlockGibbs(rbm).init(5, generator=generator)
    after, info = BlockGibbs(rbm).step(before, generator=generator)
    close(info.mean_v, rbm.mean_v_from_h(before.h))
    close(info.mean_h, rbm.mean_h_from_v(after.v))


def test_known_entries_are_held_bit_for_bit_in_each_chain(generator: torch.Generator) -> None:
    rbm = tiny_rbm("gaussian", "bernoulli", generator)
    values = torch.randn(6, 2, generator=generator, dtype=torch.float64)
    known = torch.rand(6, 2, generator=generator) < 0.5
    state = ChainState(values, torch.zeros(6, 3).double())
    for _ in range(3):
        state, _ = BlockGibbs(rbm).step(state, clamp=Clamp(values, known), generator=generator)
    assert torch.equal(state.v[known], values[known])
    assert not torch.isclose(state.v[~known], values[~known]).any()


def test_it_is_a_kernel() -> None:
    assert isinstance(BlockGibbs(RBM(2, 2)), Kernel)
