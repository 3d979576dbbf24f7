"""The running log-likelihood of a training against the exact one at every look; resume; planted bugs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deepbelief.data.source import make_source
from deepbelief.energy.gradients.settings import LearningSettings, make_procedure
from deepbelief.energy.partition import trajectory
from deepbelief.energy.partition.exact import exact_log_z
from deepbelief.energy.partition.trajectory import TrajectoryLogZ
from deepbelief.energy.rbm import RBM
from deepbelief.energy.running_likelihood import RUNNING, RunningLikelihood
from deepbelief.energy.watch import make_watch
from deepbelief.errors import InvalidArgumentError
from deepbelief.estimators.boltzmann_network import DeepBoltzmannMachine
from deepbelief.estimators.rbm import RBM as RBMEstimator
from deepbelief.rng import make_generator
from deepbelief.training.callbacks import Watch
from deepbelief.training.trainer import Trainer

PATTERNS = torch.tensor([[0, 0, 1, 1, 0, 1], [1, 1, 0, 0, 1, 0]]).repeat(30, 1)
BITS = (PATTERNS ^ (torch.rand(60, 6, generator=make_generator(0)) < 0.05)).float()
ERRORS = 8  # standard errors: 6 for chance, and neighbouring steps share their draws (a root of two)


def learn(rule: str = "pcd", *, watched: bool = True, epochs: int = 10, **options: Any) -> tuple[RBM, list]:
    """A training with both numbers at every look."""
    rbm = RBM(6, 4, generator=make_generator(1))
    rbm.match_data(BITS)
    looks = make_watch(rbm, BITS, quantities=("log_likelihood", RUNNING)) if watched else None
    plan = LearningSettings(learning=rule, n_chains=20, n_replicas=3, learning_rate=0.5, schedule="constant")  # type: ignore[arg-type]
    trainer = Trainer(epochs=epochs, progress=False, callbacks=[Watch(2, looks)] if looks else [], **options)
    source = make_source(BITS, batch_size=5)
    return rbm, trainer.fit(make_procedure(rbm, plan), source).history


@pytest.mark.parametrize("rule", ["pcd", "cd", "pt", "exact"])
def test_every_look_is_the_exact_number_within_its_error(rule: str) -> None:
    history = learn(rule)[1]
    looks = [row for row in history if RUNNING in row]
    assert [row["epoch"] for row in looks] == [1, 2, 4, 6, 8, 10]
    for row in looks:
        error = row[f"{RUNNING}.stderr"]
        assert abs(row[RUNNING] - row["log_likelihood"]) < ERRORS * error
        assert row[f"{RUNNING}.low"] - 1e-6 <= row[RUNNING] <= row[f"{RUNNING}.high"] + 1e-6
    assert looks[-1]["log_likelihood"] > looks[0]["log_likelihood"] + 0.5  # the model went somewhere
    assert looks[-1][f"{RUNNING}.stderr"] < 0.2
    assert looks[-1][f"{RUNNING}.kind"] == "estimate"


def first_step_forgotten(patch: pytest.MonkeyPatch) -> None:
    """log Z of the base left out."""
    start = TrajectoryLogZ._start

    def forgetful(self: TrajectoryLogZ, *arguments: Any) -> None:
        start(self, *arguments)
        self.value = 0.0

    patch.setattr(TrajectoryLogZ, "_start", forgetful)


def wrong_way_round(patch: pytest.MonkeyPatch) -> None:
    """The ratio of the last model to this one."""
    ratio = trajectory.log_z_ratio
    patch.setattr(
        trajectory,
        "log_z_ratio",
        lambda first, second, one, other, **options: ratio(second, first, other, one, **options),
    )


@pytest.mark.parametrize("plant", [first_step_forgotten, wrong_way_round])
def test_planted_bugs_are_seen(plant: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    row = learn()[1][-1]
    assert abs(row[RUNNING] - row["log_likelihood"]) > ERRORS * row[f"{RUNNING}.stderr"]


def test_looks_do_not_change_learning_and_repeat_themselves() -> None:
    (rbm, history), (without, _) = learn(), learn(watched=False)
    assert torch.equal(rbm.weight, without.weight)
    assert learn()[1][-1][RUNNING] == history[-1][RUNNING]


def test_the_weights_are_those_that_the_chains_follow() -> None:
    """Under averaging the other looks see the average, this one what the chains were drawn from."""
    rbm, history = learn(averaging=0.95)
    row, average = history[-1], float(rbm.log_likelihood(BITS).mean())
    assert row["log_likelihood"] == pytest.approx(average)
    assert row[RUNNING] != pytest.approx(average, abs=1e-3)


def test_another_training_begins_anew(generator: torch.Generator) -> None:
    rbm = RBM(6, 4, generator=generator)
    running = RunningLikelihood(rbm, BITS, BITS)
    first = running.look(None, 1)
    running.look(None, 2)
    assert running.log_z.steps == 2
    assert running.look(None, 1) == first
    assert running.log_z.steps == 1


def test_few_chains_are_repeated(generator: torch.Generator) -> None:
    rbm = RBM(6, 4, weight_std=1.0, generator=generator)
    running = RunningLikelihood(rbm, BITS[:1], BITS)  # one case to begin from
    found = running.look(None, 1)
    assert len(running.log_z.samples) == 100
    truth = float(rbm.log_likelihood(BITS, log_z=exact_log_z(rbm)).mean())
    assert abs(float(found) - truth) < ERRORS * found.stderr


def test_a_resumed_training_goes_on_with_the_sum(tmp_path: Path) -> None:
    whole = learn(checkpoint_dir=tmp_path / "a")[1]
    rbm = RBM(6, 4, generator=make_generator(1))
    learn(epochs=10, max_steps=55, checkpoint_dir=tmp_path / "b")  # in the midst of the fifth epoch
    looks = make_watch(rbm, BITS, quantities=("log_likelihood", RUNNING))
    plan = LearningSettings(n_chains=20, n_replicas=3, learning_rate=0.5, schedule="constant")
    trainer = Trainer(epochs=10, progress=False, callbacks=[Watch(2, looks)], checkpoint_dir=tmp_path / "b")
    rows = trainer.fit(make_procedure(rbm, plan), make_source(BITS, batch_size=5), resume_from=tmp_path / "b").history
    assert [row.get(RUNNING) for row in rows] == [row.get(RUNNING) for row in whole]


def test_the_estimator_watches_it_and_goes_on(tmp_path: Path) -> None:
    options: dict[str, Any] = {"schedule": "constant", "watch": [RUNNING], "validation_fraction": 0.2}
    options |= {"batch_size": 10, "learning_rate": 0.3, "random_state": 0}
    x = BITS.numpy().astype(np.float64)
    whole = RBMEstimator(3, epochs=6, **options).fit(x)
    RBMEstimator(3, epochs=3, checkpoint_dir=tmp_path, **options).fit(x)
    again = RBMEstimator(3, epochs=6, **options).fit(x, resume_from=tmp_path)
    assert [row[RUNNING] for row in again.history_] == [row[RUNNING] for row in whole.history_]
    assert len(again.history_) == 6


# -- deep Boltzmann machines ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("learning", ["pcd", "pt"])
def test_a_deep_machine_has_its_bound_at_every_look(learning: str) -> None:
    """Both ends lie around mean field's bound with the exact log Z, which is below the exact likelihood."""
    plan: dict[str, Any] = {"epochs": 10, "batch_size": 5, "n_chains": 20, "n_replicas": 3, "learning_rate": 0.3}
    watched = ("log_likelihood", RUNNING)
    settings = {**plan, "schedule": "constant", "learning": learning, "random_state": 0}
    estimator = DeepBoltzmannMachine((4, 3), watch=watched, **settings).fit(BITS)
    looks = [row for row in estimator.history_ if RUNNING in row]
    assert [row["epoch"] for row in looks] == list(range(1, 11))
    for row in looks:
        error = ERRORS * row[f"{RUNNING}.stderr"] + 1e-6
        assert row[f"{RUNNING}.kind"] == row["log_likelihood.kind"] == "lower_bound"
        assert row[RUNNING] < row["log_likelihood"] + error  # which has the exact log Z of so small a machine
        assert row[f"{RUNNING}.high"] > row["log_likelihood"] - error
    assert looks[-1]["log_likelihood"] > looks[0]["log_likelihood"] + 0.5  # the machine went somewhere
    assert looks[-1][f"{RUNNING}.high"] - looks[-1][RUNNING] < 0.5
    same = DeepBoltzmannMachine((4, 3), **settings).fit(BITS)
    assert torch.equal(same.module_.weights[0], estimator.module_.weights[0])  # looks do not change learning


