"""Up-down by estimators: the bound of what is generative still, against enumeration; learning without labels."""

import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deepbelief.belief.untied import UntiedDBN
from deepbelief.belief.up_down import UpDownLearning
from deepbelief.data.source import make_source
from deepbelief.errors import InvalidArgumentError
from deepbelief.estimators.classifier import DeepBeliefClassifier
from deepbelief.estimators.network import DeepBeliefNetwork
from deepbelief.estimators.storage import load_estimator
from deepbelief.training.schedules import make_schedule
from deepbelief.training.trainer import Trainer
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


# -- without labels -------------------------------------------------------------------------------------------------


def network(**settings: Any) -> DeepBeliefNetwork:
    own = {"epochs": 3, "fine_tune_epochs": 3, "fine_tune_learning_rate": 0.1, "up_down_steps": 2, **settings}
    return DeepBeliefNetwork(**(TINY | own))


def test_up_down_without_labels_is_the_rule_on_the_greedy_stack() -> None:
    tuned, greedy = network().fit(X), network(fine_tune_epochs=0).fit(X)
    assert isinstance(tuned.module_, UntiedDBN)
    assert tuned.history_[0].keys() == greedy.history_[0].keys()
    assert len(tuned.fine_tune_history_) == 3
    assert greedy.fine_tune_history_ == []
    net = UntiedDBN.from_dbn(greedy.module_)
    rule = UpDownLearning(net, k=2, learning_rate=0.1, schedule=make_schedule("linear", 1.0), mean_dreams=True)
    Trainer(epochs=3, seed=0, progress=False, threads=1).fit(rule, make_source(X, batch_size=20, seed=0))
    for name, value in net.state_dict().items():
        assert torch.equal(value, tuned.module_.state_dict()[name]), name


def test_its_bound_is_that_of_enumeration_and_goes_with_the_saved_model(tmp_path: Path) -> None:
    model = network().fit(X)
    found = model.log_likelihood(X, n_samples=400)
    net, x = deepcopy(model.module_).double(), torch.tensor(X)
    wanted = untied.bound(net, x, [None] * len(x)).mean().item()
    assert abs(float(found) - wanted) < 4.9 * found.stderr  # two-sided, 1e-6
    again = load_estimator(model.save(tmp_path / "model"))
    np.testing.assert_array_equal(again.score_samples(X[:5]), model.score_samples(X[:5]))
    assert again.fine_tune_history_ == model.fine_tune_history_


def test_a_resumed_fine_tuning_is_one_that_never_stopped(tmp_path: Path) -> None:
    whole = network(checkpoint_dir=tmp_path / "a").fit(X)
    first = network(checkpoint_dir=tmp_path / "b")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(UpDownLearning, "step", Stopped(UpDownLearning.step, 8).step)
        with pytest.raises(KeyboardInterrupt):
            first.fit(X)
    resumed = network().fit(X, resume_from=tmp_path / "b")
    for name, value in whole.module_.state_dict().items():
        assert torch.equal(value, resumed.module_.state_dict()[name]), name


class Stopped:
    """A step that is interrupted once, in the middle of the second epoch."""

    def __init__(self, step: Any, at: int) -> None:
        self.inner, self.at, self.steps = step, at, 0

    @property
    def step(self) -> Any:
        def step(procedure: Any, batch: Any, context: Any) -> Any:
            self.steps += 1
            if self.steps == self.at:
                raise KeyboardInterrupt
            return self.inner(procedure, batch, context)

        return step


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"hidden_layer_sizes": (4,)}, "hidden_layer_sizes must name at least 2 layers for up-down. Got 1"),
        ({"fine_tune_epochs": -1}, "fine_tune_epochs must be at least 0. Got fine_tune_epochs=-1"),
        ({"up_down_steps": ()}, "k must hold at least 1 number of steps"),
        ({"fine_tune_schedule": "liner"}, "Did you mean 'linear'"),
    ],
)
def test_wrong_settings_of_up_down_get_a_sentence_before_any_layer_learns(settings: Any, sentence: str) -> None:
    model = network(**settings)
    with pytest.raises(InvalidArgumentError, match=re.escape(sentence)):
        model.fit(X)
    assert not hasattr(model, "module_")


def test_wrong_draws_get_a_sentence() -> None:
    with pytest.raises(InvalidArgumentError, match="n_samples must be at least 1"):
        fitted().log_likelihood(X, n_samples=0)
