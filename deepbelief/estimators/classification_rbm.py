"""`ClassificationRBM`: one RBM over cases and labels, as a classifier that also samples, completes and scores."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d

from deepbelief.belief.greedy import MOMENT_BATCHES
from deepbelief.energy.classification_rbm import UNKNOWN
from deepbelief.energy.classification_rbm import ClassificationRBM as ClassificationRBMModule
from deepbelief.energy.gradients.classification import ClassificationLearning
from deepbelief.energy.gradients.settings import LearningSettings, make_negative
from deepbelief.errors import InvalidArgumentError, InvalidDataError, check_choice, check_count
from deepbelief.estimators import generative as face
from deepbelief.estimators.arrays import checked, checked_pair, checked_weight, in_type, through, without_weightless
from deepbelief.estimators.columns import choose_columns
from deepbelief.estimators.learning import (
    binarizer_of,
    check_basics,
    folder_to_keep,
    parameter_type,
    source_of,
    trainer_options,
)
from deepbelief.estimators.seeds import seed_of
from deepbelief.estimators.shared import Filling, OnColumns, SparseIn
from deepbelief.estimators.storage import Savable
from deepbelief.protocols import BatchSource
from deepbelief.rng import make_generator
from deepbelief.training.schedules import make_schedule
from deepbelief.training.trainer import Trainer
from deepbelief.types import Bound
from deepbelief.units.catalog import make_units

Array = NDArray[Any]
RULES = ("cd", "pcd", "pt", "ptt")  # ways to the model's half
OBJECTIVES = ("hybrid", "discriminative", "generative")


class ClassificationRBM(
    Filling,
    OnColumns,
    SparseIn,
    Savable,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    ClassifierMixin,
    BaseEstimator,
):
    """An RBM that classifies with exact class posteriors (Larochelle & Bengio 2008), and knows the cases too.

    Parameters
    ----------
    n_components : int
        Number of hidden units.
    objective : "hybrid", "discriminative" or "generative"
        log p(y | x) + `alpha` log p(x, y), the first alone, or log p(x, y) alone.
    alpha, beta : float
        Weight of the generative term of "hybrid", and of log p(x) for each unlabelled case.
    visible, hidden, n_values
        Kinds of units, as for `deepbelief.RBM`.
    learning, k, n_chains, n_replicas
        The model's half of the generative terms: "cd", "pcd", "pt" (chains at `n_replicas` temperatures) or "ptt" (at
        checkpoints of the training).
    epochs, batch_size, learning_rate, schedule, momentum, l1, l2, centred, sparsity_target, sparsity_cost, averaging, \
