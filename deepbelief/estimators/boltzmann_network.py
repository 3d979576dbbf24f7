"""`DeepBoltzmannMachine`: layers that hear each other both ways, as a scikit-learn transformer and density."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from deepbelief.belief.greedy import start_layer
from deepbelief.energy.dbm import DBM
from deepbelief.energy.gradients.deep import DBMLearning
from deepbelief.energy.gradients.settings import make_negative
from deepbelief.energy.pretraining import pretrain
from deepbelief.energy.watch import OF_DBM
from deepbelief.errors import check, check_choice, check_count
from deepbelief.estimators import generative as face
from deepbelief.estimators.arrays import checked, checked_weight, in_type, without_weightless
from deepbelief.estimators.columns import Columns, choose_columns
from deepbelief.estimators.effort import filled
from deepbelief.estimators.learning import (
    PRECISIONS,
    binarizer_of,
    check_watch,
    folder_to_keep,
    layer_sizes,
    parameter_type,
    settings_of,
    source_of,
    trainer_options,
    watch_of,
)
from deepbelief.estimators.seeds import seed_of
from deepbelief.estimators.shared import Drawing, OnColumns, Scored, SparseIn
from deepbelief.estimators.storage import Savable
from deepbelief.protocols import BatchSource
from deepbelief.rng import make_generator
from deepbelief.training.checkpoint import LATEST
from deepbelief.training.schedules import SCHEDULES, make_schedule
from deepbelief.training.trainer import Trainer
from deepbelief.types import Bound
from deepbelief.units.catalog import make_units

Array = NDArray[Any]


class DeepBoltzmannMachine(
    Drawing, Scored, OnColumns, SparseIn, Savable, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
):
    """A deep Boltzmann machine (Salakhutdinov & Hinton 2009): deep features, samples, completions, a likelihood bound.

    All layers learn at once, by mean field and persistent chains, with centred gradients.

    Parameters
    ----------
    hidden_layer_sizes : sequence of at least 2 int
        Numbers of hidden units from the bottom to the top.
    learning : "pcd", "pt" or "ptt"
        The model's half by persistent chains, by chains at `n_replicas` temperatures (parallel tempering), for data
        whose modes plain chains do not leave, or by chains at checkpoints of the training (trajectory tempering), where
        temperatures do not reach them either; of the greedy pre-training, too.
    k, n_chains, n_replicas : int
        Gibbs sweeps per update, persistent chains, and temperatures.
    mean_field_steps : int
        Most rounds of inference per batch.
    epochs, batch_size : int or None
        None for 10 passes in batches of 100. Below 5,000 cases the batches are of 20, and wherever that makes fewer
        than 3,000 updates there are more passes, up to 100: with fewer updates all layers stay near independent units.
    watch : sequence of "log_likelihood" and "running_log_likelihood"
        Lower bounds on training cases, measured about ten times in the joint learning, kept in ``history_``: log Z is
        annealed anew at each look, or carried from look to look along the training.
    pretrain_epochs : int
        Epochs of greedy pre-training of each pair of layers before; centred learning needs none.
    visible, hidden, n_values, learning_rate, schedule, momentum, l1, l2, centred, \
