"""What the classifier and the regressor share: pre-training without labels, then fine-tuning by back-propagation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn
from torch.nn import functional as F

from deepbelief.belief.dbn import DBN
from deepbelief.belief.stack import BeliefStack
from deepbelief.belief.unrolled import UnrolledDBN
from deepbelief.data.part import RowsBelow, is_mapped, part_of
from deepbelief.errors import InvalidDataError, check_count, check_fraction, check_range
from deepbelief.estimators import generative as face
from deepbelief.estimators.arrays import checked, through
from deepbelief.estimators.columns import Columns, choose_columns
from deepbelief.estimators.effort import filled, open_batch_size, tuning_passes
from deepbelief.estimators.learning import (
    binarizer_of,
    check_settings,
    folder_to_keep,
    history_of,
    layer_sizes,
    most_epochs,
    new_dbn,
    one_each,
    pretrain,
    source_of,
    split_off,
    trainer_options,
)
from deepbelief.estimators.seeds import seed_of
from deepbelief.estimators.up_down import tune_up_down, tunes_up_down
from deepbelief.rng import make_generator
from deepbelief.training.callbacks import Callback, EarlyStopping, Watch
from deepbelief.training.checkpoint import LATEST
from deepbelief.training.semi_supervised import VirtualAdversarialProcedure
from deepbelief.training.supervised import SupervisedProcedure
from deepbelief.training.trainer import Trainer
from deepbelief.types import Batch

Array = NDArray[Any]
OUTPUT_STREAM = 106
SMALLEST_BATCH, STEPS_PER_EPOCH = 8, 20
UNKNOWN = -1  # the label of an unlabelled case


def is_generative(estimator: Any) -> bool:
    """Whether there is a generative model to sample from: only if there is pre-training."""
    return most_epochs(estimator.pretrain_epochs) > 0


def is_fine_tuned(estimator: Any) -> bool:
    """Whether a network is learned by back-propagation; epochs that are left open are some."""
    return estimator.fine_tune_epochs != 0


class Supervised:
    """Learning and the methods that do not depend on what is predicted.

    ``_seed, visible_, mean_, scale_, history_, fine_tune_history_, module_, dbn_`` are what `_learn` leaves behind.
    """

    _stored: tuple[str, ...] = ("visible_", "mean_", "scale_", "history_", "fine_tune_history_", "_seed")

    def _learn(
        self: Any,
        x: Any,
        target: Array,
        weight: Any,
        more: Any,
        *,
        loss: str,
        n_outputs: int,
        n_classes: int | None = None,
        resume_from: str | Path | None = None,
    ) -> None:
        """Pre-train on `x` and `more`, fine-tune on `x` and `target`."""
        check_settings(self)
        n_layers = len(layer_sizes(self.hidden_layer_sizes))
        if self.pretrain_epochs is not None:
            for epochs in one_each("pretrain_epochs", self.pretrain_epochs, n_layers):
                check_count("pretrain_epochs", epochs, low=0)
        check_fine_tuning(self)
        folder, seed = folder_to_keep(self, resume_from), seed_of(self.random_state)
        everything, weights = stacked(x, weight, more)
        columns = choose_columns(everything, self.visible, weights)
        chosen = filled(self, everything.shape[0], columns, everything.shape[1])
        dbn = new_dbn(self, everything, columns, seed=seed, n_classes=n_classes)
        resume, self.history_ = resume_from is not None, []
        if is_generative(self):
            labels = None
            if n_classes:
                labels = np.concatenate([target, np.full(everything.shape[0] - len(target), UNKNOWN)])
            options: dict[str, Any] = {"seed": seed, "binarizer": binarizer_of(self, seed)}
            source = source_of(chosen, columns, everything, labels, weights, **options)
            below = None if folder is None else folder / "pretraining"
            plan: dict[str, Any] = {"folder": below, "resume": resume, "seed": seed}
            self.history_ = history_of(pretrain(chosen, dbn, source, chosen.pretrain_epochs, **plan))
        network: nn.Module = dbn
        generative: BeliefStack = dbn
        self.fine_tune_history_: list[dict[str, Any]] = []
        beside = None if folder is None else folder / "fine-tuning"
        if tunes_up_down(self):
            plan = {"seed": seed, "folder": beside, "resume": resume}
            tuned, self.fine_tune_history_ = tune_up_down(chosen, dbn, source, **plan)
            network = generative = tuned
        elif is_fine_tuned(self):
            network = self._unrolled(dbn, n_outputs, seed)
            plan = {"loss": loss, "seed": seed, "folder": beside, "resume": resume, "more": more}
            self.fine_tune_history_ = fine_tune(self, network, columns, x, target, weight, **plan)
        self._seed, self.module_, self.dbn_ = seed, network, generative
        self.visible_, self.mean_, self.scale_ = columns.kind, columns.mean, columns.scale

    def _unrolled(self: Any, dbn: DBN, n_outputs: int, seed: int) -> UnrolledDBN:
        dropout = {"dropout": self.dropout, "input_dropout": self.input_dropout}
        return UnrolledDBN.from_dbn(dbn, n_outputs, generator=make_generator(seed, stream=OUTPUT_STREAM), **dropout)

    @property
    def _columns(self: Any) -> Columns:
        check_is_fitted(self, "module_")
        return Columns(self.visible_, self.mean_, self.scale_)

    @property
    def _n_features_out(self: Any) -> int:
        return self.dbn_.top.hidden.size

    def _outputs(self: Any, x: Any) -> Array:
        """What the network gives for each case, before softmax or the targets' scale."""
        columns = self._columns
        return through(self.module_, _output, checked(self, x), columns.inward)

    def transform(self: Any, X: Any) -> Array:
        """The last hidden layer of the fine-tuned network: (n_samples, n_features) -> (n_samples, units)."""
        columns = self._columns
        return through(self.module_, _features, checked(self, X), columns.inward)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def check_fine_tuning(estimator: Any) -> None:
    """Check the settings of the fine-tuning before the pre-training, which may take hours."""
    if estimator.fine_tune_epochs is not None:
        check_count("fine_tune_epochs", estimator.fine_tune_epochs, low=0)
    if estimator.fine_tune_batch_size is not None:
        check_count("fine_tune_batch_size", estimator.fine_tune_batch_size, low=1)
    check_fraction("validation_fraction", estimator.validation_fraction)
    EarlyStopping("validation_loss", estimator.patience)
    for rate in ("dropout", "input_dropout"):
        check_range(rate, getattr(estimator, rate), low=0, high=1)
    SupervisedProcedure(nn.Linear(1, 1), **_back_propagation(estimator))
    check_range("virtual_adversarial", getattr(estimator, "virtual_adversarial", 0.0), low=0)
    if _learns_moved(estimator):
        _moved(estimator, nn.Linear(1, 1), Batch(torch.zeros(1, 1), torch.zeros(1, dtype=torch.long)))


