"""Learning against the TAP free energy instead of chains (Gabrie, Tramel & Krzakala 2015).

The loss of a case is ``F(v) + log Z_TAP``, with log Z_TAP averaged over persistent magnetizations that follow the model
by a few damped iterations per update, as persistent chains do. At a solution the magnetizations are stationary, so the
gradient of log Z_TAP is its partial derivative in the parameters alone. It draws no
random numbers. The expansion holds while couplings are weak: watch the likelihood by other means.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from deepbelief.energy.partition.tap import Magnetizations, check_order, check_tap, solve, tap_log_z
from deepbelief.energy.rbm import RBM
from deepbelief.errors import check_count, check_range
from deepbelief.protocols import Generator


class TAP:
    """Persistent TAP magnetizations: `n_chains` solutions (in all processes together), `k` iterations per update."""

    name = "tap_loss"

    def __init__(self, n_chains: int = 100, k: int = 3, *, damping: float = 0.5, order: int = 2) -> None:
        check_count("n_chains", n_chains, low=1)
        check_count("k", k, low=1)
        check_range("damping", damping, low=0, high=1)
        check_order(order)
        self.n_chains, self.k, self.damping, self.order = n_chains, k, damping, order
        self.v, self.h = torch.empty(0), torch.empty(0)

    @torch.no_grad()
    def start(self, rbm: RBM, first: Tensor, generator: Generator, *, rank: int, world_size: int) -> None:
        check_tap(rbm)
        check_count("n_chains", self.n_chains, low=world_size, remedy="Each process needs a solution of its own.")
        mine = len(range(rank, self.n_chains, world_size))
        self.v = first[torch.arange(mine, device=first.device) % len(first)].clone()
        self.h = rbm.mean_h_from_v(self.v)

    def losses(self, rbm: RBM, v: Tensor, generator: Generator) -> Tensor:
        found = solve(rbm, Magnetizations(self.v, self.h), n_steps=self.k, damping=self.damping, order=self.order)
        self.v, self.h = found.v, found.h
        return rbm.free_energy(v) + tap_log_z(rbm, found, order=self.order).mean()

    def state_dict(self) -> dict[str, Any]:
        return {"v": self.v, "h": self.h}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.v, self.h = state["v"], state["h"]
