"""Parallel tempering keeps the law of every replica, crosses between modes, and catches the bugs planted in it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from deepbelief.data.source import make_source
from deepbelief.energy.gradients.fast_pcd import FastPersistentChains
from deepbelief.energy.gradients.pcd import PersistentChains
from deepbelief.energy.gradients.settings import LearningSettings, make_procedure
from deepbelief.energy.gradients.tempered import TemperedChains
from deepbelief.energy.kernels import tempering
from deepbelief.energy.kernels.tempering import ParallelTempering, TemperedState, sample_tempered
from deepbelief.energy.partition.ais import PathFromBase
from deepbelief.energy.rbm import RBM
from deepbelief.errors import InvalidArgumentError
from deepbelief.rng import make_generator
from deepbelief.training.trainer import Trainer
from deepbelief.types import Clamp
from tests.oracle.checks import known_parts, model_moments, moment_rows, positive_phase
from tests.oracle.joint import Joint
from tests.oracle.pvalues import FALSE_ALARM, corrected, means_p_value
from tests.oracle.zoo import PAIRS, tiny_rbm

BETAS = [0.0, 0.3, 0.7, 1.0]
CHAINS = 20_000


def replica(rbm: RBM, beta: float) -> RBM:
    """The machine that one replica samples."""
    visible, hidden = PathFromBase(rbm).layers(beta)
    machine = RBM(visible, hidden).to(rbm.weight)
    with torch.no_grad():
        machine.weight.copy_(beta * rbm.weight)
    return machine


def kept_p_value(
    rbm: RBM, generator: torch.Generator, *, n_steps: int = 2, clamped: bool = False, n: int = CHAINS
) -> float:
    """The p-value that replicas which start exactly at their laws have them after steps with exchanges."""
    joints, clamp, width = [Joint.of(replica(rbm, beta)) for beta in BETAS], None, rbm.visible.size
    if clamped:
        known, row = known_parts(rbm), joints[-1].draw(1, generator)[0]
        everywhere = torch.cat([known, torch.zeros(rbm.hidden.size, dtype=torch.bool)])
        joints, clamp = [joint.given(row, everywhere) for joint in joints], Clamp(row[:width], known)
    v = torch.stack([joint.draw(n, generator)[:, :width] for joint in joints])
    state = TemperedState(v, torch.full(v.shape[:2], -1))
    kernel = ParallelTempering(rbm, BETAS)
    for _ in range(n_steps):
        state, _ = kernel.step(state, clamp=clamp, generator=generator)
    found = []
    for beta, joint, rows in zip(BETAS, joints, state.v, strict=True):
        machine = replica(rbm, beta)
        h = machine.sample_h_from_v(rows, generator)
        found.append(joint.p_value(torch.cat([rows, h], 1)))
    return corrected(found)


@pytest.mark.parametrize("clamped", [False, True], ids=["free", "clamped"])
@pytest.mark.parametrize(("visible", "hidden"), PAIRS)
def test_every_replica_keeps_its_law(visible: str, hidden: str, clamped: bool, generator: torch.Generator) -> None:
    assert kept_p_value(tiny_rbm(visible, hidden, generator), generator, clamped=clamped, n=4000) > FALSE_ALARM


# -- planted bugs ---------------------------------------------------------------------------------------------------


def wrong_sign(patch: pytest.MonkeyPatch) -> None:
    """Exchanges are accepted where they should not be."""
    free = tempering._free
    patch.setattr(tempering, "_free", lambda *place: -free(*place))


def forgotten_temperature(patch: pytest.MonkeyPatch) -> None:
    """Every replica is taken to have the model's full weights."""
    free = tempering._free
    patch.setattr(tempering, "_free", lambda layers, beta, v, inputs: free(layers, 1.0, v, inputs))


def everything_accepted(patch: pytest.MonkeyPatch) -> None:
    """Neighbours always exchange."""
    patch.setattr(tempering, "_free", lambda layers, beta, v, inputs: torch.zeros(len(v), dtype=torch.float64))


