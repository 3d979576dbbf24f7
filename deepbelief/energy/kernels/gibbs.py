"""Block Gibbs sampling: all visible units given the hidden ones, then all hidden units given the visible ones.

Each half-step leaves p(v, h) as it is, so the chain does (Geman & Geman 1984).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from deepbelief.energy.units.base import Units
from deepbelief.protocols import Generator
from deepbelief.types import Clamp


class Bipartite(Protocol):
    """Two layers of units with weights between them: an RBM, or a DBM with its odd and even layers gathered."""

    visible: Units
    hidden: Units
    visible_offset: Tensor

    def input_h_from_v(self, v: Tensor) -> Tensor: ...

    def input_v_from_h(self, h: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class ChainState:
    """Many chains at once: visible (n, n_visible) and hidden (n, n_hidden) states."""

    v: Tensor
    h: Tensor


@dataclass(frozen=True)
class GibbsInfo:
    """The conditional means that the new states were drawn from (Rao-Blackwell: averages of these have less noise)."""

    mean_v: Tensor
    mean_h: Tensor


class BlockGibbs:
    """The kernel ``v ~ p(v | h)``, ``h ~ p(h | v)``; a clamp holds visible entries."""

    def __init__(self, model: Bipartite) -> None:
        self.model = model

    @torch.no_grad()
    def init(self, n: int, *, generator: Generator) -> ChainState:
        """`n` chains from independent visible units with the data's means."""
        units, offset = self.model.visible, self.model.visible_offset
        base = units.empty_like()
        base.load_state_dict(units.state_dict())
        base.match(offset)
        return self.start_at(base.sample(torch.zeros(n, units.size).to(offset), generator), generator=generator)

    @torch.no_grad()
    def start_at(self, v: Tensor, *, generator: Generator) -> ChainState:
        """Chains at given visible states."""
        return ChainState(v, self.model.hidden.sample(self.model.input_h_from_v(v), generator))

    @torch.no_grad()
    def step(
        self, state: ChainState, *, clamp: Clamp | None = None, generator: Generator
    ) -> tuple[ChainState, GibbsInfo]:
        """One sweep of every chain."""
        visible, hidden = self.model.visible, self.model.hidden
        inputs = self.model.input_v_from_h(state.h)
        mean_v = visible.mean(inputs)
        v = visible.draw(inputs, mean_v, generator)
        if clamp is not None:
            v = clamp.apply(v)
        inputs = self.model.input_h_from_v(v)
        mean_h = hidden.mean(inputs)
        return ChainState(v, hidden.draw(inputs, mean_h, generator)), GibbsInfo(mean_v, mean_h)
