"""`DeepBeliefNetwork`: a stack of RBMs learned layer by layer, as a scikit-learn transformer and density."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from deepbelief.belief.bound import log_weights
from deepbelief.belief.dbn import DBN
from deepbelief.belief.greedy import LayerReport
from deepbelief.belief.stack import BeliefStack
from deepbelief.belief.up_down import PUBLISHED_STEPS
from deepbelief.data.part import part_of
from deepbelief.energy.gradients.sparsity import check_groups
from deepbelief.estimators import generative as face
from deepbelief.estimators.arrays import checked, checked_weight, in_type, without_weightless
from deepbelief.estimators.columns import Columns, choose_columns
from deepbelief.estimators.effort import filled
from deepbelief.estimators.learning import (
    binarizer_of,
    check_settings,
    folder_to_keep,
    history_of,
    new_dbn,
    pretrain,
    source_of,
    split_off,
)
from deepbelief.estimators.rowwise import hash_of_each_row
from deepbelief.estimators.seeds import seed_of
from deepbelief.estimators.shared import Filling, OnColumns, Scored, SparseIn
from deepbelief.estimators.storage import Savable
from deepbelief.estimators.up_down import check_unlabelled_tuning, tune_up_down
from deepbelief.rng import make_generator
from deepbelief.types import Bound

Array = NDArray[Any]
BOUND_CASES = 1000  # cases on which the bound is measured after each layer


class DeepBeliefNetwork(
    Filling, Scored, OnColumns, SparseIn, Savable, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
):
    """A deep belief network (Hinton, Osindero & Teh 2006): deep features, samples, completions and a likelihood bound.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int
        Numbers of hidden units from the bottom to the top.
    epochs, learning_rate
        One number for all layers, or one for each; None as for `deepbelief.RBM`.
    tied : bool
        Start each layer as the transpose of the one below, so that the bound starts where that layer's likelihood
        ended; needs Bernoulli or spin hidden units and layers at least as wide as what lies two below. Over data of
        another kind the second layer starts anew.
    report_bounds : bool
        Measure the lower bound after each layer and keep it in ``bounds_``.
    fine_tune_epochs, fine_tune_learning_rate, fine_tune_schedule, up_down_steps
        Epochs of up-down after the last layer (none by default): all layers learn on together, ways up and down untied
        (Hinton, Osindero & Teh 2006). The others as for `deepbelief.DeepBeliefClassifier`.
    visible, hidden, n_values, learning, k, n_chains, batch_size, schedule, momentum, l1, l2, centred, \
