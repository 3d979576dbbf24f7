"""The log-likelihood while an RBM learns, from the chains that learning has: log Z is carried from look to look.

    log Z_t = log Z_0 + sum_s log (Z_s / Z_{s-1}),        mean log p(v) = -<F_t(v)> - log Z_t

Each look anneals only the little way from the model of the last one, both ways, where annealing from independent units
would go the whole way again (`deepbelief.energy.partition.trajectory`). The errors of all looks add up, so the bracket
only widens: what a look could not see stays in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from deepbelief.energy.chain_watch import MOST_CHAINS, SWEEPS, learning_chains
from deepbelief.energy.kernels.clamped import run_chain
from deepbelief.energy.kernels.gibbs import BlockGibbs, ChainState
from deepbelief.energy.partition.trajectory import TrajectoryLogZ
from deepbelief.energy.rbm import RBM
from deepbelief.rng import make_generator
from deepbelief.types import Bound

RUNNING = "running_log_likelihood"
STEPS = 100  # models between two looks


class RunningLikelihood:
    """The mean log-likelihood of `cases`, nats per case, at every look of a training of `rbm`: an estimate.

    The draws of the model are copies of learning's chains (of training cases, for rules without), repeated to
    `MOST_CHAINS`, after `SWEEPS` sweeps with the weights held still. The first look is bridged from independent units;
    an epoch that does not come after the last one begins anew.
    """

    def __init__(self, rbm: RBM, train: Tensor, cases: Tensor, *, seed: int = 0) -> None:
        self.rbm, self.train, self.cases, self.seed = rbm, train, cases, seed
        self.log_z, self.epoch = TrajectoryLogZ(betas=STEPS), 0

    @torch.no_grad()
    def look(self, negative: Any, epoch: int) -> Bound:
        """The number now, with what the looks so far leave open between ``low`` and ``high``."""
        if epoch <= self.epoch:
            self.log_z = TrajectoryLogZ(betas=STEPS)
        self.epoch = epoch
        generator = make_generator(self.seed, self.cases.device, stream=epoch)
        state = learning_chains(self.rbm, negative, self.train, generator)
        place = torch.arange(MOST_CHAINS, device=state.v.device) % len(state.v)
        many = ChainState(state.v[place], state.h[place])
        many, _ = run_chain(BlockGibbs(self.rbm), many, SWEEPS, generator=generator)
        z = self.log_z.update(self.rbm, many.v, generator=generator)
        return self.rbm.log_likelihood(self.cases, log_z=z).mean()

    def state_dict(self) -> dict[str, Any]:
        """What the next look depends on."""
        return {"epoch": self.epoch, "log_z": self.log_z.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put `state` back."""
        self.epoch = state["epoch"]
        self.log_z.load_state_dict(state["log_z"])
