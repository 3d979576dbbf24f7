"""Tempered chains as the model's half for all but plain RBMs: the exact gradient, resume, arguments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from deepbelief.data.source import make_source
from deepbelief.energy.boltzmann import BoltzmannMachine
from deepbelief.energy.dbm import DBM
from deepbelief.energy.gradients import replicas
from deepbelief.energy.gradients.classification import ClassificationLearning
from deepbelief.energy.gradients.convolutional import ConvolutionalLearning
from deepbelief.energy.gradients.deep import DBMLearning
from deepbelief.energy.gradients.exact import ExactModel
from deepbelief.energy.gradients.pairwise import ExactPairs, PersistentPairs, TemperedPairs
from deepbelief.energy.gradients.pairwise_learning import PairwiseLearning, make_pairwise_procedure
from deepbelief.energy.gradients.pcd import PersistentChains
from deepbelief.energy.gradients.settings import LearningSettings
from deepbelief.energy.gradients.tempered import TemperedChains
from deepbelief.errors import InvalidArgumentError
from deepbelief.estimators.boltzmann import BoltzmannMachine as BoltzmannEstimator
from deepbelief.estimators.boltzmann_classifier import DeepBoltzmannClassifier
from deepbelief.estimators.boltzmann_network import DeepBoltzmannMachine
from deepbelief.estimators.classification_rbm import ClassificationRBM
from deepbelief.estimators.convolutional import ConvolutionalBeliefNetwork
from deepbelief.rng import make_generator
from deepbelief.storage import state_to_bytes
from deepbelief.training.trainer import Trainer
from deepbelief.types import Batch
from tests.energy.kernels.test_coloured_tempering import two_wells
from tests.oracle.checks import make_context
from tests.oracle.wells import deep_wells, labelled_wells, shared_wells

N, UPDATES = 600, 60
Z = 6.0  # standard errors: two-sided, with Bonferroni over some 30 entries, about 1e-7


def gradients(module: torch.nn.Module) -> Tensor:
    """All gradients of the parameters in one row."""
    return torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])


def of_dbm(negative: Any, updates: int, generator: torch.Generator) -> Tensor:
    """The last gradient of updates with a rate of zero, all chains beginning in the well of zeros."""
    dbm, x = deep_wells(), Batch(torch.zeros(N, 4).double())
    procedure = DBMLearning(dbm, negative, learning_rate=0.0, offset_rate=0.0, centred=False)
    procedure.start(x, generator)
    for _ in range(updates):
        procedure.step(x, make_context(generator))
    return gradients(dbm)


def of_classes(negative: Any, updates: int, generator: torch.Generator) -> Tensor:
    """The same of p(x, y), chains beginning where all of x is off and at the posterior of the label there."""
    model, x = labelled_wells(), Batch(torch.zeros(N, 4).double(), torch.zeros(N).long())
    options = {"learning_rate": 0.0, "offset_rate": 0.0, "centred": False}
    procedure = ClassificationLearning(model, negative, discriminative=0.0, generative=1.0, **options)
    procedure.start(x, generator)
    for _ in range(updates):
        procedure.step(x, make_context(generator))
    return gradients(model)


def of_filters(negative: Any, updates: int, generator: torch.Generator) -> Tensor:
    """The same of a convolutional RBM."""
    rbm, x = shared_wells(), Batch(torch.zeros(N, 4).double())
    procedure = ConvolutionalLearning(rbm, negative, learning_rate=0.0, offset_rate=0.0, centred=False)
    procedure.start(x, generator)
    for _ in range(updates):
        procedure.step(x, make_context(generator))
    return gradients(rbm)


def of_machine(rule: Any, updates: int, generator: torch.Generator) -> Tensor:
    """The same of a Boltzmann machine, whose tempered chains begin at its base."""
    machine, x = two_wells(), Batch(torch.zeros(10, 6).double())
    procedure = PairwiseLearning(machine, rule, learning_rate=0.0, offset_rate=0.0, centred=False)
    procedure.start(x, generator)
    if isinstance(rule, PersistentPairs):
        rule.x = torch.zeros(N, 6).double()
    if isinstance(rule, TemperedPairs):
        rule.replicas.start(machine, generator, torch.zeros(1, 6).double(), rank=0, world_size=1)
    for _ in range(updates):
        procedure.step(x, make_context(generator))
    return gradients(machine)


HOW = {
    "dbm": (of_dbm, ExactModel, lambda: PersistentChains(N, start_at="data")),
    "machine": (of_machine, ExactPairs, lambda: PersistentPairs(N)),
    "classes": (of_classes, ExactModel, lambda: PersistentChains(N, start_at="data")),
    "filters": (of_filters, ExactModel, lambda: PersistentChains(N, start_at="data")),
}


def tempered(which: str) -> Any:
    """Tempered chains for one of them."""
    return TemperedPairs(N, n_replicas=8) if which == "machine" else TemperedChains(N, n_replicas=8, start_at="data")


@pytest.mark.parametrize("which", HOW)
def test_the_gradient_is_the_exact_one_where_plain_chains_miss_it(which: str, generator: torch.Generator) -> None:
    gradient, exact, plain = HOW[which]
    wanted = gradient(exact(), 1, generator)
    error = 0.5 / N**0.5  # of an average of N numbers between 0 and 1
    assert ((gradient(tempered(which), UPDATES, generator) - wanted).abs() < Z * error).all()
    assert ((gradient(plain(), UPDATES, generator) - wanted).abs() > Z * error).any()


@pytest.mark.parametrize("which", ["dbm", "machine"])
def test_a_planted_bug_is_seen(which: str, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The moments of a rung half way up the ladder."""
    gradient, exact, _ = HOW[which]
    wanted = gradient(exact(), 1, generator)
    if which == "machine":
        monkeypatch.setattr(replicas.Replicas, "v", property(lambda self: self.state.v[3]))
    else:
        monkeypatch.setattr(TemperedChains, "v", property(lambda self: self.replicas.state.v[3]))
    found = gradient(tempered(which), UPDATES, generator)
    assert ((found - wanted).abs() > Z * 0.5 / N**0.5).any()


