"""What every classifier shares: labels of any type as class numbers, and probabilities from a network's outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from deepbelief.errors import InvalidDataError
from deepbelief.estimators.arrays import checked_pair, checked_weight, without_weightless

Array = NDArray[Any]


class Classes:
    """Methods over ``classes_``, the sorted labels, and ``_outputs(X)``, the network's log-odds of each of them."""

    classes_: Array

    def _checked_cases(self: Any, x: Any, y: Any, sample_weight: Any) -> tuple[Any, Array, Any]:
        """Cases, class numbers and weights of a fit; sets ``classes_``. Cases of weight 0 are left out."""
        x, y = checked_pair(self, x, y)
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        weight, x, y = without_weightless(checked_weight(sample_weight, x.shape[0]), x, y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise InvalidDataError(
                f"y must hold at least 2 classes. Got 1 class: {self.classes_.tolist()[0]!r}. Add another."
            )
        return x, codes.astype(np.int64), weight

    def decision_function(self: Any, X: Any) -> Array:
        """Log-odds: (n_samples, n_classes), and for two classes those of the second against the first: (n_samples,)."""
        outputs = self._outputs(X)
        return outputs[:, 1] - outputs[:, 0] if len(self.classes_) == 2 else outputs

    def predict_log_proba(self: Any, X: Any) -> Array:
        """Logarithms of `predict_proba`."""
        return torch.log_softmax(torch.from_numpy(self._outputs(X)), 1).numpy()

    def predict_proba(self: Any, X: Any) -> Array:
        """The probability of each class, in the order of ``classes_``: (n_samples, n_classes)."""
        return torch.softmax(torch.from_numpy(self._outputs(X)), 1).numpy()

    def predict(self: Any, X: Any) -> Array:
        """The most probable class of each case: (n_samples,)."""
        outputs = self._outputs(X)
        return self.classes_[outputs.argmax(1)]
