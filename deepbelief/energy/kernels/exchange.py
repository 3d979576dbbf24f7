"""Replica exchange: chains at every rung of a ladder of models, from one that mixes at once to the one that is wanted.

Each sweep moves the chains of all rungs by block Gibbs and then proposes to swap the visible states of neighbours,

    P(swap) = min(1, exp(F_k(v_k) + F_l(v_l) - F_k(v_l) - F_l(v_k))),        l = k + 1,

which leaves the product of all rungs' laws as it is: hidden units are summed out of the ratio and drawn anew after it.
Even and odd pairs take turns without a coin, which carries states up and down the ladder fastest (Okabe et al. 2001;
Syed, Bouchard-Cote, Deligiannidis & Doucet 2022). Swendsen & Wang 1986; Geyer 1991; Hukushima & Nemoto 1996.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from deepbelief.errors import check_count, check_range
from deepbelief.protocols import Generator
from deepbelief.rng import uniform_like
from deepbelief.types import Clamp


class Ladder(Protocol):
    """Models from the easiest (rung 0) to the wanted one (the last), with one row of chains at each.

    `rungs` names, for each row, the model that looks at it: its own, or its neighbour's when a swap is weighed.
    """

    def __len__(self) -> int: ...

    def start(self, n: int, generator: Generator) -> Tensor:
        """Visible states to begin with: (rungs, n, n_visible)."""
        ...

    def draw_v(self, h: Tensor, generator: Generator, clamp: Clamp | None = None) -> Tensor:
        """v given h at every rung, entries of `clamp` held: (rungs, n, n_hidden) -> (rungs, n, n_visible)."""
        ...

    def draw_h(self, v: Tensor, inputs: Tensor, generator: Generator) -> Tensor:
        """h given v at its own rung, whose `inputs` are known."""
        ...

    def inputs(self, v: Tensor, rungs: Sequence[int], known: Tensor | None = None) -> Tensor:
        """``v W`` by the models `rungs`; `known` holds it for the rows' own models, where that is of use."""
        ...

    def free_energy(self, v: Tensor, inputs: Tensor, rungs: Sequence[int]) -> Tensor:
        """``F(v)`` of the models `rungs`: (rungs, n)."""
        ...


@dataclass(frozen=True)
class ExchangeState:
    """v (rungs, n, n_visible), h (rungs, n, n_hidden), the inputs of h, and how many sweeps were made.

    `from_base` (rungs, n) tells which states have been at rung 0 since they last were at the top.
    """

    v: Tensor
    h: Tensor
    inputs: Tensor
    from_base: Tensor
    sweeps: int = 0


@dataclass(frozen=True)
class ExchangeInfo:
    """What a sweep saw: the mean swap probability of each pair (NaN where it was not its turn), and round trips.

    ``round_trips`` counts the states that reached the top from rung 0 in this sweep. Few of them while chains are many
    and sweeps long means that the ladder has a gap or is too long.
    """

    acceptance: Tensor  # (rungs - 1,)
    round_trips: Tensor  # ()


def partners(n_rungs: int, sweep: int) -> list[int]:
    """With whom each rung may swap in this sweep: even pairs and odd pairs in turn; itself where it has no partner.

    >>> partners(5, 0), partners(5, 1)
    ([1, 0, 3, 2, 4], [0, 2, 1, 4, 3])
    """
    partner, first = list(range(n_rungs)), 0 if n_rungs == 2 else sweep % 2
    for low in range(first, n_rungs - 1, 2):
        partner[low], partner[low + 1] = low + 1, low
    return partner


def log_swap_ratio(own: Tensor, other: Tensor, partner: list[int]) -> Tensor:
    """The logarithm of each pair's swap ratio from ``F_k(v_k)`` and ``F_partner(v_k)``, the same in both its rows."""
    gain = own - other
    return gain + gain[partner]


