"""The fine-tuning of a run: the trained stack unrolled into a network, and back-propagation on the labelled cases."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from deepbelief.belief.dbn import DBN
from deepbelief.belief.unrolled import UnrolledDBN
from deepbelief.data.binarize import Binarizer, make_binarizer
from deepbelief.data.order import holdout
from deepbelief.data.source import make_source
from deepbelief.errors import InvalidArgumentError, InvalidDataError, check_range
from deepbelief.recipes.run_data import Preparation, RunData
from deepbelief.recipes.settings import FineTuning, RunSettings
from deepbelief.rng import make_generator
from deepbelief.training.callbacks import Callback, EarlyStopping, Watch
from deepbelief.training.checkpoint import LATEST
from deepbelief.training.record import TrainingRecord
from deepbelief.training.supervised import SupervisedProcedure
from deepbelief.training.trainer import Trainer

LABEL_STREAM, OUTPUT_STREAM, INPUT_STREAM = 201, 202, 203  # of the run's seed
WATCHED = "held_out"


def make_classifier(dbn: DBN, data: RunData, settings: RunSettings) -> UnrolledDBN:
    """The network before fine-tuning: the stack's weights and a small random output layer."""
    plan = _plan(settings)
    generator = make_generator(settings.seed, stream=OUTPUT_STREAM)
    if not plan.pretrained:
        dbn = _random_stack(dbn, generator)
    n_outputs = data.n_classes or (1 if data.train_y is None or data.train_y.ndim == 1 else data.train_y.shape[1])
    return UnrolledDBN.from_dbn(
        dbn, n_outputs, dropout=plan.dropout, input_dropout=plan.input_dropout, generator=generator
    )


def fine_tune(
    network: UnrolledDBN,
    data: RunData,
    settings: RunSettings,
    checkpoint_dir: Path,
    *,
    resume: bool = False,
    progress: bool | str = True,
    device: torch.device | None = None,
) -> TrainingRecord:
    """Train `network` in place; with `resume`, from its checkpoint where there is one."""
    plan, device = _plan(settings), device or torch.device("cpu")
    rows, watched = labelled_rows(data, settings)
    assert data.train_y is not None
    x, y, how = _inputs(data, rows), data.train_y[rows], data.preparation
    source = make_source(
        x,
        y,
        batch_size=min(plan.batch_size, len(rows)),
        seed=settings.seed,
        binarizer=_binarizer(how, plan, settings.seed),
        transform=(lambda x, _: 2 * x - 1) if how.spin else None,
        device=device,
    )
    network.to(device)
    procedure = SupervisedProcedure(
        network,
        loss="cross_entropy" if data.task == "class" else "mse",
        optimizer=plan.optimizer,
        learning_rate=plan.learning_rate,
        schedule=plan.schedule,
        weight_decay=plan.weight_decay,
        max_norm=plan.max_norm,
        adversarial=plan.adversarial,
    )
    trainer = Trainer(
        epochs=plan.epochs,
        device=settings.device,
        precision=settings.precision,
        threads=settings.threads,
        seed=settings.seed + len(settings.model.layers),
        averaging=plan.averaging,
        callbacks=_callbacks(network, data, watched, plan, settings.seed, device),
        checkpoint_dir=checkpoint_dir,
        checkpoint_every=("epoch", settings.checkpoint_every),
        progress=progress,
    )
    saved = checkpoint_dir / LATEST
    return trainer.fit(procedure, source, resume_from=saved if resume and saved.exists() else None)


