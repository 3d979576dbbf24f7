"""`BoltzmannMachine`: pairwise couplings between columns, as a scikit-learn density that shows its structure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils import TransformerTags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from deepbelief.belief.greedy import start_layer
from deepbelief.data.part import is_mapped
from deepbelief.energy.boltzmann import BoltzmannMachine as BoltzmannModule
from deepbelief.energy.couplings import dense_matrix
from deepbelief.energy.gradients.pairwise_learning import RULES, make_pairwise_procedure
from deepbelief.energy.gradients.settings import LearningSettings
from deepbelief.energy.graph import Graph
from deepbelief.energy.partition.choose import log_z
from deepbelief.energy.structure import Link, ranked_links, strength_matrix
from deepbelief.errors import check, check_choice, check_count, check_sequence
from deepbelief.estimators import generative as face
from deepbelief.estimators.arrays import checked, checked_weight, dense_chunks, device_of, in_type, without_weightless
from deepbelief.estimators.bit_columns import BitColumns, column_means, cut_at
from deepbelief.estimators.columns import Columns
from deepbelief.estimators.learning import (
    PRECISIONS,
    binarizer_of,
    check_flags,
    folder_to_keep,
    parameter_type,
    source_of,
    trainer_options,
)
from deepbelief.estimators.seeds import seed_of
from deepbelief.estimators.shared import Drawing, Scored
from deepbelief.estimators.storage import Savable
from deepbelief.protocols import BatchSource
from deepbelief.rng import make_generator
from deepbelief.training.trainer import Trainer
from deepbelief.types import Bound
from deepbelief.units.bernoulli import Bernoulli

Array = NDArray[Any]
ANNEALING = {"betas": 1000, "burn_in": 200}  # a sweep of a full machine visits its units one by one
SETTINGS = (
    *("learning", "k", "n_chains", "n_replicas", "epochs", "learning_rate"),
    *("schedule", "momentum", "l1", "l2", "centred"),
)


def _has_hidden(estimator: Any) -> bool:
    return estimator.n_components > 0


class BoltzmannMachine(Drawing, Scored, Savable, DensityMixin, BaseEstimator):
    """A Boltzmann machine over the columns of a table: exact or bracketed densities, samples, completions, structure.

    Parameters
    ----------
    n_components : int
        Number of hidden units, coupled to all units; 0 for none. With some there is `transform`.
    visible : "auto", "bernoulli", "spin" or "categorical"
        Kind of the visible units. "auto" takes Bernoulli units where X lies in [0, 1], and else cuts every column in
        two at its mean (``threshold_``): likelihoods are then those of the bits. A named kind takes X as it is.
    n_values : int, for categorical units
        Values of each group; X is one-hot coded.
    graph : "full", "grid" or a sequence of pairs
        Which variables may be coupled: all, neighbours on a grid of `grid_shape` (which may be ``periodic``), or those
        pairs of variables.
    temperature : float
    learning : "pcd", "cd", "pt", "exact" or "pl"
        Persistent chains, contrastive divergence, parallel tempering at `n_replicas` temperatures, enumeration, or
        pseudo-likelihood (no chains, no hidden units).
    posterior : None, "mean_field", "gibbs" or "exact"
        How hidden units are filled in while learning; None is mean field, and clamped chains for "cd".
    k, n_chains, epochs, batch_size, learning_rate, schedule, momentum, l1, l2, centred, averaging, binarization, \
