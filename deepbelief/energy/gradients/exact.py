"""The exact gradient of small models: the model's moments by enumeration of the smaller layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from deepbelief.energy.gradients.moments import Moments
from deepbelief.energy.gradients.negative import PositivePhase
from deepbelief.energy.kernels.gibbs import Bipartite
from deepbelief.energy.partition.exact import exact_log_z
from deepbelief.energy.two_layers import TwoLayers
from deepbelief.errors import InvalidArgumentError
from deepbelief.protocols import Generator

MOST_STATES = 1 << 16  # every step visits all of them


class ExactModel:
    """``<.>_model`` by enumeration: for layers of at most 16 binary units, as a teacher's or a test's yardstick.

    Watches ``log_likelihood``, the mean over the batch, of models whose visible units are all data: not of a DBM, whose
    even layers are means of its inference above the data.
    """

    name = "exact"

    def start(self, rbm: Bipartite, first: Tensor, generator: Generator, *, rank: int, world_size: int) -> None:
        fewest = min(rbm.visible.n_states, rbm.hidden.n_states)
        if fewest > MOST_STATES:
            raise InvalidArgumentError(
                f"the smaller layer must have at most {MOST_STATES} states for exact learning. Got {fewest:.3g}. "
                'Use learning="pcd" instead.'
            )

    def moments(
        self, rbm: Bipartite, positive: PositivePhase, generator: Generator
    ) -> tuple[Moments, Mapping[str, Tensor]]:
        log_z = float(exact_log_z(rbm))
        watched = {"log_likelihood": _log_likelihood(rbm, positive, log_z)} if isinstance(rbm, TwoLayers) else {}
        if rbm.visible.n_states <= rbm.hidden.n_states:
            return self._over_visible(rbm, log_z), watched
        return self._over_hidden(rbm, log_z), watched

    def _over_visible(self, rbm: Bipartite, log_z: float) -> Moments:
        v = torch.cat(list(rbm.visible.states()))
        p = torch.exp(-rbm.free_energy(v).double() - log_z).to(v)
        inputs = rbm.input_h_from_v(v)
        mean_h = rbm.hidden.mean(inputs)
        stats_v = {k: p @ s for k, s in rbm.visible.statistics(v).items()}
        stats_h = {k: p @ s for k, s in rbm.hidden.expected_statistics(inputs, mean_h).items()}
        return Moments(p @ v, p @ mean_h, v, p.unsqueeze(1) * mean_h, stats_v, stats_h)

    def _over_hidden(self, rbm: Bipartite, log_z: float) -> Moments:
        h = torch.cat(list(rbm.hidden.states()))
        p = torch.exp(-rbm.free_energy_of_h(h).double() - log_z).to(h)
        inputs = rbm.input_v_from_h(h)
        mean_v = rbm.visible.mean(inputs)
        stats_v = {k: p @ s for k, s in rbm.visible.expected_statistics(inputs, mean_v).items()}
        stats_h = {k: p @ s for k, s in rbm.hidden.statistics(h).items()}
        return Moments(p @ mean_v, p @ h, mean_v, p.unsqueeze(1) * h, stats_v, stats_h)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing lives from step to step."""


def _log_likelihood(model: TwoLayers, positive: PositivePhase, log_z: float) -> Tensor:
    """The mean of ``-F(v) - log Z`` over the cases of a batch, each with its weight."""
    free = model.free_energy(positive.v)
    weight = positive.weight
    return -(free.mean() if weight is None else (weight.to(free) @ free) / weight.sum()) - log_z
