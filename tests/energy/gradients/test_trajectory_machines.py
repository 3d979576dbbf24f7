"""Trajectory tempering of all but plain RBMs: laws, the exact gradient, a ladder of copies, resume, arguments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deepbelief.data.source import make_source
from deepbelief.energy.boltzmann import BoltzmannMachine
from deepbelief.energy.classification_rbm import ClassificationRBM
from deepbelief.energy.convolutional_rbm import ConvolutionalRBM
from deepbelief.energy.dbm import DBM
from deepbelief.energy.even_odd import EvenOdd
from deepbelief.energy.gradients.classification import ClassificationLearning
from deepbelief.energy.gradients.convolutional import ConvolutionalLearning
from deepbelief.energy.gradients.deep import DBMLearning
from deepbelief.energy.gradients.exact import ExactModel
from deepbelief.energy.gradients.trajectory import TrajectoryChains
from deepbelief.energy.kernels.trajectory import TrajectoryLadder, TrajectoryTempering, between, frozen, uncoupled
from deepbelief.energy.partition.ais import PathFromBase
from deepbelief.energy.partition.exact import exact_log_z
from deepbelief.errors import InvalidArgumentError
from deepbelief.estimators.boltzmann_network import DeepBoltzmannMachine
from deepbelief.estimators.classification_rbm import ClassificationRBM as ClassificationEstimator
from deepbelief.estimators.convolutional import ConvolutionalBeliefNetwork
from deepbelief.rng import make_generator
from deepbelief.storage import state_to_bytes
from deepbelief.training.trainer import Trainer
from deepbelief.types import Batch
from tests.energy.gradients.test_tempered_machines import HOW, UPDATES, N, Z, of_dbm
from tests.energy.kernels.test_coloured_tempering import as_one_rbm
from tests.oracle.checks import make_context
from tests.oracle.convolution import SHAPES, tiny_convolution, twin
from tests.oracle.deep import STACKS, tiny_dbm
from tests.oracle.ladders import exchange_keeps_the_laws
from tests.oracle.pvalues import FALSE_ALARM


@pytest.mark.parametrize("name", ["three hidden", "mixed", "gaussian data"])
def test_a_sweep_along_machines_keeps_the_laws_of_all(name: str, generator: torch.Generator) -> None:
    machines = [tiny_dbm(STACKS[name], generator) for _ in range(3)]  # with nothing in common but their layers
    kernel = TrajectoryTempering(TrajectoryLadder([dbm.even_odd() for dbm in machines]))
    rungs = [as_one_rbm(dbm) for dbm in machines]
    for parity in (0, 1):
        assert exchange_keeps_the_laws(kernel, rungs, 8000, generator, parity=parity)[0] > FALSE_ALARM


@pytest.mark.parametrize("name", SHAPES)
def test_a_sweep_along_convolutions_keeps_the_laws_of_all(name: str, generator: torch.Generator) -> None:
    rbms = [tiny_convolution(name, generator) for _ in range(3)]
    kernel, rungs = TrajectoryTempering(TrajectoryLadder(rbms)), [twin(rbm) for rbm in rbms]
    for parity in (0, 1):
        assert exchange_keeps_the_laws(kernel, rungs, 8000, generator, parity=parity)[0] > FALSE_ALARM


@pytest.mark.parametrize("name", SHAPES)
def test_a_rung_of_filters_is_a_copy_or_the_base_or_between(name: str, generator: torch.Generator) -> None:
    rbm = tiny_convolution(name, generator)
    first = uncoupled(rbm)
    torch.testing.assert_close(float(exact_log_z(first)), PathFromBase(rbm).independent_log_z())
    torch.testing.assert_close(float(exact_log_z(frozen(rbm))), float(exact_log_z(rbm)))
    half = between(first, rbm, 0.5)
    torch.testing.assert_close(half.weights[0], rbm.filters / 2)
    torch.testing.assert_close(float(exact_log_z(between(first, rbm, 1.0))), float(exact_log_z(rbm)))
    assert rbm.filters.any()  # the model keeps its own


@pytest.mark.parametrize("name", STACKS)
def test_the_first_rung_is_the_base_of_annealing(name: str, generator: torch.Generator) -> None:
    view = tiny_dbm(STACKS[name], generator).even_odd()
    first = uncoupled(view)
    assert not any(weight.any() for weight in first.weights)
    torch.testing.assert_close(float(exact_log_z(first)), PathFromBase(view).independent_log_z())
    assert all(weight.any() for weight in view.weights)  # the machine keeps its own


def wells(swap_acceptance: float = 0.3) -> TrajectoryChains:
    """Chains that begin in the one well, on a ladder that all move along at every update."""
    options = {"swap_acceptance": swap_acceptance, "n_replicas": 8, "reservoir": 2, "ladder_every": 1}
    return TrajectoryChains(N, start_at="data", **options)


@pytest.mark.parametrize("which", ["dbm", "classes", "filters"])
def test_the_gradient_is_the_exact_one_where_plain_chains_miss_it(which: str, generator: torch.Generator) -> None:
    gradient, exact, plain = HOW[which]
    wanted, error = gradient(exact(), 1, generator), 0.5 / N**0.5  # of an average of N numbers between 0 and 1
    assert ((gradient(wells(), UPDATES, generator) - wanted).abs() < Z * error).all()
    assert ((gradient(plain(), UPDATES, generator) - wanted).abs() > Z * error).any()


def test_without_rungs_a_machine_hardly_ever_swaps_with_the_base(generator: torch.Generator) -> None:
    found, wanted = of_dbm(wells(swap_acceptance=0.0), UPDATES, generator), of_dbm(ExactModel(), 1, generator)
    assert ((found - wanted).abs() > Z * 0.5 / N**0.5).any()


def learned(updates: int, chains: TrajectoryChains, generator: torch.Generator) -> DBMLearning:
    """A machine that learns two patterns in large steps."""
    x = torch.tensor([[0, 0, 1, 1, 0, 1], [1, 1, 0, 0, 1, 0]]).float().repeat(10, 1)
    procedure = DBMLearning(DBM([6, 4, 3], generator=make_generator(0)), chains, learning_rate=0.3)
    procedure.start(Batch(x), generator)
    for _ in range(updates):
        procedure.step(Batch(x), make_context(generator))
    return procedure


def test_the_ladder_grows_with_the_training_and_its_rungs_stay_what_they_were(generator: torch.Generator) -> None:
    chains = TrajectoryChains(30, swap_acceptance=0.9, reservoir=2, ladder_every=3)
    procedure = learned(300, chains, generator)
    assert len(chains.rungs) > 2
    last = chains.rungs[-1]
    kept, own = state_to_bytes(dict(last.state_dict())), state_to_bytes(dict(procedure.view.state_dict()))
    procedure.step(Batch(torch.zeros(4, 6)), make_context(generator))
    assert state_to_bytes(dict(last.state_dict())) == kept
    assert state_to_bytes(dict(procedure.view.state_dict())) != own
    assert not any(parameter.requires_grad for parameter in last.parameters())


def test_rungs_that_follow_the_machine_are_seen(generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted bug: a view of the same machine in the place of a copy."""
    view = tiny_dbm(STACKS["bernoulli"], generator).even_odd()
    right = frozen(view)
    monkeypatch.setattr(EvenOdd, "empty_like", lambda self: EvenOdd(self.machine))
    wrong = frozen(view)
    with torch.no_grad():
        view.weights[0].add_(1.0)
    assert torch.equal(wrong.weights[0], view.weights[0])
    assert not torch.equal(right.weights[0], view.weights[0])


