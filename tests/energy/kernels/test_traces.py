"""Traces of Gibbs chains against the exact transition matrix of a small RBM: its modes are the truth."""

from __future__ import annotations

import math

import pytest
import torch

from deepbelief.energy.kernels.gibbs import BlockGibbs, ChainState
from deepbelief.energy.kernels.traces import FREE_ENERGY, Scalars, run_chains
from deepbelief.energy.rbm import RBM
from deepbelief.errors import InvalidDataError
from deepbelief.maths.autocorrelation import integrated_time, slowest
from tests.oracle.pvalues import FALSE_ALARM, means_p_value
from tests.oracle.transitions import Transitions
from tests.oracle.zoo import tiny_rbm

GROUPS, CHAINS, STEPS = 20, 40, 200  # chains of one run, judged in independent groups


def machine() -> RBM:
    """A fixed machine whose second eigenvalue is about 0.8."""
    return tiny_rbm("spin", "spin", torch.Generator().manual_seed(3), scale=1.3)


class Mode:
    """The second eigenvector as the only number: the slowest that there is."""

    names = ("second mode",)

    def __init__(self, exact: Transitions) -> None:
        self.values = exact.modes()[1][:, 1]
        self.powers = 2.0 ** torch.arange(exact.states.shape[1]).flip(0).double()

    def __call__(self, v: torch.Tensor) -> torch.Tensor:
        return self.values[((v + 1) / 2 @ self.powers).long()].unsqueeze(1)


def chains(rbm: RBM, scalars: object, generator: torch.Generator, n_steps: int = STEPS):
    exact = Transitions.of(rbm)
    state = BlockGibbs(rbm).start_at(exact.draw(GROUPS * CHAINS, generator), generator=generator)
    return run_chains(BlockGibbs(rbm), state, scalars, n_steps, generator=generator)  # type: ignore[arg-type]


def test_the_matrix_is_a_reversible_chain_with_the_models_law() -> None:
    exact = Transitions.of(machine())
    flow = exact.law.unsqueeze(1) * exact.kernel
    torch.testing.assert_close(flow, flow.T)
    torch.testing.assert_close(exact.kernel.sum(1), torch.ones(len(exact.law), dtype=torch.float64))
    assert exact.modes()[0].min() > -1e-12  # block Gibbs has no negative eigenvalues


def second_mode_p_value(generator: torch.Generator) -> float:
    """Whether the slowest mode of chains relaxes as its eigenvalue says."""
    exact = Transitions.of(machine())
    truth = -1 / math.log(float(exact.modes()[0][1]))
    mode = Mode(exact)
    found = [slowest(group) for group in chains(machine(), mode, generator).values.split(CHAINS)]
    return means_p_value(torch.tensor([[float(time)] for time in found]), truth)


def test_the_slowest_mode_relaxes_with_the_second_eigenvalue(generator: torch.Generator) -> None:
    assert second_mode_p_value(generator) > FALSE_ALARM


def test_a_kernel_that_rests_every_other_sweep_is_told_apart(
    monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    step = BlockGibbs.step

    def lazy(self: BlockGibbs, state: ChainState, *, clamp: object, generator: torch.Generator):
        new, info = step(self, state, clamp=clamp, generator=generator)  # type: ignore[arg-type]
        rests = torch.rand(len(state.v), 1, generator=generator) < 0.5
        return ChainState(torch.where(rests, state.v, new.v), torch.where(rests, state.h, new.h)), info

    monkeypatch.setattr(BlockGibbs, "step", lazy)
    assert second_mode_p_value(generator) < FALSE_ALARM


def test_every_scalar_has_its_exact_time_and_none_is_slower_than_the_second_mode(generator: torch.Generator) -> None:
    rbm, exact = machine(), Transitions.of(machine())
    scalars = Scalars(rbm.free_energy, exact.draw(200, generator), n_components=2)
    run = chains(rbm, scalars, generator)
    for i, name in enumerate(scalars.names):
        truth = exact.integrated_time(scalars(exact.states)[:, i])
        values = torch.tensor([[float(integrated_time(group))] for group in run.of(name).split(CHAINS)])
        assert means_p_value(values, truth) > FALSE_ALARM, name
        second = float(exact.modes()[0][1])
        assert truth < (1 + second) / (1 - second) + 1e-9


def test_the_flip_rate_is_that_of_the_matrix(generator: torch.Generator) -> None:
    rbm, exact = machine(), Transitions.of(machine())
    differ = (exact.states.unsqueeze(1) != exact.states).double().mean(2)
    truth = float((exact.law.unsqueeze(1) * exact.kernel * differ).sum())
    scalars = Scalars(None, exact.states)
    rates = torch.tensor([[chains(rbm, scalars, generator, 5).flip_rate] for _ in range(50)])
    assert means_p_value(rates, truth) > FALSE_ALARM


def test_traces_hold_the_start_and_every_step(generator: torch.Generator) -> None:
    rbm = machine()
    scalars = Scalars(rbm.free_energy, Transitions.of(rbm).states, n_components=1)
    kernel = BlockGibbs(rbm)
    start = kernel.init(4, generator=generator)
    run = run_chains(kernel, start, scalars, 3, generator=generator)
    assert run.values.shape == (4, 4, 3)
    torch.testing.assert_close(run.of(FREE_ENERGY)[:, 0], rbm.free_energy(start.v))
    torch.testing.assert_close(run.of(FREE_ENERGY)[:, -1], rbm.free_energy(run.state.v))


def test_components_are_those_of_the_data(generator: torch.Generator) -> None:
    data = torch.randn(400, 3, generator=generator, dtype=torch.float64) * torch.tensor([1.0, 3.0, 0.1])
    component = Scalars(None, data, n_components=1).components[:, 0]
    assert component[1].abs() > 0.95
    with pytest.raises(InvalidDataError, match="at least 2 cases"):
        Scalars(None, data[:1])
