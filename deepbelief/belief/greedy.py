"""Greedy learning of a DBN: each RBM learns from draws of the layer below (Hinton, Osindero & Teh 2006)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from deepbelief.belief.dbn import DBN
from deepbelief.energy.gradients.settings import LearningSettings, make_procedure, settings_of_each
from deepbelief.energy.rbm import RBM
from deepbelief.errors import InvalidArgumentError, check
from deepbelief.protocols import BatchSource
from deepbelief.rng import make_generator, spawn
from deepbelief.training.callbacks import Callback
from deepbelief.training.checkpoint import of_layer
from deepbelief.training.record import TrainingRecord
from deepbelief.training.trainer import Trainer
from deepbelief.types import Batch

BITS = ("bernoulli", "spin")  # kinds of which further units without weights change nothing
MOMENT_BATCHES = 100  # batches from which the starting moments of a layer are taken


class LayerSource:
    """The batches of another source as layer `layer` of a DBN sees them: by draws from the layers below.

    Draws, not means: the bound's argument is about the binary states. With ``means`` they are the means of one
    deterministic pass up, as a classifier sees them. Labels join at the top when they sit there; a label below 0 is
    unknown, and enters by its posterior under the current top RBM.
    """

    def __init__(self, source: BatchSource, dbn: DBN, layer: int, *, means: bool = False) -> None:
        self.source, self.dbn, self.layer, self.means = source, dbn, layer, means
        self.n_cases = source.n_cases

    def __len__(self) -> int:
        return len(self.source)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.source, name)  # the trainer may ask a source for more than the protocol, such as n_batches

    def batches(
        self, epoch: int, *, start: int = 0, generator: torch.Generator, rank: int = 0, world_size: int = 1
    ) -> Iterator[Batch]:
        """This rank's share of each batch, brought up to the layer."""
        device = self.dbn.layers[0].weight.device  # the layers below may live on a GPU while the data does not
        same = generator.device.type == device.type
        inner = self.source.batches(epoch, start=start, generator=generator, rank=rank, world_size=world_size)
        for batch in inner:
            yield self._lift(batch.to(device), generator if same else spawn(generator, device))

    @torch.no_grad()
    def _lift(self, batch: Batch, generator: torch.Generator) -> Batch:
        return Batch(self._activity(batch, generator), batch.y, batch.weight)

    def _activity(self, batch: Batch, generator: torch.Generator) -> Tensor:
        h = self.dbn.upward(batch.x, n_layers=self.layer, sample=not self.means, generator=generator)
        if not self.dbn.n_classes or self.layer < len(self.dbn.layers) - 1:
            return h
        return self.dbn.with_labels(h, batch.y)


@dataclass(frozen=True)
class LayerReport:
    """What the caller learns after each layer: its number (from 1), its RBM, and its training's record."""

    layer: int
    rbm: RBM
    record: TrainingRecord


class MatchesData(Protocol):
    """A model that can take its starting biases and offsets from data."""

    def match_data(self, x: Tensor, weight: Tensor | None = None) -> None: ...


@torch.no_grad()
def start_layer(rbm: MatchesData, source: BatchSource, generator: torch.Generator) -> None:
    """Set the visible biases and both offsets from the data, by the moments of the first batches."""
    seen = list(islice(source.batches(0, generator=generator), MOMENT_BATCHES))
    weights = [batch.weight for batch in seen if batch.weight is not None]
    rbm.match_data(torch.cat([batch.x for batch in seen]), torch.cat(weights) if weights else None)


@torch.no_grad()
def tie_to_below(rbm: RBM, below: RBM) -> None:
    """Start `rbm` as the transpose of the RBM below it, so that the bound starts at that RBM's log-likelihood.

    Needs hidden units like the visible units below. Bits may be more of them: further ones start with their own small
    weights, and are worth about nothing at first (Hinton, Osindero & Teh 2006, section 4).
    """
    check_tie(rbm, below)
    n_v = below.visible.size
    rbm.weight[:, :n_v] = below.weight.T
    rbm.visible.load_state_dict(below.hidden.state_dict())
    for own, other in zip(rbm.hidden.parameters(), below.visible.parameters(), strict=True):
        own[: len(other)] = other
    rbm.visible_offset.copy_(below.hidden_offset)
    rbm.hidden_offset[:n_v] = below.visible_offset