def procedure_of(which: str, chains: TrajectoryChains) -> Any:
    """A model of 6 columns (and two labels) that learns in large steps."""
    if which == "dbm":
        return DBMLearning(DBM([6, 4, 3], generator=make_generator(0)), chains, learning_rate=0.3)
    if which == "classes":
        model = ClassificationRBM(6, 4, 2, generator=make_generator(0))
        return ClassificationLearning(model, chains, generative=1.0, learning_rate=0.3)
    rbm = ConvolutionalRBM((1, 2, 3), 3, 2, pool=1, generator=make_generator(0))
    return ConvolutionalLearning(rbm, chains, learning_rate=0.5)


@pytest.mark.parametrize("which", ["dbm", "classes", "filters"])
def test_a_resumed_training_is_one_that_never_stopped(which: str, tmp_path: Path) -> None:
    x, found = torch.rand(60, 6, generator=make_generator(1)).round(), []
    y = x[:, 0].long() if which == "classes" else None
    for folder, parts in ((tmp_path / "a", [60]), (tmp_path / "b", [25, 60])):
        for number, steps in enumerate(parts):
            chains = TrajectoryChains(8, swap_acceptance=0.95, reservoir=2, n_replicas=3)
            procedure = procedure_of(which, chains)
            trainer = Trainer(epochs=8, max_steps=steps, checkpoint_dir=folder, progress=False)
            trainer.fit(procedure, make_source(x, y, batch_size=7), resume_from=folder if number else None)
        model = procedure.module.state_dict()
        found.append((state_to_bytes(dict(model)), state_to_bytes(dict(procedure.state_dict()))))
        assert len(chains.rungs) > 2
    assert found[0] == found[1]


TAKERS: dict[str, tuple[Any, list[int] | None]] = {
    "dbm": (DeepBoltzmannMachine((4, 3), n_chains=20, pretrain_epochs=1), None),
    "classes": (ClassificationEstimator(3, n_chains=20), [0, 1] * 20),
    "filters": (ConvolutionalBeliefNetwork(2, image_shape=(2, 3), filter_size=2, pool=1, n_chains=20), None),
}


@pytest.mark.parametrize("which", TAKERS)
def test_estimators_take_it_and_watch_the_ladder(which: str) -> None:
    estimator, y = TAKERS[which]
    x = np.random.default_rng(0).integers(0, 2, (40, 6)).astype(np.float32)
    row = estimator.set_params(learning="ptt", n_replicas=3, epochs=2, random_state=0).fit(x, y).history_[-1]
    assert row["rungs"] >= 2
    assert 0 < row["swap_acceptance"] <= 1


def test_a_model_without_two_layers_gets_a_sentence() -> None:
    machine: Any = BoltzmannMachine(4)
    with pytest.raises(InvalidArgumentError, match=r"needs two layers of units, .* Got BoltzmannMachine"):
        TrajectoryChains().start(machine, torch.zeros(1, 4), make_generator(0), rank=0, world_size=1)
