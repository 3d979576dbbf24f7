"""`DeepBoltzmannClassifier`: a deep Boltzmann machine learned without labels, fine-tuned with those there are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from deepbelief.energy.dbm import DBM
from deepbelief.energy.dbm_network import DBMNetwork
from deepbelief.errors import check_count
from deepbelief.estimators.arrays import checked, through
from deepbelief.estimators.boltzmann_network import DeepBoltzmannMachine
from deepbelief.estimators.classes import Classes
from deepbelief.estimators.columns import Columns
from deepbelief.estimators.learning import check_flags, folder_to_keep
from deepbelief.estimators.seeds import seed_of
from deepbelief.estimators.shared import Drawing
from deepbelief.estimators.storage import Savable
from deepbelief.estimators.supervised import OUTPUT_STREAM, check_fine_tuning, fine_tune, stacked, unlabelled
from deepbelief.rng import make_generator

Array = NDArray[Any]
OF_THE_MACHINE = (
    *("hidden_layer_sizes", "visible", "hidden", "n_values", "learning", "k", "n_chains", "n_replicas"),
    *("mean_field_steps", "epochs"),
    *("pretrain_epochs", "batch_size", "learning_rate", "schedule", "momentum", "l1", "l2", "centred"),
    *("sparsity_target", "averaging", "binarization", "device", "precision", "verbose"),
)


class DeepBoltzmannClassifier(
    Drawing, Classes, Savable, ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClassifierMixin, BaseEstimator
):
    """A deep Boltzmann machine fine-tuned to classify (Salakhutdinov & Hinton 2009, section 3.3).

    The network starts as the machine's pass up, or with `feedback` as one more round of its mean field;
    back-propagation then changes all of its weights.

    Parameters
    ----------
    hidden_layer_sizes, epochs, batch_size, pretrain_epochs, learning_rate, schedule, momentum, l1, l2, centred, \
sparsity_target, averaging, learning, k, n_chains, n_replicas, mean_field_steps, binarization
        Of the machine, as for `deepbelief.DeepBoltzmannMachine`; it learns from all cases, labelled or not.
    fine_tune_epochs, fine_tune_learning_rate, fine_tune_schedule, fine_tune_batch_size, optimizer, weight_decay, \
