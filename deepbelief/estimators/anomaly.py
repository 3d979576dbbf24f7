"""`AnomalyDetector`: any model with a score as a detector with scikit-learn's outlier interface."""

from __future__ import annotations

import importlib
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, OutlierMixin, clone
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from deepbelief.errors import InvalidArgumentError, check, check_choice, check_count, check_range
from deepbelief.estimators.arrays import checked
from deepbelief.estimators.storage import ESTIMATORS, Savable
from deepbelief.rng import make_generator

Array = NDArray[Any]
OWN_SCORES = ("free_energy", "score_samples", "reconstruction")
BY_NEIGHBORS = ("neighbors", "combined")
METHODS = ("auto", *OWN_SCORES, *BY_NEIGHBORS)
NEEDED = {"reconstruction": ("transform", "inverse_transform")} | dict.fromkeys(BY_NEIGHBORS, ("transform",))


class AnomalyDetector(Savable, OutlierMixin, BaseEstimator):
    """Fit a model to normal cases, and call those odd that it scores below a threshold set on normal cases.

    Parameters
    ----------
    estimator : estimator, pipeline, the name of an estimator of this library, or None
        What scores: anything with `score_samples` (higher is more normal), e.g. ``RBM(30)``, ``DeepBeliefNetwork()``,
        ``make_pipeline(QuantileTransformer(output_distribution="normal"), RBM(30))``. None is ``RBM()``.
    method : "auto", "free_energy", "score_samples", "reconstruction", "neighbors" or "combined"
        The score: minus the free energy of an RBM (the log-likelihood but for log Z, which moves all cases alike and so
        changes no decision); the model's own; or minus the squared error of decoding a case's code, each column in its
        standard deviations, for any model with `transform` and `inverse_transform`. "auto" is the first of
        them that the model has. "neighbors": minus the Euclidean distance d of a case's code (`transform`) to the
        `n_neighbors`-th nearest code of the cases learned from. "combined": ``((s - <s>) / std(s) - (d - <d>) / std(d))
        / 2`` with the score s of "auto" and means and deviations over the cases learned from, each of which is left out
        of its own neighbours; the density and the neighbourhood err on different cases.
    n_neighbors : int
        Which neighbour's distance counts, for "neighbors" and "combined". These keep the codes of all cases.
    contamination : float in (0, 0.5]
        The share of the cases of `fit` that lie below the threshold. Where these are all normal, it is the rate of
        false alarms that is accepted.
    held_out : float in [0, 0.9]
        The share of the cases that the model does not learn from and that set the threshold. With 0, the training
        cases set it: a model scores these higher than new ones, so it raises more false alarms than `contamination`.
    random_state : int, RandomState instance or None
        Drives the choice of the held-out cases.

    Attributes
    ----------
    estimator_ : the fitted model
    method_ : str
        What scores.
    scale_ : array or None
        For the reconstruction: the standard deviations of the columns that the model saw.
    codes_ : array (n_learned, n_codes) or None
        With neighbours: the codes of the cases learned from.
    moments_ : array (2, 2) or None
        For "combined": mean and standard deviation of the model's own score, then of the distance.
    offset_ : float
        The threshold: ``decision_function(X) = score_samples(X) - offset_``.

    Examples
    --------
    >>> import numpy as np
    >>> from deepbelief import RBM, AnomalyDetector
    >>> X = np.random.default_rng(0).normal(size=(300, 2))
    >>> detector = AnomalyDetector(RBM(4, random_state=0), contamination=0.05).fit(X)
    >>> detector.predict([[0.0, 0.0], [9.0, -9.0]]).tolist()
    [1, -1]
    """

    _stored: tuple[str, ...] = ("offset_", "method_", "scale_", "moments_")
    _stored_estimator = "estimator_"
    _stored_state: str | None = "codes_"
    _methods: tuple[str, ...] = METHODS

    def __init__(
        self,
        estimator: Any = None,
        *,
        method: str = "auto",
        n_neighbors: int = 5,
        contamination: float = 0.1,
        held_out: float = 0.0,
        random_state: Any = None,
    ) -> None:
        self.estimator, self.method, self.n_neighbors = estimator, method, n_neighbors
        self.contamination, self.held_out, self.random_state = contamination, held_out, random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn from X, (n_samples, n_features), normal cases as far as one knows; `y` is not used."""
        self._check_arguments()
        X = checked(self, X, reset=True)
        learned, held = self._split(X)
        self.estimator_ = self._new_estimator()
        self._learn_rows(learned)
        self.offset_ = float(np.quantile(self._scores(held), self.contamination))
        return self

    def _new_estimator(self) -> Any:
        given = self.estimator
        if isinstance(given, str) or given is None:
            name = given or "RBM"
            check_choice("estimator", name, [key for key in ESTIMATORS if "AnomalyDetector" not in key])
            return getattr(importlib.import_module(ESTIMATORS[name]), name)()
        return clone(given)

    def _learn_rows(self, rows: Any) -> None:
        """Fit the model to cases, and what its score needs beside it."""
        self.method_ = _choose_method(self.estimator_, self.method)
        by_neighbors = self.method_ in BY_NEIGHBORS
        if by_neighbors:
            check_count("n_neighbors", self.n_neighbors, low=1)
            check(
                self.n_neighbors < rows.shape[0],
                f"n_neighbors must be below the {rows.shape[0]} cases learned from. Got {self.n_neighbors}.",
            )
        self.estimator_.fit(rows)
        model, inner = _after_pipeline(self.estimator_, rows)
        self.scale_ = _scale(inner) if self._own_method == "reconstruction" else None
        self.codes_ = np.asarray(model.transform(inner)) if by_neighbors else None
        self.moments_: Array | None = self._moments(rows) if self.method_ == "combined" else None

    @property
    def _own_method(self) -> str:
        """The model's own score, which "combined" joins with the distance."""
        return _choose_method(self.estimator_, "auto") if self.method_ == "combined" else self.method_

    def _moments(self, rows: Any) -> Array:
        found = self._own_scores(rows), kth_distance(self.codes_, None, self.n_neighbors)
        return np.array([(values.mean(), values.std() or 1.0) for values in found])

    def _check_arguments(self) -> None:
        check_choice("method", self.method, self._methods)
        check_range("held_out", self.held_out, low=0, high=0.9)
        check_range("contamination", self.contamination, high=0.5)
        check(
            self.contamination > 0,
            f"contamination must be above 0 and at most 0.5. Got contamination={self.contamination}.",
        )

    def _split(self, x: Any) -> tuple[Any, Any]:
        n_held = round(self.held_out * x.shape[0])
        if n_held == 0:
            return x, x
        check(
            0 < n_held < x.shape[0],
            f"held_out must leave cases to learn from. Got {self.held_out} of {x.shape[0]} cases.",
        )
        import torch

        order = torch.randperm(x.shape[0], generator=make_generator(self.random_state)).numpy()
        return x[order[n_held:]], x[order[:n_held]]

    def score_samples(self, X: Any) -> Array:
        """How normal each case is by `method`, higher is more normal: (n_samples,)."""
        check_is_fitted(self, "estimator_")
        return self._scores(checked(self, X))

    def decision_function(self, X: Any) -> Array:
        """``score_samples(X) - offset_``: below 0 for the odd ones."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> NDArray[np.int64]:
        """-1 for anomalies, 1 for normal cases."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def _scores(self, x: Any) -> Array:
        if self.method_ not in BY_NEIGHBORS:
            return self._own_scores(x)
        model, rows = _after_pipeline(self.estimator_, x)
        distance = kth_distance(self.codes_, np.asarray(model.transform(rows)), self.n_neighbors)
        if self.method_ == "neighbors":
            return -distance
        assert self.moments_ is not None
        (own_mean, own_std), (mean, std) = self.moments_
        return ((self._own_scores(x) - own_mean) / own_std - (distance - mean) / std) / 2

    def _own_scores(self, x: Any) -> Array:
        own = self._own_method
        if own == "score_samples":
            return np.asarray(self.estimator_.score_samples(x))
        model, rows = _after_pipeline(self.estimator_, x)
        if own == "free_energy":
            return -np.asarray(model.free_energy(rows))
        dense = rows.toarray() if hasattr(rows, "toarray") else rows
        return -np.square((dense - model.inverse_transform(model.transform(rows))) / self.scale_).sum(1)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _after_pipeline(estimator: Any, x: Any) -> tuple[Any, Any]:
    """The last step of a pipeline and what it sees; any other estimator and `x` themselves."""
    if isinstance(estimator, Pipeline):
        return estimator[-1], estimator[:-1].transform(x) if len(estimator) > 1 else x
    return estimator, x


def kth_distance(reference: Array | None, x: Array | None, k: int) -> Array:
    """The Euclidean distance of each row of `x` to its k-th nearest in `reference`; None asks of each row of that."""
    from sklearn.neighbors import NearestNeighbors

    return NearestNeighbors(n_neighbors=k).fit(reference).kneighbors(x)[0][:, -1]


def _scale(x: Any) -> Array:
    from sklearn.preprocessing import StandardScaler

    return StandardScaler(with_mean=False).fit(x).scale_


def _choose_method(estimator: Any, method: str) -> str:
    last = estimator[-1] if isinstance(estimator, Pipeline) else estimator
    wanted = OWN_SCORES if method == "auto" else (method,)
    for name in wanted:
        if all(hasattr(last, part) for part in NEEDED.get(name, (name,))):
            return name
    raise InvalidArgumentError(
        f"estimator must have {' or '.join(' and '.join(NEEDED.get(name, (name,))) for name in wanted)}. "
        f"Got {type(last).__name__}, which has not. Choose another."
    )
