"""Chains that move ahead follow weights one update old, and nothing else changes."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from deepbelief.data.source import make_source
from deepbelief.energy.gradients.pcd import PersistentChains
from deepbelief.energy.gradients.procedure import LikelihoodLearning
from deepbelief.energy.gradients.settings import LearningSettings, make_procedure
from deepbelief.energy.rbm import RBM
from deepbelief.errors import InvalidArgumentError
from deepbelief.native import library
from deepbelief.protocols import StepContext
from deepbelief.rng import make_generator
from deepbelief.storage import state_to_bytes
from deepbelief.training.trainer import Trainer
from deepbelief.types import Batch

PATHS: dict[str, dict[str, Any]] = {"one product": {}, "momentum": {"momentum": 0.5}}


def data(n: int = 90) -> Tensor:
    generator = make_generator(7)
    p = torch.tensor([[0.9, 0.9, 0.8, 0.1, 0.2, 0.1], [0.1, 0.2, 0.1, 0.8, 0.9, 0.9]])
    return (torch.rand(n, 6, generator=generator) < p[torch.randint(2, (n,), generator=generator)]).float()


def rule_of(rbm: RBM, **settings: Any) -> LikelihoodLearning:
    rule = make_procedure(rbm, LearningSettings(**{"n_chains": 20, "epochs": 1, "schedule": "constant"} | settings))
    assert isinstance(rule, LikelihoodLearning)
    return rule


def steps(rule: LikelihoodLearning, n: int, generator: torch.Generator) -> None:
    for step in range(n):
        rule.step(Batch(data()), StepContext(step, 0, 0.0, generator, lambda tensors: None, nullcontext))


@pytest.mark.parametrize("more", PATHS.values(), ids=PATHS)
def test_with_weights_at_rest_the_chains_are_one_update_further(
    more: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "SMALLEST", 1)  # single calls draw as the update in one call does
    states = []
    for ahead, n in ((False, 5), (True, 4)):
        rbm, generator = RBM(6, 3, generator=make_generator(1)), make_generator(2)
        rule = rule_of(rbm, learning_rate=0.0, k=2, ahead=ahead, **more)
        rule.start(Batch(data()), generator)
        steps(rule, n, generator)
        states.append(rule.negative.state_dict())
    assert torch.equal(states[0]["v"], states[1]["v"])
    assert torch.equal(states[0]["h"], states[1]["h"])


@pytest.mark.parametrize("more", PATHS.values(), ids=PATHS)
def test_chains_move_before_the_weights_do(more: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    rbm, generator = RBM(6, 3, generator=make_generator(1)), make_generator(2)
    rule, seen, advance = rule_of(rbm, learning_rate=0.5, ahead=True, **more), [], PersistentChains.advance
    rule.start(Batch(data()), generator)
    steps(rule, 1, generator)
    monkeypatch.setattr(
        PersistentChains,
        "advance",
        lambda self, rbm, *rest: seen.append(rbm.weight.clone()) or advance(self, rbm, *rest),
    )
    for _ in range(3):
        before = rbm.weight.detach().clone()
        steps(rule, 1, generator)
        assert torch.equal(seen[-1], before)
        assert not torch.equal(seen[-1], rbm.weight)
    assert len(seen) == 3


def test_resumed_is_never_stopped(tmp_path: Path) -> None:
    def run(folder: Path | None, max_steps: int, resume: bool = False) -> tuple[RBM, LikelihoodLearning]:
        rbm = RBM(6, 3, generator=make_generator(1))
        rule = rule_of(rbm, ahead=True)
        trainer = Trainer(epochs=3, max_steps=max_steps, device="cpu", progress=False, checkpoint_dir=folder)
        trainer.fit(rule, make_source(data(), batch_size=20), resume_from=folder if resume else None)
        return rbm, rule

    whole, rule = run(None, 13)
    run(tmp_path, 7)
    resumed, again = run(tmp_path, 13, resume=True)
    assert state_to_bytes(dict(whole.state_dict())) == state_to_bytes(dict(resumed.state_dict()))
    assert state_to_bytes(rule.state_dict()) == state_to_bytes(again.state_dict())


def test_a_model_learns_as_well_ahead() -> None:
    """The mean exact log-likelihoods over seeds differ by no more than their errors (Student's t, 22 degrees, 1e-6)."""
    reached = []
    for ahead in (False, True):
        values = []
        for seed in range(12):
            rbm = RBM(6, 3, generator=make_generator(1))
            rbm.match_data(data())
            rule = make_procedure(rbm, LearningSettings(n_chains=40, epochs=30, learning_rate=0.2, ahead=ahead))
            source = make_source(data(), batch_size=45)
            Trainer(epochs=30, seed=seed, device="cpu", progress=False).fit(rule, source)
            values.append(float(rbm.log_likelihood(data()).mean()))
        reached.append(torch.tensor(values))
    error = sum(values.var() / len(values) for values in reached) ** 0.5
    assert abs(reached[0].mean() - reached[1].mean()) < 6.7 * error


def test_only_persistent_chains_go_ahead() -> None:
    with pytest.raises(InvalidArgumentError, match="ahead"):
        LearningSettings(learning="cd", ahead=True)
