"""The detector of odd steps: scores lie where the oddness is, nothing of the future leaks, thresholds and saving."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import binom
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest

from deepbelief import ConditionalRBM, load_estimator
from deepbelief.data.windows import windows
from deepbelief.errors import InvalidArgumentError, InvalidDataError
from deepbelief.estimators import anomaly_series
from deepbelief.estimators.anomaly_series import SeriesAnomalyDetector
from deepbelief.estimators.rbm import RBM
from tests.oracle.pvalues import FALSE_ALARM

RNG = np.random.default_rng(0)
STEPS = np.arange(900)
WAVE = np.stack([np.sin(STEPS / 5), 10 * np.cos(STEPS / 5) + 30], 1) + RNG.normal(size=(900, 2)) * [0.05, 0.5]
TRAIN, NEW = WAVE[:600], WAVE[600:]
WIDTH = 4


def small_rbm(**settings: Any) -> RBM:
    return RBM(8, **{"visible": "gaussian", "epochs": 10, "random_state": 0, **settings})


def frame_by_frame() -> ConditionalRBM:
    return ConditionalRBM(4, visible="gaussian", epochs=20, batch_size=50, random_state=0)


MODELS = {
    "free energy": lambda: SeriesAnomalyDetector(small_rbm(), window=WIDTH),
    "reconstruction": lambda: SeriesAnomalyDetector(PCA(3), window=WIDTH, method="reconstruction"),
    "forest": lambda: SeriesAnomalyDetector(IsolationForest(random_state=0), window=WIDTH),
    "surprise": lambda: SeriesAnomalyDetector(frame_by_frame(), window=WIDTH),
}


@pytest.fixture(scope="module", params=MODELS)
def detector(request: pytest.FixtureRequest) -> SeriesAnomalyDetector:
    return MODELS[request.param]().fit(TRAIN)


def test_an_inserted_jump_is_found_where_it_is(detector: SeriesAnomalyDetector) -> None:
    jumping = NEW.copy()
    jumping[150] += [5, 60]
    scores = detector.score_samples(jumping)
    assert int(np.nanargmin(scores)) in range(150, 150 + WIDTH)
    assert (detector.predict(jumping)[150:154] == -1).any()


def test_nothing_of_the_future_leaks_into_a_score(detector: SeriesAnomalyDetector) -> None:
    other = NEW.copy()
    other[150:] = RNG.normal(size=other[150:].shape) * 7
    before, after = detector.score_samples(NEW), detector.score_samples(other)
    assert_allclose(before[:150], after[:150], rtol=1e-6)
    assert not np.isclose(before[150], after[150])  # and the step itself is seen
    assert_allclose(detector.score_samples(NEW[:150]), before[:150], rtol=1e-6)


def windows_that_begin(patch: pytest.MonkeyPatch) -> None:
    """A step scored by the window that begins there."""
    later = lambda scores, width: np.concatenate([scores, np.full(width - 1, np.nan)])
    patch.setattr(anomaly_series, "scores_of_steps", later)


def scaled_by_what_is_scored(patch: pytest.MonkeyPatch) -> None:
    """Columns standardized by the moments of the series that is scored, its future too."""
    own = lambda self, series: windows((series - series.mean(0)) / series.std(0), self.window)
    patch.setattr(SeriesAnomalyDetector, "_windows", own)


@pytest.mark.parametrize("plant", [None, windows_that_begin, scaled_by_what_is_scored])
def test_planted_leaks_are_seen(plant: Callable[..., None] | None, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = MODELS["reconstruction"]().fit(TRAIN)
    if plant is not None:
        plant(monkeypatch)
    other = NEW.copy()
    other[150:] += 7
    before, after = (detector.score_samples(x)[:150] for x in (NEW, other))
    assert np.allclose(before, after, equal_nan=True) is (plant is None)


def test_a_step_has_no_score_before_the_first_whole_window(detector: SeriesAnomalyDetector) -> None:
    scores = detector.score_samples(NEW)
    assert scores.shape == (len(NEW),)
    assert_array_equal(np.isnan(scores), np.arange(len(NEW)) < WIDTH - 1)
    assert (detector.predict(NEW)[: WIDTH - 1] == 1).all()


def test_what_is_held_out_moves_the_threshold_and_nothing_else() -> None:
    other = TRAIN.copy()
    other[450:] = other[450:] * 3 + 7  # the last quarter
    first, second = (SeriesAnomalyDetector(small_rbm(), window=WIDTH).fit(x) for x in (TRAIN, other))
    assert_array_equal(first.column_mean_, TRAIN[:450].mean(0))
    assert_array_equal(first.column_scale_, second.column_scale_)
    assert_array_equal(first.score_samples(NEW), second.score_samples(NEW))
    assert second.offset_ < first.offset_
    held = windows((other[450:] - first.column_mean_) / first.column_scale_, WIDTH)
    assert second.offset_ == np.quantile(second._scores(held), 0.01)


def test_windows_do_not_cross_the_ends_of_series() -> None:
    parts = [TRAIN[:200], TRAIN[400:]]
    detector = SeriesAnomalyDetector(PCA(8), window=WIDTH, method="reconstruction", held_out=0).fit(parts)
    assert detector.estimator_.n_samples_ == 200 + 200 - 2 * (WIDTH - 1)


def test_false_alarms_come_at_the_rate_that_is_accepted() -> None:
    noise = np.random.default_rng(1).normal(size=(6000, 1))
    detector = SeriesAnomalyDetector(small_rbm(epochs=2), window=1, contamination=0.1, held_out=0.5).fit(noise[:4000])
    alarms = int((detector.predict(noise[4000:]) == -1).sum())
    # the threshold is the 10 % quantile of 2000 cases, whose own error is at most 5 of its standard errors
    low, high = (binom.ppf(p, 2000, 0.1 + s * 5 * 0.0067) for p, s in ((FALSE_ALARM, -1), (1 - FALSE_ALARM, 1)))
    assert low <= alarms <= high


def test_surprise_is_the_density_of_a_frame_given_those_before() -> None:
    detector = MODELS["surprise"]().fit(TRAIN)
    rows = detector._windows(NEW)
    model = detector.estimator_
    wanted = model.log_likelihood(rows[:, -2:], rows[:, :-2])
    assert wanted.kind == "exact"
    assert_array_equal(detector.score_samples(NEW)[WIDTH - 1 :], wanted.value.numpy())
    # it is a density: its integral over one coordinate's plane, by the trapezoid rule on a fine grid, is 1
    grid = np.linspace(-6, 6, 241)
    plane = np.stack(np.meshgrid(grid, grid, indexing="ij"), -1).reshape(-1, 2)
    context = np.repeat(rows[:1, :-2], len(plane), 0)
    density = np.exp(model.score_samples(plane, context)).reshape(241, 241)
    assert np.trapezoid(np.trapezoid(density, grid), grid) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("name", ["free energy", "surprise"])
def test_what_was_saved_is_what_is_loaded(name: str, tmp_path: Path) -> None:
    detector = MODELS[name]().fit(TRAIN)
    detector.save(tmp_path / "model")
    loaded = load_estimator(tmp_path / "model")
    assert str(loaded.get_params()) == str(detector.get_params())
    assert_array_equal(loaded.decision_function(NEW), detector.decision_function(NEW))


def test_what_cannot_be_is_said() -> None:
    with pytest.raises(InvalidDataError, match="must hold a window of 10 steps"):
        SeriesAnomalyDetector(small_rbm()).fit(TRAIN[:30])
    with pytest.raises(InvalidArgumentError, match="needs a ConditionalRBM"):
        SeriesAnomalyDetector(small_rbm(), method="surprise").fit(TRAIN)
    with pytest.raises(InvalidArgumentError, match="window=2 or more"):
        SeriesAnomalyDetector(frame_by_frame(), window=1).fit(TRAIN)
    with pytest.raises(InvalidArgumentError, match="at most 20 Bernoulli"):
        SeriesAnomalyDetector(ConditionalRBM(21)).fit(TRAIN)
    with pytest.raises(InvalidArgumentError, match="window must be at least 1"):
        SeriesAnomalyDetector(window=0).fit(TRAIN)
    with pytest.raises(InvalidDataError, match="n at least 4"):
        MODELS["reconstruction"]().fit(TRAIN).score_samples(NEW[:3])
