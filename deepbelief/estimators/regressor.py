"""`DeepBeliefRegressor`: pre-trained without targets, fine-tuned to predict one number or several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    MultiOutputMixin,
    RegressorMixin,
    TransformerMixin,
)
from sklearn.utils.metaestimators import available_if

from deepbelief.errors import InvalidDataError, check_count
from deepbelief.estimators import generative as face
from deepbelief.estimators.arrays import checked_pair, checked_weight, without_weightless
from deepbelief.estimators.storage import Savable
from deepbelief.estimators.supervised import Supervised, complete_with, is_generative, unlabelled

Array = NDArray[Any]


class DeepBeliefRegressor(
    Supervised,
    Savable,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    MultiOutputMixin,
    RegressorMixin,
    BaseEstimator,
):
    """A deep belief network fine-tuned to predict targets of one or several columns by squared error.

    Targets are standardized while the network learns. All parameters are those of `deepbelief.DeepBeliefClassifier`
    but for ``label_in_top``.

    Attributes
    ----------
    module_ : deepbelief.belief.unrolled.UnrolledDBN
        The fine-tuned network, a torch module; its outputs are standardized targets.
    dbn_ : deepbelief.belief.dbn.DBN
        The generative model as it was before fine-tuning.
    target_mean_, target_scale_ : arrays
        The standardization of the targets.
    history_, fine_tune_history_ : list of dict
        One row per epoch.

    Examples
    --------
    >>> import numpy as np
    >>> from deepbelief import DeepBeliefRegressor
    >>> X = np.linspace(-2, 2, 200).reshape(-1, 1)
    >>> model = DeepBeliefRegressor((20,), fine_tune_epochs=200, fine_tune_learning_rate=0.03, random_state=0)
    >>> bool(model.fit(X, np.abs(X[:, 0])).score(X, np.abs(X[:, 0])) > 0.9)
    True
    """

    _stored = (*Supervised._stored, "target_mean_", "target_scale_", "_target_shape")
    _stored_module = "dbn_"

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (500, 500),
        *,
        pretrain_epochs: int | Sequence[int] | None = None,
        fine_tune_epochs: int | None = None,
        fine_tune_batch_size: int | None = None,
        fine_tune_learning_rate: float = 3e-3,
        fine_tune_schedule: str = "linear",
        optimizer: str = "adam",
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        weight_decay: float = 0.0,
        max_norm: float | None = None,
        adversarial: float = 0.0,
        early_stopping: bool = False,
        patience: int = 10,
        validation_fraction: float = 0.1,
        visible: str = "auto",
        hidden: str = "bernoulli",
        n_values: int | None = None,
        learning: str = "pcd",
        k: int = 1,
        n_chains: int = 100,
        batch_size: int | None = None,
        learning_rate: float | Sequence[float] | None = None,
        schedule: str = "linear",
        momentum: float = 0.0,
        l1: float = 0.0,
        l2: float = 0.0,
        centred: bool = True,
        sparsity_target: float | None = None,
        averaging: float | None = None,
        binarization: str = "none",
        tied: bool = False,
        watch: Sequence[str] = (),
        device: str = "auto",
        precision: str = "fp32",
        checkpoint_dir: str | Path | None = None,
        verbose: int = 0,
        random_state: Any = None,
    ) -> None:
        self.hidden_layer_sizes, self.pretrain_epochs = hidden_layer_sizes, pretrain_epochs
        self.fine_tune_epochs, self.fine_tune_learning_rate = fine_tune_epochs, fine_tune_learning_rate
        self.fine_tune_batch_size = fine_tune_batch_size
        self.fine_tune_schedule, self.optimizer = fine_tune_schedule, optimizer
        self.dropout, self.input_dropout = dropout, input_dropout
        self.weight_decay, self.max_norm, self.adversarial = weight_decay, max_norm, adversarial
        self.early_stopping, self.patience = early_stopping, patience
        self.validation_fraction = validation_fraction
        self.visible, self.hidden, self.n_values = visible, hidden, n_values
        self.learning, self.k, self.n_chains = learning, k, n_chains
        self.batch_size, self.learning_rate, self.schedule = batch_size, learning_rate, schedule
        self.momentum, self.l1, self.l2, self.centred = momentum, l1, l2, centred
        self.sparsity_target, self.averaging = sparsity_target, averaging
        self.binarization, self.tied, self.watch = binarization, tied, watch
        self.device, self.precision, self.checkpoint_dir = device, precision, checkpoint_dir
        self.verbose, self.random_state = verbose, random_state

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        X_unlabeled: Any = None,
        resume_from: str | Path | None = None,
    ) -> Self:
        """Pre-train on X and `X_unlabeled`, then fine-tune on X and the targets y, (n_samples,) or (n_samples, k)."""
        if self.fine_tune_epochs is not None:
            check_count("fine_tune_epochs", self.fine_tune_epochs, low=1)
        X, y = checked_pair(self, X, y, multi_output=True, y_numeric=True)
        weight, X, y = without_weightless(checked_weight(sample_weight, X.shape[0]), X, y)
        targets = _numbers(y).reshape(len(y), -1)
        mean = np.average(targets, axis=0, weights=weight)
        spread = np.sqrt(np.average((targets - mean) ** 2, axis=0, weights=weight))
        scale = np.where(spread > 0, spread, 1.0)
        more = unlabelled(self, X_unlabeled)
        goals = ((targets - mean) / scale).astype(np.float32)
        self._learn(X, goals, weight, more, loss="mse", n_outputs=goals.shape[1], resume_from=resume_from)
        self.target_mean_, self.target_scale_, self._target_shape = mean, scale, list(y.shape[1:])
        return self

    def predict(self, X: Any) -> Array:
        """The targets of each case, in the shape that they had in `fit`."""
        outputs = self._outputs(X)
        targets = outputs * self.target_scale_ + self.target_mean_
        return targets.astype(outputs.dtype).reshape(len(outputs), *self._target_shape)

    @available_if(is_generative)
    def sample(
        self,
        n_samples: int = 1,
        *,
        random_state: Any = None,
        n_steps: int = 1000,
        mean: bool = False,
        method: str = "gibbs",
    ) -> Array:
        """Draws of X from the generative model; `method` as for `deepbelief.DeepBeliefNetwork`."""
        columns, state = self._columns, self.random_state if random_state is None else random_state
        return face.sample(self.dbn_, columns, n_samples, state, n_steps=n_steps, mean=mean, method=method)

    @available_if(is_generative)
    def complete(
        self, X: Any, known: Any = None, *, random_state: Any = None, n_steps: int = 200, n_average: int | None = None
    ) -> Array:
        """X with its missing entries (NaN, or where `known` is False) filled with their mean given the rest."""
        return complete_with(self, X, known, random_state, n_steps=n_steps, n_average=n_average)


def _numbers(y: Any) -> NDArray[np.float64]:
    try:
        return np.asarray(y, dtype=np.float64)
    except ValueError as error:
        text = next((each for each in np.ravel(y).tolist() if isinstance(each, str)), None)
        if text is None:
            raise
        raise InvalidDataError(f"y must hold numbers. Got {text!r}. Use DeepBeliefClassifier for classes.") from error