device, precision, checkpoint_dir, verbose, random_state
        As for `deepbelief.RBM`; `l1` and `l2` pull the couplings.

    Attributes
    ----------
    module_ : deepbelief.energy.boltzmann.BoltzmannMachine
        The model, a torch module.
    couplings_ : ndarray of shape (n_variables, n_variables)
        Couplings between visible variables: signed for binary ones, strengths (norms) for categorical ones.
    history_, visible_, log_z_
        As for `deepbelief.RBM`.
    threshold_ : ndarray or None

    Examples
    --------
    >>> import numpy as np
    >>> from deepbelief import BoltzmannMachine
    >>> X = np.random.RandomState(0).rand(500, 3) < 0.5
    >>> X = np.c_[X, X[:, 0]].astype(float)  # the last column repeats the first
    >>> machine = BoltzmannMachine(learning="exact", epochs=20, learning_rate=0.5, random_state=0).fit(X)
    >>> link = machine.links(1)[0]
    >>> link.first, link.second, machine.log_likelihood(X).kind
    ('x0', 'x3', 'exact')
    """

    _stored = ("visible_", "threshold_", "history_", "_seed", "_log_z")
    _log_z: Bound | None = None

    def __init__(
        self,
        n_components: int = 0,
        *,
        visible: str = "auto",
        n_values: int | None = None,
        graph: str | Sequence[Sequence[int]] = "full",
        grid_shape: Sequence[int] | None = None,
        periodic: bool = False,
        temperature: float = 1.0,
        learning: str = "pcd",
        posterior: str | None = None,
        k: int = 1,
        n_chains: int = 100,
        n_replicas: int = 10,
        epochs: int = 20,
        batch_size: int = 100,
        learning_rate: float = 0.05,
        schedule: str = "linear",
        momentum: float = 0.0,
        l1: float = 0.0,
        l2: float = 0.0,
        centred: bool = True,
        averaging: float | None = None,
        binarization: str = "none",
        device: str = "auto",
        precision: str = "fp32",
        checkpoint_dir: str | Path | None = None,
        verbose: int = 0,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.visible, self.n_values = visible, n_values
        self.graph, self.grid_shape, self.periodic = graph, grid_shape, periodic
        self.temperature = temperature
        self.learning, self.posterior = learning, posterior
        self.k, self.n_chains, self.n_replicas = k, n_chains, n_replicas
        self.epochs, self.batch_size = epochs, batch_size
        self.learning_rate, self.schedule, self.momentum = learning_rate, schedule, momentum
        self.l1, self.l2, self.centred, self.averaging = l1, l2, centred, averaging
        self.binarization, self.device, self.precision = binarization, device, precision
        self.checkpoint_dir, self.verbose, self.random_state = checkpoint_dir, verbose, random_state

    # -- learning ---------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None, resume_from: str | Path | None = None) -> Self:
        """Learn from X: (n_samples, n_features), images, frames or sparse; `y` is not used."""
        self._check_settings()
        X = checked(self, X, reset=True)
        weight, X = without_weightless(checked_weight(sample_weight, X.shape[0]), X)
        folder, seed = folder_to_keep(self, resume_from), seed_of(self.random_state)
        columns = self._choose_columns(X, weight)
        if columns.threshold is not None and not is_mapped(X):
            X = columns.inward(X.toarray() if hasattr(X, "toarray") else X)
        machine = self._new_module(X, columns if is_mapped(X) else BitColumns(columns.kind), seed)
        settings = LearningSettings(**{name: getattr(self, name) for name in SETTINGS})
        procedure = make_pairwise_procedure(machine, settings, posterior=self.posterior)
        source = self._source(X, columns, weight, seed)
        if resume_from is None:
            start_layer(machine, source, make_generator(seed, getattr(source, "device", "cpu")))
        options = {"seed": seed, "averaging": self.averaging, **trainer_options(self, machine)}
        trainer = Trainer(epochs=self.epochs, checkpoint_dir=folder, **options)
        record = trainer.fit(procedure, source, resume_from=None if resume_from is None else folder)
        self.module_, self.history_, self._seed, self._log_z = machine, record.history, seed, None
        self.visible_, self.threshold_ = columns.kind, columns.threshold
        return self

    def _check_settings(self) -> None:
        check_flags(self)
        check_count("n_components", self.n_components, low=0)
        check_choice("visible", self.visible, ["auto", "bernoulli", "spin", "categorical"])
        check_choice("learning", self.learning, RULES)
        check_choice("precision", self.precision, PRECISIONS)
        check_count("epochs", self.epochs, low=0)
        check_count("batch_size", self.batch_size, low=1)

    def _choose_columns(self, x: Any, weight: Any) -> BitColumns:
        if self.visible != "auto":
            return BitColumns(self.visible)
        least, most = zip(*((rows.min(0), rows.max(0)) for rows in dense_chunks(x)), strict=True)
        low, high = np.min(least, 0), np.max(most, 0)
        if low.min() >= 0 and high.max() <= 1:
            return BitColumns("bernoulli")
        return BitColumns("bernoulli", threshold=np.where(low == high, high, column_means(x, weight)))

    def _source(self, x: Any, columns: BitColumns, weight: Any, seed: int) -> BatchSource:
        """Batches as the units see them; of a mapped file, each is cut when it is read."""
        options: dict[str, Any] = {"binarizer": binarizer_of(self, seed)}
        if columns.threshold is not None and is_mapped(x):
            options = {"transform": cut_at(columns.threshold, x.dtype)}  # bits, which no binarizer would alter
        return source_of(self, Columns(columns.kind), x, weight=weight, seed=seed, **options)

    def _new_module(self, x: Any, columns: BitColumns, seed: int) -> BoltzmannModule:
        units = columns.units(x, self.n_values)
        hidden = Bernoulli(self.n_components) if self.n_components else None
        options: dict[str, Any] = {"temperature": self.temperature, "generator": make_generator(seed)}
        graph = self._graph(len(units.bases or []))
        return BoltzmannModule(units, hidden, graph=graph, **options).to(parameter_type(self))

    def _graph(self, n: int) -> Graph:
        """The visible graph, and every hidden unit coupled to all."""
        whole = n + self.n_components
        if isinstance(self.graph, str):
            check_choice("graph", self.graph, ["full", "grid"])
            if self.graph == "full":
                return Graph.full(whole)
            check(self.grid_shape is not None, 'grid_shape must be given with graph="grid". Got None.')
            graph = Graph.grid(self.grid_shape or (), periodic=self.periodic)
        else:
            check_sequence("graph", self.graph, "pairs of numbers of columns")
            graph = Graph.of_edges(n, self.graph)
        if not self.n_components:
            return graph
        more = [(i, j) for i, j in product(range(whole), range(n, whole)) if i < j]
        return Graph.of_edges(whole, torch.cat([graph.edges, torch.tensor(more)]))

    @property
    def _columns(self) -> BitColumns:
        check_is_fitted(self, "module_")
        return BitColumns(self.visible_, threshold=self.threshold_)

    @property
    def _n_variables(self) -> int:
        bases = self.module_.visible.bases
        assert bases is not None  # the machine refuses units of infinitely many values
        return len(bases)

    # -- structure --------------------------------------------------------------------------------------------------

    @property
    def couplings_(self) -> Array:
        """Couplings between visible variables."""
        check_is_fitted(self, "module_")
        module, n = self.module_, self._n_variables
        if self.visible_ == "categorical":
            return strength_matrix(module)[:n, :n].cpu().numpy()
        return dense_matrix(module.coupling.detach(), module.pairs, module.size)[:n, :n].cpu().numpy()

    def links(self, n: int | None = None, *, corrected: bool = False) -> list[Link]:
        """The `n` strongest couplings between visible variables, strongest first, with the names of the columns.

        `corrected` applies the average product correction, which helps with categorical variables.
        """
        check_is_fitted(self, "module_")
        module = self.module_
        n_visible, n_hidden = self._n_variables, self.n_components
        if self.visible_ == "categorical":
            names = [f"variable {i}" for i in range(n_visible)]
        else:
            names = [str(name) for name in getattr(self, "feature_names_in_", [f"x{i}" for i in range(n_visible)])]
        hidden = [f"hidden {i}" for i in range(n_hidden)]
        found = ranked_links(module, corrected=corrected, names=names + hidden)
        return [link for link in found if not {link.first, link.second} & set(hidden)][:n]

    # -- use --------------------------------------------------------------------------------------------------------

    @available_if(_has_hidden)
    def transform(self, X: Any) -> Array:
        """The mean-field means of the hidden units: (n_samples, n_features) -> (n_samples, n_components)."""
        check_is_fitted(self, "module_")
        return face.encode(self.module_, self._columns, checked(self, X))

    @available_if(_has_hidden)
    def fit_transform(self, X: Any, y: Any = None, **fit_params: Any) -> Array:
        """`fit`, then `transform` of the same cases."""
        return self.fit(X, y, **fit_params).transform(X)

    @property
    def log_z_(self) -> Bound:
        """log Z in nats with its kind: exact for small machines, else bracketed by annealing."""
        check_is_fitted(self, "module_")
        if self._log_z is None:
            generator = make_generator(self._seed, device_of(self.module_), stream=face.LOG_Z_STREAM)
            self._log_z = log_z(self.module_, generator=generator, **ANNEALING)  # type: ignore[arg-type]
        return self._log_z

    @torch.no_grad()
    def log_likelihood(self, X: Any) -> Bound:
        """The log-likelihood of each case in nats, with its kind."""
        columns = self._columns
        rows = face.all_rows(self, self.module_, columns, checked(self, X))
        return in_type(self.module_, rows.dtype).log_likelihood(rows, log_z=self.log_z_)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        if self.n_components:
            tags.transformer_tags = TransformerTags(preserves_dtype=["float64", "float32"])
        return tags
