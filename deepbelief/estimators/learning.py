"""What every fit hands over to the floors below: settings, sources, options of the trainer, and greedy learning."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deepbelief.belief.dbn import DBN
from deepbelief.belief.greedy import LayerReport, LayerSource, train_greedily
from deepbelief.data.binarize import Binarizer, make_binarizer
from deepbelief.data.order import holdout
from deepbelief.data.part import is_mapped
from deepbelief.data.source import make_source
from deepbelief.energy.dbm import DBM
from deepbelief.energy.gradients.settings import LearningSettings
from deepbelief.energy.rbm import RBM
from deepbelief.energy.watch import QUANTITIES, make_watch
from deepbelief.errors import (
    InvalidArgumentError,
    StorageError,
    check,
    check_choice,
    check_count,
    check_fraction,
    check_sequence,
)
from deepbelief.estimators.columns import Columns
from deepbelief.estimators.plain_pcd import WORTH_SHARING
from deepbelief.protocols import BatchSource
from deepbelief.rng import make_generator
from deepbelief.training.callbacks import Callback, Watch
from deepbelief.training.processes import connect
from deepbelief.types import Batch
from deepbelief.units.catalog import make_units

PRECISIONS = ("fp32", "bf16", "fp64")
WATCHED_BATCHES = 10  # batches of training and of held-out cases that are looked at
SHARED_SETTINGS = (
    *("learning", "k", "n_chains", "schedule", "momentum", "l1", "l2", "centred", "sparsity_target", "averaging"),
)
# of some estimators; the others take the default
OPTIONAL_SETTINGS = ("n_replicas", "sparsity_cost", "group_size", "group_cost")


class InDouble:
    """Another source whose batches are float64, for ``precision="fp64"``."""

    def __init__(self, source: BatchSource) -> None:
        self.source, self.n_cases = source, source.n_cases

    def __len__(self) -> int:
        return len(self.source)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.source, name)

    def batches(self, epoch: int, **options: Any) -> Iterator[Batch]:
        """The other source's batches, in float64."""
        for batch in self.source.batches(epoch, **options):
            yield Batch(batch.x.double(), batch.y, None if batch.weight is None else batch.weight.double())


def check_flags(estimator: Any) -> None:
    """Check that what is True or False by default is one of the two: any text would be true, "no" as well."""
    for name, argument in inspect.signature(type(estimator).__init__).parameters.items():
        if isinstance(argument.default, bool):
            value = getattr(estimator, name)
            right = isinstance(value, bool | np.bool_)
            check(right, f"{name} must be True or False. Got {name}={value!r}.")


def check_basics(estimator: Any) -> None:
    """Check the arguments that all estimators that learn in batches share."""
    check_flags(estimator)
    check_choice("precision", estimator.precision, PRECISIONS)
    check_count("batch_size", estimator.batch_size, low=1)


def check_settings(estimator: Any) -> None:
    """Check the arguments that all generative estimators share, before any work starts."""
    check_flags(estimator)
    check_choice("precision", estimator.precision, PRECISIONS)
    if estimator.batch_size is not None:
        check_count("batch_size", estimator.batch_size, low=1)
    check_fraction("validation_fraction", estimator.validation_fraction)
    check_watch(estimator, QUANTITIES)


def check_watch(estimator: Any, known: Sequence[str]) -> None:
    """Check the names of what is to be measured while the estimator learns."""
    check_sequence("watch", estimator.watch, "names")
    for name in estimator.watch:
        check_choice("watch", name, known)


def settings_of(estimator: Any, epochs: Any, learning_rate: Any) -> LearningSettings:
    """The learning settings of one layer."""
    shared = {name: getattr(estimator, name) for name in SHARED_SETTINGS}
    shared |= {name: getattr(estimator, name) for name in OPTIONAL_SETTINGS if hasattr(estimator, name)}
    return LearningSettings(epochs=epochs, learning_rate=learning_rate, **shared)


def settings_of_layers(estimator: Any, epochs: Any, n_layers: int) -> list[LearningSettings]:
    """The learning settings of each layer: `epochs` and ``learning_rate`` are one number for all or one for each."""
    each = [one_each("epochs", epochs, n_layers), one_each("learning_rate", estimator.learning_rate, n_layers)]
    return [settings_of(estimator, e, rate) for e, rate in zip(*each, strict=True)]


