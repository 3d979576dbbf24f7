"""Persistent chains that mix: the model's half from the cold replicas of parallel tempering (Desjardins et al. 2010).

Plain persistent chains stay in the modes where they are once weights are large; here hot replicas cross between modes
and hand their states down. It costs `n_replicas` times a plain step: few chains with many replicas, or the other way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from deepbelief.energy.gradients.moments import Moments, moments
from deepbelief.energy.gradients.negative import PositivePhase
from deepbelief.energy.kernels.gibbs import Bipartite
from deepbelief.energy.kernels.tempering import ParallelTempering, TemperedState
from deepbelief.energy.rbm import RBM
from deepbelief.errors import InvalidArgumentError, check_range
from deepbelief.protocols import Generator

ADAPT_EVERY = 50  # updates between two small moves of the temperatures
ADAPT_SHARE = 0.2  # of the way to equal acceptance, so that the chains hardly notice


class TemperedChains:
    """PT-k: `n_chains` chains (in all processes together) of `n_replicas`, each moved by `k` steps per update.

    Watches ``swap_acceptance``, the mean over pairs. The temperatures follow the model slowly while it learns.
    """

    name = "pt"

    def __init__(self, n_chains: int = 20, k: int = 1, *, n_replicas: int = 10) -> None:
        check_range("n_chains", n_chains, low=1)
        check_range("k", k, low=1)
        check_range("n_replicas", n_replicas, low=2)
        self.n_chains, self.k, self.n_replicas = n_chains, k, n_replicas
        self.v, self.betas = torch.empty(0), torch.linspace(0, 1, n_replicas, dtype=torch.float64)
        self.acceptance = torch.full((n_replicas - 1,), 0.5, dtype=torch.float64)
        self.parity, self.updates = 0, 0

    @torch.no_grad()
    def start(self, rbm: Bipartite, first: Tensor, generator: Generator, *, rank: int, world_size: int) -> None:
        check_range("n_chains", self.n_chains, low=world_size, remedy="Each process needs a chain of its own.")
        if not isinstance(rbm, RBM):
            raise InvalidArgumentError(
                f'learning="pt" needs an RBM. Got {type(rbm).__name__}. Use learning="pcd" instead.'
            )
        mine = len(range(rank, self.n_chains, world_size))
        self.v = ParallelTempering(rbm, self.betas).init(mine, generator=generator).v
        self.parity, self.updates = 0, 0

    @torch.no_grad()
    def moments(
        self, rbm: Bipartite, positive: PositivePhase, generator: Generator
    ) -> tuple[Moments, Mapping[str, Tensor]]:
        assert isinstance(rbm, RBM)
        kernel = ParallelTempering(rbm, self.betas)
        origin = torch.full(self.v.shape[:2], -1, dtype=torch.long, device=self.v.device)
        state = TemperedState(self.v, origin, self.parity)
        for _ in range(self.k):
            state, info = kernel.step(state, generator=generator)
            seen = torch.where(info.acceptance.isnan(), self.acceptance, info.acceptance)
            self.acceptance = torch.lerp(self.acceptance, seen, 0.05)
        self.v, self.parity = state.v, state.parity
        self.updates += 1
        if self.updates % ADAPT_EVERY == 0:
            kernel.adapt(self.acceptance, ADAPT_SHARE)
            self.betas = kernel.betas
        v = kernel.of_model(state)
        inputs = rbm.input_h_from_v(v)
        found = moments(rbm, v, inputs, rbm.hidden.mean(inputs))
        return found, {"swap_acceptance": self.acceptance.mean().to(v)}

    def state_dict(self) -> dict[str, Any]:
        names = ("v", "betas", "acceptance", "parity", "updates")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)
