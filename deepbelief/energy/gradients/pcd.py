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
from deepbelief.errors import DivergenceError, check, check_range
from deepbelief.protocols import Generator

STUCK = 1e-3  # the probability of a flip below which a unit counts as stuck


class PersistentChains:
    """PCD-k with `n_chains` chains (in all processes together), each moved by `k` Gibbs steps per update.

    The state is h: its next visible layer is drawn with the new weights, so one step costs two products. Chains start
    at independent units with the data's means, or at the first batch (``start_at="data"``).
    """

    name = "pcd"

    def __init__(self, n_chains: int = 100, k: int = 1, *, start_at: str = "base") -> None:
        check_range("n_chains", n_chains, low=1)
        check_range("k", k, low=1)
        check(start_at in ("base", "data"), f"start_at must be 'base' or 'data'. Got start_at={start_at!r}.")
        self.n_chains, self.k, self.start_at = n_chains, k, start_at
        self.v = torch.empty(0)
        self.h = torch.empty(0)
        self.updates = 0

    @torch.no_grad()
    def start(self, rbm: Bipartite, first: Tensor, generator: Generator, *, rank: int, world_size: int) -> None:
        check_range("n_chains", self.n_chains, low=world_size, remedy="Each process needs a chain of its own.")
        mine = len(range(rank, self.n_chains, world_size))
        check_chains(mine, rbm)
        kernel = BlockGibbs(rbm)
        if self.start_at == "data":
            v = first[torch.arange(mine, device=first.device) % len(first)]
            state = kernel.start_at(v, generator=generator)
        else:
            state = kernel.init(mine, generator=generator)
        self.v, self.h, self.updates = state.v, state.h, 0

    @torch.no_grad()
    def moments(
        self, rbm: Bipartite, positive: PositivePhase, generator: Generator
    ) -> tuple[Moments, Mapping[str, Tensor]]:
        for _ in range(self.k):
            self.v = rbm.sample_v_from_h(self.h, generator)
            inputs = rbm.input_h_from_v(self.v)
            mean_h = rbm.hidden.mean(inputs)
            self.h = rbm.hidden.draw(inputs, mean_h, generator)
        self.updates += 1
        if self.updates % 500 == 0:
            self._check_alive(rbm, positive.v)
        return moments(rbm, self.v, inputs, mean_h), {}

    def _check_alive(self, rbm: Bipartite, data: Tensor) -> None:
        """Chains that are all stuck in one state, or not numbers at all, no longer see the model.

        Few chains of a small model may meet in one state by chance, and data of one pattern make a model of one: stuck
        are those that would stay there almost surely while the data differ.
        """
        finite = bool(torch.isfinite(self.h).all() and torch.isfinite(self.v).all())
        same = len(self.h) > 1 and bool((self.h == self.h[0]).all()) and bool((self.v == self.v[0]).all())
        if same and finite:
            still = (rbm.mean_v_from_h(self.h[:1]) - self.v[:1]).abs().max() < STUCK
            same = bool(still) and not bool((data == data[0]).all())
        if not finite or (same and rbm.hidden.size > 1):
            what = "all chains are in one state" if finite else "chains hold NaN or infinity"
            raise DivergenceError(
                f"learning diverged: {what} after {self.updates} updates. Lower learning_rate (a tenth is a good try), "
                "or raise k or the weight decay."
            )

    def state_dict(self) -> dict[str, Any]:
        return {"v": self.v, "h": self.h, "updates": self.updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.v, self.h, self.updates = state["v"], state["h"], state["updates"]
