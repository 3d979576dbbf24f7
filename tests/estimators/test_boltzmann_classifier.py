"""DeepBoltzmannClassifier: labels, cases without labels, storage, resuming."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits

from deepbelief.errors import InvalidArgumentError
from deepbelief.estimators.boltzmann_classifier import DeepBoltzmannClassifier
from deepbelief.estimators.storage import load_estimator
from deepbelief.training.trainer import Trainer
from tests.training.stops import StopAt

X, Y = load_digits(return_X_y=True)
X = X / 16
SMALL = DeepBoltzmannClassifier(
    (16, 8), epochs=2, fine_tune_epochs=4, fine_tune_learning_rate=0.01, dropout=0.2, random_state=0
)


def test_learns_digits_and_samples() -> None:
    model = DeepBoltzmannClassifier(
        (60, 40), epochs=5, learning_rate=0.2, fine_tune_epochs=30, fine_tune_learning_rate=0.01, random_state=0
    ).fit(X[:1400], Y[:1400])
    assert model.score(X[1400:], Y[1400:]) > 0.85
    np.testing.assert_allclose(model.predict_proba(X[1400:]).sum(1), 1)
    assert model.transform(X[:5]).shape == (5, len(model.get_feature_names_out())) == (5, 40)
    paper = clone(model).set_params(feedback=True).fit(X[:1400], Y[:1400])
    assert paper.score(X[1400:], Y[1400:]) > 0.85
    known = np.arange(64) < 32
    filled = model.complete(X[:3], known, n_steps=60)
    np.testing.assert_array_equal(filled[:, known], X[:3, known])
    assert model.sample(4, n_steps=5).shape == (4, 64)


def test_the_machine_learns_from_cases_without_labels() -> None:
    alone = clone(SMALL).fit(X[:50], Y[:50])
    helped = clone(SMALL).fit(X[:50], Y[:50], X_unlabeled=X[50:])
    far = [np.abs(model.dbm_.offsets[0].numpy() - X.mean(0)).max() for model in (alone, helped)]
    assert far[1] < 0.5 * far[0]  # the offsets remember the means of all cases, not those of the 50


@pytest.mark.parametrize("feedback", [True, False])
def test_saved_and_loaded(tmp_path: Path, feedback: bool) -> None:
    model = clone(SMALL).set_params(feedback=feedback).fit(X[:200], Y[:200].astype(str))
    assert model.module_.feedback is feedback
    model.save(tmp_path / "model")
    loaded = load_estimator(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    np.testing.assert_allclose(loaded.predict_proba(X), model.predict_proba(X))
    np.testing.assert_array_equal(loaded.sample(3, n_steps=3), model.sample(3, n_steps=3))


def test_no_fine_tuning_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match=r"fine_tune_epochs must be at least 1.*Use DeepBoltzmannMachine"):
        clone(SMALL).set_params(fine_tune_epochs=0).fit(X[:20], Y[:20])


@pytest.mark.parametrize("stage", ["DBMLearning", "SupervisedProcedure"])
def test_an_interrupted_fit_is_resumed_bit_for_bit(stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = clone(SMALL).set_params(checkpoint_dir=tmp_path)
    whole = clone(SMALL).fit(X[:300], Y[:300])
    start = Trainer.__init__

    def with_stop(self: Trainer, **options: Any) -> None:
        start(self, **{**options, "callbacks": [*options.get("callbacks", []), StopAt(4, stage)]})

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "__init__", with_stop)
        with pytest.raises(KeyboardInterrupt):
            clone(model).fit(X[:300], Y[:300])
    resumed = clone(model).fit(X[:300], Y[:300], resume_from=tmp_path)
    np.testing.assert_array_equal(resumed.decision_function(X), whole.decision_function(X))
    assert len(resumed.fine_tune_history_) == len(whole.fine_tune_history_)
