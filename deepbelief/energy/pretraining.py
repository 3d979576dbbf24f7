"""Greedy pre-training of a deep Boltzmann machine (Salakhutdinov & Hinton 2009, section 3.2).

A layer of a DBM hears both its neighbours; a layer of an RBM hears one. The bottom RBM therefore learns with two tied
copies of the data below it, the top one with two tied copies of the layer above it, and those between learn as they
are and give half of their weights. Put together, every layer then gets about as much input as it got when it learned.

Centred learning needs none of this (`deepbelief.energy.gradients.deep`); it is for plain gradients, for very deep
machines, and for comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deepbelief.energy.dbm import DBM
from deepbelief.energy.gradients.settings import LearningSettings, make_procedure, settings_of_each
from deepbelief.energy.rbm import RBM
from deepbelief.errors import check
from deepbelief.protocols import BatchSource, Procedure, StepContext
from deepbelief.rng import make_generator, spawn
from deepbelief.training.checkpoint import of_layer
from deepbelief.training.record import TrainingRecord
from deepbelief.training.trainer import Trainer
from deepbelief.types import Batch
from deepbelief.units.base import Units
from deepbelief.units.side_by_side import SideBySide


@dataclass
class TiedCopies:
    """A procedure of an RBM one of whose layers is two copies of the same units: their gradients are kept equal."""

    procedure: Procedure
    rbm: RBM

    def __post_init__(self) -> None:
        self.module = self.procedure.module

    def start(self, first: Batch, generator: torch.Generator, *, rank: int = 0, world_size: int = 1) -> None:
        self.procedure.start(first, generator, rank=rank, world_size=world_size)

    def step(self, batch: Batch, context: StepContext) -> Mapping[str, Tensor | float]:
        def average(tensors: Iterable[Tensor]) -> None:
            self._tie()
            context.average(tensors)

        return self.procedure.step(batch, replace(context, average=average, needs_gradients=True))

    @torch.no_grad()
    def _tie(self) -> None:
        weight = self.rbm.weight.grad
        assert weight is not None
        for units, offset, rows in (
            (self.rbm.visible, self.rbm.visible_offset, weight),
            (self.rbm.hidden, self.rbm.hidden_offset, weight.T),
        ):
            if not isinstance(units, SideBySide):
                continue
            gradients = [rows, *([] if offset.grad is None else [offset.grad])]
            for gradient in gradients:
                first, second = gradient.chunk(2)
                first.add_(second).mul_(0.5)
                second.copy_(first)
            pairs = zip(units.part(0).parameters(), units.part(1).parameters(), strict=True)
            for one, other in pairs:
                assert one.grad is not None
                assert other.grad is not None
                one.grad = (one.grad + other.grad) / 2
                other.grad = one.grad.clone()

    def state_dict(self) -> dict[str, Any]:
        return self.procedure.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.procedure.load_state_dict(state)


class MappedSource:
    """The batches of another source, each with its cases replaced by a function of them and of a generator."""

    def __init__(self, source: BatchSource, function: Callable[[Tensor, torch.Generator], Tensor]) -> None:
        self.source, self.function, self.n_cases = source, function, source.n_cases

    def __len__(self) -> int:
        return len(self.source)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.source, name)  # the trainer may ask a source for more than the protocol

    def batches(
        self, epoch: int, *, start: int = 0, generator: torch.Generator, rank: int = 0, world_size: int = 1
    ) -> Iterator[Batch]:
        inner = self.source.batches(epoch, start=start, generator=generator, rank=rank, world_size=world_size)
        for batch in inner:
            yield Batch(self.function(batch.x, generator), batch.y, batch.weight)


def pretrain(
    dbm: DBM,
    source: BatchSource,
    settings: LearningSettings | Sequence[LearningSettings],
    *,
    trainer_options: Mapping[str, Any] | None = None,
    seed: int = 0,
    checkpoint_dir: str | Path | None = None,
    resume: bool = False,
) -> list[TrainingRecord]:
    """Learn the layers of `dbm` one by one from the bottom up on `source`, and put what they learned into it.

    One `LearningSettings` for all layers, or one for each pair of neighbours. With `checkpoint_dir`, pair l is kept in
    ``layer-l/``, and `resume` goes on from there.
    """
    each = settings_of_each(settings, len(dbm.weights), "pair of neighbours")
    rbms: list[RBM] = []
    records = []
    for layer, plan in enumerate(each):
        rbm = _doubled(dbm, layer, seed)
        inner = MappedSource(source, _lift(rbms, doubled=layer == 0))
        folder, saved = of_layer(checkpoint_dir, layer + 1, resume)
        if saved is None:
            first = next(iter(inner.batches(0, generator=make_generator(seed, stream=layer))))
            first = first.to(rbm.weight.device)  # the RBMs below may have learned on another
            rbm.match_data(first.x, first.weight)
        procedure = TiedCopies(make_procedure(rbm, plan), rbm)
        options = {"seed": seed + layer, "averaging": plan.averaging, **(trainer_options or {})}
        trainer = Trainer(epochs=plan.epochs, checkpoint_dir=folder, **options)
        records.append(trainer.fit(procedure, inner, resume_from=saved))
        rbms.append(rbm)
    compose(dbm, rbms)
    return records


@torch.no_grad()
def start_from_rbm(dbm: DBM, rbm: RBM) -> None:
    """Put a trained `rbm` into the two lowest layers of `dbm`, whose couplings above should be faint (``weight_std``).

    With couplings of 0 above, those layers are independent of the rest: ``log p(x)`` is the RBM's, and mean field is
    exact, so that joint learning starts from a bound that is the RBM's likelihood itself. Faint random ones let the
    units above take different parts. Unlike `pretrain`, it needs an RBM that learned alone, with nothing doubled.
    """
    for place, units in (("data", rbm.visible), ("layer 1", rbm.hidden)):
        own = dbm.units[int(place != "data")]
        same = units.config() == own.config()
        check(same, f"{place} must be the same units in dbm and rbm. Got {own.config()} and {units.config()}.")
    dbm.weights[0].copy_(rbm.weight)
    dbm.units[0].load_state_dict(rbm.visible.state_dict())
    dbm.units[1].load_state_dict(rbm.hidden.state_dict())
    dbm.offsets[0].copy_(rbm.visible_offset)
    dbm.offsets[1].copy_(rbm.hidden_offset)
    for layer in range(2, len(dbm.units)):
        dbm.offsets[layer].copy_(dbm.units[layer].mean(torch.zeros_like(dbm.offsets[layer]).unsqueeze(0))[0])


def _doubled(dbm: DBM, layer: int, seed: int) -> RBM:
    """The RBM of layers `layer` and `layer + 1`, with two copies of the data, or of the top; copies start equal."""
    below, above = dbm.units[layer].empty_like(), dbm.units[layer + 1].empty_like()
    last = len(dbm.weights) - 1
    visible: Units = SideBySide([below, below.empty_like()]) if layer == 0 else below
    hidden: Units = SideBySide([above, above.empty_like()]) if layer == last else above
    rbm = RBM(visible, hidden, generator=make_generator(seed, stream=100 + layer)).to(dbm.weights[0])
    with torch.no_grad():
        if layer == 0:
            rbm.weight[below.size :] = rbm.weight[: below.size]
        if layer == last:
            rbm.weight[:, above.size :] = rbm.weight[:, : above.size]
    return rbm


def _lift(rbms: Sequence[RBM], doubled: bool) -> Callable[[Tensor, torch.Generator], Tensor]:
    """From the data to what the next RBM sees: draws of the layers below; two copies for the first."""
    below = list(rbms)

    @torch.no_grad()
    def lift(x: Tensor, generator: torch.Generator) -> Tensor:
        if below and x.device != below[0].weight.device:
            x = x.to(below[0].weight.device)
            generator = spawn(generator, x.device)
        for number, rbm in enumerate(below):
            x = rbm.sample_h_from_v(torch.cat([x, x], 1) if number == 0 else x, generator)
        return torch.cat([x, x], 1) if doubled else x

    return lift


@torch.no_grad()
def compose(dbm: DBM, rbms: Sequence[RBM]) -> None:
    """Put RBMs that learned with doubled ends into a machine; a layer that two of them share has their mean state."""
    states: list[list[Mapping[str, Tensor]]] = [[] for _ in dbm.units]
    for layer, rbm in enumerate(rbms):
        rows, columns = dbm.weights[layer].shape
        share = 1.0 if layer in (0, len(rbms) - 1) else 0.5
        dbm.weights[layer].copy_(share * rbm.weight[:rows, :columns])
        for place, units, width, offset in (
            (layer, rbm.visible, rows, rbm.visible_offset),
            (layer + 1, rbm.hidden, columns, rbm.hidden_offset),
        ):
            own = units.part(0) if units.size > width else units  # type: ignore[operator]
            states[place].append({**own.state_dict(), "offset": offset[:width]})
    for units, found, mean in zip(dbm.units, states, dbm.offsets, strict=True):
        merged = {name: torch.stack([state[name] for state in found]).mean(0) for name in found[0]}
        mean.copy_(merged.pop("offset"))
        units.load_state_dict(merged)
