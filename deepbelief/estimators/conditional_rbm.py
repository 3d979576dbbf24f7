"""`ConditionalRBM`: frames given the frames before them, or cases given contexts, as an estimator."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from deepbelief.data.arrays import as_matrix
from deepbelief.data.source import make_source
from deepbelief.data.windows import frames_and_contexts
from deepbelief.energy.conditional_rbm import ConditionalRBM as ConditionalRBMModule
from deepbelief.energy.gradients.cd import ContrastiveDivergence
from deepbelief.energy.gradients.conditional import CaseChains, ConditionalLearning
from deepbelief.energy.gradients.negative import NegativePhase
from deepbelief.energy.partition.choose import QUICK_STATES
from deepbelief.energy.partition.exact import is_enumerable
from deepbelief.errors import InvalidDataError, check_choice, check_count
from deepbelief.estimators.arrays import device_of, validated
from deepbelief.estimators.columns import Columns, choose_columns
from deepbelief.estimators.generative import known_entries, on_data_scale
from deepbelief.estimators.learning import InDouble, check_basics, folder_to_keep, parameter_type, trainer_options
from deepbelief.estimators.seeds import seed_of
from deepbelief.estimators.storage import Savable
from deepbelief.rng import make_generator
from deepbelief.training.processes import connect
from deepbelief.training.schedules import make_schedule
from deepbelief.training.trainer import Trainer
from deepbelief.types import Bound
from deepbelief.units.catalog import make_units

Array = NDArray[Any]
DRAW_STREAM = 107


def _has_exact_scores(estimator: Any) -> bool:
    """Whether a case can be scored: every context has a log Z of its own, so a layer must be small."""
    module = getattr(estimator, "module_", None)
    return module is not None and is_enumerable(module.rbm, QUICK_STATES)


class ConditionalRBM(Savable, BaseEstimator):
    """A conditional RBM (Taylor, Hinton & Roweis 2007): learns sequences frame by frame, and goes on with them.

    Parameters
    ----------
    n_components : int
        Number of hidden units.
    order : int
        Frames of context: how many frames before a frame it is given. Not used with contexts of one's own.
    visible, hidden, n_values
        Kinds of units, as for `deepbelief.RBM`.
    learning : "cd" or "pcd"
        With `k` sweeps; "pcd" keeps a chain for every case.
    context_rate : float
        Factor on the steps of the weights from the context.
    epochs, batch_size, learning_rate, schedule, momentum, optimizer, l1, l2, centred, averaging, device, precision, \
