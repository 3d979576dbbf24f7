"""What a conditional model is given beside X: labels of any type, or rows of numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_array, check_consistent_length

from deepbelief.errors import InvalidArgumentError, InvalidDataError

Array = NDArray[Any]


class Conditions:
    """Methods over ``conditional``: labels become one-hot rows in the order of ``classes_``, rows of numbers stay."""

    def _learn_condition(self: Any, y: Any, n: int) -> Array | None:
        """The rows of y for a fit, (n, width); None where the model has no condition."""
        self.__dict__.pop("classes_", None)
        self._n_condition = 0
        if not self.conditional:
            return None
        if y is None:
            raise InvalidDataError(
                "requires y to be passed, but the target y is None: a conditional model needs y, labels or rows."
            )
        y = np.asarray(y)
        if y.ndim == 1:
            self.classes_ = np.unique(y)
            if len(self.classes_) < 2:
                raise InvalidDataError(f"y must hold at least 2 classes. Got 1 class: {self.classes_.tolist()[0]!r}.")
            self._n_condition = len(self.classes_)
        else:
            self._n_condition = check_array(y).shape[1]
        return self._condition_of(y, n)

    def _condition_of(self: Any, y: Any, n: int) -> Array | None:
        """Condition rows for `n` cases, (n, width) in float32: one label or row for all, or one for each."""
        if not self._n_condition:
            return None  # pipelines pass y along to models that ignore it
        if y is None:
            raise InvalidArgumentError("y must be the condition of a conditional model. Got None. Give labels or rows.")
        rows = self._one_hot(y) if hasattr(self, "classes_") else np.atleast_2d(check_array(np.atleast_2d(y)))
        if rows.shape[1] != self._n_condition:
            raise InvalidDataError(f"y must have {self._n_condition} columns, as in fit. Got {rows.shape[1]}.")
        if len(rows) == 1:
            rows = np.repeat(rows, n, axis=0)
        check_consistent_length(rows, np.empty(n))
        return rows.astype(np.float32)

    def _one_hot(self: Any, y: Any) -> Array:
        labels = np.atleast_1d(np.asarray(y))
        codes = np.searchsorted(self.classes_, labels).clip(max=len(self.classes_) - 1)
        strange = labels[self.classes_[codes] != labels]
        if len(strange):
            raise InvalidDataError(
                f"y must hold labels that were there in fit, {self.classes_.tolist()}. Got {strange.tolist()[0]!r}."
            )
        return np.eye(len(self.classes_))[codes]
