"""An RBM that first learns in the span of a few principal directions: the rule by hand, and exact resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deepbelief.data.source import make_source
from deepbelief.energy.gradients.procedure import LikelihoodLearning
from deepbelief.energy.gradients.settings import LearningSettings
from deepbelief.energy.low_rank import learn_in_span, principal_directions
from deepbelief.energy.rbm import RBM as RBMModule
from deepbelief.errors import InvalidArgumentError
from deepbelief.estimators.rbm import RBM
from deepbelief.recipes.fit_report import histories_of
from deepbelief.rng import make_generator

RANDOM = np.random.default_rng(0)
CLUSTERS = np.repeat([[0.0] * 6, [1.0] * 6, [1.0, 1, 1, 0, 0, 0]], 30, axis=0).astype(np.float32)
X = np.abs(CLUSTERS - (RANDOM.random(CLUSTERS.shape) < 0.1))
OWN: dict[str, Any] = {"learning": "pt", "n_replicas": 3, "n_chains": 10, "batch_size": 30, "learning_rate": 0.3}
OWN |= {"low_rank": 2, "low_rank_epochs": 4, "epochs": 3, "device": "cpu", "random_state": 0}


@torch.no_grad()
def outside(rbm: RBMModule) -> float:
    """How far the weights lie outside the span of the first two directions."""
    span = principal_directions(torch.from_numpy(X), 2)
    return float((rbm.weight - span @ (span.T @ rbm.weight)).abs().max())


def test_the_stage_before_is_learning_in_the_span() -> None:
    model = RBM(4, **{**OWN, "epochs": 0}).fit(X)
    assert outside(model.module_) < 1e-5 < model.module_.weight.abs().max()
    by_hand, x = RBMModule(6, 4, generator=make_generator(0)), torch.from_numpy(X)
    source = make_source(X, batch_size=30, seed=0)
    by_hand.match_data(x)
    plan = LearningSettings(learning="pt", n_replicas=3, n_chains=10, epochs=4, learning_rate=0.3)
    options = {"progress": False, "threads": 1, "device": "cpu"}
    learn_in_span(by_hand, principal_directions(x, 2), source, plan, seed=1, trainer_options=options)
    torch.testing.assert_close(model.module_.weight, by_hand.weight, rtol=1e-4, atol=1e-5)


def test_learning_then_leaves_the_span() -> None:
    model = RBM(4, **OWN).fit(X)
    assert outside(model.module_) > 1e-5
    assert [row.get("low_rank") for row in model.history_] == [2] * 4 + [None] * 3
    assert {stage: len(rows) for stage, rows in histories_of(model).items()} == {"low rank": 4, "training": 3}


@pytest.mark.parametrize("at", [5, 17], ids=["in the span", "after it"])
def test_resumed_is_never_stopped(at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, steps, step = RBM(4, **OWN).fit(X), [0], LikelihoodLearning.step

    def stopped(self: LikelihoodLearning, batch: Any, context: Any) -> Any:
        steps[0] += 1
        if steps[0] == at:
            raise KeyboardInterrupt
        return step(self, batch, context)

    monkeypatch.setattr(LikelihoodLearning, "step", stopped)
    with pytest.raises(KeyboardInterrupt):
        RBM(4, **OWN, checkpoint_dir=tmp_path).fit(X)
    resumed = RBM(4, **OWN).fit(X, resume_from=tmp_path)
    for name, value in whole.module_.state_dict().items():
        assert torch.equal(value, resumed.module_.state_dict()[name]), name
    assert [row.get("low_rank") for row in resumed.history_] == [2] * 4 + [None] * 3


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"low_rank": 0}, "low_rank must be at least 1"),
        ({"low_rank": 7}, "low_rank must be .*at most 6. Got low_rank=7"),
        ({"low_rank_epochs": -1}, "low_rank_epochs must be at least 0"),
        ({"learning": "pl"}, "learning must have a negative phase in a span. Got learning='pl'"),
    ],
)
def test_wrong_settings_get_a_sentence(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidArgumentError, match=sentence):
        RBM(4, **{**OWN, **settings}).fit(X)