def test_a_deep_machine_s_sum_goes_on_when_resumed(tmp_path: Path) -> None:
    plan: dict[str, Any] = {"batch_size": 5, "n_chains": 20, "learning_rate": 0.3, "random_state": 0}
    plan |= {"watch": [RUNNING], "schedule": "constant"}
    whole = DeepBoltzmannMachine((4, 3), epochs=10, **plan).fit(BITS)

    class Stopped(Exception):
        """What ends the first training."""

    folder, made = tmp_path / "half", RunningLikelihood.look

    def look(self: RunningLikelihood, negative: Any, epoch: int) -> Any:
        if epoch == 6:
            raise Stopped
        return made(self, negative, epoch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunningLikelihood, "look", look)
        with pytest.raises(Stopped):
            DeepBoltzmannMachine((4, 3), epochs=10, checkpoint_dir=folder, **plan).fit(BITS)
    resumed = DeepBoltzmannMachine((4, 3), epochs=10, checkpoint_dir=folder, **plan).fit(BITS, resume_from=folder)
    rows = [[row[RUNNING] for row in model.history_ if RUNNING in row] for model in (whole, resumed)]
    assert rows[0] == rows[1]
    assert len(rows[0]) == 10


def test_what_a_deep_machine_cannot_watch_is_said() -> None:
    with pytest.raises(InvalidArgumentError, match="watch must be one of 'log_likelihood', 'running_log_likelihood'"):
        DeepBoltzmannMachine((4, 3), watch=["pseudo_likelihood"]).fit(BITS)
