"""The detector around any model: thresholds, scores, pipelines, saving, and sentences for what cannot be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import binom
from sklearn.covariance import EmpiricalCovariance
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from deepbelief import load_estimator
from deepbelief.errors import InvalidArgumentError, StorageError
from deepbelief.estimators.anomaly import METHODS, AnomalyDetector
from deepbelief.estimators.network import DeepBeliefNetwork
from deepbelief.estimators.rbm import RBM
from tests.oracle.pvalues import FALSE_ALARM

RNG = np.random.default_rng(0)
NORMAL = RNG.normal(size=(400, 3)) * [1, 5, 0.1]
ODD = NORMAL[:20] + np.array([0, 0, 3])


def small_rbm() -> RBM:
    return RBM(4, epochs=2, random_state=0)


@pytest.mark.parametrize("method", METHODS)
def test_odd_cases_are_found_and_the_threshold_is_the_quantile(method: str) -> None:
    detector = AnomalyDetector(small_rbm(), method=method, contamination=0.05).fit(NORMAL)
    assert (detector.predict(ODD) == -1).all()
    assert (detector.predict(NORMAL) == -1).sum() == 20
    assert_array_equal(detector.decision_function(ODD), detector.score_samples(ODD) - detector.offset_)


def test_free_energy_is_the_log_likelihood_but_for_log_z() -> None:
    rbm = small_rbm().fit(NORMAL)
    assert_allclose(-rbm.free_energy(ODD) - float(rbm.log_z_), rbm.score_samples(ODD), rtol=1e-6)
    decisions = [AnomalyDetector(small_rbm(), method=m).fit(NORMAL) for m in ("free_energy", "score_samples")]
    assert_allclose(decisions[0].decision_function(ODD), decisions[1].decision_function(ODD), rtol=1e-6)


def test_held_out_cases_keep_the_rate_of_false_alarms() -> None:
    x = np.random.default_rng(1).normal(size=(4000, 2))
    detector = AnomalyDetector(small_rbm(), contamination=0.1, held_out=0.5, random_state=0).fit(x[:2000])
    alarms = int((detector.predict(x[2000:]) == -1).sum())
    # the threshold is the 10 % quantile of 1000 cases, whose own error is at most 5 of its standard errors
    low, high = (binom.ppf(p, 2000, 0.1 + s * 5 * 0.0095) for p, s in ((FALSE_ALARM, -1), (1 - FALSE_ALARM, 1)))
    assert low <= alarms <= high
    assert detector.estimator_.n_features_in_ == 2


def test_any_scorer_and_pipeline_will_do() -> None:
    piped = AnomalyDetector(make_pipeline(StandardScaler(), small_rbm())).fit(NORMAL)
    assert (piped.method_, piped.n_features_in_) == ("free_energy", 3)
    pca = AnomalyDetector(PCA(2), method="reconstruction").fit(NORMAL)
    error = ODD - pca.estimator_.inverse_transform(pca.estimator_.transform(ODD))
    wanted = np.square(error / NORMAL.std(0)).sum(1)
    assert_allclose(pca.score_samples(ODD), -wanted)
    deep = AnomalyDetector(DeepBeliefNetwork((4, 3), epochs=1, random_state=0)).fit(NORMAL[:50])
    assert deep.method_ == "score_samples"
    assert_array_equal(deep.score_samples(ODD), deep.estimator_.score_samples(ODD))


@pytest.mark.parametrize("named", [True, False])
def test_what_was_saved_is_what_is_loaded(named: bool, tmp_path: Path) -> None:
    estimator = "BernoulliRBM" if named else small_rbm()
    x = (NORMAL > 0).astype(float)
    detector = AnomalyDetector(estimator, method="reconstruction" if not named else "auto").fit(x)
    detector.save(tmp_path / "model")
    loaded = load_estimator(tmp_path / "model")
    assert str(loaded.get_params()) == str(detector.get_params())
    assert loaded.offset_ == detector.offset_
    if not named:  # scikit-learn's RBM scores by a random flip
        assert_array_equal(loaded.predict(x), detector.predict(x))
    (tmp_path / "model" / "inner" / "estimator.json").unlink()
    with pytest.raises(StorageError, match=r"estimator\.json"):
        load_estimator(tmp_path / "model")


def test_neighbours_are_those_of_the_codes() -> None:
    detector = AnomalyDetector(small_rbm(), method="neighbors", n_neighbors=3).fit(NORMAL)
    codes, odd = (detector.estimator_.transform(x).astype(np.float64) for x in (NORMAL, ODD))
    every = np.sort(np.linalg.norm(odd[:, None] - codes, axis=2), axis=1)
    assert_allclose(detector.score_samples(ODD), -every[:, 2], rtol=1e-5)


def test_both_parts_of_the_combined_score_are_standardized_on_what_was_learned() -> None:
    detector = AnomalyDetector(small_rbm(), method="combined", n_neighbors=2).fit(NORMAL)
    energy = AnomalyDetector(small_rbm(), method="free_energy").fit(NORMAL)
    codes = detector.estimator_.transform(NORMAL).astype(np.float64)
    own = np.sort(np.linalg.norm(codes[:, None] - codes, axis=2), axis=1)[:, 2]  # the nearest is the case itself
    near = np.sort(np.linalg.norm(detector.estimator_.transform(ODD)[:, None] - codes, axis=2), axis=1)[:, 1]
    s, s_odd = energy.score_samples(NORMAL), energy.score_samples(ODD)
    wanted = ((s_odd - s.mean()) / s.std() - (near - own.mean()) / own.std()) / 2
    assert_allclose(detector.score_samples(ODD), wanted, rtol=1e-4, atol=1e-4)


def test_codes_are_saved_beside_the_model(tmp_path: Path) -> None:
    detector = AnomalyDetector(small_rbm(), method="combined").fit(NORMAL)
    detector.save(tmp_path / "model")
    assert_array_equal(load_estimator(tmp_path / "model").score_samples(ODD), detector.score_samples(ODD))
    path = tmp_path / "model" / "estimator.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(StorageError, match="must match its checksum"):
        load_estimator(tmp_path / "model")
    path.unlink()
    with pytest.raises(StorageError, match=r"must hold estimator\.safetensors"):
        load_estimator(tmp_path / "model")


def test_what_cannot_be_is_said(tmp_path: Path) -> None:
    for share, sentence in ((0.6, "at most 0.5"), (0.0, "above 0"), ("auto", "a number")):
        with pytest.raises(InvalidArgumentError, match=f"contamination must be {sentence}"):
            AnomalyDetector(small_rbm(), contamination=share).fit(NORMAL)
    with pytest.raises(InvalidArgumentError, match="estimator must have free_energy"):
        AnomalyDetector(EmpiricalCovariance(), method="free_energy").fit(NORMAL)
    with pytest.raises(InvalidArgumentError, match="estimator must have free_energy or score_samples"):
        AnomalyDetector(StandardScaler(with_mean=False).set_output(), method="auto").set_params(
            estimator=EmpiricalCovariance()
        ).fit(NORMAL)
    with pytest.raises(InvalidArgumentError, match=r"n_neighbors must be below the 400 cases"):
        AnomalyDetector(small_rbm(), method="neighbors", n_neighbors=400).fit(NORMAL)
    with pytest.raises(InvalidArgumentError, match="estimator must have transform"):
        AnomalyDetector(EmpiricalCovariance(), method="combined").fit(NORMAL)
    with pytest.raises(InvalidArgumentError, match="Did you mean 'RBM'"):
        AnomalyDetector("RBMs").fit(NORMAL)
    with pytest.raises(InvalidArgumentError, match="to be saved"):
        AnomalyDetector(PCA(2)).fit(NORMAL).save(tmp_path / "model")