@pytest.mark.parametrize(
    "plant", [wrong_sign, forgotten_temperature, everything_accepted], ids=lambda plant: plant.__name__
)
def test_a_planted_bug_is_caught(plant: Any, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    rbm = tiny_rbm("bernoulli", "bernoulli", torch.Generator().manual_seed(3), scale=4.0)
    assert kept_p_value(rbm, generator, n_steps=1) > FALSE_ALARM
    plant(monkeypatch)
    assert kept_p_value(rbm, generator, n_steps=1) < FALSE_ALARM


# -- mixing ---------------------------------------------------------------------------------------------------------


def two_modes() -> RBM:
    """All six visible units on, or all off; a Gibbs chain does not cross in any time that one waits."""
    rbm = RBM(6, 2).double()
    with torch.no_grad():
        rbm.weight.fill_(6.0)
        rbm.visible.bias.fill_(-6.0)
        rbm.hidden.bias.fill_(-18.0)
        rbm.visible_offset.fill_(0.5)
        rbm.hidden_offset.fill_(0.5)
    return rbm


def after(chains: Any, rbm: RBM, n_updates: int, generator: torch.Generator) -> float:
    """The p-value that the chains have the model's moments after updates from the mode where all are off."""
    off = torch.zeros(4, 6).double()
    chains.start(rbm, off, generator, rank=0, world_size=1)
    if isinstance(chains, TemperedChains):
        chains.v.zero_()
    for _ in range(n_updates):
        found, _ = chains.moments(rbm, positive_phase(rbm, off), generator)
    return means_p_value(moment_rows(found), model_moments(Joint.of(rbm)))


def test_tempered_chains_cross_where_plain_ones_stay(generator: torch.Generator) -> None:
    rbm = two_modes()
    assert after(PersistentChains(500, start_at="data"), rbm, 150, generator) < FALSE_ALARM
    assert after(TemperedChains(500, n_replicas=8), rbm, 150, generator) > FALSE_ALARM


def test_fast_weights_drive_chains_out_of_a_mode(generator: torch.Generator) -> None:
    rbm, on = two_modes(), torch.ones(4, 6).double()
    before = {name: value.clone() for name, value in rbm.state_dict().items()}

    def left(fast_rate: float) -> float:
        """The share of the chains that left the mode where all units are off, while the data are all on."""
        chains = FastPersistentChains(200, fast_rate=fast_rate)
        chains.start(rbm, on, generator, rank=0, world_size=1)
        chains.chains.v, chains.chains.h = torch.zeros(200, 6).double(), torch.zeros(200, 2).double()
        for _ in range(100):
            chains.moments(rbm, positive_phase(rbm, on), generator)
        return (chains.chains.v.sum(1) > 3).double().mean().item()

    assert left(0.0) < 0.1
    assert left(0.2) > 0.5
    assert all(torch.equal(value, before[name]) for name, value in rbm.state_dict().items())


def test_without_a_fast_rate_it_is_plain_pcd() -> None:
    rbm, x = tiny_rbm("bernoulli", "spin", make_generator(0)), torch.ones(4, 3).double()
    found = []
    for chains in (PersistentChains(10), FastPersistentChains(10, fast_rate=0.0)):
        generator = make_generator(1)
        chains.start(rbm, x, generator, rank=0, world_size=1)
        for _ in range(3):
            moments, _ = chains.moments(rbm, positive_phase(rbm, x), generator)
        found.append(moments.left)
    assert torch.equal(*found)


def test_tuning_makes_acceptances_alike_and_states_travel(generator: torch.Generator) -> None:
    kernel = ParallelTempering(two_modes(), 8)
    state = kernel.init(200, generator=generator)

    def seen(n: int, state: TemperedState) -> tuple[Tensor, int, TemperedState]:
        rows, trips = [], 0
        for _ in range(n):
            state, info = kernel.step(state, generator=generator)
            rows.append(info.acceptance)
            trips += info.round_trips
        return torch.stack(rows).nanmean(0), trips, state

    before, _, state = seen(60, state)
    state = kernel.tune(state, n_rounds=8, generator=generator)
    later, trips, _ = seen(60, state)
    assert later.min() > before.min()
    assert later.max() - later.min() < before.max() - before.min()
    assert trips > 200  # each of the 200 chains more than once


def test_tempered_samples_have_the_law(generator: torch.Generator) -> None:
    rbm = two_modes()
    v = sample_tempered(rbm, 2000, n_replicas=8, n_steps=60, generator=generator)
    assert means_p_value(v, Joint.of(rbm).moments()[0][:6]) > FALSE_ALARM


@pytest.mark.parametrize("learning", ["pt", "fpcd"])
def test_a_resumed_training_is_one_that_never_stopped(learning: Any, tmp_path: Any) -> None:
    x = torch.rand(60, 6, generator=make_generator(1)).round()
    plan = LearningSettings(learning=learning, n_chains=6, n_replicas=3, schedule="constant")

    def trained(steps: list[int], folder: Any) -> RBM:
        for number, n in enumerate(steps):
            rbm = RBM(6, 4, generator=make_generator(0))
            trainer = Trainer(epochs=20, max_steps=n, checkpoint_dir=folder, progress=False)
            trainer.fit(make_procedure(rbm, plan), make_source(x, batch_size=7), resume_from=folder if number else None)
        return rbm

    whole, halves = trained([120], tmp_path / "a"), trained([61, 120], tmp_path / "b")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, halves.state_dict()[name]), name


def test_schedules_that_do_not_rise_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="rise from 0 to 1"):
        ParallelTempering(RBM(3, 2), [0.0, 0.5, 0.5, 1.0])
