"""Block Gibbs sampling: all visible units given the hidden ones, then all hidden units given the visible ones.

Each half-step leaves p(v, h) as it is, so the chain does (Geman & Geman 1984).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from deepbelief.errors import InvalidArgumentError, check_count
from deepbelief.protocols import Generator
from deepbelief.types import Clamp
from deepbelief.units.base import Units

COPIES = 4  # states, means, inputs and random numbers of every chain live at once


class Bipartite(Protocol):
    """Two layers of units with weights between them: an RBM, or a DBM with its odd and even layers gathered."""

    @property
    def visible(self) -> Units: ...

    @property
    def hidden(self) -> Units: ...

    @property
    def visible_offset(self) -> Tensor: ...

    def input_h_from_v(self, v: Tensor) -> Tensor: ...

    def input_v_from_h(self, h: Tensor) -> Tensor: ...

    def mean_v_from_h(self, h: Tensor) -> Tensor: ...

    def mean_and_sample_v_from_h(self, h: Tensor, generator: Generator = None) -> tuple[Tensor, Tensor]: ...

    def mean_and_sample_h_from_v(self, v: Tensor, generator: Generator = None) -> tuple[Tensor, Tensor]: ...

    def sample_v_from_h(self, h: Tensor, generator: Generator = None) -> Tensor: ...

    def sample_h_from_v(self, v: Tensor, generator: Generator = None) -> Tensor: ...

    def free_energy(self, v: Tensor) -> Tensor: ...

    def free_energy_of_h(self, h: Tensor) -> Tensor: ...


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


def check_chains(n: int, model: Bipartite) -> None:
    """Refuse more chains than memory holds, before anything is allocated."""
    check_rows(n, model.visible.size + model.hidden.size, model.visible_offset)


def check_rows(n: int, size: int, like: Tensor) -> None:
    """Refuse more chains of `size` units, of the type of `like`, than the memory of its device holds."""
    check_count("n", n, low=1)
    per_chain = COPIES * size * like.element_size()
    room = memory_bytes(like.device)
    if room is not None and n * per_chain > room:
        raise InvalidArgumentError(
            f"the number of chains must fit in memory: at most {room // per_chain:,} here. Got {n:,}. "
            "Run fewer chains, or draw in several calls."
        )


def memory_bytes(device: torch.device) -> int | None:
    """The memory of a device, in bytes; None where the system does not say."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[1])
    if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", {}):
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


class BlockGibbs:
    """The kernel ``v ~ p(v | h)``, ``h ~ p(h | v)``; a clamp holds visible entries."""

    def __init__(self, model: Bipartite) -> None:
        self.model = model

    @torch.no_grad()
    def init(self, n: int, *, generator: Generator) -> ChainState:
        """`n` chains from independent visible units with the data's means."""
        check_chains(n, self.model)
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
        mean_v, v = self.model.mean_and_sample_v_from_h(state.h, generator)
        if clamp is not None:
            v = clamp.apply(v)
        mean_h, h = self.model.mean_and_sample_h_from_v(v, generator)
        return ChainState(v, h), GibbsInfo(mean_v, mean_h)
