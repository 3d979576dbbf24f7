"""Methods that are word for word the same for many estimators; each estimator takes those that are true of it.

Constructors and `fit` are no part of this: they stay written out in every estimator, as scikit-learn wants them.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from deepbelief.estimators import generative as face
from deepbelief.estimators.columns import Columns

Array = NDArray[Any]


class OnColumns:
    """For models of columns that were standardized, or not, as ``visible_, mean_, scale_`` say."""

    @property
    def _columns(self: Any) -> Columns:
        check_is_fitted(self, "module_")
        return Columns(self.visible_, self.mean_, self.scale_)


class SparseIn:
    """For transformers that take sparse cases and keep the type of real numbers."""

    def __sklearn_tags__(self: Any) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class Filling:
    """For modules whose `complete` runs a clamped chain."""

    _generative = "module_"  # the fitted module whose chains run

    def complete(
        self: Any,
        X: Any,
        known: Any = None,
        *,
        random_state: Any = None,
        n_steps: int = 200,
        n_average: int | None = None,
    ) -> Array:
        """X with its missing entries (NaN, or where `known` is False) filled with their mean given the rest."""
        columns, state = self._columns, self.random_state if random_state is None else random_state
        steps = {"n_steps": n_steps, "n_average": n_average}
        return face.complete(self, getattr(self, self._generative), columns, X, known, state, **steps)


class Drawing(Filling):
    """For modules that also `sample` by chains, plain ones or tempered at the estimator's `n_replicas` temperatures."""

    def sample(
        self: Any,
        n_samples: int = 1,
        *,
        random_state: Any = None,
        n_steps: int = 1000,
        mean: bool = False,
        method: str = "gibbs",
    ) -> Array:
        """Draws from the model: the ends of `n_samples` chains of `n_steps` sweeps, as the module's `sample` runs them.

        With ``method="pt"``, of parallel tempering at `n_replicas` temperatures, for models whose chains stay in one
        mode (a Boltzmann machine knows "metropolis" too). With `mean`, the means that the last draws come from. Without
        `random_state` the estimator's own is used, so that an integer there gives the same samples every time.
        """
        columns, state = self._columns, self.random_state if random_state is None else random_state
        options = {"n_steps": n_steps, "mean": mean, "method": method, "n_replicas": self.n_replicas}
        return face.sample(getattr(self, self._generative), columns, n_samples, state, **options)


class Scored:
    """For estimators with a `log_likelihood`."""

    def score_samples(self: Any, X: Any) -> Array:
        """The values of `log_likelihood` as an array: (n_samples,)."""
        return face.values_of(self.log_likelihood(X))

    def score(self: Any, X: Any, y: Any = None) -> float:
        """The mean of `score_samples`, in nats per case and of the kind that `log_likelihood` says."""
        return float(self.score_samples(X).mean())