def resumed(which: str, folder: Path, epochs: list[int]) -> tuple[Any, Any]:
    """A training of so many steps, stopped and taken up again between them."""
    x = torch.rand(60, 6, generator=make_generator(1)).round()
    for number, steps in enumerate(epochs):
        made: Any
        if which == "dbm":
            made = DBM([6, 4, 3], generator=make_generator(0))
            procedure: Any = DBMLearning(made, TemperedChains(8, n_replicas=3), momentum=0.5)
        else:
            made = BoltzmannMachine(6, 2, generator=make_generator(0))
            settings = LearningSettings(learning="pt", n_chains=7, n_replicas=3, momentum=0.5, schedule="constant")
            procedure = make_pairwise_procedure(made, settings)
        trainer = Trainer(epochs=8, max_steps=steps, checkpoint_dir=folder, progress=False)
        trainer.fit(procedure, make_source(x, batch_size=7), resume_from=folder if number else None)
    return made, procedure


@pytest.mark.parametrize("which", ["dbm", "machine"])
def test_a_resumed_training_is_one_that_never_stopped(which: str, tmp_path: Path) -> None:
    whole, halves = resumed(which, tmp_path / "a", [60]), resumed(which, tmp_path / "b", [13, 60])
    for a, b in zip(whole, halves, strict=True):  # past an adaptation of the temperatures
        assert state_to_bytes(dict(a.state_dict())) == state_to_bytes(dict(b.state_dict()))


def test_processes_share_the_chains_out() -> None:
    machine, counts = BoltzmannMachine(4, 2), []
    for rank in range(3):
        rule = TemperedPairs(10)
        rule.start(machine, torch.ones(2, 4), make_generator(0), rank=rank, world_size=3)
        counts.append(len(rule.replicas.v))
    assert counts == [4, 3, 3]


@pytest.mark.parametrize(
    ("estimator", "y"),
    [
        (DeepBoltzmannMachine((4, 3), learning="pt", n_replicas=3, epochs=2, pretrain_epochs=1, random_state=0), None),
        (BoltzmannEstimator(2, learning="pt", n_replicas=3, epochs=2, random_state=0), None),
        (DeepBoltzmannClassifier((4, 3), learning="pt", n_replicas=3, epochs=2, fine_tune_epochs=1), [0, 1] * 20),
        (ClassificationRBM(3, learning="pt", n_replicas=3, epochs=2, random_state=0), [0, 1] * 20),
        (
            ConvolutionalBeliefNetwork(
                (2, 2), image_shape=(2, 3), filter_size=(2, 1), pool=1, learning="pt", n_replicas=3, epochs=2
            ),
            None,
        ),
    ],
    ids=["dbm", "machine", "classifier", "classes", "filters"],
)
def test_estimators_take_it_and_watch_the_swaps(estimator: Any, y: Any) -> None:
    x = np.random.default_rng(0).integers(0, 2, (40, 6)).astype(np.float32)
    row = estimator.fit(x, y).history_[-1]
    assert 0 < row["swap_acceptance"] <= 1
    assert row["round_trips"] >= 0


def test_what_cannot_be_tempered_gets_a_sentence() -> None:
    x = np.zeros((10, 6), dtype=np.float32)
    with pytest.raises(InvalidArgumentError, match=r"learning must be one of 'pcd', 'pt'|learning must be"):
        DeepBoltzmannMachine((4, 3), learning="cd").fit(x)
    with pytest.raises(InvalidArgumentError, match=r"n_replicas must be at least 2\. Got n_replicas=1"):
        DeepBoltzmannMachine((4, 3), learning="pt", n_replicas=1).fit(x)
    with pytest.raises(InvalidArgumentError, match=r'learning="pt" needs two layers of units with a base\. Got Boltz'):
        TemperedChains().start(BoltzmannMachine(4), torch.zeros(2, 4), make_generator(0), rank=0, world_size=1)  # type: ignore[arg-type]