def _back_propagation(estimator: Any) -> dict[str, Any]:
    return {
        "optimizer": estimator.optimizer,
        "learning_rate": estimator.fine_tune_learning_rate,
        "schedule": estimator.fine_tune_schedule,
        "weight_decay": estimator.weight_decay,
        "max_norm": estimator.max_norm,
        "adversarial": estimator.adversarial,
    }


def _learns_moved(estimator: Any) -> bool:
    """Whether all cases teach, labelled or not, by being moved; not all estimators can."""
    return getattr(estimator, "virtual_adversarial", 0.0) > 0


def _moved(estimator: Any, net: nn.Module, labelled: Batch) -> VirtualAdversarialProcedure:
    options = {"radius": estimator.virtual_adversarial, "information": estimator.information}
    return VirtualAdversarialProcedure(net, labelled, **options, **_back_propagation(estimator))


def fine_tune(
    estimator: Any,
    net: nn.Module,
    columns: Columns,
    x: Any,
    target: Array,
    weight: Any,
    *,
    loss: str,
    seed: int,
    folder: Path | None,
    resume: bool,
    more: Any = None,
) -> list[dict[str, Any]]:
    """Back-propagation of `net` on `x` and `target` with the estimator's settings, in place; returns the history.

    `more` are cases without labels, for estimators that learn from these too.
    """
    labels = torch.from_numpy(target) if loss == "cross_entropy" else None
    fraction = estimator.validation_fraction if estimator.early_stopping else 0
    kept, held = split_off(x.shape[0], fraction, seed, labels)
    of_kept, n = None if weight is None else weight[kept], len(target[kept])
    size = _batch_size(estimator, n)
    taught = part_of(x, kept), target[kept], of_kept
    if _learns_moved(estimator):
        whole = source_of(estimator, columns, *taught, seed=seed, batch_size=n)
        labelled = next(iter(whole.batches(0, generator=make_generator(seed))))
        rows, weights = stacked(taught[0], of_kept, more)
        n, size = rows.shape[0], _batch_size(estimator, rows.shape[0])
        procedure: SupervisedProcedure = _moved(estimator, net, labelled)
        source = source_of(estimator, columns, rows, None, weights, seed=seed, batch_size=size)
    else:
        procedure = SupervisedProcedure(net, loss=loss, **_back_propagation(estimator))
        source = source_of(estimator, columns, *taught, seed=seed, batch_size=size)
    callbacks: list[Callback] = []
    if held is not None:
        of_held = None if weight is None else weight[held]
        measure = _validation(net, columns.inward, part_of(x, held), target[held], of_held)
        callbacks = [Watch(1, measure), EarlyStopping("validation_loss", estimator.patience)]
    options = {"seed": seed, "checkpoint_dir": folder, **trainer_options(estimator, net, size)}
    epochs = tuning_passes(n, size) if estimator.fine_tune_epochs is None else estimator.fine_tune_epochs
    trainer = Trainer(epochs=epochs, callbacks=callbacks, **options)
    saved = folder if resume and folder is not None and (folder / LATEST).exists() else None
    return trainer.fit(procedure, source, resume_from=saved).history


