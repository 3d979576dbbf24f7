"""`SeriesAnomalyDetector`: odd steps of a series, by the windows that end at them."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from deepbelief.data.windows import scores_of_steps, windows
from deepbelief.errors import InvalidArgumentError, InvalidDataError, check, check_count
from deepbelief.estimators.anomaly import OWN_SCORES, AnomalyDetector
from deepbelief.estimators.arrays import validated
from deepbelief.estimators.conditional_rbm import ConditionalRBM

Array = NDArray[Any]
SURPRISE = "surprise"
MOST_HIDDEN = 20  # whose states are summed over for every context
FARTHEST = 50.0  # standard deviations: further is no odder, and would overflow


class SeriesAnomalyDetector(AnomalyDetector):
    """Learn the normal course of a series, and call those steps odd whose latest `window` frames are.

    A step is scored by the window that ends there: of what comes later it knows nothing. Columns are standardized, by
    the moments of the steps that the model learns from.

    Parameters
    ----------
    estimator : estimator, pipeline, the name of an estimator of this library, or None
        What scores windows, rows of ``window * n_features`` numbers with the oldest frame first: as for
        `AnomalyDetector`. A `ConditionalRBM` is given the frames before each frame, whatever its own `order` is.
    window : int
        Frames in a window.
    method : "auto", "free_energy", "score_samples", "reconstruction" or "surprise"
        The score: those of `AnomalyDetector`; or, for a `ConditionalRBM` with few hidden units, the log density of the
        last frame of a window given those before it, which "auto" takes there.
    contamination : float in (0, 0.5]
        The share of normal steps that lie below the threshold: the rate of false alarms that is accepted.
    held_out : float in [0, 0.9]
        The share of each series, its end, that the model does not learn from and that sets the threshold. It is the
        end, and not windows at random, for windows that overlap are no new cases.

    Attributes
    ----------
    estimator_ : the fitted model of windows
    method_ : str
        What scores.
    column_mean_, column_scale_ : arrays
        By which the columns are standardized.
    scale_, offset_ : as for `AnomalyDetector`

    Examples
    --------
    >>> import numpy as np
    >>> from deepbelief import RBM, SeriesAnomalyDetector
    >>> wave = np.sin(np.arange(400.0) / 5)[:, None]
    >>> detector = SeriesAnomalyDetector(RBM(8, epochs=5, random_state=0), window=4).fit(wave[:300])
    >>> wave[350] = 4.0
    >>> int(np.nanargmin(detector.score_samples(wave))) in range(350, 354)
    True
    """

    _stored = ("offset_", "method_", "scale_", "column_mean_", "column_scale_")
    _stored_state = None
    _methods = ("auto", *OWN_SCORES, SURPRISE)  # windows overlap: neighbours in time are no neighbours

    def __init__(
        self,
        estimator: Any = None,
        *,
        window: int = 10,
        method: str = "auto",
        contamination: float = 0.01,
        held_out: float = 0.25,
    ) -> None:
        self.estimator, self.window, self.method = estimator, window, method
        self.contamination, self.held_out = contamination, held_out

    # -- learning ---------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn from one series (n_steps, n_features) in the order of time, or a list of them; `y` is not used."""
        self._check_arguments()
        several = isinstance(X, list | tuple) and len(X) > 0 and np.ndim(X[0]) >= 2
        series = [self._checked(part, reset=i == 0) for i, part in enumerate(X if several else [X])]
        parts = [self._cut(part) for part in series]
        learned = np.concatenate([before for before, _ in parts])
        self.column_mean_, spread = learned.mean(0), learned.std(0)
        self.column_scale_ = np.where(spread > 0, spread, 1.0)
        rows = np.concatenate([self._windows(before) for before, _ in parts])
        self._learn(rows)
        held = rows if self.held_out == 0 else np.concatenate([self._windows(after) for _, after in parts])
        self.offset_ = float(np.quantile(self._scores(held), self.contamination))
        return self

    def _check_arguments(self) -> None:
        check_count("window", self.window, low=1)
        super()._check_arguments()
        conditional = isinstance(self.estimator, ConditionalRBM) or self.estimator == "ConditionalRBM"
        if self.method == SURPRISE and not conditional:
            raise InvalidArgumentError(f"method='surprise' needs a ConditionalRBM. Got {self.estimator!r}.")
        if conditional and (self.method not in ("auto", SURPRISE) or self.window < 2):
            raise InvalidArgumentError(
                "a ConditionalRBM needs window=2 or more, and method 'auto' or 'surprise'. "
                f"Got window={self.window}, method={self.method!r}."
            )

    def _cut(self, series: Array) -> tuple[Array, Array]:
        """What a series is learned from, and its end, which shares no step with that."""
        n = len(series) - round(self.held_out * len(series))
        shortest = min(n, len(series) - n) if self.held_out else n
        if shortest < self.window:
            raise InvalidDataError(
                f"each part of a series must hold a window of {self.window} steps. Got {len(series)} steps for "
                f"held_out={self.held_out}."
            )
        return series[:n], series[n:]

    def _learn(self, rows: Array) -> None:
        self.estimator_ = self._new_estimator()
        self.scale_ = None
        if isinstance(self.estimator_, ConditionalRBM):
            self.method_ = SURPRISE
            check(
                self.estimator_.n_components <= MOST_HIDDEN and self.estimator_.hidden in ("bernoulli", "spin"),
                f"a ConditionalRBM needs at most {MOST_HIDDEN} Bernoulli or spin hidden units to score. "
                f"Got {self.estimator_.n_components} {self.estimator_.hidden} ones.",
            )
            frames, contexts = self._split_rows(rows)
            self.estimator_.fit(frames, context=contexts)
            return
        self._learn_rows(rows)

    def _checked(self, x: Any, *, reset: bool = False) -> Array:
        return validated(self, x, dtype=np.float64, reset=reset)

    def _windows(self, series: Array) -> Array:
        inner = (series - self.column_mean_) / self.column_scale_
        return windows(np.clip(inner, -FARTHEST, FARTHEST), self.window)

    # -- use --------------------------------------------------------------------------------------------------------

    def score_samples(self, X: Any) -> Array:
        """How normal each step of a series is, higher is more normal; NaN before the first whole window: (n_steps,)."""
        check_is_fitted(self, "estimator_")
        return scores_of_steps(self._scores(self._windows(self._checked(X))), self.window)

    def _scores(self, x: Any) -> Array:
        if self.method_ == SURPRISE:
            return self.estimator_.score_samples(*self._split_rows(x))
        return super()._scores(x)

    def _split_rows(self, rows: Array) -> tuple[Array, Array]:
        """The last frame of each window, and the frames before it."""
        split = (self.window - 1) * self.n_features_in_
        return rows[:, split:], rows[:, :split]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        return tags
