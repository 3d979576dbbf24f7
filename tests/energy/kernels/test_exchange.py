"""Tempering by temperatures and along a training keeps the laws of all rungs, and reaches what Gibbs does not."""

from __future__ import annotations

import pytest
import torch

from deepbelief.energy.kernels.exchange import SwapMeter, log_swap_ratio, partners
from deepbelief.energy.kernels.gibbs import BlockGibbs
from deepbelief.energy.kernels.tempering import ParallelTempering, burn_in, equalised, even_betas, sample_tempered
from deepbelief.energy.kernels.trajectory import TrajectoryLadder, TrajectoryTempering, between
from deepbelief.energy.rbm import RBM
from deepbelief.errors import InvalidArgumentError
from deepbelief.protocols import Kernel
from deepbelief.storage import read_state, write_state
from deepbelief.types import Clamp
from tests.oracle.joint import Joint
from tests.oracle.ladders import exchange_keeps_the_laws, rungs_between, tempered, trajectory, two_modes, zeros
from tests.oracle.pvalues import FALSE_ALARM
from tests.oracle.zoo import PAIRS, tiny_rbm

N = 10_000
close = torch.testing.assert_close
SIMPLE = [pair for pair in PAIRS if not {"side_by_side", "with_gaussian"} & set(pair) and "categorical" not in pair]


@pytest.mark.parametrize("clamped", [False, True], ids=["free", "clamped"])
@pytest.mark.parametrize(("visible", "hidden"), PAIRS[::2])
def test_a_tempered_sweep_keeps_all_laws(visible: str, hidden: str, clamped: bool, generator: torch.Generator) -> None:
    kernel, rungs = tempered(tiny_rbm(visible, hidden, generator))
    for parity in (0, 1):
        p_value, _ = exchange_keeps_the_laws(kernel, rungs, N, generator, clamped=clamped, parity=parity)
        assert p_value > FALSE_ALARM


@pytest.mark.parametrize("clamped", [False, True], ids=["free", "clamped"])
@pytest.mark.parametrize(("visible", "hidden"), SIMPLE[::2])
def test_a_sweep_along_a_trajectory_keeps_all_laws(
    visible: str, hidden: str, clamped: bool, generator: torch.Generator
) -> None:
    kernel, rungs = trajectory(tiny_rbm(visible, hidden, generator), generator)
    for parity in (0, 1):
        p_value, info = exchange_keeps_the_laws(kernel, rungs, N, generator, clamped=clamped, parity=parity)
        assert p_value > FALSE_ALARM
        assert info.acceptance.isnan().tolist() == [parity == 1, parity == 0]


def test_a_model_between_two_is_the_path_of_tempering(generator: torch.Generator) -> None:
    rbm = tiny_rbm("with_gaussian", "categorical", generator)
    wanted = tempered(rbm)[1][1]
    close(between(rbm.base(), rbm, 0.4).state_dict(), wanted.state_dict() | {
        name: getattr(rbm, name) for name in ("visible_offset", "hidden_offset")
    })  # fmt: skip
    assert not any(parameter.requires_grad for parameter in between(rbm.base(), rbm, 0.4).parameters())


def test_gibbs_stays_in_a_mode_that_tempering_leaves(generator: torch.Generator) -> None:
    rbm = two_modes()
    joint, gibbs = Joint.of(rbm), BlockGibbs(rbm)
    state = gibbs.start_at(zeros(rbm, 1000), generator=generator)
    for _ in range(100):
        state, _ = gibbs.step(state, generator=generator)
    assert joint.p_value(torch.cat([state.v, state.h], 1)) < FALSE_ALARM
    kernels = ParallelTempering(rbm, 6), TrajectoryTempering(TrajectoryLadder(rungs_between(rbm, 6)))
    for kernel in kernels:
        moving = kernel.start_at(zeros(rbm, 1000), generator=generator)
        for _ in range(100):
            moving, _ = kernel.step(moving, generator=generator)
        assert joint.p_value(torch.cat([moving.v[-1], moving.h[-1]], 1)) > FALSE_ALARM


def test_tempered_draws_have_the_law_given_a_condition(generator: torch.Generator) -> None:
    rbm = two_modes(1.5)
    known = torch.arange(8) < 1
    clamp = Clamp(torch.ones(8).double(), known)
    v = sample_tempered(rbm, 1000, condition=clamp, n_steps=120, n_replicas=5, generator=generator)
    assert (v[:, 0] == 1).all()
    h = rbm.sample_h_from_v(v, generator)
    row, whole = torch.ones(14).double(), torch.cat([known, torch.zeros(6, dtype=torch.bool)])
    assert Joint.of(rbm).given(row, whole).p_value(torch.cat([v, h], 1)) > FALSE_ALARM


