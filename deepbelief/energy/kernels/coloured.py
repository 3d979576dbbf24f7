"""Coloured block Gibbs and Metropolis sampling of pairwise models: all sites of one colour at once, in many chains.

Sites of one colour are independent given the rest, so drawing them together leaves p(x) as it is (Geman & Geman 1984);
on a grid these are the two halves of the checkerboard. Where all are coupled to all, a colour is one site, and a sweep
visits the sites one by one in all chains together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from deepbelief.energy.couplings import Interaction
from deepbelief.energy.kernels.gibbs import check_rows
from deepbelief.energy.sites import Block
from deepbelief.errors import check, check_choice
from deepbelief.protocols import Generator
from deepbelief.rng import uniform_like
from deepbelief.types import Clamp
from deepbelief.units.base import Units
from deepbelief.units.categorical import Categorical

SCANS = ("systematic", "random")


class Machine(Protocol):
    """What the kernels see of a Boltzmann machine."""

    offset: Tensor
    temperature: float

    @property
    def size(self) -> int: ...

    @property
    def bias(self) -> Tensor: ...

    @property
    def visible(self) -> Units: ...

    def plan(self) -> HasBlocks: ...

    def interaction(self) -> Interaction: ...

    def independent_bias(self) -> Tensor: ...


class HasBlocks(Protocol):
    """The blocks of a machine, and all its units without biases."""

    @property
    def blocks(self) -> list[Block]: ...

    @property
    def units(self) -> Units: ...


@dataclass(frozen=True)
class SiteState:
    """Many chains at once: the states of all units, visible first, (n, size)."""

    x: Tensor

    @property
    def v(self) -> Tensor:
        """The whole state: what annealing moves."""
        return self.x


@dataclass(frozen=True)
class SweepInfo:
    """The mean of each site given all others when it was drawn, and the share of the numbers that changed."""

    mean: Tensor
    moved: Tensor


class ColouredGibbs:
    """Every site drawn from its law given all others, colour by colour.

    `scan` is the order of the colours: "systematic", or "random", a new order in every sweep (then a sweep satisfies
    detailed balance). A clamp over the visible columns, or over all, holds whole variables.
    """

    def __init__(self, model: Machine, *, scan: str = "systematic") -> None:
        check_choice("scan", scan, SCANS)
        self.model, self.scan = model, scan

    @torch.no_grad()
    def init(self, n: int, *, generator: Generator) -> SiteState:
        """`n` chains from independent units with the means of the model's offsets."""
        check_rows(n, self.model.size, self.model.offset)
        bias = self.model.independent_bias()
        return SiteState(self.model.plan().units.sample(bias.expand(n, -1), generator))

    @torch.no_grad()
    def start_at(self, x: Tensor, *, generator: Generator) -> SiteState:
        """Chains at given states of the visible units, hidden ones independent, or at given states of all."""
        if x.shape[1] == self.model.size:
            return SiteState(x)
        start = self.init(len(x), generator=generator).x
        return SiteState(torch.cat([x.to(start), start[:, x.shape[1] :]], 1))

    @torch.no_grad()
    def step(
        self, state: SiteState, *, clamp: Clamp | None = None, generator: Generator
    ) -> tuple[SiteState, SweepInfo]:
        """One sweep of every chain."""
        model = self.model
        bias, scale = model.bias / model.temperature, 1 / model.temperature
        order = range(len(model.plan().blocks))
        found = self.sweep(state.x, bias, scale, model.interaction(), self._order(order, generator), clamp, generator)
        return SiteState(found[0]), found[1]

    def _order(self, order: Sequence[int], generator: Generator) -> Sequence[int]:
        return order if self.scan == "systematic" else shuffled(len(order), generator)

    def sweep(
        self,
        x: Tensor,
        bias: Tensor,
        scale: float | Tensor,
        interaction: Interaction,
        order: Sequence[int],
        clamp: Clamp | None,
        generator: Generator,
    ) -> tuple[Tensor, SweepInfo]:
        """One sweep of the law ``exp(bias.x + scale x' J x / 2)``, the blocks in the given order.

        `bias` is one row for all chains, (size,), or one for each, (n, size); `scale` one number, or (n, 1).
        """
        blocks, before, x, means = self.model.plan().blocks, x, x.clone(), x.clone()
        held = None if clamp is None else _whole(clamp, x)
        for number in order:
            place = blocks[number].place
            known = None if held is None else held.known[:, place]
            if known is not None and bool(known.all()):
                x[:, place] = means[:, place] = held.values[:, place]  # type: ignore[union-attr]
                continue
            field = _scaled_sum(bias[..., place], interaction.on(number, x), scale)
            mean, new = self.draw(blocks[number].units, field, x[:, place], generator)
            means[:, place] = mean
            if known is not None:
                new = torch.where(known, held.values[:, place], new)  # type: ignore[union-attr]
            x[:, place] = new
        return x, SweepInfo(means, (x != before).to(x).mean())

    def draw(self, units: Units, field: Tensor, old: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """The conditional means of a block, and its new states."""
        mean = units.mean(field)
        return mean, units.draw(field, mean, generator)


class ColouredMetropolis(ColouredGibbs):
    """Single-site Metropolis, colour by colour: another value, each equally likely, accepted with min(1, ratio).

    For binary sites it moves more often than Gibbs sampling does (Peskun 1973; Liu 1996). A site proposes with
    probability `proposing`, below 1, for without a field all proposals would be accepted and the chain would only
    swing between two states.
    """

    def __init__(self, model: Machine, *, scan: str = "systematic", proposing: float = 0.9) -> None:
        super().__init__(model, scan=scan)
        check(0 < proposing < 1, f"proposing must be above 0 and below 1. Got proposing={proposing}.")
        self.proposing = proposing

    def draw(self, units: Units, field: Tensor, old: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """The conditional means of a block, and its states after one proposal each."""
        new = _another(units, old, generator)
        width = units.n_values if isinstance(units, Categorical) else 1
        ratio = ((new - old) * field).unflatten(1, (-1, width)).sum(2).exp()
        accepted = uniform_like(ratio, generator) < self.proposing * ratio.clamp_max(1)
        return units.mean(field), torch.where(accepted.repeat_interleave(width, 1), new, old)


def _scaled_sum(bias: Tensor, coupled: Tensor, scale: float | Tensor) -> Tensor:
    """``bias + scale coupled``."""
    if isinstance(scale, Tensor):
        return torch.addcmul(bias, coupled, scale)
    return torch.add(bias, coupled, alpha=scale)


def _another(units: Units, old: Tensor, generator: Generator) -> Tensor:
    """Another value of each site, every one equally likely."""
    if not isinstance(units, Categorical):
        return 1 - old if units.kind == "bernoulli" else -old
    groups = old.unflatten(1, (units.n_groups, units.n_values))
    further = torch.randint(1, units.n_values, groups.shape[:2], device=old.device, generator=generator)
    value = (groups.argmax(2) + further) % units.n_values
    return torch.nn.functional.one_hot(value, units.n_values).flatten(1).to(old)


def shuffled(n: int, generator: Generator) -> list[int]:
    """A random order of `n` blocks."""
    device = "cpu" if generator is None else generator.device
    return torch.randperm(n, generator=generator, device=device).tolist()


def _whole(clamp: Clamp, x: Tensor) -> Clamp:
    """A clamp over all columns of `x`: hidden ones, if it does not name them, are free."""
    parts = []
    for part, filler in ((clamp.values.to(x), 0.0), (clamp.known.to(x.device), False)):
        rows = part if part.ndim == 2 else part.unsqueeze(0)
        free = rows.new_full((len(rows), x.shape[1] - rows.shape[1]), filler)
        parts.append(torch.cat([rows, free], 1))
    return Clamp(parts[0], parts[1])
