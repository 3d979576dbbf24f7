"""Sparsity reaches the learning of every estimator that has it: pulls to a target, and groups."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits

from deepbelief.energy.gradients.settings import LearningSettings, make_procedure
from deepbelief.energy.gradients.sparsity import group_norms
from deepbelief.errors import InvalidArgumentError
from deepbelief.estimators.classification_rbm import ClassificationRBM
from deepbelief.estimators.convolutional import ConvolutionalBeliefNetwork
from deepbelief.estimators.learning import settings_of
from deepbelief.estimators.network import DeepBeliefNetwork
from deepbelief.estimators.rbm import RBM

DIGITS = load_digits()
BITS, LABELS = (DIGITS.data > 7).astype(np.float32)[:600], DIGITS.target[:600]
RATE = {"epochs": 6, "learning_rate": 0.2, "random_state": 0}
PULLED = {
    "RBM": RBM(12, **RATE),
    "DeepBeliefNetwork": DeepBeliefNetwork((12,), **RATE),
    "ClassificationRBM": ClassificationRBM(12, optimizer="sgd", **RATE),
}


def activity(model: Any) -> float:
    """The mean of all features of the digits."""
    return float(model.transform(BITS).mean())


@pytest.mark.parametrize("name", PULLED)
def test_a_stronger_pull_brings_activity_nearer_to_its_target(name: str) -> None:
    found = []
    for cost in (0.0, 5.0):
        model = clone(PULLED[name]).set_params(sparsity_target=0.02, sparsity_cost=cost)
        found.append(activity(model.fit(BITS, LABELS)))
    assert found[1] < 0.7 * found[0]


@pytest.mark.parametrize("model", [RBM(12, **RATE), DeepBeliefNetwork((12, 8), **RATE)], ids=["RBM", "DBN"])
def test_groups_are_quieter_where_they_cost(model: Any) -> None:
    norms = []
    for cost in (0.0, 3.0):
        fitted = clone(model).set_params(group_size=4, group_cost=cost).fit(BITS)
        norms.append(float(group_norms(torch.from_numpy(fitted.transform(BITS)), 4).mean()))
    assert norms[1] < 0.7 * norms[0]


def test_the_pull_of_convolutional_maps_has_its_strength() -> None:
    assert settings_of(ConvolutionalBeliefNetwork(4, sparsity_cost=3.0), 1, 0.1).sparsity_cost == 3.0


def test_an_rbm_with_groups_takes_the_same_steps_as_its_procedure() -> None:
    settings = {"group_size": 3, "group_cost": 0.5, "sparsity_target": 0.1, "sparsity_cost": 0.7}
    rbm = RBM(6, **settings)
    plan = settings_of(rbm, 1, 0.1)
    assert plan == LearningSettings(epochs=1, learning_rate=0.1, **settings)
    procedure = make_procedure(rbm.fit(BITS).module_, plan)
    assert {name: getattr(procedure, name) for name in settings} == settings
    assert "group_size=3" in repr(rbm.partial_fit(BITS))


def test_groups_that_do_not_fit_are_refused_before_any_layer_learns(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="group_size must divide the 12 hidden units"):
        RBM(12, group_size=5, group_cost=1.0).fit(BITS)
    dbn = DeepBeliefNetwork((12, 7), epochs=1, group_size=4, group_cost=1.0, checkpoint_dir=tmp_path / "kept")
    with pytest.raises(InvalidArgumentError, match="group_size must divide the 7 hidden units"):
        dbn.fit(BITS)
    assert not (tmp_path / "kept").exists()
    with pytest.raises(InvalidArgumentError, match="group_size must be given with a group_cost"):
        RBM(12, group_cost=1.0).fit(BITS)
    with pytest.raises(InvalidArgumentError, match="sparsity_target and group_size need learning to be one of pcd, cd"):
        RBM(12, group_size=4, group_cost=1.0, learning="pl").fit(BITS)
    with pytest.raises(InvalidArgumentError, match="sparsity_cost must be at least 0"):
        RBM(12, sparsity_target=0.1, sparsity_cost=-1.0).fit(BITS)
