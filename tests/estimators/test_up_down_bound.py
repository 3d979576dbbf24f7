"""The bound of a classifier that is a generative model still: against enumeration, and shown only where it is true."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deepbelief.errors import InvalidArgumentError
from deepbelief.estimators.classifier import DeepBeliefClassifier
from deepbelief.estimators.storage import load_estimator
from tests.oracle import untied

RANDOM = np.random.RandomState(0)
X = (RANDOM.rand(120, 5) < np.where(np.arange(120) % 3 == 0, 0.2, 0.7)[:, None]).astype(float)
Y = np.arange(120) % 3
TUNED: dict[str, Any] = {"fine_tuning": "up_down", "label_in_top": True, "pretrain_epochs": 3, "fine_tune_epochs": 3}
TINY: dict[str, Any] = {"hidden_layer_sizes": (4, 3), "learning_rate": 0.3, "batch_size": 20, "random_state": 0}


def fitted(**settings: Any) -> DeepBeliefClassifier:
    return DeepBeliefClassifier(**(TINY | TUNED | {"fine_tune_learning_rate": 0.1} | settings)).fit(X, Y)


def test_the_bound_after_up_down_is_that_of_enumeration() -> None:
    model = fitted()
    found = model.log_likelihood(X, n_samples=400)
    net, x = deepcopy(model.module_).double(), torch.tensor(X)
    unlabelled: list[int | None] = [None] * len(x)
    wanted = untied.bound(net, x, unlabelled).mean().item()
    assert found.kind == "lower_bound"
    assert 0 < found.stderr < 0.02
    assert abs(float(found) - wanted) < 4.9 * found.stderr  # two-sided, 1e-6
    assert wanted < untied.log_likelihood(net, x, unlabelled).mean().item()


def test_the_bound_is_kept_with_the_model_and_new_after_a_new_fit(tmp_path: Path) -> None:
    model = fitted()
    first = model.log_likelihood(X).value
    again = load_estimator(model.save(tmp_path / "model"))
    assert torch.equal(torch.as_tensor(again.log_likelihood(X).value), torch.as_tensor(first))
    other = model.set_params(fine_tune_epochs=6).fit(X, Y)
    fresh = fitted(fine_tune_epochs=6)
    assert torch.equal(torch.as_tensor(other.log_likelihood(X).value), torch.as_tensor(fresh.log_likelihood(X).value))


def test_only_a_generative_model_has_a_bound() -> None:
    assert not hasattr(DeepBeliefClassifier(), "log_likelihood")
    assert not hasattr(DeepBeliefClassifier(label_in_top=True, pretrain_epochs=0), "log_likelihood")
    assert hasattr(DeepBeliefClassifier(**TUNED), "log_likelihood")
    assert hasattr(DeepBeliefClassifier(label_in_top=True, fine_tune_epochs=0), "log_likelihood")
    alone = fitted(fine_tune_epochs=0)
    assert alone.log_likelihood(X).kind == "lower_bound"
    unrolled = fitted(fine_tuning="backpropagation")
    assert not hasattr(unrolled.set_params(fine_tuning="up_down"), "log_likelihood")  # the fitted module counts
    assert hasattr(alone.set_params(fine_tune_epochs=9, fine_tuning="backpropagation"), "log_likelihood")


def test_wrong_draws_get_a_sentence() -> None:
    with pytest.raises(InvalidArgumentError, match="n_samples must be at least 1"):
        fitted().log_likelihood(X, n_samples=0)