sparsity_target, sparsity_cost, group_size, group_cost, averaging, binarization, watch, validation_fraction, device, \
precision, checkpoint_dir, verbose, random_state
        As for `deepbelief.RBM`; the groups are of every layer.

    Attributes
    ----------
    module_ : deepbelief.belief.dbn.DBN
        The model, a torch module; after up-down a `deepbelief.belief.untied.UntiedDBN`.
    history_, fine_tune_history_ : list of dict
        One row per epoch of each layer, and of up-down.
    bounds_ : list of Bound
        With `report_bounds`: the mean over held-out cases (training cases where none are held out) after each layer.
    visible_, mean_, scale_, log_z_
        As for `deepbelief.RBM`; log Z is that of the top RBM.

    Examples
    --------
    >>> import numpy as np
    >>> from deepbelief import DeepBeliefNetwork
    >>> X = np.repeat([[0, 0, 1, 1], [1, 1, 0, 0]], 50, axis=0)
    >>> dbn = DeepBeliefNetwork((4, 3), epochs=20, random_state=0).fit(X)
    >>> dbn.transform(X).shape, dbn.sample(5).shape, dbn.log_likelihood(X).kind
    ((100, 3), (5, 4), 'lower_bound')
    """

    _stored = ("visible_", "mean_", "scale_", "history_", "fine_tune_history_", "bounds_", "_seed", "_log_z")

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (500, 500),
        *,
        visible: str = "auto",
        hidden: str = "bernoulli",
        n_values: int | None = None,
        learning: str = "pcd",
        k: int = 1,
        n_chains: int = 100,
        epochs: int | Sequence[int] | None = None,
        batch_size: int | None = None,
        learning_rate: float | Sequence[float] | None = None,
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
        binarization: str = "none",
        tied: bool = False,
        report_bounds: bool = False,
        fine_tune_epochs: int = 0,
        fine_tune_learning_rate: float = 3e-3,
        fine_tune_schedule: str = "linear",
        up_down_steps: int | Sequence[int] = PUBLISHED_STEPS,
        watch: Sequence[str] = (),
        validation_fraction: float = 0.0,
        device: str = "auto",
        precision: str = "fp32",
        checkpoint_dir: str | Path | None = None,
        verbose: int = 0,
        random_state: Any = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.visible, self.hidden, self.n_values = visible, hidden, n_values
        self.learning, self.k, self.n_chains = learning, k, n_chains
        self.epochs, self.batch_size = epochs, batch_size
        self.learning_rate, self.schedule, self.momentum = learning_rate, schedule, momentum
        self.l1, self.l2, self.centred = l1, l2, centred
        self.sparsity_target, self.sparsity_cost = sparsity_target, sparsity_cost
        self.group_size, self.group_cost, self.averaging = group_size, group_cost, averaging
        self.binarization, self.tied, self.report_bounds = binarization, tied, report_bounds
        self.fine_tune_epochs, self.fine_tune_learning_rate = fine_tune_epochs, fine_tune_learning_rate
        self.fine_tune_schedule, self.up_down_steps = fine_tune_schedule, up_down_steps
        self.watch, self.validation_fraction = watch, validation_fraction
        self.device, self.precision = device, precision
        self.checkpoint_dir = checkpoint_dir
        self.verbose, self.random_state = verbose, random_state

    # -- learning ---------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None, resume_from: str | Path | None = None) -> Self:
        """Learn from X: (n_samples, n_features), images, frames or sparse; `y` is not used."""
        check_settings(self)
        check_unlabelled_tuning(self)
        X = checked(self, X, reset=True)
        weight, X = without_weightless(checked_weight(sample_weight, X.shape[0]), X)
        folder, seed = folder_to_keep(self, resume_from), seed_of(self.random_state)
        columns = choose_columns(X, self.visible, weight)
        chosen = filled(self, X.shape[0], columns, X.shape[1])
        dbn = new_dbn(self, X, columns, seed=seed)
        for rbm in dbn.layers:  # all of them before the first learns
            check_groups(rbm.hidden.size, self.group_size, self.group_cost)
        self._seed, self._log_z = seed, None
        self.visible_, self.mean_, self.scale_ = columns.kind, columns.mean, columns.scale
        kept, held = split_off(X.shape[0], self.validation_fraction, seed)
        options: dict[str, Any] = {"seed": seed, "binarizer": binarizer_of(self, seed)}
        taught = None if weight is None else weight[kept]
        source = source_of(chosen, columns, part_of(X, kept), weight=taught, **options)
        held_out = None if held is None else source_of(chosen, columns, part_of(X, held), **options)
        measured = part_of(X, kept if held is None else held)
        self.bounds_: list[Bound] = []
        keep_bound = self._bound_keeper(dbn, columns, measured[:BOUND_CASES]) if self.report_bounds else None
        plan: dict[str, Any] = {"folder": folder, "resume": resume_from is not None, "seed": seed}
        reports = pretrain(chosen, dbn, source, chosen.epochs, held_out=held_out, after_layer=keep_bound, **plan)
        self.module_: BeliefStack = dbn
        self.history_ = history_of(reports)
        self.fine_tune_history_: list[dict[str, Any]] = []
        if self.fine_tune_epochs:
            plan["folder"] = None if folder is None else folder / "fine-tuning"
            self.module_, self.fine_tune_history_ = tune_up_down(chosen, dbn, source, **plan)
        return self

    def _bound_keeper(self, dbn: DBN, columns: Columns, x: Any) -> Callable[[LayerReport], None]:
        def keep(report: LayerReport) -> None:
            part = DBN(dbn.layers[: report.layer])
            rows = face.all_rows(self, part, columns, x, dtype=dbn.top.weight.dtype)
            generator = make_generator(self._seed, rows.device, stream=face.LOG_Z_STREAM)
            bound = part.log_likelihood(rows, generator=generator)
            self.bounds_.append(face.on_data_scale(bound, columns).mean())

        return keep

    @property
    def _n_features_out(self) -> int:
        return self.module_.top.hidden.size

    # -- use --------------------------------------------------------------------------------------------------------

    def transform(self, X: Any) -> Array:
        """The means of the top hidden layer: (n_samples, n_features) -> (n_samples, last of hidden_layer_sizes)."""
        check_is_fitted(self, "module_")
        return face.encode(self.module_, self._columns, checked(self, X))

    def inverse_transform(self, X: Any) -> Array:
        """The means of the data given the top hidden layer."""
        check_is_fitted(self, "module_")
        return face.decode(self.module_, self._columns, face.checked_codes(X, self._n_features_out))

    def sample(
        self,
        n_samples: int = 1,
        *,
        random_state: Any = None,
        n_steps: int = 1000,
        mean: bool = False,
        method: str = "gibbs",
    ) -> Array:
        """Draws from the model: `n_steps` of Gibbs sampling in the top RBM, then one pass down.

        With ``method="pt"`` the top runs parallel tempering, for a top whose chains stay in one mode. With `mean`, the
        means that the last draws come from. Without `random_state` the estimator's own is used.
        """
        columns, state = self._columns, self.random_state if random_state is None else random_state
        return face.sample(self.module_, columns, n_samples, state, n_steps=n_steps, mean=mean, method=method)

    @property
    def log_z_(self) -> Bound:
        """log Z of the top RBM in nats with its kind."""
        check_is_fitted(self, "module_")
        return face.log_z_of(self, self.module_.top)

    def log_likelihood(self, X: Any, *, n_samples: int = 10) -> Bound:
        """The variational lower bound of each case in nats (for one layer, the RBM's own number), with its error."""
        return face.bound_of_stack(self, self.module_, self._columns, X, n_samples)

    @torch.no_grad()
    def score_samples(self, X: Any, *, n_samples: int = 10) -> Array:
        """The bound of each case in nats: (n_samples,).

        The draws for a case depend on the seed and on the case alone, so its score does not depend on its company.
        """
        columns = self._columns
        if len(self.module_.layers) == 1:
            return self.log_likelihood(X).value.cpu().numpy()  # type: ignore[union-attr]
        rows = face.all_rows(self, self.module_, columns, checked(self, X))
        twin, z = in_type(self.module_, rows.dtype), self.log_z_
        safe = float(z.value) if z.high is None else z.high
        generator, scores = torch.Generator(device=rows.device), []
        for row, key in zip(rows, hash_of_each_row(rows.cpu().numpy(), self._seed), strict=True):
            generator.manual_seed(int(key))
            scores.append(log_weights(twin, row.expand(n_samples, -1), generator).mean())
        return (torch.stack(scores) - safe - columns.log_scale).cpu().numpy()
