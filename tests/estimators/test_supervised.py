"""The classifier and the regressor: few labels, labels of any type, what is shown, pipelines and grids."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from deepbelief.errors import InvalidArgumentError, InvalidDataError
from deepbelief.estimators.bernoulli_rbm import BernoulliRBM
from deepbelief.estimators.boltzmann_classifier import DeepBoltzmannClassifier
from deepbelief.estimators.classifier import DeepBeliefClassifier
from deepbelief.estimators.network import DeepBeliefNetwork
from deepbelief.estimators.rbm import RBM
from deepbelief.estimators.regressor import DeepBeliefRegressor
from deepbelief.estimators.storage import load_estimator
from deepbelief.training.trainer import Trainer
from tests.training.stops import StopAt

X, Y = load_digits(return_X_y=True)
X = X / 16
QUICK: dict[str, Any] = {
    "pretrain_epochs": 3,
    "fine_tune_epochs": 15,
    "fine_tune_learning_rate": 0.01,
    "random_state": 0,
}


def test_learns_digits() -> None:
    model = DeepBeliefClassifier((64,), **QUICK).fit(X[:1400], Y[:1400])
    assert model.score(X[1400:], Y[1400:]) > 0.85
    probabilities = model.predict_proba(X[1400:])
    np.testing.assert_allclose(probabilities.sum(1), 1)
    np.testing.assert_allclose(np.exp(model.predict_log_proba(X[1400:])), probabilities)
    assert model.transform(X[:5]).shape == (5, 64)


DRAWS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))]  # of the cases that have labels


@pytest.mark.parametrize("seed", DRAWS)
def test_cases_without_labels_help_those_with_few(seed: int) -> None:
    """50 labels: pre-training on 1,250 cases more against none."""
    order = np.random.RandomState(seed).permutation(len(X))
    some, more, test = order[:50], order[50:1300], order[1300:]
    model = DeepBeliefClassifier((100, 100), binarization="stochastic", pretrain_epochs=30, random_state=seed)
    alone = clone(model).set_params(pretrain_epochs=0).fit(X[some], Y[some])
    helped = model.fit(X[some], Y[some], X_unlabeled=X[more])
    assert helped.score(X[test], Y[test]) > alone.score(X[test], Y[test])


@pytest.mark.parametrize("seed", DRAWS)
def test_cases_without_labels_help_more_where_they_are_moved(seed: int) -> None:
    """The same 50 labels and pre-training; about half of the errors are left."""
    order = np.random.RandomState(seed).permutation(len(X))
    some, more, test = order[:50], order[50:1300], order[1300:]
    model = DeepBeliefClassifier((100,), pretrain_epochs=10, random_state=seed)
    errors = []
    for settings in ({}, {"virtual_adversarial": 0.7, "fine_tune_epochs": 20}):
        fitted = clone(model).set_params(**settings).fit(X[some], Y[some], X_unlabeled=X[more])
        errors.append(1 - fitted.score(X[test], Y[test]))
    assert errors[1] < 0.8 * errors[0]
    assert set(fitted.fine_tune_history_[-1]) >= {"labels_loss", "divergence", "information"}


MOVED: dict[str, Any] = {**QUICK, "virtual_adversarial": 0.7}


def test_moved_cases_take_weights_held_out_labels_and_standardized_columns() -> None:
    few, weight = slice(0, 200), np.where(Y[:200] == 3, 0.0, 1.0)
    model = DeepBeliefClassifier((30,), **MOVED, early_stopping=True)
    model.fit(X[few], Y[few], sample_weight=weight, X_unlabeled=X[200:600])
    assert "validation_loss" in model.fine_tune_history_[-1]
    alone = DeepBeliefClassifier((30,), **{**MOVED, "pretrain_epochs": 0}).fit(50 * X[few] - 3, Y[few])
    assert alone.mean_ is not None
    assert alone.score(50 * X[few] - 3, Y[few]) > 0.8


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"virtual_adversarial": -1.0}, "virtual_adversarial must be"),
        ({"virtual_adversarial": 1.0, "information": -1.0}, "information must be"),
        ({"virtual_adversarial": 1.0, "optimizer": "lbfgs"}, "optimizer='lbfgs'"),
        ({"virtual_adversarial": 1.0, "adversarial": 0.1}, "adversarial=0.1"),
        ({"virtual_adversarial": 1.0, "fine_tuning": "up_down", "label_in_top": True}, "virtual_adversarial must be 0"),
    ],
)
def test_what_does_not_go_with_moved_cases_is_said_before_any_layer_learns(
    settings: dict[str, Any], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "fit", lambda *arguments, **options: pytest.fail("it learned"))
    with pytest.raises(InvalidArgumentError, match=sentence):
        DeepBeliefClassifier((4,), **settings).fit(X[:50], Y[:50])


@pytest.mark.parametrize("labels", [["b", "a", "c"], [-1, 5, 3], [True, False], [2.0, 1.0, 7.0]])
def test_labels_of_any_type(labels: list[Any]) -> None:
    y = np.array(labels)[np.arange(60) % len(labels)]
    rows = np.eye(len(labels))[np.arange(60) % len(labels)]
    model = DeepBeliefClassifier((8,), **QUICK).set_params(fine_tune_learning_rate=0.1).fit(rows, y)
    assert model.classes_.tolist() == sorted(labels)
    np.testing.assert_array_equal(model.predict(rows), y)
    assert model.predict(rows).dtype == y.dtype


def test_one_class_is_refused() -> None:
    with pytest.raises(InvalidDataError, match=r"y must hold at least 2 classes\. Got 1 class: 'a'"):
        DeepBeliefClassifier((4,)).fit(X[:10], ["a"] * 10)


def test_labels_in_the_top_guide_samples_and_classify_alone() -> None:
    rows = np.repeat([[0.0, 0, 1, 1], [1, 1, 0, 0]], 50, axis=0)
    y = np.repeat(["right", "left"], 50)
    model = DeepBeliefClassifier((6,), label_in_top=True, fine_tune_epochs=0, random_state=0)
    model.fit(rows[::5], y[::5], X_unlabeled=rows)
    np.testing.assert_array_equal(model.predict(rows), y)
    draws = model.sample(200, label="left", n_steps=100)
    assert (draws[:, :2].mean(), draws[:, 2:].mean()) > (0.8, 0.0)
    assert draws[:, 2:].mean() < 0.2
    assert model.transform(rows).shape == (100, 6)
    with pytest.raises(InvalidArgumentError, match="label must be one of"):
        model.sample(2, label="up")


def test_sampling_a_label_needs_it_in_the_top() -> None:
    model = DeepBeliefClassifier((4,), **QUICK).fit(X[:100], Y[:100])
    with pytest.raises(InvalidArgumentError, match="label_in_top must be True"):
        model.sample(2, label=3)


@pytest.mark.parametrize("kind", [DeepBeliefClassifier, DeepBeliefRegressor])
def test_only_what_the_module_can_do_is_shown(kind: Any) -> None:
    assert hasattr(kind(pretrain_epochs=(1, 0)), "sample")
    assert not hasattr(kind(pretrain_epochs=0), "sample")
    assert not hasattr(kind(pretrain_epochs=0), "complete")
    assert hasattr(RBM(), "partial_fit")
    assert not hasattr(DeepBeliefNetwork(), "partial_fit")
    assert not hasattr(BernoulliRBM(), "sample")


def test_completes_from_the_generative_model() -> None:
    model = DeepBeliefClassifier((16,), **QUICK).fit(X[:300], Y[:300])
    known = np.arange(64) < 32
    filled = model.complete(X[:4], known, n_steps=60)
    np.testing.assert_array_equal(filled[:, known], X[:4, known])
    assert ((filled >= 0) & (filled <= 1)).all()


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "lbfgs"])
def test_every_optimizer_learns(optimizer: str) -> None:
    rate = {"adam": 0.02, "sgd": 0.5, "lbfgs": 1.0}[optimizer]
    settings = QUICK | {"optimizer": optimizer, "fine_tune_learning_rate": rate}
    assert DeepBeliefClassifier((32,), **settings).fit(X[:500], Y[:500]).score(X[:500], Y[:500]) > 0.8


def test_early_stopping_keeps_the_best_weights() -> None:
    settings = QUICK | {"fine_tune_epochs": 100, "fine_tune_learning_rate": 0.3, "early_stopping": True, "patience": 2}
    model = DeepBeliefClassifier((32,), **settings).fit(X[:300], Y[:300])
    losses = [row["validation_loss"] for row in model.fine_tune_history_]
    assert len(losses) < 100
    assert len(losses) - 1 - int(np.argmin(losses)) == 2


def test_unlabelled_cases_must_have_the_same_columns() -> None:
    with pytest.raises(ValueError, match="features"):
        DeepBeliefClassifier((4,)).fit(X[:20], Y[:20], X_unlabeled=X[:5, :3])


def test_nothing_to_learn_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="fine_tune_epochs must be at least 1"):
        DeepBeliefClassifier((4,), fine_tune_epochs=0).fit(X[:20], Y[:20])


def test_regression_of_one_and_of_several_targets() -> None:
    rows, y = load_diabetes(return_X_y=True)
    model = DeepBeliefRegressor((32,), **(QUICK | {"fine_tune_epochs": 40})).fit(rows, y)
    assert model.score(rows, y) > 0.4
    assert model.predict(rows).shape == y.shape
    several = np.stack([y, -3 * y + 1e4], 1)
    both = clone(model).fit(rows, several)
    assert both.predict(rows).shape == several.shape
    assert both.score(rows, several) > 0.4
    assert model.sample(3, n_steps=10).shape == (3, 10)


def test_pipeline_grid_and_pandas_output() -> None:
    steps = make_pipeline(MinMaxScaler(), RBM(16, epochs=2, random_state=0), LogisticRegression(max_iter=300))
    grid = GridSearchCV(steps, {"rbm__n_components": [4, 24], "rbm__learning_rate": [0.05]}, cv=2, n_jobs=1)
    grid.fit(X[:600], Y[:600])
    assert grid.best_params_["rbm__n_components"] == 24
    frame = DeepBeliefNetwork((5, 3), epochs=1, random_state=0).set_output(transform="pandas").fit_transform(X)
    assert list(frame.columns) == [f"deepbeliefnetwork{i}" for i in range(3)]
    few = GridSearchCV(DeepBeliefClassifier((16,), **QUICK), {"dropout": [0.0, 0.3]}, cv=2).fit(X[:300], Y[:300])
    assert few.best_score_ > 0.5


@pytest.mark.parametrize("stage", ["LikelihoodLearning", "SupervisedProcedure", "VirtualAdversarialProcedure"])
def test_an_interrupted_fit_is_resumed_bit_for_bit(stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = QUICK if stage != "VirtualAdversarialProcedure" else MOVED
    model = DeepBeliefClassifier((8, 6), dropout=0.2, checkpoint_dir=tmp_path, **settings)
    whole = clone(model).set_params(checkpoint_dir=None).fit(X[:300], Y[:300])
    start = Trainer.__init__

    def with_stop(self: Trainer, **options: Any) -> None:
        start(self, **{**options, "callbacks": [*options["callbacks"], StopAt(7, stage)]})

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "__init__", with_stop)
        with pytest.raises(KeyboardInterrupt):
            clone(model).fit(X[:300], Y[:300])
    resumed = clone(model).fit(X[:300], Y[:300], resume_from=tmp_path)
    np.testing.assert_array_equal(resumed.decision_function(X), whole.decision_function(X))
    assert len(resumed.history_) == len(whole.history_)
    assert len(resumed.fine_tune_history_) == len(whole.fine_tune_history_)


UP_DOWN: dict[str, Any] = {
    "fine_tuning": "up_down",
    "label_in_top": True,
    "batch_size": 20,
    "pretrain_epochs": 5,
    "learning_rate": 0.2,
    "momentum": 0.9,
    "fine_tune_epochs": 8,
    "discriminative": 1.0,
    "fine_tune_learning_rate": 0.05,
    "up_down_steps": (1, 2),
    "random_state": 0,
}


def test_up_down_tunes_the_generative_model_itself(tmp_path: Path) -> None:
    rows, more, labels = X[:300], X[300:400], Y[:300]
    before = (
        DeepBeliefClassifier((50, 60), **UP_DOWN).set_params(fine_tune_epochs=0).fit(rows, labels, X_unlabeled=more)
    )
    model = DeepBeliefClassifier((50, 60), **UP_DOWN).fit(rows, labels, X_unlabeled=more)
    assert model.score(X[1000:], Y[1000:]) > before.score(X[1000:], Y[1000:])
    assert {"log_p_down", "log_q_up", "reconstruction_error"} <= model.fine_tune_history_[-1].keys()
    assert model.module_ is model.dbn_
    assert model.sample(3, label=4, n_steps=5).shape == (3, 64)
    assert model.complete(X[:2], np.arange(64) < 32, n_steps=10, n_average=5).shape == (2, 64)
    again = load_estimator(model.save(tmp_path / "model"))
    np.testing.assert_array_equal(again.predict_proba(X[:50]), model.predict_proba(X[:50]))
    np.testing.assert_array_equal(again.transform(X[:50]), model.transform(X[:50]))


def test_up_down_resumes(tmp_path: Path) -> None:
    short = UP_DOWN | {"pretrain_epochs": 2, "fine_tune_epochs": 2}
    whole = DeepBeliefClassifier((8,), **short).fit(X[:200], Y[:200])
    settings = short | {"checkpoint_dir": str(tmp_path)}
    DeepBeliefClassifier((8,), **settings).fit(X[:200], Y[:200])
    again = DeepBeliefClassifier((8,), **settings).fit(X[:200], Y[:200], resume_from=tmp_path)
    np.testing.assert_array_equal(again.predict_proba(X[:50]), whole.predict_proba(X[:50]))


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"label_in_top": False}, "label_in_top must be True and pretrain_epochs above 0"),
        ({"pretrain_epochs": 0}, "label_in_top must be True and pretrain_epochs above 0"),
        ({"dropout": 0.2}, "dropout belong to fine_tuning"),
        ({"early_stopping": True}, "early_stopping and dropout belong"),
        ({"discriminative": -1.0}, "discriminative must be at least 0"),
        ({"fine_tuning": "updown"}, "fine_tuning must be one of .* Did you mean 'up_down'"),
        ({"up_down_steps": ()}, "k must hold at least 1"),
    ],
)
def test_what_up_down_cannot_do_is_refused(setting: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidArgumentError, match=sentence):
        DeepBeliefClassifier((8,), **(UP_DOWN | {"pretrain_epochs": 1} | setting)).fit(X[:50], Y[:50])


WRONG_FINE_TUNING = [
    ({"optimizer": "adamm"}, "optimizer must be one of"),
    ({"fine_tune_schedule": "lin"}, "schedule must be one of"),
    ({"weight_decay": -1.0}, "weight_decay must be at least 0"),
    ({"patience": 0}, "patience must be at least 1"),
    ({"dropout": 1.5}, "dropout must be at most 1|dropout must be at least 0 and at most 1"),
    ({"validation_fraction": 1.0}, "validation_fraction must be at least 0 and below 1"),
]


@pytest.mark.parametrize(("wrong", "sentence"), WRONG_FINE_TUNING)
@pytest.mark.parametrize("kind", [DeepBeliefClassifier, DeepBoltzmannClassifier])
def test_wrong_settings_of_the_fine_tuning_are_refused_before_the_pre_training(
    kind: Any, wrong: dict[str, Any], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def started(*arguments: Any, **options: Any) -> None:
        raise AssertionError("a training was started")

    monkeypatch.setattr("deepbelief.training.trainer.Trainer.fit", started)
    with pytest.raises(InvalidArgumentError, match=sentence):
        kind((4, 3), **wrong).fit(X[:40], Y[:40])
