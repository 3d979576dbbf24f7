"""Persistent contrastive divergence: chains that are never restarted follow the slowly moving model (Tieleman 2008).

The number of chains is its own argument, and the model's half is averaged over all of them whatever the size of the
batch, so a ragged last batch is not biased.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from deepbelief.energy.gradients.moments import Moments, moments
from deepbelief.energy.gradients.negative import PositivePhase
from deepbelief.energy.kernels.gibbs import Bipartite, BlockGibbs, check_chains
from deepbelief.errors import DivergenceError, check, check_count
from deepbelief.protocols import Generator

STUCK = 1e-3  # the probability of a flip below which a unit counts as stuck
CHECK_EVERY = 500  # updates


class PersistentChains:
    """PCD-k with `n_chains` chains (in all processes together), each moved by `k` Gibbs steps per update.

    The state is h: its next visible layer is drawn with the new weights, so one step costs two products. Chains start
    at independent units with the data's means, or at the first batch (``start_at="data"``).

    With ``ahead``, the chains make the steps of the next update before this one reaches the weights, while its gradient
    travels between processes: they follow weights that are one update old. Persistent chains lag behind the model by
    construction; nothing else changes.
    """

    name = "pcd"

    def __init__(self, n_chains: int = 100, k: int = 1, *, start_at: str = "base", ahead: bool = False) -> None:
        check_count("n_chains", n_chains, low=1)
        check_count("k", k, low=1)
        check(start_at in ("base", "data"), f"start_at must be 'base' or 'data'. Got start_at={start_at!r}.")
        self.n_chains, self.k, self.start_at = n_chains, k, start_at
        self.v = torch.empty(0)
        self.h = torch.empty(0)
        self.updates = 0
        self.ahead = ahead
        self._moved: tuple[Tensor, Tensor] | None = None  # inputs and mean of h of the steps made ahead

    @torch.no_grad()
    def start(self, rbm: Bipartite, first: Tensor, generator: Generator, *, rank: int, world_size: int) -> None:
        check_count("n_chains", self.n_chains, low=world_size, remedy="Each process needs a chain of its own.")
        mine = len(range(rank, self.n_chains, world_size))
        check_chains(mine, rbm)
        kernel = BlockGibbs(rbm)
        if self.start_at == "data":
            v = first[torch.arange(mine, device=first.device) % len(first)]
            state = kernel.start_at(v, generator=generator)
        else:
            state = kernel.init(mine, generator=generator)
        self.v, self.h, self.updates, self._moved = state.v, state.h, 0, None

    @torch.no_grad()
    def moments(
        self, rbm: Bipartite, positive: PositivePhase, generator: Generator
    ) -> tuple[Moments, Mapping[str, Tensor]]:
        moved, self._moved = self._moved, None
        inputs, mean_h = self.advance(rbm, positive.v, generator) if moved is None else moved
        return moments(rbm, self.v, inputs, mean_h), {}

    def go_ahead(self, rbm: Bipartite, data: Tensor, generator: Generator) -> None:
        """Make the next update's steps now."""
        self._moved = self.advance(rbm, data, generator)

    def advance(self, rbm: Bipartite, data: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """Move the chains by `k` steps of `rbm`; the inputs and the mean of h that their states were drawn from."""
        inputs = rbm.input_h_from_v(self.draw_v(rbm, generator))
        mean_h, h = rbm.hidden.mean_and_sample(inputs, generator)
        self.take(rbm, self.v, h, data)
        return inputs, mean_h

    def draw_v(self, rbm: Bipartite, generator: Generator) -> Tensor:
        """The first half of `advance`: `k` - 1 steps, and new visible states, (n_chains, n_visible)."""
        self.h = self.h.to(self.v)  # bytes where a GPU drew them
        self.sweep(rbm, generator)
        self.v = rbm.sample_v_from_h(self.h, generator)
        return self.v

    def sweep(self, rbm: Bipartite, generator: Generator) -> None:
        """All steps of an update but the last."""
        for _ in range(self.k - 1):
            self.h = rbm.sample_h_from_v(rbm.sample_v_from_h(self.h, generator), generator)

    def take(self, rbm: Bipartite, v: Tensor, h: Tensor, data: Tensor) -> None:
        """The second half: both layers' new states, (n_chains, n_visible) and (n_chains, n_hidden)."""
        self.v, self.h = v, h
        self.updates += 1
        check_alive(rbm, self.v, self.h, data, self.updates)

    def state_dict(self) -> dict[str, Any]:
        moved = {} if self._moved is None else {"moved": list(self._moved)}
        return {"v": self.v, "h": self.h, "updates": self.updates, **moved}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.v, self.h, self.updates = state["v"], state["h"].to(state["v"]), state["updates"]
        self._moved = (state["moved"][0], state["moved"][1]) if "moved" in state else None


def check_alive(rbm: Bipartite, v: Tensor, h: Tensor, data: Tensor, updates: int) -> None:
    """Chains that are all stuck in one state, or not numbers at all, no longer see the model (every 500th update).

    Few chains of a small model may meet in one state by chance, and data of one pattern make a model of one: stuck are
    those that would stay there almost surely while the data differ.
    """
    if updates % CHECK_EVERY:
        return
    finite = bool(torch.isfinite(h).all() and torch.isfinite(v).all())
    same = len(h) > 1 and bool((h == h[0]).all()) and bool((v == v[0]).all())
    if same and finite:
        still = (rbm.mean_v_from_h(h[:1].to(v)) - v[:1]).abs().max() < STUCK
        same = bool(still) and not bool((data == data[0]).all())
    if not finite or (same and rbm.hidden.size > 1):
        what = "all chains are in one state" if finite else "chains hold NaN or infinity"
        raise DivergenceError(
            f"learning diverged: {what} after {updates} updates. Lower learning_rate (a tenth is a good try), "
            "or raise k or the weight decay."
        )