max_norm, adversarial, dropout, input_dropout, early_stopping, patience, validation_fraction
        Of the back-propagation, as for `deepbelief.DeepBeliefClassifier`.
    feedback : bool
        Whether the mean-field means of the upper layers are inputs beside X, as in the paper: for two layers, at the
        price of inference for every case; three and more learn worse by it (`deepbelief.energy.dbm_network`).
    visible, hidden, n_values, device, precision, checkpoint_dir, verbose, random_state
        As for `deepbelief.RBM`.

    Attributes
    ----------
    classes_ : array
        The labels, sorted.
    module_ : deepbelief.energy.dbm_network.DBMNetwork
        The fine-tuned network, a torch module.
    dbm_ : deepbelief.energy.dbm.DBM
        The generative model inside it, as it was before fine-tuning.
    history_, fine_tune_history_ : list of dict
        One row per epoch.

    Examples
    --------
    >>> import numpy as np
    >>> from deepbelief import DeepBoltzmannClassifier
    >>> X = np.repeat([[0, 0, 1, 1], [1, 1, 0, 0]], 50, axis=0)
    >>> y = np.repeat(["right", "left"], 50)
    >>> model = DeepBoltzmannClassifier((8, 4), fine_tune_learning_rate=0.03, random_state=0)
    >>> model.fit(X[::10], y[::10], X_unlabeled=X).predict(X[[0, 50]]).tolist()
    ['right', 'left']
    """

    _generative = "dbm_"

    _stored = ("visible_", "mean_", "scale_", "history_", "fine_tune_history_", "_seed", "classes_")

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] = (500, 1000),
        *,
        epochs: int | None = None,
        pretrain_epochs: int = 0,
        fine_tune_epochs: int | None = None,
        fine_tune_batch_size: int | None = None,
        fine_tune_learning_rate: float = 3e-3,
        fine_tune_schedule: str = "linear",
        optimizer: str = "adam",
        feedback: bool = False,
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
        n_replicas: int = 10,
        mean_field_steps: int = 10,
        batch_size: int | None = None,
        learning_rate: float = 0.05,
        schedule: str = "linear",
        momentum: float = 0.0,
        l1: float = 0.0,
        l2: float = 0.0,
        centred: bool = True,
        sparsity_target: float | None = None,
        averaging: float | None = None,
        binarization: str = "none",
        device: str = "auto",
        precision: str = "fp32",
        checkpoint_dir: str | Path | None = None,
        verbose: int = 0,
        random_state: Any = None,
    ) -> None:
        self.hidden_layer_sizes, self.epochs, self.pretrain_epochs = hidden_layer_sizes, epochs, pretrain_epochs
        self.fine_tune_epochs, self.fine_tune_learning_rate = fine_tune_epochs, fine_tune_learning_rate
        self.fine_tune_batch_size = fine_tune_batch_size
        self.fine_tune_schedule, self.optimizer = fine_tune_schedule, optimizer
        self.feedback = feedback
        self.dropout, self.input_dropout = dropout, input_dropout
        self.weight_decay, self.max_norm, self.adversarial = weight_decay, max_norm, adversarial
        self.early_stopping, self.patience, self.validation_fraction = early_stopping, patience, validation_fraction
        self.visible, self.hidden, self.n_values = visible, hidden, n_values
        self.learning, self.k, self.n_chains, self.n_replicas = learning, k, n_chains, n_replicas
        self.mean_field_steps = mean_field_steps
        self.batch_size, self.learning_rate, self.schedule = batch_size, learning_rate, schedule
        self.momentum, self.l1, self.l2, self.centred = momentum, l1, l2, centred
        self.sparsity_target, self.averaging, self.binarization = sparsity_target, averaging, binarization
        self.device, self.precision, self.checkpoint_dir = device, precision, checkpoint_dir
        self.verbose, self.random_state = verbose, random_state

    # -- learning ---------------------------------------------------------------------------------------------------

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        X_unlabeled: Any = None,
        resume_from: str | Path | None = None,
    ) -> Self:
        """Learn the machine from X and `X_unlabeled`, then fine-tune on X and the labels y."""
        self._check_settings()
        X, codes, weight = self._checked_cases(X, y, sample_weight)
        folder, seed = folder_to_keep(self, resume_from), seed_of(self.random_state)
        everything, weights = stacked(X, weight, unlabelled(self, X_unlabeled))
        machine = self._learn_machine(everything, weights, folder, seed, resume_from is not None)
        self.visible_, self.mean_, self.scale_ = machine.visible_, machine.mean_, machine.scale_
        self._seed, self.history_ = seed, machine.history_
        net = self._new_network(machine.module_, seed)
        rows, seen = X, machine._columns
        if self.feedback:  # inferred once, not at every visit, and as the units see them
            rows, seen = through(net, DBMNetwork.augmented, X, seen.inward), Columns(machine.visible_)
        beside = None if folder is None else folder / "fine-tuning"
        plan: dict[str, Any] = {"loss": "cross_entropy", "seed": seed, "folder": beside}
        self.fine_tune_history_ = fine_tune(
            self, net, seen, rows, codes, weight, resume=resume_from is not None, **plan
        )
        self.module_ = net
        return self

    def _check_settings(self) -> None:
        check_flags(self)
        if self.fine_tune_epochs is not None:
            check_count("fine_tune_epochs", self.fine_tune_epochs, low=1, remedy="Use DeepBoltzmannMachine for none.")
        check_fine_tuning(self)

    def _learn_machine(self, x: Any, weight: Any, folder: Path | None, seed: int, resume: bool) -> DeepBoltzmannMachine:
        below = None if folder is None else folder / "machine"
        settings = {name: getattr(self, name) for name in OF_THE_MACHINE}
        machine = DeepBoltzmannMachine(**settings, checkpoint_dir=below, random_state=seed)
        return machine.fit(x, sample_weight=weight, resume_from=below if resume else None)

    def _new_network(self, dbm: DBM, seed: int) -> DBMNetwork:
        rates: dict[str, Any] = {"dropout": self.dropout, "input_dropout": self.input_dropout}
        generator = make_generator(seed, stream=OUTPUT_STREAM)
        net = DBMNetwork(dbm.cpu(), len(self.classes_), feedback=self.feedback, generator=generator, **rates)
        return net.eval()

    @property
    def dbm_(self) -> DBM:
        """The machine as it was before fine-tuning."""
        check_is_fitted(self, "module_")
        return self.module_.dbm

    @property
    def _columns(self) -> Columns:
        check_is_fitted(self, "module_")
        return Columns(self.visible_, self.mean_, self.scale_)

    @property
    def _n_features_out(self) -> int:
        return self.dbm_.units[-1].size

    # -- use --------------------------------------------------------------------------------------------------------

    def _outputs(self, x: Any) -> Array:
        columns = self._columns
        return through(self.module_, DBMNetwork.__call__, checked(self, x), columns.inward)

    def transform(self, X: Any) -> Array:
        """The last hidden layer of the fine-tuned network: (n_samples, n_features) -> (n_samples, units)."""
        columns = self._columns
        return through(self.module_, DBMNetwork.features, checked(self, X), columns.inward)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
