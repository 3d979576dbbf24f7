"""Fast persistent contrastive divergence: weights of short memory drive the chains out of the modes they sit in.

The chains sample a model with the parameters ``theta + fast``. Every update moves both along the same gradient,

    theta <- theta + rate g,        fast <- decay fast + fast_rate g,

so where chains stay while data do not, the fast part raises the energy under them at once, and forgets it soon
(Tieleman & Hinton 2009, "Using fast weights to improve persistent contrastive divergence"). The chains no longer sample
the model exactly, so the fixed point is only near maximum likelihood; they move at no further products.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from deepbelief.energy.gradients.moments import Moments, moments
from deepbelief.energy.gradients.negative import PositivePhase, as_rbm
from deepbelief.energy.gradients.pcd import PersistentChains
from deepbelief.energy.kernels.gibbs import Bipartite
from deepbelief.energy.rbm import RBM
from deepbelief.errors import check_range
from deepbelief.protocols import Generator

DECAY = 0.95  # of the fast weights per update: Tieleman & Hinton's 19/20


class FastPersistentChains:
    """FPCD-k: persistent chains of a model with fast weights; ``fast_rate`` 0 is PCD.

    Tieleman & Hinton keep `fast_rate` at the initial learning rate while that falls to zero.
    """

    name = "fpcd"

    def __init__(
        self, n_chains: int = 100, k: int = 1, *, fast_rate: float = 0.1, decay: float = DECAY, start_at: str = "base"
    ) -> None:
        check_range("fast_rate", fast_rate, low=0)
        check_range("decay", decay, low=0, high=1)
        self.chains = PersistentChains(n_chains, k, start_at=start_at)
        self.n_chains, self.k, self.fast_rate, self.decay = n_chains, k, fast_rate, decay
        self.fast: list[Tensor] = []
        self._moved: RBM | None = None

    def start(self, model: Bipartite, first: Tensor, generator: Generator, *, rank: int, world_size: int) -> None:
        rbm = as_rbm(model, self.name)
        self.chains.start(rbm, first, generator, rank=rank, world_size=world_size)
        self.fast = [torch.zeros_like(parameter) for parameter in rbm.parameters()]

    @torch.no_grad()
    def moments(
        self, model: Bipartite, positive: PositivePhase, generator: Generator
    ) -> tuple[Moments, Mapping[str, Tensor]]:
        rbm = as_rbm(model, self.name)
        moved = self._with_fast_weights(rbm)
        inputs, mean_h = self.chains.advance(moved, positive.v, generator)
        return moments(rbm, self.chains.v, inputs, mean_h), {}

    def _with_fast_weights(self, rbm: RBM) -> RBM:
        if self._moved is None or self._moved.weight.device != rbm.weight.device:
            self._moved = rbm.empty_like()
        for own, fast, out in zip(rbm.parameters(), self.fast, self._moved.parameters(), strict=True):
            torch.add(own, fast, out=out.data)
        return self._moved

    @torch.no_grad()
    def follow(self, rbm: RBM) -> None:
        """Move the fast weights along the gradient of the update that was just made, as all processes agreed on it."""
        for parameter, fast in zip(rbm.parameters(), self.fast, strict=True):
            fast.mul_(self.decay)
            if parameter.grad is not None:
                fast.add_(parameter.grad, alpha=-self.fast_rate)

    def state_dict(self) -> dict[str, Any]:
        return {"chains": self.chains.state_dict(), "fast": [fast.clone() for fast in self.fast]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.chains.load_state_dict(state["chains"])
        self.fast = [fast.clone() for fast in state["fast"]]