def labelled_rows(data: RunData, settings: RunSettings) -> tuple[Tensor, Tensor]:
    """Which training cases the network learns from, and which are put aside for early stopping (maybe none)."""
    plan, y = _plan(settings), data.train_y
    if y is None:
        raise InvalidDataError(f"fine_tuning needs labels. Got none in {data.name}. Name a label, or leave it out.")
    rows = (y >= 0).nonzero()[:, 0] if data.task == "class" else torch.arange(len(y))
    if data.task == "class" and len(y[rows].unique()) < 2:
        raise InvalidDataError(f"y must hold at least 2 classes. Got {len(y[rows].unique())} in {data.name}.")
    if plan.n_labels is not None:
        rows = rows[_even_draw(y[rows], plan.n_labels, data.task, settings.seed)]
    if plan.early_stopping is None:
        return rows, rows[:0]
    kept, aside = holdout(len(rows), plan.validation_fraction, seed=settings.seed)
    return rows[kept], rows[aside]


def prepared_inputs(values: Tensor, how: Preparation, plan: FineTuning, seed: int) -> Tensor:
    """Values in the model's range as the network takes them outside of training (bits are drawn once)."""
    binarizer = _binarizer(how, plan, seed)
    generator = make_generator(seed, values.device, stream=INPUT_STREAM)
    values = binarizer.apply(values, generator) if binarizer.name != "none" or how.inverted else values
    return 2 * values - 1 if how.spin else values


def _plan(settings: RunSettings) -> FineTuning:
    if settings.fine_tuning is None:
        raise InvalidArgumentError("fine_tuning must be given. Got none. Add fine_tuning: {} to the settings.")
    return settings.fine_tuning


def _binarizer(how: Preparation, plan: FineTuning, seed: int) -> Binarizer:
    return make_binarizer(plan.binarization, how.threshold, inverted=how.inverted, seed=seed)


def _inputs(data: RunData, rows: Tensor) -> Tensor:
    """The labelled rows in the model's range: they are in memory, for only files without labels are mapped."""
    raw = data.train if isinstance(data.train, Tensor) else torch.from_numpy(np.asarray(data.train))
    return data.preparation.values(raw[rows])


def _even_draw(y: Tensor, n: int, task: str | None, seed: int) -> Tensor:
    """Indices of `n` cases: as many of each class as possible, or at random for values."""
    check_range("fine_tuning.n_labels", n, low=2, high=len(y), remedy="There are no more labelled cases.")
    order = torch.randperm(len(y), generator=make_generator(seed, stream=LABEL_STREAM))
    if task != "class":
        return order[:n].sort().values
    turn = torch.zeros(len(y), dtype=torch.long)  # the k-th case of its class comes in round k
    for label in y.unique():
        members = order[y[order] == label]
        turn[members] = torch.arange(len(members))
    return order[torch.argsort(turn[order], stable=True)][:n].sort().values


@torch.no_grad()
def _random_stack(dbn: DBN, generator: torch.Generator) -> DBN:
    """The same layers with the random weights that suit logistic units (Glorot & Bengio 2010) and no biases."""
    units = [dbn.visible, *(rbm.hidden for rbm in dbn.layers)]
    fresh = DBN.of_units([kind.empty_like() for kind in units], generator=generator).cpu()
    for rbm in fresh.layers:
        rbm.weight.copy_(4 * math.sqrt(2 / sum(rbm.weight.shape)) * torch.randn(rbm.weight.shape, generator=generator))
    return fresh


def _callbacks(
    network: UnrolledDBN, data: RunData, watched: Tensor, plan: FineTuning, seed: int, device: torch.device
) -> Sequence[Callback]:
    if plan.early_stopping is None or data.train_y is None:
        return []
    x = prepared_inputs(_inputs(data, watched).to(device), data.preparation, plan, seed)
    y = data.train_y[watched].to(device)

    def measure(_epoch: int) -> dict[str, float]:
        output = network(x)
        if data.task == "class":
            error = (output.argmax(1) != y).double().mean().item()
            return {"loss": F.cross_entropy(output, y).item(), "error_rate": error}
        return {"loss": (output.reshape(y.shape) - y).square().mean().item()}

    return [Watch(1, measure, WATCHED), EarlyStopping(f"{WATCHED}.loss", plan.early_stopping)]