binarization, device, precision, checkpoint_dir, verbose, random_state
        As for `deepbelief.RBM`; `optimizer` is "adam" or "sgd".

    Attributes
    ----------
    classes_ : array
        The labels, sorted.
    module_ : deepbelief.energy.classification_rbm.ClassificationRBM
        The model, a torch module.
    history_ : list of dict
        One row per epoch, with ``log_posterior`` and ``error_rate`` of the training cases.
    log_z_ : Bound
        log Z in nats of the joint model; computed when first needed.

    Notes
    -----
    Where labels are numbers, -1 marks a case without one, as in `sklearn.semi_supervised`; but where -1 and one other
    number are all there is, they are two classes.

    Examples
    --------
    >>> import numpy as np
    >>> from deepbelief import ClassificationRBM
    >>> X = np.repeat([[0, 0, 1, 1], [1, 1, 0, 0]], 50, axis=0)
    >>> y = np.repeat(["right", "left"], 50)
    >>> model = ClassificationRBM(4, epochs=20, random_state=0).fit(X, y)
    >>> model.predict(X[[0, 50]]).tolist(), model.sample(label="left", random_state=0).shape
    (['right', 'left'], (1, 4))
    """

    _log_z: Bound | None = None
    _stored = ("visible_", "mean_", "scale_", "history_", "classes_", "_seed", "_log_z")

    def __init__(
        self,
        n_components: int = 256,
        *,
        objective: str = "hybrid",
        alpha: float = 0.01,
        beta: float = 0.01,
        visible: str = "auto",
        hidden: str = "bernoulli",
        n_values: int | None = None,
        learning: str = "cd",
        k: int = 1,
        n_chains: int = 100,
        n_replicas: int = 10,
        epochs: int = 20,
        batch_size: int = 100,
        learning_rate: float = 0.01,
        schedule: str = "linear",
        momentum: float = 0.0,
        optimizer: str = "adam",
        l1: float = 0.0,
        l2: float = 0.0,
        centred: bool = False,
        sparsity_target: float | None = None,
        sparsity_cost: float = 0.1,
        averaging: float | None = None,
        binarization: str = "none",
        device: str = "auto",
        precision: str = "fp32",
        checkpoint_dir: str | Path | None = None,
        verbose: int = 0,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.objective, self.alpha, self.beta = objective, alpha, beta
        self.visible, self.hidden, self.n_values = visible, hidden, n_values
        self.learning, self.k, self.n_chains, self.n_replicas = learning, k, n_chains, n_replicas
        self.epochs, self.batch_size = epochs, batch_size
        self.learning_rate, self.schedule, self.momentum, self.optimizer = learning_rate, schedule, momentum, optimizer
        self.l1, self.l2, self.centred = l1, l2, centred
        self.sparsity_target, self.sparsity_cost, self.averaging = sparsity_target, sparsity_cost, averaging
        self.binarization = binarization
        self.device, self.precision, self.checkpoint_dir = device, precision, checkpoint_dir
        self.verbose, self.random_state = verbose, random_state

    # -- learning ---------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any, sample_weight: Any = None, resume_from: str | Path | None = None) -> Self:
        """Learn from X: (n_samples, n_features) and labels y of any type that can be sorted (the number -1: none)."""
        check_basics(self)
        check_count("n_components", self.n_components, low=1)
        check_choice("objective", self.objective, OBJECTIVES)
        check_choice("learning", self.learning, RULES)
        X, y = checked_pair(self, X, y)
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        weight, X, y = without_weightless(checked_weight(sample_weight, X.shape[0]), X, y)
        labels = self._number(y)
        folder, seed = folder_to_keep(self, resume_from), seed_of(self.random_state)
        columns = choose_columns(X, self.visible, weight)
        model = ClassificationRBMModule(
            columns.units(X, self.n_values),
            make_units(self.hidden, self.n_components, n_values=self.n_values, name="hidden"),
            len(self.classes_),
            generator=make_generator(seed),
        ).to(parameter_type(self))
        source = source_of(self, columns, X, labels, weight, seed=seed, binarizer=binarizer_of(self, seed))
        if resume_from is None:
            _match_data(model, source, seed)
        procedure = self._procedure(model, unlabelled=bool((labels < 0).any()))
        options = {"seed": seed, "averaging": self.averaging, **trainer_options(self, model)}
        trainer = Trainer(epochs=self.epochs, checkpoint_dir=folder, **options)
        record = trainer.fit(procedure, source, resume_from=None if resume_from is None else folder)
        self.module_, self.history_, self._seed, self._log_z = model, record.history, seed, None
        self.visible_, self.mean_, self.scale_ = columns.kind, columns.mean, columns.scale
        return self

    def _number(self, y: Array) -> Array:
        """Labels as numbers from 0, -1 where there is none; sets ``classes_``."""
        marks = y.dtype.kind in "iuf" and len(np.unique(y)) > 2  # -1 and 1 alone are two classes
        known = y != UNKNOWN if marks else np.ones(len(y), dtype=bool)
        self.classes_, codes = np.unique(y[known], return_inverse=True)
        if len(self.classes_) < 2:
            raise InvalidDataError(
                f"y must hold at least 2 classes. Got {len(self.classes_)} class: {self.classes_.tolist()}. "
                "Add another."
            )
        labels = np.full(len(y), UNKNOWN, dtype=np.int64)
        labels[known] = codes
        return labels

    def _procedure(self, model: ClassificationRBMModule, *, unlabelled: bool) -> ClassificationLearning:
        discriminative = 0.0 if self.objective == "generative" else 1.0
        generative = {"hybrid": self.alpha, "discriminative": 0.0, "generative": 1.0}[self.objective]
        chains = {name: getattr(self, name) for name in ("learning", "k", "n_chains", "n_replicas")}
        return ClassificationLearning(
            model,
            make_negative(LearningSettings(**chains)),
            discriminative=discriminative,
            generative=generative,
            unlabelled=self.beta if unlabelled else 0.0,
            learning_rate=self.learning_rate,
            schedule=make_schedule(self.schedule, 1.0),
            momentum=self.momentum,
            optimizer=self.optimizer,
            l1=self.l1,
            l2=self.l2,
            centred=self.centred,
            sparsity_target=self.sparsity_target,
            sparsity_cost=self.sparsity_cost,
        )

    @property
    def _n_features_out(self) -> int:
        return self.module_.hidden.size

    # -- use --------------------------------------------------------------------------------------------------------

    def predict_log_proba(self, X: Any) -> Array:
        """Logarithms of `predict_proba`."""
        columns = self._columns
        return through(self.module_, lambda model, rows: model.log_posterior(rows), checked(self, X), columns.inward)

    def predict_proba(self, X: Any) -> Array:
        """p(y | x), exact, in the order of ``classes_``: (n_samples, n_classes)."""
        return np.exp(self.predict_log_proba(X))

    def predict(self, X: Any) -> Array:
        """The most probable class of each case: (n_samples,)."""
        found = self.predict_log_proba(X)
        return self.classes_[found.argmax(1)]

    def transform(self, X: Any) -> Array:
        """The means of the hidden units, averaged over the label's posterior: (n_samples, n_components)."""
        columns = self._columns
        return face.encode(self.module_, columns, checked(self, X))

    def sample(
        self,
        n_samples: int = 1,
        *,
        label: Any = None,
        random_state: Any = None,
        n_steps: int = 1000,
        mean: bool = False,
        method: str = "gibbs",
    ) -> Array:
        """Draws of cases; `label` is one class for all of them, or one for each.

        With ``method="pt"``, by parallel tempering at `n_replicas` temperatures, where chains would stay in one mode.
        """
        columns, state = self._columns, self.random_state if random_state is None else random_state
        options: dict[str, Any] = {"n_steps": n_steps, "mean": mean, "method": method, "n_replicas": self.n_replicas}
        if label is not None:
            wanted = np.broadcast_to(np.asarray(label), (n_samples,))
            unknown = [value for value in wanted.tolist() if value not in self.classes_.tolist()]
            if unknown:
                raise InvalidArgumentError(f"label must be one of {self.classes_.tolist()}. Got {unknown[0]!r}.")
            options["labels"] = torch.from_numpy(np.searchsorted(self.classes_, wanted)).to(
                self.module_.rbm.weight.device
            )
        return face.sample(self.module_, columns, n_samples, state, **options)

    @property
    def log_z_(self) -> Bound:
        """log Z of the joint model in nats with its kind."""
        check_is_fitted(self, "module_")
        return face.log_z_of(self, self.module_.rbm)

    def log_likelihood(self, X: Any) -> Bound:
        """log p(x) of each case in nats, labels summed out, with its kind."""
        columns = self._columns
        rows = face.all_rows(self, self.module_, columns, checked(self, X))
        bound = in_type(self.module_, rows.dtype).log_likelihood(rows, log_z=self.log_z_)
        return face.on_data_scale(bound, columns)


def _match_data(model: ClassificationRBMModule, source: BatchSource, seed: int) -> None:
    """Start at the moments of the first batches."""
    generator = make_generator(seed, getattr(source, "device", "cpu"))
    batches = list(islice(source.batches(0, generator=generator), MOMENT_BATCHES))
    x, y = (torch.cat([getattr(batch, name) for batch in batches]) for name in ("x", "y"))
    weight = None if batches[0].weight is None else torch.cat([batch.weight for batch in batches])  # type: ignore[misc]
    model.to(x.device).match_data(x.to(model.rbm.weight), y, weight)
