"""Windows of a series, and the way back from windows to steps."""

from __future__ import annotations

import numpy as np
import pytest

from deepbelief.data.windows import frames_and_contexts, scores_of_steps, windows
from deepbelief.errors import InvalidDataError

SERIES = np.random.default_rng(0).normal(size=(20, 3))


@pytest.mark.parametrize("width", [1, 4, 20])
def test_a_window_holds_the_frames_that_end_at_its_step(width: int) -> None:
    rows = windows(SERIES, width)
    assert rows.shape == (21 - width, 3 * width)
    for i, row in enumerate(rows):
        assert np.array_equal(row.reshape(width, 3), SERIES[i : i + width])
    last = rows[:, -3:]
    steps = scores_of_steps(last[:, 0], width)  # a score that tells which frame the window ends with
    assert np.isnan(steps[: width - 1]).all()
    assert np.array_equal(steps[width - 1 :], SERIES[width - 1 :, 0])


def test_frames_come_with_those_before_them() -> None:
    frames, contexts = frames_and_contexts(SERIES, 2)
    assert np.array_equal(frames, SERIES[2:])
    assert np.array_equal(contexts, np.hstack([SERIES[:-2], SERIES[1:-1]]))


def test_short_and_misshapen_series_are_refused() -> None:
    with pytest.raises(InvalidDataError, match="n at least 21, one window"):
        windows(SERIES, 21)
    with pytest.raises(InvalidDataError, match="shape"):
        windows(SERIES[:, 0], 2)
