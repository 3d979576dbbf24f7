"""Tempered persistent chains: the model's half of the gradient from the top replicas of parallel tempering.

The chains persist as those of PCD do, at every temperature; swaps bring to the model what hot replicas found in other
modes (Desjardins, Courville, Bengio, Vincent & Delalleau 2010; Cho, Raiko & Ilin 2010).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from deepbelief.energy.gradients.moments import Moments, moments
from deepbelief.energy.gradients.negative import PositivePhase
from deepbelief.energy.gradients.pcd import check_alive
from deepbelief.energy.gradients.replicas import Replicas
from deepbelief.energy.kernels.gibbs import Bipartite
from deepbelief.energy.partition.ais import Annealable
from deepbelief.energy.partition.whose import has_products
from deepbelief.errors import InvalidArgumentError, check_choice
from deepbelief.protocols import Generator


class TemperedChains:
    """PT-k: `n_chains` chains at each of `n_replicas` temperatures, `k` sweeps with swaps per update.

    For any model of two layers with a base of independent units: an RBM, or a DBM's ``even_odd()``. Watches
    ``swap_acceptance``, the mean over all pairs, and ``round_trips`` per chain and update.
    """

    name = "pt"

    def __init__(self, n_chains: int = 100, k: int = 1, *, n_replicas: int = 10, start_at: str = "base") -> None:
        check_choice("start_at", start_at, ["base", "data"])
        self.replicas, self.start_at = Replicas(n_chains, k, n_replicas), start_at

    @property
    def v(self) -> Tensor:
        """The visible states of the model's own chains."""
        return self.replicas.v

    @torch.no_grad()
    def start(self, model: Bipartite, first: Tensor, generator: Generator, *, rank: int, world_size: int) -> None:
        v = first if self.start_at == "data" else None
        self.replicas.start(as_tempered(model), generator, v, rank=rank, world_size=world_size)

    @torch.no_grad()
    def moments(
        self, model: Bipartite, positive: PositivePhase, generator: Generator
    ) -> tuple[Moments, Mapping[str, Tensor]]:
        watched, state = self.replicas.advance(as_tempered(model), generator), self.replicas.state
        check_alive(model, self.v, state.h[-1], positive.v, self.replicas.updates)
        inputs = state.inputs[-1]  # of beta = 1
        return moments(model, self.v, inputs, model.hidden.mean(inputs)), watched

    def state_dict(self) -> dict[str, Any]:
        return self.replicas.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.replicas.load_state_dict(state)


def as_tempered(model: Any) -> Annealable:
    """`model` as one with rungs between independent units and itself; a sentence for one without.

    >>> from deepbelief.energy.dbm import DBM
    >>> as_tempered(DBM([4, 3, 2]).even_odd()).visible.size  # both even layers
    6
    """
    if not has_products(model):
        raise InvalidArgumentError(
            f'learning="pt" needs two layers of units with a base. Got {type(model).__name__}. Use "pcd" instead.'
        )
    tempered: Annealable = model
    return tempered