def one_each(name: str, value: Any, n: int) -> list[Any]:
    """`value` n times if it is one number, else itself as a list, which must have n of them."""
    if isinstance(value, Real):
        return [value] * n
    check_sequence(name, value, f"{n} numbers, one for each layer, or one number")
    check(len(value) == n, f"{name} must be one number or {n}, one for each layer. Got {len(value)}.")
    return list(value)


def most_epochs(value: Any) -> int:
    """The largest of ``epochs``, which are one number for all layers or one for each; None, chosen later, is some."""
    if value is None:
        return 1
    return int(value) if isinstance(value, Integral) else max(int(epochs) for epochs in value)


def layer_sizes(value: Any, name: str = "hidden_layer_sizes") -> list[int]:
    """``hidden_layer_sizes``, or another argument of its kind, as a list: one integer, or a sequence of them."""
    if isinstance(value, Real):
        value = [value]
    check_sequence(name, value, "integers")
    sizes = list(value)
    check(len(sizes) >= 1, f"{name} must name at least 1 layer. Got none.")
    for size in sizes:
        check(isinstance(size, Integral), f"{name} must be integers. Got {name}={value!r}.")
        check(size >= 1, f"{name} must be at least 1 in every layer. Got {name}={value!r}.")
    return [int(size) for size in sizes]


def trainer_options(estimator: Any, module: torch.nn.Module, batch_size: int | None = None) -> dict[str, Any]:
    """Device, precision, progress and threads for the trainer; `batch_size` where it is not the estimator's.

    Double precision is the module's own type, not autocast. Small products run on one thread: two would wait for each
    other longer than they work.
    """
    shown: bool | str = (True if sys.stderr.isatty() else "plain") if estimator.verbose else False
    precision = "fp32" if estimator.precision == "fp64" else estimator.precision
    largest = max(p.numel() for p in module.parameters()) * (batch_size or estimator.batch_size)
    threads = 1 if largest < WORTH_SHARING else None
    return {"device": estimator.device, "precision": precision, "progress": shown, "threads": threads}


def parameter_type(estimator: Any) -> torch.dtype:
    """The type of the parameters while they learn."""
    return torch.float64 if estimator.precision == "fp64" else torch.float32


def binarizer_of(estimator: Any, seed: int) -> Binarizer | None:
    """How grey levels become bits, or None."""
    name = estimator.binarization
    return None if name == "none" else make_binarizer(name, seed=seed)


def source_of(
    estimator: Any, columns: Columns, x: Any, y: Any = None, weight: Any = None, *, seed: int, **options: Any
) -> BatchSource:
    """Batches of `x` as the visible units see them, kept where the training runs."""
    options.setdefault("batch_size", estimator.batch_size)
    if columns.mean is not None:
        if hasattr(x, "toarray") or is_mapped(x):
            options["transform"] = _standardize(columns)
        else:
            x = columns.inward(x)
    device = connect(estimator.device, devices=1).device
    source = make_source(x, y, weight, seed=seed, device=device, **options)
    return InDouble(source) if estimator.precision == "fp64" else source


def _standardize(columns: Columns) -> Callable[[Tensor, torch.Generator], Tensor]:
    """Standardize each batch: sparse data are never dense as a whole, nor mapped files in memory."""
    mean, scale = (torch.as_tensor(numbers) for numbers in (columns.mean, columns.scale))
    return lambda x, generator: ((x - mean.to(x.device)) / scale.to(x.device)).to(x.dtype)


def split_off(n: int, fraction: float, seed: int, labels: Tensor | None = None) -> tuple[Any, Any]:
    """Indices of the cases to learn from and of those held out (none for a fraction of 0), as NumPy arrays."""
    if fraction == 0:
        return slice(None), None
    kept, held = holdout(n, fraction, seed=seed, labels=labels)
    return kept.numpy(), held.numpy()


