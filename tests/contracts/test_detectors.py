"""Every model with a score as a detector: scikit-learn's outlier interface, and noise scored below what was learned."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu
from sklearn.base import clone, is_outlier_detector

import deepbelief
from deepbelief import AnomalyDetector
from tests.oracle.pvalues import FALSE_ALARM

Array = NDArray[Any]
SHARE = 0.1
NET: dict[str, Any] = {"hidden_layer_sizes": (16,), "epochs": 40, "batch_size": 20, "random_state": 0}
SAMPLES = {"n_importance_samples": 20}
MODELS: dict[str, Any] = {
    "Autoencoder": {"n_components": 2, "learning_rate": 0.01, **NET},
    "VAE": {"n_components": 2, "learning_rate": 0.01, **SAMPLES, **NET},
    "RBMVAE": {"n_bits": (3, 3), "learning_rate": 0.01, **SAMPLES, **NET},
    "VAEStack": {"n_components": 2, "top_epochs": 10, **SAMPLES, **(NET | {"hidden_layer_sizes": (8,)})},
    "BoltzmannMachine": {"n_components": 2, "epochs": 20, "batch_size": 20, "random_state": 0},
    "ReplicatedSoftmax": {"n_components": 2, "epochs": 20, "batch_size": 20, "random_state": 0},
}


def of_two_patterns(n: int, random: np.random.Generator) -> Array:
    """Cases of 12 bits: one of two opposite patterns, of which every twentieth bit is turned."""
    pattern = np.arange(12) % 4 < 2
    side = random.integers(0, 2, (n, 1)).astype(bool)
    return (pattern ^ side ^ (random.random((n, 12)) < 0.05)).astype(np.float32)


def of_two_topics(n: int, random: np.random.Generator) -> Array:
    """Counts of 24 words of which 11 in 12 are of one half of the vocabulary."""
    half = np.array([1.0] * 6 + [1 / 11] * 6)
    law = [half / half.sum(), half[::-1] / half.sum()]
    return np.stack([random.multinomial(24, law[k]) for k in random.integers(0, 2, n)]).astype(np.float32)


def cases(name: str) -> tuple[Array, Array, Array]:
    """Cases to learn from, new ones like them, and noise: all as the model takes them."""
    random = np.random.default_rng(0)
    if name == "ReplicatedSoftmax":
        noise = random.multinomial(24, np.full(12, 1 / 12), 100).astype(np.float32)
        return of_two_topics(200, random), of_two_topics(100, random), noise
    return of_two_patterns(200, random), of_two_patterns(100, random), random.integers(0, 2, (100, 12)).astype("f")


@pytest.fixture(scope="module")
def fitted() -> dict[str, AnomalyDetector]:
    """A detector around each model, learned once."""
    return {
        name: AnomalyDetector(getattr(deepbelief, name)(**options), contamination=SHARE).fit(cases(name)[0])
        for name, options in MODELS.items()
    }


@pytest.mark.parametrize("name", MODELS)
def test_a_detector_has_scikit_learns_outlier_interface(name: str, fitted: dict[str, AnomalyDetector]) -> None:
    detector, (x, like, noise) = fitted[name], cases(name)
    assert is_outlier_detector(detector)
    assert type(detector.estimator_).__name__ == name
    for rows in (x, like, noise):
        scores = detector.score_samples(rows)
        assert scores.shape == (len(rows),)
        assert np.isfinite(scores).all()
        assert_allclose(detector.decision_function(rows), scores - detector.offset_)
        assert_array_equal(detector.predict(rows), np.where(scores < detector.offset_, -1, 1))
    below = (detector.score_samples(x) < detector.offset_).mean()
    at_most = (detector.score_samples(x) <= detector.offset_).mean()
    assert below <= SHARE <= at_most  # cases that are alike may share the threshold


@pytest.mark.parametrize("name", MODELS)
def test_contamination_moves_the_threshold_alone(name: str, fitted: dict[str, AnomalyDetector]) -> None:
    detector, (x, like, _) = fitted[name], cases(name)
    wider = clone(detector).set_params(contamination=0.4).fit(x)
    assert_allclose(wider.score_samples(like), detector.score_samples(like), rtol=1e-5, atol=1e-5)
    assert_allclose(wider.offset_, np.quantile(detector.score_samples(x), 0.4), rtol=1e-5, atol=1e-5)
    assert (wider.predict(x) == -1).sum() > (detector.predict(x) == -1).sum()


@pytest.mark.parametrize("name", MODELS)
def test_noise_scores_below_new_cases_like_those_learned(name: str, fitted: dict[str, AnomalyDetector]) -> None:
    detector, (_, like, noise) = fitted[name], cases(name)
    p = mannwhitneyu(detector.score_samples(noise), detector.score_samples(like), alternative="less").pvalue
    assert p < FALSE_ALARM
    assert (detector.predict(noise) == -1).mean() > 0.5 > (detector.predict(like) == -1).mean()


@pytest.mark.parametrize("name", MODELS)
def test_by_itself_a_detector_takes_the_models_own_score(name: str, fitted: dict[str, AnomalyDetector]) -> None:
    detector, like = fitted[name], cases(name)[1]
    assert detector.method_ == "score_samples"
    assert_array_equal(detector.score_samples(like), detector.estimator_.score_samples(like))
