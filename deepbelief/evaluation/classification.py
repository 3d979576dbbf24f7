"""How well class probabilities and predicted numbers fit: errors with their errors, confusion, the hardest cases."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from deepbelief.errors import InvalidDataError, check_count
from deepbelief.evaluation.measured import check_same_length, mean_result, to_numpy
from deepbelief.types import Result

SMALLEST = 1e-12  # probabilities below are raised to it in the log-loss, so that one case cannot make it infinite


def classification_results(probabilities: Any, y: Any, *, data: str, model_name: str) -> list[Result]:
    """Test error rate, log-loss and calibration error of `probabilities` (cases, classes) for class numbers `y`.

    The error rate is in percent with its binomial standard error ``sqrt(p (1 - p) / n)``; the log-loss is the mean of
    ``-log p(true class)`` in nats, probabilities below 1e-12 raised to it.
    """
    p, y = check_probabilities(probabilities, y)
    error = float((p.argmax(1) != y).mean())
    spread = math.sqrt(error * (1 - error) / len(y))
    log_loss = -np.log(np.maximum(p[np.arange(len(y)), y], SMALLEST))
    return [
        Result("test error rate", 100 * error, "measured", 100 * spread, "%", data, model_name),
        mean_result("test log-loss", log_loss, unit="nats", data=data, model=model_name),
        Result("test calibration error", 100 * calibration_error(p, y), "measured", None, "%", data, model_name),
    ]


def calibration_error(probabilities: Any, y: Any, *, n_bins: int = 15) -> float:
    """The mean gap between how sure the classifier is and how often it is right (Guo et al. 2017), between 0 and 1.

    Cases are binned by the probability of the predicted class into `n_bins` of equal width; the gaps of the bins are
    averaged with their shares of the cases.

    >>> calibration_error([[0.75, 0.25]] * 4, [0, 0, 0, 1])
    0.0
    """
    check_count("n_bins", n_bins, low=1)
    p, y = check_probabilities(probabilities, y)
    sureness, right = p.max(1), p.argmax(1) == y
    bins = np.minimum((sureness * n_bins).astype(int), n_bins - 1)
    gaps = np.bincount(bins, weights=sureness - right, minlength=n_bins)
    return float(np.abs(gaps).sum() / len(y))


def confusion_matrix(probabilities: Any, y: Any) -> np.ndarray:
    """Counts (classes, classes): rows are true classes, columns predicted ones.

    >>> confusion_matrix([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], [0, 1, 1]).tolist()
    [[1, 0], [1, 1]]
    """
    p, y = check_probabilities(probabilities, y)
    n = p.shape[1]
    return np.bincount(y * n + p.argmax(1), minlength=n * n).reshape(n, n)


def hardest_cases(probabilities: Any, y: Any, k: int) -> np.ndarray:
    """The numbers of the `k` cases whose true class got the least probability, the hardest first."""
    check_count("k", k, low=1)
    p, y = check_probabilities(probabilities, y)
    return np.argsort(p[np.arange(len(y)), y], kind="stable")[:k]


def regression_results(predictions: Any, targets: Any, *, data: str, model_name: str) -> list[Result]:
    """Mean squared and absolute error per case (averaged over outputs), root mean squared error and R squared.

    R squared compares with the mean of the test targets; 0 is what that constant reaches. The standard error of the
    root is that of the mean squared error through the derivative of the root.
    """
    guess, truth = _as_columns(predictions), _as_columns(targets)
    if guess.shape != truth.shape or truth.size == 0:
        raise InvalidDataError(
            f"predictions and targets must have one shape, with at least 1 case. Got {guess.shape} and {truth.shape}."
        )
    squared, absolute = np.square(guess - truth).mean(1), np.abs(guess - truth).mean(1)
    names = {"data": data, "model": model_name}
    mse = mean_result("test mean squared error", squared, unit="target units squared", **names)
    root = math.sqrt(mse.value or 0.0)
    root_error = mse.stderr / (2 * root) if mse.stderr is not None and root > 0 else None
    rows = [
        mse,
        Result("test root mean squared error", root, "measured", root_error, "target units", data, model_name),
        mean_result("test mean absolute error", absolute, unit="target units", **names),
    ]
    spread = np.square(truth - truth.mean(0)).sum()
    if spread > 0:
        explained = float(1 - np.square(guess - truth).sum() / spread)
        rows.append(Result("test R squared", explained, "measured", None, "", data, model_name))
    return rows


def check_probabilities(probabilities: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays, or `InvalidDataError` when rows are no distributions or `y` no class numbers."""
    p, labels = to_numpy(probabilities).astype(np.float64), to_numpy(y)
    if p.ndim != 2:
        raise InvalidDataError(f"probabilities must have shape (cases, classes). Got {p.shape}.")
    check_same_length(p, labels, "probabilities", "y")
    sums = p.sum(1)
    if not np.isfinite(p).all() or p.min() < 0 or np.abs(sums - 1).max() > 1e-3:
        worst = sums[np.nan_to_num(np.abs(sums - 1), nan=np.inf).argmax()]
        raise InvalidDataError(
            f"probabilities must be at least 0 and sum to 1 in every row. Got a row with sum {worst:g} or a negative "
            "or missing value. Apply softmax to log-odds first."
        )
    if labels.min() < 0 or labels.max() >= p.shape[1] or (labels != labels.astype(int)).any():
        raise InvalidDataError(
            f"y must hold class numbers from 0 to {p.shape[1] - 1}. Got {labels.min():g} to {labels.max():g}."
        )
    return p, labels.astype(int)


def _as_columns(values: Any) -> np.ndarray:
    array = to_numpy(values).astype(np.float64)
    return array.reshape(len(array), -1)