checkpoint_dir, verbose, random_state
        As for `deepbelief.RBM`; `optimizer` is "sgd" or "adam".

    Attributes
    ----------
    module_ : deepbelief.energy.conditional_rbm.ConditionalRBM
        The model, a torch module.
    history_ : list of dict
        One row per epoch.
    visible_, mean_, scale_, context_mean_, context_scale_
        The kind of the visible units, and how frames and contexts are standardized.

    Examples
    --------
    >>> import numpy as np
    >>> from deepbelief import ConditionalRBM
    >>> blinking = np.tile([[1.0, 0.0], [0.0, 1.0]], (50, 1))
    >>> model = ConditionalRBM(4, order=1, epochs=30, learning_rate=0.3, random_state=0).fit(blinking)
    >>> model.forecast(blinking, 3).round().tolist()
    [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]
    """

    _stored = (*("visible_", "mean_", "scale_", "context_mean_", "context_scale_"), "history_", "_seed", "_of_frames")

    def __init__(
        self,
        n_components: int = 100,
        *,
        order: int = 3,
        visible: str = "auto",
        hidden: str = "bernoulli",
        n_values: int | None = None,
        learning: str = "cd",
        k: int = 1,
        context_rate: float = 1.0,
        epochs: int = 50,
        batch_size: int = 100,
        learning_rate: float = 0.01,
        schedule: str = "linear",
        momentum: float = 0.9,
        optimizer: str = "sgd",
        l1: float = 0.0,
        l2: float = 2e-4,
        centred: bool = True,
        averaging: float | None = None,
        device: str = "auto",
        precision: str = "fp32",
        checkpoint_dir: str | Path | None = None,
        verbose: int = 0,
        random_state: Any = None,
    ) -> None:
        self.n_components, self.order = n_components, order
        self.visible, self.hidden, self.n_values = visible, hidden, n_values
        self.learning, self.k, self.context_rate = learning, k, context_rate
        self.epochs, self.batch_size = epochs, batch_size
        self.learning_rate, self.schedule, self.momentum, self.optimizer = learning_rate, schedule, momentum, optimizer
        self.l1, self.l2, self.centred, self.averaging = l1, l2, centred, averaging
        self.device, self.precision, self.checkpoint_dir = device, precision, checkpoint_dir
        self.verbose, self.random_state = verbose, random_state

    # -- learning ---------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None, *, context: Any = None, resume_from: str | Path | None = None) -> Self:
        """Learn from one sequence (n_frames, n_features), or from a list of them; or from cases with their contexts.

        With `context` (n, n_context), each row of X is one case and `order` is not used. `y` is not used.
        """
        check_basics(self)
        check_count("n_components", self.n_components, low=1)
        check_count("order", self.order, low=1)
        check_choice("learning", self.learning, ["cd", "pcd"])
        folder, seed = folder_to_keep(self, resume_from), seed_of(self.random_state)
        frames, contexts = self._cases(X, context)
        model = self._new_module(frames, contexts, seed)
        rows = np.concatenate([self._inward_context(contexts), self._columns.inward(frames)], 1).astype(np.float32)
        u, v = torch.from_numpy(rows).to(parameter_type(self)).split([model.n_context, model.visible.size], 1)
        if resume_from is None:
            model.match_data(v, u)
        device = connect(self.device, devices=1).device
        source = make_source(rows, np.arange(len(rows)), batch_size=self.batch_size, seed=seed, device=device)
        options = {"seed": seed, "averaging": self.averaging, **trainer_options(self, model)}
        trainer = Trainer(epochs=self.epochs, checkpoint_dir=folder, **options)
        cases: Any = InDouble(source) if self.precision == "fp64" else source
        procedure = self._procedure(model, len(rows))
        record = trainer.fit(procedure, cases, resume_from=None if resume_from is None else folder)
        self.module_, self.history_, self._seed = model, record.history, seed
        return self

    def _cases(self, x: Any, context: Any) -> tuple[Array, Array]:
        """Frames and their contexts, row by row."""
        self._of_frames = context is None
        if context is not None:
            frames = validated(self, x, dtype=np.float64)
            contexts = as_matrix(context, name="context", dtype=torch.float64).numpy()
            _check_same_length(frames, contexts)
            return frames, contexts
        several = isinstance(x, list | tuple) and len(x) > 0 and np.ndim(x[0]) >= 2
        sequences = list(x) if several else [x]
        parts = []
        for number, sequence in enumerate(sequences):
            frames = validated(self, sequence, dtype=np.float64, reset=number == 0)
            parts.append(frames_and_contexts(frames, self.order))
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    def _new_module(self, frames: Array, contexts: Array, seed: int) -> ConditionalRBMModule:
        columns = choose_columns(frames, self.visible)
        self.visible_, self.mean_, self.scale_ = columns.kind, columns.mean, columns.scale
        if self._of_frames:
            repeat = self.order
            self.context_mean_ = np.zeros(contexts.shape[1]) if columns.mean is None else np.tile(columns.mean, repeat)
            self.context_scale_ = (
                np.ones(contexts.shape[1]) if columns.scale is None else np.tile(columns.scale, repeat)
            )
        else:
            spread = contexts.std(0)
            self.context_mean_, self.context_scale_ = contexts.mean(0), np.where(spread > 0, spread, 1.0)
        return ConditionalRBMModule(
            columns.units(frames, self.n_values),
            make_units(self.hidden, self.n_components, n_values=self.n_values, name="hidden"),
            contexts.shape[1],
            generator=make_generator(seed),
        ).to(parameter_type(self))

    def _procedure(self, model: ConditionalRBMModule, n_cases: int) -> ConditionalLearning:
        negative: NegativePhase = (
            ContrastiveDivergence(self.k) if self.learning == "cd" else CaseChains(n_cases, self.k)
        )
        return ConditionalLearning(
            model,
            negative,
            context_rate=self.context_rate,
            learning_rate=self.learning_rate,
            schedule=make_schedule(self.schedule, 1.0),
            momentum=self.momentum,
            optimizer=self.optimizer,
            l1=self.l1,
            l2=self.l2,
            centred=self.centred,
        )

    @property
    def _columns(self) -> Columns:
        check_is_fitted(self, "visible_")
        return Columns(self.visible_, self.mean_, self.scale_)

    def _inward_context(self, context: Array) -> Array:
        return (context - self.context_mean_) / self.context_scale_

    # -- use --------------------------------------------------------------------------------------------------------

    def predict(
        self, context: Any, *, random_state: Any = None, n_steps: int = 100, n_average: int | None = None
    ) -> Array:
        """The expected frame after each context: (n, n_context), or (n, order, n_features) -> (n, n_features)."""
        u = self._context_rows(context)
        nothing = torch.zeros(len(u), self.module_.visible.size).to(u)
        generator, unknown = self._generator(random_state), torch.zeros_like(nothing).bool()
        found = self.module_.complete(nothing, unknown, u, generator=generator, n_steps=n_steps, n_average=n_average)
        return self._columns.outward(found.cpu().numpy())

    def sample(self, context: Any, *, random_state: Any = None, n_steps: int = 50, mean: bool = False) -> Array:
        """One draw of the frame after each context; with `mean`, the mean that the last draw came from."""
        u = self._context_rows(context)
        found = self.module_.sample(u, generator=self._generator(random_state), n_steps=n_steps, mean=mean)
        return self._columns.outward(found.cpu().numpy())

    def forecast(
        self, frames: Any, n_frames: int = 1, *, random_state: Any = None, n_steps: int = 30, mean: bool = True
    ) -> Array:
        """`n_frames` further frames of one sequence (n, n_features) of at least `order` frames."""
        check_is_fitted(self, "module_")
        self._need_frames("forecast")
        past = validated(self, frames, dtype=np.float64, reset=False)
        inner = torch.from_numpy(np.asarray(self._columns.inward(past))).to(self.module_.rbm.weight)
        generator = self._generator(random_state)
        found = self.module_.continue_sequence(inner, n_frames, generator=generator, n_steps=n_steps, mean=mean)
        return self._columns.outward(found.cpu().numpy())

    def complete(
        self,
        X: Any,
        context: Any,
        known: Any = None,
        *,
        random_state: Any = None,
        n_steps: int = 200,
        n_average: int | None = None,
    ) -> Array:
        """X with its missing entries (NaN, or where `known` is False) filled by their mean given all that is known."""
        u = self._context_rows(context)
        rows = validated(self, X, dtype=np.float64, reset=False, ensure_all_finite="allow-nan")
        _check_same_length(rows, u)
        there = known_entries(rows, known)
        inner = torch.from_numpy(np.nan_to_num(self._columns.inward(np.where(there, rows, 0)))).to(u)
        mask, generator = torch.tensor(there, device=u.device), self._generator(random_state)
        filled = self.module_.complete(inner, mask, u, generator=generator, n_steps=n_steps, n_average=n_average)
        return np.where(there, rows, self._columns.outward(filled.cpu().numpy()))

    @available_if(_has_exact_scores)
    def log_likelihood(self, X: Any, context: Any = None) -> Bound:
        """The log density of each case given its context, in nats: exact, for a model with a small layer.

        Without contexts X is one sequence, and the n - order frames that have a whole context are scored.
        """
        check_is_fitted(self, "module_")
        if context is None:
            self._need_frames("log_likelihood without context")
            sequence = validated(self, X, dtype=np.float64, reset=False)
            frames, context = frames_and_contexts(sequence, self.order)
        else:
            frames = validated(self, X, dtype=np.float64, reset=False)
        u = self._context_rows(context)
        _check_same_length(frames, u)
        v = torch.from_numpy(np.asarray(self._columns.inward(frames))).to(u)
        return on_data_scale(self.module_.log_likelihood(v, u), self._columns)

    @available_if(_has_exact_scores)
    def score_samples(self, X: Any, context: Any = None) -> Array:
        """The values of `log_likelihood` as an array."""
        value = self.log_likelihood(X, context).value
        assert isinstance(value, torch.Tensor)
        return value.cpu().numpy()

    def _context_rows(self, context: Any) -> torch.Tensor:
        """Contexts as the module sees them."""
        check_is_fitted(self, "module_")
        rows = as_matrix(context, name="context", dtype=torch.float64).numpy()
        if rows.shape[1] != self.module_.n_context:
            raise InvalidDataError(f"context must have {self.module_.n_context} numbers a row. Got {rows.shape[1]}.")
        return torch.from_numpy(self._inward_context(rows)).to(self.module_.rbm.weight)

    def _need_frames(self, method: str) -> None:
        if not self._of_frames:
            raise InvalidDataError(f"{method} needs a model of sequences. Got one of contexts. Use sample(context).")

    def _generator(self, random_state: Any) -> torch.Generator:
        state = self.random_state if random_state is None else random_state
        return make_generator(seed_of(state), device_of(self.module_), stream=DRAW_STREAM)


def _check_same_length(rows: Any, contexts: Any) -> None:
    """Raise unless there is one context for each case."""
    if len(contexts) != len(rows):
        raise InvalidDataError(f"context must have one row per case. Got {len(contexts)} for {len(rows)}.")
