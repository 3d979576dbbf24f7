"""Tempered persistent chains: the model's half of the gradient from the top replicas of parallel tempering.

The chains persist as those of PCD do, at every temperature; swaps bring to the model what hot replicas found in other
modes (Desjardins, Courville, Bengio, Vincent & Delalleau 2010; Cho, Raiko & Ilin 2010). Temperatures adapt slowly to
equal swap rates, which biases nothing: see `deepbelief.energy.kernels.tempering`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from deepbelief.energy.gradients.moments import Moments, moments
from deepbelief.energy.gradients.negative import PositivePhase, as_rbm
from deepbelief.energy.gradients.pcd import check_alive
from deepbelief.energy.kernels.exchange import ExchangeState, SwapMeter
from deepbelief.energy.kernels.gibbs import Bipartite
from deepbelief.energy.kernels.tempering import ParallelTempering, even_betas
from deepbelief.errors import check_choice, check_count
from deepbelief.protocols import Generator

ADAPT_EVERY, ADAPT_RATE, MEMORY = 50, 0.2, 100.0  # updates, share of the way, sweeps that the acceptance remembers


class TemperedChains:
    """PT-k: `n_chains` chains at each of `n_replicas` temperatures, `k` sweeps with swaps per update.

    Watches ``swap_acceptance``, the mean over all pairs, and ``round_trips`` per chain and update.
    """

    name = "pt"

    def __init__(self, n_chains: int = 100, k: int = 1, *, n_replicas: int = 10, start_at: str = "base") -> None:
        check_count("n_chains", n_chains, low=1)
        check_count("k", k, low=1)
        check_count("n_replicas", n_replicas, low=2)
        check_choice("start_at", start_at, ["base", "data"])
        self.n_chains, self.k, self.n_replicas, self.start_at = n_chains, k, n_replicas, start_at
        self.betas, self.meter = even_betas(n_replicas), SwapMeter(n_replicas - 1, MEMORY)
        empty = torch.empty(0)
        self.state = ExchangeState(empty, empty, empty, empty)
        self.updates = 0

    @property
    def v(self) -> Tensor:
        """The visible states of the model's own chains."""
        return self.state.v[-1]

    @torch.no_grad()
    def start(self, model: Bipartite, first: Tensor, generator: Generator, *, rank: int, world_size: int) -> None:
        rbm = as_rbm(model, self.name)
        check_count("n_chains", self.n_chains, low=world_size, remedy="Each process needs a chain of its own.")
        mine = len(range(rank, self.n_chains, world_size))
        self.betas, self.meter = even_betas(self.n_replicas), SwapMeter(self.n_replicas - 1, MEMORY)
        kernel = ParallelTempering(rbm, self.betas)
        self.state, self.updates = kernel.init(mine, generator=generator), 0
        if self.start_at == "data":
            v = first[torch.arange(mine, device=first.device) % len(first)]
            self.state = kernel.start_at(v, generator=generator)

    @torch.no_grad()
    def moments(
        self, model: Bipartite, positive: PositivePhase, generator: Generator
    ) -> tuple[Moments, Mapping[str, Tensor]]:
        rbm = as_rbm(model, self.name)
        kernel, trips = ParallelTempering(rbm, self.betas), torch.zeros(())
        for _ in range(self.k):
            self.state, info = kernel.step(self.state, generator=generator)
            self.meter.add(info, self.state.v.shape[1])
            trips = trips + info.round_trips.cpu() / self.state.v.shape[1]
        self.updates += 1
        check_alive(rbm, self.v, self.state.h[-1], positive.v, self.updates)
        acceptance = self.meter.acceptance
        if self.updates % ADAPT_EVERY == 0:
            kernel.adapt(acceptance, ADAPT_RATE)
            self.betas = kernel.betas
        inputs = self.state.inputs[-1]  # of beta = 1
        found = moments(rbm, self.v, inputs, rbm.hidden.mean(inputs))
        return found, {"swap_acceptance": acceptance.nanmean(), "round_trips": trips}

    def state_dict(self) -> dict[str, Any]:
        chains = {name: getattr(self.state, name) for name in ("v", "h", "inputs", "from_base", "sweeps")}
        return {"chains": chains, "betas": self.betas, "meter": self.meter.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.state, self.betas, self.updates = ExchangeState(**state["chains"]), state["betas"].cpu(), state["updates"]
        self.meter.load_state_dict(state["meter"])