def folder_to_keep(estimator: Any, resume_from: str | Path | None) -> Path | None:
    """Where checkpoints go: the folder that a training resumes from, else ``checkpoint_dir``."""
    if resume_from is None:
        return None if estimator.checkpoint_dir is None else Path(estimator.checkpoint_dir)
    folder = Path(resume_from)
    if not any(folder.rglob("*.safetensors")):
        raise StorageError(f"resume_from must be a folder with checkpoints. Got {folder}. Use its checkpoint_dir.")
    if not isinstance(estimator.random_state, Integral):
        raise InvalidArgumentError(
            f"random_state must be an integer to resume. Got random_state={estimator.random_state!r}. "
            "Start anew with a seed."
        )
    return folder


def watch_of(
    estimator: Any,
    rbm: RBM | DBM,
    source: BatchSource,
    held_out: BatchSource | None,
    seed: int,
    epochs: int | None = None,
) -> list[Callback]:
    """The callback that measures ``estimator.watch`` about ten times in a training of so many epochs."""
    if not estimator.watch:
        return []
    like = next(rbm.parameters())
    generator = torch.Generator(device=like.device).manual_seed(seed)
    train = first_cases(source, generator).to(like)
    held = None if held_out is None else first_cases(held_out, generator).to(like)
    if epochs is None:
        epochs = estimator.pretrain_epochs if hasattr(estimator, "pretrain_epochs") else estimator.epochs
    every = max(1, most_epochs(epochs) // 10)
    return [_WatchWhereItLearns(every, rbm, train, held, estimator.watch, seed)]


class _WatchWhereItLearns(Watch):
    """`Watch` that takes its cases along to the device that the trainer chose."""

    def __init__(
        self, every: int, rbm: RBM | DBM, train: Tensor, held: Tensor | None, names: Sequence[str], seed: int
    ) -> None:
        self.cases = (rbm, train, held, names, seed)
        super().__init__(every, make_watch(rbm, train, held, names, seed=seed))

    def on_start(self, trainer: Any) -> None:
        rbm, train, held, names, seed = self.cases
        device, state = trainer.processes.device, self.state_dict()  # which a checkpoint may have brought
        self.function = make_watch(rbm, train.to(device), None if held is None else held.to(device), names, seed=seed)
        self.load_state_dict(state)


def first_cases(source: BatchSource, generator: torch.Generator) -> Tensor:
    """The cases of the first batches of a source."""
    return torch.cat([batch.x for batch in islice(source.batches(0, generator=generator), WATCHED_BATCHES)])


def new_dbn(estimator: Any, x: Any, columns: Columns, *, seed: int, n_classes: int | None = None) -> DBN:
    """A DBN with small random weights for the rows of `x`, after checking them and the layer sizes."""
    sizes = layer_sizes(estimator.hidden_layer_sizes)
    visible = columns.units(x, estimator.n_values)
    hidden = [make_units(estimator.hidden, size, n_values=estimator.n_values, name="hidden") for size in sizes]
    dbn = DBN.of_units([visible, *hidden], n_classes, generator=make_generator(seed))
    return dbn.to(parameter_type(estimator))


def pretrain(
    estimator: Any,
    dbn: DBN,
    source: BatchSource,
    epochs: Any,
    *,
    held_out: BatchSource | None = None,
    folder: Path | None = None,
    resume: bool = False,
    seed: int,
    after_layer: Callable[[LayerReport], None] | None = None,
) -> list[LayerReport]:
    """Learn `dbn` layer by layer in place with the estimator's settings."""

    def callbacks(layer: int, rbm: RBM, layer_source: LayerSource) -> list[Callback]:
        held = None if held_out is None else LayerSource(held_out, dbn, layer - 1)
        return watch_of(estimator, rbm, layer_source, held, seed)

    return train_greedily(
        dbn,
        source,
        settings_of_layers(estimator, epochs, len(dbn.layers)),
        trainer_options=trainer_options(estimator, dbn),
        tied=estimator.tied,
        seed=seed,
        checkpoint_dir=folder,
        resume=resume,
        callbacks=callbacks,
        after_layer=after_layer,
    )


def history_of(reports: Sequence[LayerReport]) -> list[dict[str, Any]]:
    """The rows of all layers' trainings, each with its layer."""
    return [{"layer": report.layer, **row} for report in reports for row in report.record.history]