sparsity_target, averaging, binarization, device, precision, checkpoint_dir, verbose, random_state
        As for `deepbelief.RBM`.

    Attributes
    ----------
    module_ : deepbelief.energy.dbm.DBM
        The model, a torch module.
    history_ : list of dict
        One row per epoch.
    visible_, mean_, scale_, log_z_
        As for `deepbelief.RBM`; log Z is that of the whole machine.

    Examples
    --------
    >>> import numpy as np
    >>> from deepbelief import DeepBoltzmannMachine
    >>> X = np.repeat([[0, 0, 1, 1], [1, 1, 0, 0]], 50, axis=0)
    >>> dbm = DeepBoltzmannMachine((4, 3), epochs=20, random_state=0).fit(X)
    >>> dbm.transform(X).shape, dbm.sample(5).shape, dbm.log_likelihood(X).kind
    ((100, 3), (5, 4), 'lower_bound')
    """

    _stored = ("visible_", "mean_", "scale_", "history_", "_seed", "_log_z")
    _log_z: Bound | None = None

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] = (500, 1000),
        *,
        visible: str = "auto",
        hidden: str = "bernoulli",
        n_values: int | None = None,
        learning: str = "pcd",
        k: int = 1,
        n_chains: int = 100,
        n_replicas: int = 10,
        mean_field_steps: int = 10,
        epochs: int | None = None,
        pretrain_epochs: int = 0,
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
        watch: Sequence[str] = (),
        device: str = "auto",
        precision: str = "fp32",
        checkpoint_dir: str | Path | None = None,
        verbose: int = 0,
        random_state: Any = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.visible, self.hidden, self.n_values = visible, hidden, n_values
        self.learning, self.k, self.n_chains, self.n_replicas = learning, k, n_chains, n_replicas
        self.mean_field_steps = mean_field_steps
        self.epochs, self.pretrain_epochs, self.batch_size = epochs, pretrain_epochs, batch_size
        self.learning_rate, self.schedule, self.momentum = learning_rate, schedule, momentum
        self.l1, self.l2, self.centred = l1, l2, centred
        self.sparsity_target, self.averaging = sparsity_target, averaging
        self.binarization, self.device, self.precision = binarization, device, precision
        self.checkpoint_dir, self.verbose, self.random_state = checkpoint_dir, verbose, random_state
        self.watch = watch

    # -- learning ---------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None, resume_from: str | Path | None = None) -> Self:
        """Learn from X: (n_samples, n_features), images, frames or sparse; `y` is not used."""
        self._check_settings()
        X = checked(self, X, reset=True)
        weight, X = without_weightless(checked_weight(sample_weight, X.shape[0]), X)
        folder, seed = folder_to_keep(self, resume_from), seed_of(self.random_state)
        columns = choose_columns(X, self.visible, weight)
        chosen = filled(self, X.shape[0], columns, X.shape[1])
        epochs, batch_size = chosen.epochs, chosen.batch_size
        source = source_of(chosen, columns, X, weight=weight, seed=seed, binarizer=binarizer_of(self, seed))
        dbm = self._new_module(X, columns, source, seed)
        resume = resume_from is not None
        how = trainer_options(self, dbm, batch_size)
        self.history_ = self._pretrain(dbm, source, folder, how, seed, resume)
        procedure = DBMLearning(
            dbm,
            make_negative(settings_of(self, epochs, self.learning_rate)),
            mean_field_steps=self.mean_field_steps,
            learning_rate=self.learning_rate,
            schedule=make_schedule(self.schedule, 1.0),
            momentum=self.momentum,
            l1=self.l1,
            l2=self.l2,
            centred=self.centred,
            sparsity_target=self.sparsity_target,
        )
        joint = None if folder is None else folder / "joint"
        options = {"seed": seed, "checkpoint_dir": joint, "averaging": self.averaging, **how}
        saved = joint if resume and joint is not None and (joint / LATEST).exists() else None
        looks = watch_of(self, dbm, source, None, seed, epochs)
        trainer = Trainer(epochs=epochs, callbacks=looks, **options)
        self.history_ += trainer.fit(procedure, source, resume_from=saved).history
        self.module_, self._seed, self._log_z = dbm, seed, None
        self.visible_, self.mean_, self.scale_ = columns.kind, columns.mean, columns.scale
        return self

    def _check_settings(self) -> None:
        sizes = layer_sizes(self.hidden_layer_sizes)
        check(len(sizes) >= 2, f"hidden_layer_sizes must name at least 2 layers. Got {len(sizes)}. Use RBM for 1.")
        check_choice("learning", self.learning, ["pcd", "pt", "ptt"])
        check_choice("precision", self.precision, PRECISIONS)
        check_choice("schedule", self.schedule, SCHEDULES)
        if self.epochs is not None:
            check_count("epochs", self.epochs, low=0)
        check_count("pretrain_epochs", self.pretrain_epochs, low=0)
        if self.batch_size is not None:
            check_count("batch_size", self.batch_size, low=1)
        check_count("mean_field_steps", self.mean_field_steps, low=1)
        check_watch(self, OF_DBM)

    def _new_module(self, x: Any, columns: Columns, source: BatchSource, seed: int) -> DBM:
        """The machine with small random weights and the moments of the first cases."""
        sizes = layer_sizes(self.hidden_layer_sizes)
        hidden = [make_units(self.hidden, n, n_values=self.n_values, name="hidden") for n in sizes]
        dbm = DBM([columns.units(x, self.n_values), *hidden], generator=make_generator(seed)).to(parameter_type(self))
        start_layer(dbm, source, make_generator(seed))
        return dbm

    def _pretrain(
        self, dbm: DBM, source: BatchSource, folder: Path | None, options: dict[str, Any], seed: int, resume: bool
    ) -> list[dict[str, Any]]:
        if not self.pretrain_epochs:
            return []
        plan = settings_of(self, self.pretrain_epochs, self.learning_rate)
        below = None if folder is None else folder / "pretraining"
        records = pretrain(dbm, source, plan, trainer_options=options, seed=seed, checkpoint_dir=below, resume=resume)
        return [{"layer": layer, **row} for layer, record in enumerate(records, start=1) for row in record.history]

    @property
    def _n_features_out(self) -> int:
        return self.module_.units[-1].size

    # -- use --------------------------------------------------------------------------------------------------------

    def transform(self, X: Any) -> Array:
        """The mean-field means of the top layer: (n_samples, n_features) -> (n_samples, last of hidden_layer_sizes)."""
        check_is_fitted(self, "module_")
        return face.encode(self.module_, self._columns, checked(self, X))

    def inverse_transform(self, X: Any) -> Array:
        """The means of the data given the top layer."""
        check_is_fitted(self, "module_")
        return face.decode(self.module_, self._columns, face.checked_codes(X, self._n_features_out))

    @property
    def log_z_(self) -> Bound:
        """log Z in nats with its kind."""
        check_is_fitted(self, "module_")
        return face.log_z_of(self, self.module_.even_odd())

    @torch.no_grad()
    def log_likelihood(self, X: Any) -> Bound:
        """The variational lower bound of each case in nats, with the safe end of log Z."""
        columns = self._columns
        rows = face.all_rows(self, self.module_, columns, checked(self, X))
        return face.on_data_scale(in_type(self.module_, rows.dtype).log_likelihood(rows, log_z=self.log_z_), columns)
