"""Trajectory-tempered chains: the model swaps states with frozen checkpoints of its own training (PTT).

Rung 0 is the base model of independent units. Whenever the swap acceptance between the model and the last checkpoint
falls below a threshold, the model as it is becomes the next checkpoint, so neighbours overlap by construction and a
state can always travel from the base to the model. Each checkpoint keeps a reservoir of several times as many states as
there are chains. In an update the model swaps with the last checkpoint alone; every `ladder_every` updates all rungs
sweep and swap, which renews the reservoirs (Bereux, Decelle, Furtlehner, Rosset & Seoane 2025).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from deepbelief.energy.gradients.moments import Moments, moments
from deepbelief.energy.gradients.negative import PositivePhase
from deepbelief.energy.gradients.pcd import PersistentChains, check_alive
from deepbelief.energy.kernels.exchange import ExchangeState
from deepbelief.energy.kernels.gibbs import Bipartite
from deepbelief.energy.kernels.tempering import even_betas
from deepbelief.energy.kernels.trajectory import (
    Rung,
    TrajectoryLadder,
    TrajectoryTempering,
    between,
    frozen,
    thawed,
    uncoupled,
)
from deepbelief.errors import InvalidArgumentError, check_count, check_range
from deepbelief.protocols import Generator

FLOOR = 0.1  # below this acceptance two rungs hardly exchange anything: a rung is put between them
MEMORY = 0.1  # the share of the latest update in the running acceptance
START_STEPS = 10  # Gibbs steps after which a model that differs from its base shows it


class TrajectoryChains:
    """PTT-k: `n_chains` chains, `k` sweeps an update, the last with swaps.

    For an RBM, a convolutional one (of all layers of a `ConvolutionalDBN` by itself), the joint RBM of a classification
    RBM, or a DBM's ``even_odd()``.

    `swap_acceptance` is the threshold at which a checkpoint is taken, `reservoir` how many times `n_chains` states each
    holds. A training that does not begin at the beginning (a model that differs from its base already) gets
    `n_replicas` temperatures as its first rungs. Watches ``swap_acceptance``, ``rungs`` and ``round_trips`` per chain
    and update.
    """

    name = "ptt"

    def __init__(
        self,
        n_chains: int = 100,
        k: int = 1,
        *,
        swap_acceptance: float = 0.3,
        reservoir: int = 10,
        ladder_every: int = 10,
        n_replicas: int = 10,
        start_at: str = "base",
    ) -> None:
        check_range("swap_acceptance", swap_acceptance, low=0, high=1)
        check_count("reservoir", reservoir, low=1)
        check_count("ladder_every", ladder_every, low=1)
        check_count("n_replicas", n_replicas, low=2)
        self.chains = PersistentChains(n_chains, k, start_at=start_at)
        self.n_chains, self.k = n_chains, k
        self.swap_acceptance, self.reservoir, self.ladder_every = swap_acceptance, reservoir, ladder_every
        self.n_replicas = n_replicas
        self.rungs: list[Rung] = []
        self._saved: list[Mapping[str, Tensor]] = []  # rungs as they were loaded, until a model shows their layers
        self.h = torch.empty(0)  # of the rungs: (rungs, reservoir x chains, n_hidden)
        self.from_base = torch.empty(0), torch.empty(0)  # of the rungs and of the model's chains
        self.acceptance, self.updates = 1.0, 0

    @property
    def v(self) -> Tensor:
        """The visible states of the model's own chains."""
        return self.chains.v

    # -- the ladder -------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def start(self, model: Bipartite, first: Tensor, generator: Generator, *, rank: int, world_size: int) -> None:
        rbm = as_rung(model)
        self.chains.start(rbm, first, generator, rank=rank, world_size=world_size)
        self.rungs, self.acceptance, self.updates = [uncoupled(rbm)], 1.0, 0
        n, device = len(self.chains.h), rbm.visible_offset.device
        self.h = self._base_states(n * self.reservoir, generator)
        none = torch.zeros(1, n * self.reservoir, dtype=torch.bool, device=device)
        self.from_base = ~none, torch.zeros(n, dtype=torch.bool, device=device)
        if self._differs_from_base(rbm, generator):
            base = self.rungs[0]
            self.rungs = [between(base, rbm, beta) for beta in even_betas(self.n_replicas)[:-1].tolist()]
            self.h = self.h.repeat(len(self.rungs), 1, 1)
            self.from_base = torch.cat([~none, none.repeat(len(self.rungs) - 1, 1)]), self.from_base[1]

    def _base_states(self, n: int, generator: Generator) -> Tensor:
        units = self.rungs[0].hidden
        return units.sample(torch.zeros(n, units.size).to(units.bias), generator).unsqueeze(0)

    def _differs_from_base(self, rbm: Rung, generator: Generator) -> bool:
        ladder = TrajectoryTempering(TrajectoryLadder([self.rungs[0], rbm]))
        state, seen = ladder.init(max(100, len(self.chains.h)), generator=generator), 0.0
        for step in range(2 * START_STEPS):
            state, info = ladder.step(state, generator=generator)
            seen += float(info.acceptance[0]) * (step >= START_STEPS) / START_STEPS
        return seen < self.swap_acceptance

    def _freeze(self, rbm: Rung) -> None:
        """Make the model the last checkpoint; its reservoir begins with the states of the model's chains."""
        own, tags = self.chains.h.repeat(self.reservoir, 1), self.from_base[1].repeat(self.reservoir)
        if self.acceptance < FLOOR:
            half = torch.arange(len(own), device=own.device) % 2 == 0
            self._add(
                between(self.rungs[-1], rbm, 0.5),
                torch.where(half.unsqueeze(1), own, self.h[-1]),
                torch.where(half, tags, self.from_base[0][-1]),
            )
        self._add(frozen(rbm), own, tags)
        self.acceptance = 1.0

    def _add(self, rung: Rung, h: Tensor, tags: Tensor) -> None:
        self.rungs.append(rung)
        self.h = torch.cat([self.h, h.unsqueeze(0)])
        self.from_base = torch.cat([self.from_base[0], tags.unsqueeze(0)]), self.from_base[1]

    # -- one update -------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def moments(
        self, model: Bipartite, positive: PositivePhase, generator: Generator
    ) -> tuple[Moments, Mapping[str, Tensor]]:
        rbm = as_rung(model)
        if self._saved:
            self.rungs, self._saved = [thawed(rbm, state) for state in self._saved], []
        for _ in range(self.k - 1):
            self.chains.h = rbm.sample_h_from_v(rbm.sample_v_from_h(self.chains.h, generator), generator)
        inputs, arrived = self._sweep(rbm, generator)
        self.updates += 1
        check_alive(rbm, self.v, self.chains.h, positive.v, self.updates)
        found = moments(rbm, self.v, inputs, rbm.hidden.mean(inputs))
        watched = {
            "swap_acceptance": torch.tensor(self.acceptance),
            "rungs": torch.tensor(float(len(self.rungs) + 1)),
            "round_trips": arrived / len(self.v),
        }
        if self.acceptance < self.swap_acceptance:
            self._freeze(rbm)
        return found, watched

    def _sweep(self, rbm: Rung, generator: Generator) -> tuple[Tensor, Tensor]:
        """Move and swap the model's chains and as many states of each reservoir; the model's inputs and arrivals."""
        turn, off = divmod(self.updates, self.ladder_every)
        lowest = len(self.rungs) - 1 if off else 0
        ladder = TrajectoryLadder([*self.rungs[lowest:], rbm])
        n, size = len(self.chains.h), self.h.shape[1]
        draws = [torch.randperm(size, generator=generator, device=self.h.device)[:n] for _ in ladder.models[1:]]
        place = torch.arange(lowest, len(self.rungs), device=self.h.device).unsqueeze(1), torch.stack(draws)
        h = torch.cat([self.h[place], self.chains.h.unsqueeze(0)])
        tags = torch.cat([self.from_base[0][place], self.from_base[1].unsqueeze(0)])
        kernel = TrajectoryTempering(ladder, from_bottom=lowest == 0)
        state, info = kernel.step(ExchangeState(h, h, h, tags, turn), generator=generator)
        self.h[place], self.from_base[0][place] = state.h[:-1], state.from_base[:-1]
        self.chains.v, self.chains.h = state.v[-1], state.h[-1]
        self.from_base = self.from_base[0], state.from_base[-1]
        latest = float(info.acceptance[-1])
        if latest == latest:  # NaN where the top pair did not have its turn
            self.acceptance += MEMORY * (latest - self.acceptance)
        return state.inputs[-1], info.round_trips

    # -- resume -----------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        rungs: list[Any] = [dict(rbm.state_dict()) for rbm in self.rungs] or list(self._saved)
        names = {"h": self.h.clone(), "from_base": [tags.clone() for tags in self.from_base]}
        counts = {"acceptance": self.acceptance, "updates": self.updates}
        return {"chains": self.chains.state_dict(), "rungs": rungs, **names, **counts}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.chains.load_state_dict(state["chains"])
        self.rungs, self._saved = [], list(state["rungs"])
        self.h, self.from_base = state["h"].clone(), (state["from_base"][0].clone(), state["from_base"][1].clone())
        self.acceptance, self.updates = state["acceptance"], state["updates"]


def as_rung(model: Bipartite) -> Rung:
    """`model` as one whose copies are rungs; a sentence for anything else.

    >>> from deepbelief.energy.dbm import DBM
    >>> as_rung(DBM([4, 3, 2]).even_odd()).visible.size  # both even layers
    6
    """
    if not isinstance(model, Rung):
        raise InvalidArgumentError(
            f'learning="ptt" needs two layers of units, or a deep Boltzmann machine. Got {type(model).__name__}. '
            'Use "pcd" instead.'
        )
    return model
