"""Sequences as an estimator: windows, forecasts, contexts of one's own, gaps, saving and resuming."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepbelief import ConditionalRBM, load_estimator
from deepbelief.data.windows import frames_and_contexts
from deepbelief.errors import InvalidArgumentError, InvalidDataError

TIME = np.arange(400)
WAVE = np.stack([np.sin(TIME / 4), np.cos(TIME / 4), np.sin(TIME / 4 + 1)], 1) * [1, 10, 3] + [0, 5, -2]


def fitted(**settings: Any) -> ConditionalRBM:
    options = {"n_components": 10, "order": 2, "epochs": 30, "batch_size": 50, "random_state": 0, **settings}
    return ConditionalRBM(**options).fit(WAVE)


def fitted_on(frames: Any) -> ConditionalRBM:
    return ConditionalRBM(10, order=2, epochs=30, batch_size=50, random_state=0).fit(frames)


@pytest.fixture(scope="module")
def model() -> ConditionalRBM:
    return fitted()


def test_it_goes_on_with_an_oscillation(model: ConditionalRBM) -> None:
    frames, contexts = frames_and_contexts(WAVE, 2)
    error = np.mean((model.predict(contexts) - frames) ** 2 / WAVE.var(0))
    stay = np.mean((WAVE[1:-1] - frames) ** 2 / WAVE.var(0))
    assert error < stay  # better than that the last frame stays
    further = model.forecast(WAVE[:50], 6)
    assert further.shape == (6, 3)
    assert np.array_equal(further, model.forecast(WAVE[:50], 6))
    assert not np.array_equal(further, model.forecast(WAVE[:50], 6, random_state=1))


def test_gaps_in_a_frame_are_filled_from_what_came_before(model: ConditionalRBM) -> None:
    frames, contexts = frames_and_contexts(WAVE[:100], 2)
    broken = frames.copy()
    broken[:, 1] = np.nan
    filled = model.complete(broken, contexts)
    assert np.array_equal(filled[:, [0, 2]], frames[:, [0, 2]])
    assert np.mean((filled[:, 1] - frames[:, 1]) ** 2) < frames[:, 1].var()


def test_several_sequences_do_not_run_into_each_other() -> None:
    both = ConditionalRBM(2, order=2, epochs=0, random_state=0)
    frames, _ = both._cases([WAVE[:10], WAVE[200:205]], None)
    assert np.array_equal(frames, np.concatenate([WAVE[2:10], WAVE[202:205]]))
    with pytest.raises(InvalidDataError, match="longer than order"):
        both.fit([WAVE[:2]])


@pytest.mark.parametrize("learning", ["cd", "pcd"])
def test_contexts_of_ones_own(learning: str) -> None:
    context = np.random.default_rng(0).normal(3, 5, (300, 2))
    bits = np.stack([context[:, 0] > 3, context[:, 0] <= 3], 1).astype(float)
    model = ConditionalRBM(3, learning=learning, epochs=15, batch_size=30, learning_rate=0.1, random_state=0)
    model.fit(bits, context=context)
    assert np.mean((model.predict(context) > 0.5) == bits) > 0.8  # without the context it is a half
    assert model.sample(context[:4]).shape == (4, 2)
    with pytest.raises(InvalidDataError, match="forecast needs a model of sequences"):
        model.forecast(bits)
    with pytest.raises(InvalidDataError, match="context must have 2 numbers"):
        model.predict(bits[:, :1])


def test_frames_are_scored_by_their_exact_density_where_a_layer_is_small(model: ConditionalRBM) -> None:
    frames, contexts = frames_and_contexts(WAVE, 2)
    bound = model.log_likelihood(WAVE)
    assert bound.kind == "exact"
    assert np.array_equal(model.score_samples(frames, contexts), bound.value.numpy())
    jumped = frames + WAVE.std(0)
    assert (model.score_samples(jumped, contexts) < bound.value.numpy()).mean() > 0.9
    double = fitted_on(2 * WAVE)  # standardized columns are the same, so the density falls by the scale
    assert np.allclose(double.score_samples(2 * WAVE), bound.value - 3 * np.log(2), atol=1e-3)
    assert not hasattr(ConditionalRBM(), "score_samples")
    assert not hasattr(fitted(n_components=21, epochs=0), "score_samples")
    with pytest.raises(InvalidDataError, match="one row per case"):
        model.score_samples(frames, contexts[:3])


def test_hidden_units_of_several_values_take_the_number_of_values() -> None:
    hidden = fitted(n_components=6, hidden="categorical", n_values=3, epochs=1).module_.rbm.hidden
    assert (hidden.n_groups, hidden.n_values) == (2, 3)


def test_it_is_saved_and_resumed(tmp_path: Path) -> None:
    model = fitted(epochs=3, checkpoint_dir=tmp_path / "checkpoint", learning="pcd")
    loaded = load_estimator(model.save(tmp_path / "model"))
    assert np.array_equal(loaded.forecast(WAVE[:9], 2), model.forecast(WAVE[:9], 2))
    again = ConditionalRBM(**model.get_params()).fit(WAVE, resume_from=tmp_path / "checkpoint")
    assert np.array_equal(again.forecast(WAVE[:9], 2), model.forecast(WAVE[:9], 2))


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="order must be at least 1"):
        fitted(order=0)
    with pytest.raises(InvalidArgumentError, match="learning must be one of"):
        fitted(learning="exact")