def test_adaptation_evens_the_swaps_out_and_keeps_the_ends(generator: torch.Generator) -> None:
    rbm = two_modes()
    spreads = []
    kernel = ParallelTempering(rbm, 6)
    for _ in range(6):
        state, meter = kernel.init(200, generator=generator), SwapMeter(5)
        for _ in range(60):
            state, info = kernel.step(state, generator=generator)
            meter.add(info, 200)
        spreads.append((meter.acceptance.max() - meter.acceptance.min()).item())
        kernel.adapt(meter.acceptance)
    assert spreads[-1] < spreads[0] / 3
    assert (kernel.betas[0], kernel.betas[-1]) == (0, 1)
    assert (kernel.betas.diff() > 0).all()
    state, meter = burn_in(ParallelTempering(rbm, 6), kernel.init(100, generator=generator), 80, generator=generator)
    assert 0 < meter.round_trips < meter.sweeps
    assert state.sweeps >= 80 - 5


def test_equal_rejections_are_left_where_they_are() -> None:
    betas = torch.tensor([0.0, 0.2, 0.5, 1.0]).double()
    close(equalised(betas, torch.full((3,), 0.4).double()), betas)
    moved = equalised(betas, torch.tensor([1.0, 1.0, 0.0]).double())
    assert (moved.diff() > 0).all()
    assert moved[1] > 0.5


def test_a_pair_that_had_no_turn_leaves_the_temperatures_alone() -> None:
    kernel = ParallelTempering(RBM(3, 2), 3)
    kernel.adapt(torch.tensor([0.5, torch.nan]))
    close(kernel.betas, even_betas(3))


def test_every_pair_has_its_turn_and_no_rung_has_two() -> None:
    for n in (2, 3, 4, 5, 9):
        pairs = set()
        for sweep in (0, 1):
            partner = partners(n, sweep)
            assert [partner[k] for k in partner] == list(range(n))
            pairs |= {(k, p) for k, p in enumerate(partner) if k < p}
        assert pairs == {(k, k + 1) for k in range(n - 1)}


def test_the_ratio_is_the_gain_of_both(generator: torch.Generator) -> None:
    own, other = torch.randn(2, 3, 4, generator=generator).unbind(0)
    ratio = log_swap_ratio(own, other, [1, 0, 2])
    close(ratio[0], own[0] + own[1] - other[0] - other[1])
    close(ratio[1], ratio[0])


def test_a_round_trip_is_counted_once() -> None:
    rbm = RBM(3, 2, weight_std=0.0)  # all rungs are one law, so that every swap is accepted
    kernel, generator = ParallelTempering(rbm, 3), torch.Generator().manual_seed(0)
    state, arrived = kernel.init(5, generator=generator), []
    for _ in range(6):
        state, info = kernel.step(state, generator=generator)
        arrived.append(int(info.round_trips))
    assert arrived == [0, 5, 0, 5, 0, 5]  # each exchange of the upper pair brings the state that was at rung 0 before


def test_a_trajectory_is_saved_and_read(tmp_path, generator: torch.Generator) -> None:
    rungs = rungs_between(two_modes(), 3)
    write_state(tmp_path / "ladder", TrajectoryLadder(rungs).state_dict())
    ladder = TrajectoryLadder.from_state(rungs[-1], read_state(tmp_path / "ladder"))
    for old, new in zip(rungs, ladder.models, strict=True):
        close(new.state_dict(), old.state_dict(), rtol=0, atol=0)
    draws = TrajectoryTempering(ladder).sample(7, n_steps=3, generator=generator)
    assert draws.shape == (7, 8)


def test_they_are_kernels() -> None:
    rbm = RBM(2, 2)
    assert isinstance(ParallelTempering(rbm), Kernel)
    assert isinstance(TrajectoryTempering(TrajectoryLadder([rbm, rbm])), Kernel)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: ParallelTempering(RBM(2, 2), 1), "n_replicas must be at least 2. Got n_replicas=1"),
        (lambda: ParallelTempering(RBM(2, 2), [0.0, 0.5]), "betas must rise from 0 to 1"),
        (lambda: ParallelTempering(RBM(2, 2), [0.0, float("nan"), 1.0]), "betas must rise from 0 to 1"),
        (lambda: TrajectoryLadder([RBM(2, 2)]), "models must hold at least 2 rungs. Got 1"),
        (lambda: TrajectoryLadder([RBM(2, 2), RBM(2, 3)]), "layers of the same sizes"),
    ],
)
def test_wrong_arguments_get_a_sentence(make: object, sentence: str) -> None:
    with pytest.raises(InvalidArgumentError, match=sentence):
        make()  # type: ignore[operator]
