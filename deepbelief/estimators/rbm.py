"""`RBM`: a restricted Boltzmann machine of any units as a scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from deepbelief.belief.greedy import start_layer
from deepbelief.data.part import part_of
from deepbelief.energy.gradients.settings import LearningSettings, make_procedure
from deepbelief.energy.low_rank import check_span, learn_in_span, principal_directions
from deepbelief.energy.partition.conservative import raise_log_likelihood
from deepbelief.energy.rbm import RBM as RBMModule
from deepbelief.errors import check_count
from deepbelief.estimators import generative as face
from deepbelief.estimators.arrays import checked, checked_weight, in_type, without_weightless
from deepbelief.estimators.columns import Columns, choose_columns
from deepbelief.estimators.effort import LARGE_SET, filled
from deepbelief.estimators.learning import (
    binarizer_of,
    check_settings,
    folder_to_keep,
    parameter_type,
    settings_of,
    source_of,
    split_off,
    trainer_options,
    watch_of,
)
from deepbelief.estimators.seeds import seed_of
from deepbelief.estimators.shared import Drawing, OnColumns, Scored, SparseIn
from deepbelief.estimators.storage import Savable
from deepbelief.protocols import BatchSource, Procedure, StepContext
from deepbelief.rng import make_generator
from deepbelief.training.checkpoint import LATEST
from deepbelief.training.divergence import Guard
from deepbelief.training.processes import connect
from deepbelief.training.trainer import Trainer
from deepbelief.types import Batch, Bound
from deepbelief.units.catalog import make_units

Array = NDArray[Any]
PARTIAL_STREAM = 105


class RBM(
    Drawing, Scored, OnColumns, SparseIn, Savable, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
):
    """A restricted Boltzmann machine: features, samples, completions and log-likelihoods of tables and images.

    Parameters
    ----------
    n_components : int
        Number of hidden units.
    visible : "auto", "bernoulli", "spin", "gaussian", "rectified", "categorical", "binomial", "poisson", "multinomial"
        Kind of the visible units. "auto" takes Bernoulli units where X lies in [0, 1], and else Gaussian units on
        standardized columns (``mean_``, ``scale_``), which samples, completions and log-likelihoods undo. A named kind
        takes X as it is: "rectified" numbers of at least 0, "binomial" counts up to ``n_values - 1``, "poisson"
        counts without a limit, "multinomial" rows that sum to ``n_values - 1`` (for rows of any sum there is
        `ReplicatedSoftmax`).
    hidden : "bernoulli", "spin", "gaussian", "rectified", "categorical", "binomial", "poisson" or "multinomial"
        Poisson units need units of bounded values on the other side: a pair without a law is refused.
    n_values : int, for categorical, binomial and multinomial units
        Values of each group, X being one-hot coded; or of each count, the largest count and one.
    learning : "pcd", "cd", "exact", "fpcd", "pt", "ptt", "pl", "ratio", "score" or "tap"
        With `k` Gibbs steps per update and `n_chains` persistent chains where the rule has any. "fpcd" adds fast
        weights, "pt" runs chains at `n_replicas` temperatures, "ptt" at checkpoints of the training; the last four need
        no chains (see `deepbelief.energy.gradients.settings.LearningSettings`).
    epochs, batch_size : int or None
        None for 10 passes in batches of 100. Below 5,000 cases the batches are of 20, and wherever that makes fewer
        than 3,000 updates there are more passes, up to 100: after a few hundred a model is still one of independent
        columns.
    learning_rate : float or None
        None for 0.2 between bits learned with chains and centred gradients, 0.1 so from spins to bits, 0.02 under more
        than 100 real-valued columns, else 0.05.
    schedule, momentum, l1, l2, centred, averaging
        See `deepbelief.energy.gradients.settings.LearningSettings`.
    sparsity_target, sparsity_cost : float
        Mean activation that each hidden unit is pulled to by its bias, None for none, and the strength of the pull.
    group_size : int
        Hidden units of a group, one after the other; None for none. It must divide `n_components`.
    group_cost : float
        Strength of the group sparsity: learning climbs ``log p(v) - group_cost * sum over groups of ||<h_g | v>||_2``,
        so that few groups answer to a case (Luo, Shen, Niu & Ungar 2011). Rules without chains have neither sparsity.
    low_rank, low_rank_epochs : int
        A stage before: weights held for so many epochs in the span of the first `low_rank` principal directions of the
        data, where chains find all clusters (see `deepbelief.energy.low_rank`); None for none. Learn by "pt" or "ptt".
    binarization : "none", "threshold", "fixed" or "stochastic"
        How grey levels in [0, 1] become bits while learning (and when scored).
    watch : sequence of names
        Numbers to measure about ten times in a training, kept in ``history_``: "reconstruction_error",
        "pseudo_likelihood", "free_energy_gap", "log_likelihood", "saturation", "relaxation_time", "chain_gap",
        "running_log_likelihood".
    validation_fraction : float
        Share of the cases that are held out, for `watch`.
    device, precision
        "auto", "cpu", "cuda" ...; "fp32", "bf16" or "fp64". In "fp64" and with one batch per epoch, a weighted case
        equals a repeated one to rounding.
    checkpoint_dir : path
        Where a checkpoint is kept after every epoch and on Ctrl-C; ``fit(X, resume_from=checkpoint_dir)`` goes on.
    verbose : int
        Above 0, a progress bar on a terminal and plain lines elsewhere.
    random_state : int, RandomState instance or None

    Attributes
    ----------
    module_ : deepbelief.energy.rbm.RBM
        The model, a torch module.
    history_ : list of dict
        One row per epoch; those of the stage before have `low_rank`.
    visible_, mean_, scale_
        The kind of the visible units; the standardization, or None.
    log_z_ : Bound
        log Z in nats, exact where a layer is small, else bracketed by annealing; computed when first needed.

    Examples
    --------
    >>> import numpy as np
    >>> from deepbelief import RBM
    >>> X = np.repeat([[0, 0, 1, 1], [1, 1, 0, 0]], 50, axis=0)
    >>> rbm = RBM(4, epochs=200, learning_rate=0.2, random_state=0).fit(X)
    >>> rbm.complete([[1.0, np.nan, 0.0, 0.0]]).round().tolist()
    [[1.0, 1.0, 0.0, 0.0]]
    >>> rbm.log_likelihood(X).kind
    'exact'
    """

    _learning_state: dict[str, Any] | None = None  # optimizer and chains, for partial_fit; not saved
    _partial_fits: int = 0
    _log_z: Bound | None = None
    _stored = ("visible_", "mean_", "scale_", "history_", "_seed", "_log_z")

    def __init__(
        self,
        n_components: int = 256,
        *,
        visible: str = "auto",
        hidden: str = "bernoulli",
        n_values: int | None = None,
        learning: str = "pcd",
        k: int = 1,
        n_chains: int = 100,
        n_replicas: int = 10,
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        schedule: str = "linear",
        momentum: float = 0.0,
        l1: float = 0.0,
        l2: float = 0.0,
        centred: bool = True,
        sparsity_target: float | None = None,
        sparsity_cost: float = 0.1,
        group_size: int | None = None,
        group_cost: float = 0.0,
        averaging: float | None = None,
        low_rank: int | None = None,
        low_rank_epochs: int = 10,
        binarization: str = "none",
        watch: Sequence[str] = (),
        validation_fraction: float = 0.0,
        device: str = "auto",
        precision: str = "fp32",
        checkpoint_dir: str | Path | None = None,
        verbose: int = 0,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.visible, self.hidden, self.n_values = visible, hidden, n_values
        self.learning, self.k, self.n_chains, self.n_replicas = learning, k, n_chains, n_replicas
        self.epochs, self.batch_size = epochs, batch_size
        self.learning_rate, self.schedule, self.momentum = learning_rate, schedule, momentum
        self.l1, self.l2, self.centred = l1, l2, centred
        self.sparsity_target, self.sparsity_cost = sparsity_target, sparsity_cost
        self.group_size, self.group_cost, self.averaging = group_size, group_cost, averaging
        self.low_rank, self.low_rank_epochs = low_rank, low_rank_epochs
        self.binarization, self.watch = binarization, watch
        self.validation_fraction = validation_fraction
        self.device, self.precision = device, precision
        self.checkpoint_dir = checkpoint_dir
        self.verbose, self.random_state = verbose, random_state

    # -- learning ---------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None, resume_from: str | Path | None = None) -> Self:
        """Learn from X: (n_samples, n_features), images, frames or sparse; `y` is not used."""
        check_settings(self)
        check_count("n_components", self.n_components, low=1)
        X = checked(self, X, reset=True)
        weight, X = without_weightless(checked_weight(sample_weight, X.shape[0]), X)
        folder, seed = folder_to_keep(self, resume_from), seed_of(self.random_state)
        columns = choose_columns(X, self.visible, weight)
        chosen = filled(self, X.shape[0], columns, X.shape[1])
        plan = chosen._checked_plan(X)
        rbm = self._new_module(X, columns, seed)
        source, held_out = chosen._sources(X, weight, columns, seed)
        if resume_from is None:
            start_layer(rbm, source, make_generator(seed, getattr(source, "device", "cpu")))
        resume = resume_from is not None
        before = chosen._learn_in_span(rbm, X, columns, source, folder, seed, resume)
        watch = watch_of(chosen, rbm, source, held_out, seed)
        options = {"seed": seed, "averaging": self.averaging, **trainer_options(chosen, rbm)}
        trainer = Trainer(epochs=chosen.epochs, callbacks=watch, checkpoint_dir=folder, **options)
        procedure = make_procedure(rbm, plan)
        only_before = bool(before) and folder is not None and not (folder / LATEST).exists()
        record = trainer.fit(procedure, source, resume_from=folder if resume and not only_before else None)
        self._keep(rbm, columns, seed, before + record.history)
        self._learning_state, self._partial_fits = procedure.state_dict(), 0
        return self

    def _checked_plan(self, x: Any) -> LearningSettings:
        """The settings of learning, after a look at those of the stage before."""
        plan = settings_of(self, self.epochs, self.learning_rate)
        if self.low_rank is not None:
            check_count("low_rank", self.low_rank, low=1, high=min(x.shape))
            check_count("low_rank_epochs", self.low_rank_epochs, low=0)
            check_span(plan)
        return plan

    def _learn_in_span(
        self,
        rbm: RBMModule,
        x: Any,
        columns: Columns,
        source: BatchSource,
        folder: Path | None,
        seed: int,
        resume: bool,
    ) -> list[dict[str, Any]]:
        """The stage before, with its own checkpoints and random numbers."""
        if self.low_rank is None:
            return []
        axes = principal_directions(face.starting_rows(columns, x, seed, rbm.weight.dtype)[0], self.low_rank)
        plan = settings_of(self, self.low_rank_epochs, self.learning_rate)
        options: dict[str, Any] = {"seed": seed + 1, "trainer_options": trainer_options(self, rbm), "resume": resume}
        below = None if folder is None else folder / "low-rank"
        record = learn_in_span(rbm, axes, source, plan, checkpoint_dir=below, **options)
        return [{"low_rank": self.low_rank, **row} for row in record.history]

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """One pass over X at the constant `learning_rate`; chains and momentum go on where they were.

        The first call fixes the kind of the units and the standardization, so give it a fair sample.
        """
        check_settings(self)
        first = not hasattr(self, "module_")
        X = checked(self, X, reset=first)
        weight, X = without_weightless(checked_weight(sample_weight, X.shape[0]), X)
        if first:
            seed = seed_of(self.random_state)
            columns = choose_columns(X, self.visible, weight)
            self._keep(self._new_module(X, columns, seed), columns, seed, [])
            self._learning_state, self._partial_fits = None, 0
        binarizer = binarizer_of(self, self._seed)
        chosen = filled(self, LARGE_SET, self._columns, X.shape[1])  # how much is to come is not known
        source = source_of(chosen, self._columns, X, weight=weight, seed=self._seed, binarizer=binarizer)
        if first:
            start_layer(self.module_, source, make_generator(self._seed, getattr(source, "device", "cpu")))
        self._one_pass(source, chosen.learning_rate)
        self._log_z = None
        return self

    def _one_pass(self, source: BatchSource, learning_rate: float) -> None:
        processes = connect(self.device, "fp32" if self.precision == "fp64" else self.precision)
        rbm = self.module_.to(processes.device)
        generator = make_generator(self._seed, processes.device, stream=PARTIAL_STREAM + self._partial_fits)
        procedure = self._constant_rate_procedure(rbm, source, generator, learning_rate)
        guard = Guard(rbm)
        guard.keep(0)
        for step, batch in enumerate(source.batches(self._partial_fits, generator=generator)):
            context = StepContext(step, 0, 0.0, generator, processes.average, processes.autocast)
            procedure.step(batch.to(processes.device), context)
        fault = guard.fault({})
        if fault:
            guard.restore()
            raise guard.error(fault, len(source), procedure, None)
        self._learning_state, self._partial_fits = procedure.state_dict(), self._partial_fits + 1

    def _constant_rate_procedure(
        self, rbm: RBMModule, source: BatchSource, generator: torch.Generator, learning_rate: float
    ) -> Procedure:
        procedure = make_procedure(rbm, replace(settings_of(self, 1, learning_rate), schedule="constant"))
        if self._learning_state is None:
            first: Batch = next(iter(source.batches(0, generator=generator)))
            procedure.start(first.to(rbm.weight.device), generator)
        else:
            procedure.load_state_dict(self._learning_state)
        return procedure

    def _new_module(self, x: Any, columns: Columns, seed: int) -> RBMModule:
        visible = columns.units(x, self.n_values)
        hidden = make_units(self.hidden, self.n_components, n_values=self.n_values, name="hidden")
        return RBMModule(visible, hidden, generator=make_generator(seed)).to(parameter_type(self))

    def _sources(self, x: Any, weight: Any, columns: Columns, seed: int) -> tuple[BatchSource, BatchSource | None]:
        kept, held = split_off(x.shape[0], self.validation_fraction, seed)
        options: dict[str, Any] = {"seed": seed, "binarizer": binarizer_of(self, seed)}
        source = source_of(self, columns, part_of(x, kept), weight=None if weight is None else weight[kept], **options)
        return source, None if held is None else source_of(self, columns, part_of(x, held), **options)

    def _keep(self, rbm: RBMModule, columns: Columns, seed: int, history: list[dict[str, Any]]) -> None:
        self.module_, self.history_, self._seed = rbm, history, seed
        self.visible_, self.mean_, self.scale_ = columns.kind, columns.mean, columns.scale
        self._log_z = None

    @property
    def _n_features_out(self) -> int:
        return self.module_.hidden.size

    # -- use --------------------------------------------------------------------------------------------------------

    def transform(self, X: Any) -> Array:
        """The means of the hidden units: (n_samples, n_features) -> (n_samples, n_components)."""
        check_is_fitted(self, "module_")
        return face.encode(self.module_, self._columns, checked(self, X))

    def inverse_transform(self, X: Any) -> Array:
        """The means of the data given hidden units: (n_samples, n_components) -> (n_samples, n_features)."""
        check_is_fitted(self, "module_")
        return face.decode(self.module_, self._columns, face.checked_codes(X, self._n_features_out))

    @property
    def log_z_(self) -> Bound:
        """log Z in nats with its kind."""
        check_is_fitted(self, "module_")
        return face.log_z_of(self, self.module_)

    def log_likelihood(self, X: Any) -> Bound:
        """The log-likelihood of each case in nats, with its kind: exact, or an estimate in a bracket."""
        columns = self._columns
        rows = face.all_rows(self, self.module_, columns, checked(self, X))
        bound = in_type(self.module_, rows.dtype).log_likelihood(rows, log_z=self.log_z_)
        return face.on_data_scale(bound, columns)

    def annealed_log_likelihood(
        self, X: Any, *, n_temperatures: int = 1000, n_runs: int = 10, random_state: Any = None
    ) -> Bound:
        """The log-likelihood of each case from below, in nats, where `log_likelihood` may flatter: RAISE.

        `n_runs` runs of annealing backwards from each case, so take some hundred of them (see
        `deepbelief.energy.partition.conservative`). The standard error is that of their mean.
        """
        columns = self._columns
        rows = face.all_rows(self, self.module_, columns, checked(self, X))
        seed = seed_of(self.random_state if random_state is None else random_state)
        generator = make_generator(seed, rows.device, stream=face.LOG_Z_STREAM)
        options: dict[str, Any] = {"n_chains": n_runs, "betas": n_temperatures, "generator": generator}
        bound = raise_log_likelihood(in_type(self.module_, rows.dtype), rows, **options)
        return face.on_data_scale(bound, columns)

    @torch.no_grad()
    def free_energy(self, X: Any) -> Array:
        """``F = -log p - log Z`` in nats, lower for likelier cases, without the work that log Z takes: (n_samples,)."""
        columns = self._columns
        rows = face.all_rows(self, self.module_, columns, checked(self, X))
        return in_type(self.module_, rows.dtype).free_energy(rows).cpu().numpy() + columns.log_scale