class ReplicaExchange:
    """The kernel over a `Ladder`; a clamp holds visible entries of all rungs, chain by chain.

    ``from_bottom=False`` says that the ladder is the upper part of a longer one, so that its rung 0 starts no journey.
    """

    def __init__(self, ladder: Ladder, *, from_bottom: bool = True) -> None:
        check_range("the number of rungs", len(ladder), low=2)
        self.ladder, self.from_bottom = ladder, from_bottom

    @torch.no_grad()
    def init(self, n: int, *, generator: Generator) -> ExchangeState:
        """`n` chains at each rung."""
        check_count("n", n, low=1)
        return self.start_at(self.ladder.start(n, generator), generator=generator)

    @torch.no_grad()
    def start_at(self, v: Tensor, *, generator: Generator) -> ExchangeState:
        """Chains at given visible states: (rungs, n, n_visible), or (n, n_visible) for every rung."""
        v = v.expand(len(self.ladder), *v.shape[-2:]).contiguous()
        inputs = self.ladder.inputs(v, range(len(self.ladder)))
        from_base = torch.zeros(v.shape[:2], dtype=torch.bool, device=v.device)
        from_base[0] = True
        return ExchangeState(v, self.ladder.draw_h(v, inputs, generator), inputs, from_base)

    @torch.no_grad()
    def step(
        self, state: ExchangeState, *, clamp: Clamp | None = None, generator: Generator
    ) -> tuple[ExchangeState, ExchangeInfo]:
        """One sweep of every chain and one round of swaps."""
        v = self.ladder.draw_v(state.h, generator, clamp)
        v, inputs, from_base, acceptance = self._swap(v, state, generator)
        from_base[0] |= self.from_bottom
        arrived = from_base[-1].sum()
        from_base[-1] = False
        h = self.ladder.draw_h(v, inputs, generator)
        return ExchangeState(v, h, inputs, from_base, state.sweeps + 1), ExchangeInfo(acceptance, arrived)

    def _swap(self, v: Tensor, state: ExchangeState, generator: Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        rungs = range(len(self.ladder))
        partner = partners(len(rungs), state.sweeps)
        inputs = self.ladder.inputs(v, rungs)
        crossed = self.ladder.inputs(v, partner, inputs)
        own = self.ladder.free_energy(v, inputs, rungs)
        ratio = log_swap_ratio(own, self.ladder.free_energy(v, crossed, partner), partner)
        lower = [min(pair) for pair in zip(rungs, partner, strict=True)]  # both rows of a pair see one number
        moved = uniform_like(ratio, generator)[lower].log() < ratio
        pairs = torch.tensor([k + 1 == partner[k] for k in rungs[:-1]], device=v.device)
        probability = ratio[:-1].clamp_max(0).exp().mean(1)
        acceptance = torch.where(pairs, probability, torch.full_like(probability, torch.nan))
        chosen = moved.unsqueeze(-1)
        v, inputs = torch.where(chosen, v[partner], v), torch.where(chosen, crossed[partner], inputs)
        return v, inputs, torch.where(moved, state.from_base[partner], state.from_base), acceptance


class SwapMeter:
    """Running means of what sweeps saw: swap acceptance of each pair, and round trips per chain and sweep.

    ``memory`` is the number of sweeps that count; without it all of them do.
    """

    def __init__(self, n_pairs: int, memory: float | None = None) -> None:
        self.memory = memory
        self.total, self.tried = torch.zeros(n_pairs, dtype=torch.float64), torch.zeros(n_pairs, dtype=torch.float64)
        self.round_trips, self.sweeps = 0.0, 0

    def add(self, info: ExchangeInfo, n_chains: int) -> None:
        """Count one more sweep."""
        keep = 1.0 if self.memory is None else 1 - 1 / self.memory
        seen = info.acceptance.double().cpu()
        there = ~seen.isnan()
        self.total = self.total * keep + torch.where(there, seen, 0.0)
        self.tried = self.tried * keep + there
        self.round_trips += float(info.round_trips) / n_chains
        self.sweeps += 1

    @property
    def acceptance(self) -> Tensor:
        """The mean swap probability of each pair, NaN where none was tried."""
        return self.total / self.tried

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("total", "tried", "round_trips", "sweeps")}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value.cpu() if isinstance(value, Tensor) else value)