def complete_with(estimator: Any, x: Any, known: Any, random_state: Any, **steps: int | None) -> Array:
    """Fill in what is missing with the generative model."""
    state = estimator.random_state if random_state is None else random_state
    return face.complete(estimator, estimator.dbn_, estimator._columns, x, known, state, **steps)


def unlabelled(estimator: Any, x: Any) -> Any:
    """`X_unlabeled` as a matrix of the same columns, or None."""
    if x is None:
        return None
    more = checked(estimator, x)
    if more.shape[0] == 0:
        raise InvalidDataError("X_unlabeled must have at least 1 case. Got none. Leave it out instead.")
    return more


def stacked(x: Any, weight: Any, more: Any) -> tuple[Any, Any]:
    """Labelled and unlabelled cases, and their weights, below each other; unlabelled ones weigh 1."""
    if more is None:
        return x, weight
    weights = None if weight is None else np.concatenate([weight, np.ones(more.shape[0], dtype=weight.dtype)])
    if sparse.issparse(x) or sparse.issparse(more):
        return sparse.vstack([x, more], format="csr"), weights
    return (RowsBelow([x, more]) if is_mapped(x) or is_mapped(more) else np.concatenate([x, more])), weights


def _batch_size(estimator: Any, n_labelled: int) -> int:
    """Cases per step of fine-tuning: at most those of the learning before; few for small sets where it is left open."""
    if estimator.optimizer == "lbfgs":
        return n_labelled
    if estimator.fine_tune_batch_size is not None:
        return int(estimator.fine_tune_batch_size)
    most = estimator.batch_size or open_batch_size(n_labelled)
    return min(most, max(SMALLEST_BATCH, n_labelled // STEPS_PER_EPOCH))


def _validation(
    net: nn.Module, inward: Callable[[Any], Any], x: Any, target: Array, weight: Any
) -> Callable[[int], dict[str, float]]:
    """The mean loss on held-out cases, and the error rate of classes."""
    is_class = target.dtype.kind == "i"

    def measure(_: int) -> dict[str, float]:
        output = torch.from_numpy(through(net, _output, x, inward)).double()
        goal = torch.from_numpy(target)
        share = torch.ones(len(goal)) if weight is None else torch.from_numpy(weight)
        losses = F.cross_entropy(output, goal, reduction="none") if is_class else _squared(output, goal)
        numbers = {"validation_loss": float((losses * share).sum() / share.sum())}
        if is_class:
            numbers["validation_error_rate"] = float(((output.argmax(1) != goal) * share).sum() / share.sum())
        return numbers

    return measure


def _squared(output: Tensor, goal: Tensor) -> Tensor:
    return (output - goal.view_as(output)).square().sum(1)


def _output(module: Any, x: Tensor) -> Tensor:
    return -module.label_free_energies(module.upward(x)) if isinstance(module, BeliefStack) else module(x)


def _features(module: Any, x: Tensor) -> Tensor:
    return module.encode(x) if isinstance(module, BeliefStack) else module.features(x)
