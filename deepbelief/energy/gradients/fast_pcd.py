"""Fast persistent contrastive divergence: the chains run on weights that hurry ahead (Tieleman & Hinton 2009).

Beside the parameters theta live fast ones, phi, that learn at a high rate and decay:

    chains sample with theta + phi,        phi <- decay phi + fast_rate (gradient of this update)

Where chains linger, phi quickly raises the energy, and they leave: mixing, at the price of a slightly wrong half of the
gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from deepbelief.energy.gradients.moments import Moments
from deepbelief.energy.gradients.moments import moments as data_moments
from deepbelief.energy.gradients.negative import PositivePhase
from deepbelief.energy.gradients.pcd import PersistentChains
from deepbelief.energy.kernels.gibbs import Bipartite
from deepbelief.energy.rbm import RBM
from deepbelief.errors import InvalidArgumentError, check_range
from deepbelief.protocols import Generator

PLAIN = ("bernoulli", "spin", "categorical")  # kinds whose only parameter is the bias


class FastPersistentChains:
    """FPCD-k with `n_chains` chains; `fast_rate` and `decay` as in the paper (0.95)."""

    name = "fpcd"

    def __init__(self, n_chains: int = 100, k: int = 1, *, fast_rate: float = 0.05, decay: float = 0.95) -> None:
        check_range("fast_rate", fast_rate, low=0)
        check_range("decay", decay, low=0, high=1)
        self.chains = PersistentChains(n_chains, k)
        self.fast_rate, self.decay = fast_rate, decay
        self.weight, self.visible_bias, self.hidden_bias = torch.empty(0), torch.empty(0), torch.empty(0)

    @torch.no_grad()
    def start(self, rbm: Bipartite, first: Tensor, generator: Generator, *, rank: int, world_size: int) -> None:
        if not isinstance(rbm, RBM) or {rbm.visible.kind, rbm.hidden.kind} - set(PLAIN):
            raise InvalidArgumentError(
                f'learning="fpcd" needs an RBM of {", ".join(PLAIN)} units. '
                f'Got {rbm.visible.kind} and {rbm.hidden.kind}. Use learning="pcd" instead.'
            )
        self.chains.start(rbm, first, generator, rank=rank, world_size=world_size)
        self.weight = torch.zeros_like(rbm.weight)
        self.visible_bias, self.hidden_bias = torch.zeros_like(rbm.visible.bias), torch.zeros_like(rbm.hidden.bias)

    @torch.no_grad()
    def moments(
        self, rbm: Bipartite, positive: PositivePhase, generator: Generator
    ) -> tuple[Moments, Mapping[str, Tensor]]:
        assert isinstance(rbm, RBM)
        with self._hurried(rbm):
            negative, watched = self.chains.moments(rbm, positive, generator)
        data = data_moments(rbm, positive.v, positive.inputs, positive.mean_h, positive.weight)
        gradient = torch.mm(data.left.T, data.right).addmm_(negative.left.T, negative.right, alpha=-1)
        self.weight.mul_(self.decay).add_(gradient, alpha=self.fast_rate)
        self.visible_bias.mul_(self.decay).add_(data.v - negative.v, alpha=self.fast_rate)
        self.hidden_bias.mul_(self.decay).add_(data.h - negative.h, alpha=self.fast_rate)
        return negative, watched

    @contextmanager
    def _hurried(self, rbm: RBM) -> Iterator[None]:
        """The model with its fast parameters added; its own come back bit for bit."""
        pairs = [
            (rbm.weight, self.weight),
            (rbm.visible.bias, self.visible_bias),
            (rbm.hidden.bias, self.hidden_bias),
        ]
        kept = [own.detach().clone() for own, _ in pairs]
        for own, fast in pairs:
            own.data.add_(fast)
        try:
            yield
        finally:
            for (own, _), value in zip(pairs, kept, strict=True):
                own.data.copy_(value)

    def state_dict(self) -> dict[str, Any]:
        fast = {"weight": self.weight, "visible_bias": self.visible_bias, "hidden_bias": self.hidden_bias}
        return {"chains": self.chains.state_dict(), **fast}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.chains.load_state_dict(state["chains"])
        self.weight, self.visible_bias = state["weight"], state["visible_bias"]
        self.hidden_bias = state["hidden_bias"]