def check_tie(rbm: RBM, below: RBM) -> None:
    """Raise `InvalidArgumentError` unless `rbm` can start as the transpose of `below`."""
    units, kind = below.visible, below.visible.kind
    more = kind in BITS and rbm.hidden.kind == kind and rbm.hidden.size >= units.size
    if rbm.visible.config() != below.hidden.config() or not (more or rbm.hidden.config() == units.config()):
        raise InvalidArgumentError(
            f"a tied layer must have {'at least ' if kind in BITS else ''}{units.size} hidden units of kind {kind} "
            f"over {below.hidden.size} {below.hidden.kind} ones. Got {rbm.hidden.size} {rbm.hidden.kind} over "
            f"{rbm.visible.size} {rbm.visible.kind}. Use tied=False."
        )


def tied_layers(dbn: DBN) -> range:
    """Which RBMs (from 0) start as the transpose of the one below, all of them checked.

    All above the first; but where data are of another kind than the second RBM's hidden units (real numbers below
    bits), the second has nothing to be the transpose of, and those above it are tied all the same.
    """
    n = len(dbn.layers)
    first = 1 if n == 1 or dbn.layers[1].hidden.kind == dbn.visible.kind else 2
    check(
        n == 1 or first < n,
        f"tied needs hidden units of the data's kind, or at least 3 layers. Got {n} layers, {dbn.top.hidden.kind} "
        f"units over {dbn.visible.kind} data. Use tied=False.",
    )
    for index in range(first, n):
        check_tie(dbn.layers[index], dbn.layers[index - 1])
    return range(first, n)


def train_greedily(
    dbn: DBN,
    source: BatchSource,
    settings: LearningSettings | Sequence[LearningSettings],
    *,
    trainer_options: Mapping[str, Any] | None = None,
    tied: bool = False,
    seed: int = 0,
    checkpoint_dir: str | Path | None = None,
    resume: bool = False,
    callbacks: Callable[[int, RBM, LayerSource], Sequence[Callback]] | None = None,
    after_layer: Callable[[LayerReport], None] | None = None,
) -> list[LayerReport]:
    """Train the RBMs of `dbn` from the bottom to the top on `source`, in place.

    One `LearningSettings` for all layers, or one for each. `trainer_options` go to `Trainer`. With `checkpoint_dir`,
    layer l is kept in ``layer-l/``; with `resume`, finished layers are read back and the unfinished one continues where
    it stopped. `tied` starts layers as the transpose of the one below (`tied_layers` says which).
    `callbacks(layer, rbm, source)` gives each layer its own; `after_layer` may report the bound.
    """
    each = settings_of_each(settings, len(dbn.layers))
    reports, ties = [], tied_layers(dbn) if tied else range(0)
    for index, (rbm, plan) in enumerate(zip(dbn.layers, each, strict=True)):
        layer_source = LayerSource(source, dbn, index)
        folder, saved = of_layer(checkpoint_dir, index + 1, resume)
        if saved is None:
            start_layer(rbm, layer_source, make_generator(seed, rbm.weight.device, stream=index))
            if index in ties:
                tie_to_below(rbm, dbn.layers[index - 1])
        extra = [] if callbacks is None else list(callbacks(index + 1, rbm, layer_source))
        options = {"seed": seed + index, "averaging": plan.averaging, **(trainer_options or {})}
        trainer = Trainer(epochs=plan.epochs, callbacks=extra, checkpoint_dir=folder, **options)
        record = trainer.fit(make_procedure(rbm, plan), layer_source, resume_from=saved)
        reports.append(LayerReport(index + 1, rbm, record))
        if after_layer is not None:
            after_layer(reports[-1])
    return reports
