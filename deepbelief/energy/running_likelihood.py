"""The log-likelihood while a model learns, from the chains that learning has: log Z is carried from look to look.

    log Z_t = log Z_0 + sum_s log (Z_s / Z_{s-1}),        mean log p(v) = -<F_t(v)> - log Z_t

Each look anneals only the little way from the model of the last one, both ways, where annealing from independent units
would go the whole way again (`deepbelief.energy.partition.trajectory`). The errors of all looks add up, so the bracket
only widens: what a look could not see stays in it. A deep Boltzmann machine's chains and log Z are those of its even
and odd layers, and its number is the variational bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from deepbelief.energy.chain_watch import MOST_CHAINS, SWEEPS, learning_chains
from deepbelief.energy.dbm import DBM
from deepbelief.energy.even_odd import EvenOdd
from deepbelief.energy.kernels.clamped import run_chain
from deepbelief.energy.kernels.gibbs import BlockGibbs, ChainState
from deepbelief.energy.kernels.trajectory import Rung
from deepbelief.energy.partition.trajectory import TrajectoryLogZ
from deepbelief.energy.rbm import RBM
from deepbelief.rng import make_generator
from deepbelief.types import Bound

RUNNING = "running_log_likelihood"
STEPS = 100  # models between two looks


class RunningLikelihood:
    """The mean log-likelihood of `cases`, nats per case, at every look of a training of `model`.

    An estimate for an RBM; for a deep Boltzmann machine the lower bound by mean field, by the safe end of log Z.

    The draws of the model are copies of learning's chains (of training cases, for rules without), repeated to
    `MOST_CHAINS`, after `SWEEPS` sweeps with the weights held still. The first look is bridged from independent units;
    an epoch that does not come after the last one begins anew.
    """

    def __init__(self, model: RBM | DBM, train: Tensor, cases: Tensor, *, seed: int = 0) -> None:
        self.model, self.train, self.cases, self.seed = model, train, cases, seed
        self.layers: Rung = model.even_odd() if isinstance(model, DBM) else model
        self.log_z, self.epoch = TrajectoryLogZ(betas=STEPS), 0

    @torch.no_grad()
    def look(self, negative: Any, epoch: int) -> Bound:
        """The number now, with what the looks so far leave open between ``low`` and ``high``."""
        if epoch <= self.epoch:
            self.log_z = TrajectoryLogZ(betas=STEPS)
        self.epoch = epoch
        generator = make_generator(self.seed, self.cases.device, stream=epoch)
        state = learning_chains(self.layers, negative, self._starts(), generator)
        place = torch.arange(MOST_CHAINS, device=state.v.device) % len(state.v)
        many = ChainState(state.v[place], state.h[place])
        many, _ = run_chain(BlockGibbs(self.layers), many, SWEEPS, generator=generator)
        z = self.log_z.update(self.layers, many.v, generator=generator)
        return self.model.log_likelihood(self.cases, log_z=z).mean()

    def _starts(self) -> Tensor:
        """Training cases as rows of the first of the two layers, for rules without chains of their own."""
        first = self.train[:MOST_CHAINS]
        return EvenOdd.join(self.model.infer(first).means)[0] if isinstance(self.model, DBM) else first

    def state_dict(self) -> dict[str, Any]:
        """What the next look depends on."""
        return {"epoch": self.epoch, "log_z": self.log_z.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put `state` back."""
        self.epoch = state["epoch"]
        self.log_z.load_state_dict(state["log_z"])
