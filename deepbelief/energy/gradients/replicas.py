"""The chains of parallel tempering as learning keeps them: states at all temperatures, and temperatures that adapt.

What moves is a `ParallelTempering` of the model as it is, so that whatever can be tempered can learn from it: an RBM, a
deep Boltzmann machine's two layers, a Boltzmann machine. Temperatures go slowly to equal swap rates, which biases
nothing (`deepbelief.energy.kernels.tempering`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from deepbelief.energy.kernels.exchange import ExchangeState, SwapMeter
from deepbelief.energy.kernels.tempering import HasRungs, ParallelTempering, even_betas
from deepbelief.energy.partition.ais import Annealable
from deepbelief.errors import check_count
from deepbelief.protocols import Generator

ADAPT_EVERY, ADAPT_RATE, MEMORY = 50, 0.2, 100.0  # updates, share of the way, sweeps that the acceptance remembers


class Replicas:
    """`n_chains` chains (in all processes together) at each of `n_replicas` temperatures, `k` sweeps per update."""

    def __init__(self, n_chains: int, k: int, n_replicas: int) -> None:
        check_count("n_chains", n_chains, low=1)
        check_count("k", k, low=1)
        check_count("n_replicas", n_replicas, low=2)
        self.n_chains, self.k, self.n_replicas = n_chains, k, n_replicas
        self.betas, self.meter = even_betas(n_replicas), SwapMeter(n_replicas - 1, MEMORY)
        empty = torch.empty(0)
        self.state = ExchangeState(empty, empty, empty, empty)
        self.updates = 0

    @property
    def v(self) -> Tensor:
        """The visible states of the model's own chains."""
        return self.state.v[-1]

    def start(
        self, model: Annealable | HasRungs, generator: Generator, first: Tensor | None, *, rank: int, world_size: int
    ) -> None:
        """This process's share of the chains, at independent units or at the rows of `first`."""
        check_count("n_chains", self.n_chains, low=world_size, remedy="Each process needs a chain of its own.")
        mine = len(range(rank, self.n_chains, world_size))
        self.betas, self.meter = even_betas(self.n_replicas), SwapMeter(self.n_replicas - 1, MEMORY)
        kernel = ParallelTempering(model, self.betas)
        self.state, self.updates = kernel.init(mine, generator=generator), 0
        if first is not None:
            v = first[torch.arange(mine, device=first.device) % len(first)]
            self.state = kernel.start_at(v, generator=generator)

    def advance(self, model: Annealable | HasRungs, generator: Generator) -> Mapping[str, Tensor]:
        """One update's sweeps; the mean ``swap_acceptance`` over all pairs, and ``round_trips`` per chain."""
        kernel, trips = ParallelTempering(model, self.betas), torch.zeros(())
        for _ in range(self.k):
            self.state, info = kernel.step(self.state, generator=generator)
            self.meter.add(info, self.state.v.shape[1])
            trips = trips + info.round_trips.cpu() / self.state.v.shape[1]
        self.updates += 1
        acceptance = self.meter.acceptance
        if self.updates % ADAPT_EVERY == 0:
            kernel.adapt(acceptance, ADAPT_RATE)
            self.betas = kernel.betas
        return {"swap_acceptance": acceptance.nanmean(), "round_trips": trips}

    def state_dict(self) -> dict[str, Any]:
        chains = {name: getattr(self.state, name) for name in ("v", "h", "inputs", "from_base", "sweeps")}
        return {"chains": chains, "betas": self.betas, "meter": self.meter.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.state, self.betas, self.updates = ExchangeState(**state["chains"]), state["betas"].cpu(), state["updates"]
        self.meter.load_state_dict(state["meter"])
