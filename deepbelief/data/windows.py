"""Windows of a series as cases, and the way back from a score for each window to one for each step of time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepbelief.errors import InvalidDataError, check_count

Array = NDArray[Any]


def windows(series: Array, width: int) -> Array:
    """Every `width` frames in a row as one case, the oldest frame first: (n, d) -> (n - width + 1, width * d).

    Raises `InvalidDataError` where the series is shorter than one window.

    >>> windows(np.arange(6.0).reshape(3, 2), 2).tolist()
    [[0.0, 1.0, 2.0, 3.0], [2.0, 3.0, 4.0, 5.0]]
    """
    check_count("width", width, low=1)
    if series.ndim != 2 or len(series) < width:
        raise InvalidDataError(
            f"a series must have shape (n, columns) with n at least {width}, one window. Got {series.shape}."
        )
    n = len(series) - width + 1
    return np.concatenate([series[first : first + n] for first in range(width)], 1)


def frames_and_contexts(series: Array, order: int) -> tuple[Array, Array]:
    """Every frame that has `order` frames before it, and these, the oldest first: (n, d), (n, order * d).

    >>> frames, contexts = frames_and_contexts(np.arange(8.0).reshape(4, 2), 2)
    >>> frames.tolist(), contexts.tolist()
    ([[4.0, 5.0], [6.0, 7.0]], [[0.0, 1.0, 2.0, 3.0], [2.0, 3.0, 4.0, 5.0]])
    """
    if len(series) <= order:
        raise InvalidDataError(f"a sequence must be longer than order={order} frames. Got {len(series)} frames.")
    rows = windows(series, order + 1)
    split = order * series.shape[1]
    return rows[:, split:], rows[:, :split]


def scores_of_steps(scores: Array, width: int) -> Array:
    """Each step's score is that of the window that ends there, so it knows nothing of later steps.

    The first ``width - 1`` steps end no whole window and have none (NaN): (n - width + 1,) -> (n,).

    >>> scores_of_steps(np.array([5.0, 7.0]), 3).tolist()
    [nan, nan, 5.0, 7.0]
    """
    return np.concatenate([np.full(width - 1, np.nan), scores])
