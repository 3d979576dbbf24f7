"""Chains that cross between modes where plain ones stay, and trainings with them that resume exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from deepbelief.data.source import make_source
from deepbelief.energy.gradients.fast_pcd import FastPersistentChains
from deepbelief.energy.gradients.pcd import PersistentChains
from deepbelief.energy.gradients.procedure import LikelihoodLearning
from deepbelief.energy.gradients.settings import LearningSettings, make_procedure
from deepbelief.energy.gradients.tempered import TemperedChains
from deepbelief.energy.kernels.tempering import sample_tempered
from deepbelief.energy.rbm import RBM
from deepbelief.rng import make_generator
from deepbelief.training.trainer import Trainer
from deepbelief.types import Batch
from tests.oracle.checks import make_context, model_moments, moment_rows, positive_phase
from tests.oracle.joint import Joint
from tests.oracle.pvalues import FALSE_ALARM, means_p_value


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
    for _ in range(n_updates):
        found, _ = chains.moments(rbm, positive_phase(rbm, off), generator)
    return means_p_value(moment_rows(found), model_moments(Joint.of(rbm)))


def test_tempered_chains_cross_where_plain_ones_stay(generator: torch.Generator) -> None:
    rbm = two_modes()
    assert after(PersistentChains(500, start_at="data"), rbm, 150, generator) < FALSE_ALARM
    assert after(TemperedChains(500, n_replicas=8, start_at="data"), rbm, 150, generator) > FALSE_ALARM


def test_tempered_samples_have_the_law(generator: torch.Generator) -> None:
    rbm = two_modes()
    v = sample_tempered(rbm, 2000, n_replicas=8, n_steps=120, generator=generator)
    assert means_p_value(v, Joint.of(rbm).moments()[0][:6]) > FALSE_ALARM


def share_that_left(fast_rate: float, generator: torch.Generator) -> float:
    """The share of chains that left the mode where all units are off, while the data are all on."""
    rbm, on = two_modes(), Batch(torch.ones(4, 6).double())
    before = {name: value.clone() for name, value in rbm.named_parameters()}
    chains = FastPersistentChains(200, fast_rate=fast_rate)
    procedure = LikelihoodLearning(rbm, chains, learning_rate=0.0)
    procedure.start(on, generator)
    chains.chains.v, chains.chains.h = torch.zeros(200, 6).double(), torch.zeros(200, 2).double()
    for _ in range(100):
        procedure.step(on, make_context(generator))
    assert all(torch.equal(value, before[name]) for name, value in rbm.named_parameters())  # its own stay as they are
    return (chains.chains.v.sum(1) > 3).double().mean().item()


def test_fast_weights_drive_chains_out_of_a_mode(generator: torch.Generator) -> None:
    assert share_that_left(0.0, generator) < 0.1
    assert share_that_left(0.2, generator) > 0.5


@pytest.mark.parametrize("learning", ["pt", "fpcd", "ptt"])
def test_a_resumed_training_is_one_that_never_stopped(learning: Any, tmp_path: Path) -> None:
    x = torch.rand(60, 6, generator=make_generator(1)).round()
    plan = LearningSettings(learning=learning, n_chains=6, n_replicas=3, schedule="constant", learning_rate=0.3)

    def trained(steps: list[int], folder: Path) -> RBM:
        for number, n in enumerate(steps):
            rbm = RBM(6, 4, generator=make_generator(0))
            trainer = Trainer(epochs=20, max_steps=n, checkpoint_dir=folder, progress=False)
            trainer.fit(make_procedure(rbm, plan), make_source(x, batch_size=7), resume_from=folder if number else None)
        return rbm

    whole, halves = trained([120], tmp_path / "a"), trained([61, 120], tmp_path / "b")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, halves.state_dict()[name]), name
