"""Contrastive divergence: k Gibbs steps from the data stand in for the model (Hinton 2002).

Cheap and of low variance, but biased: it sees the model only near the data, so likelihoods are poor for small k.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from deepbelief.energy.gradients.moments import Moments, moments
from deepbelief.energy.gradients.negative import PositivePhase
from deepbelief.energy.kernels.gibbs import Bipartite
from deepbelief.errors import check_count
from deepbelief.protocols import Generator


class ContrastiveDivergence:
    """CD-k. Watches ``reconstruction_error``: the squared error of the first reconstruction, summed over units."""

    name = "cd"

    def __init__(self, k: int = 1) -> None:
        check_count("k", k, low=1)
        self.k = k

    def start(self, rbm: Bipartite, first: Tensor, generator: Generator, *, rank: int, world_size: int) -> None:
        """Chains start anew at every batch."""

    @torch.no_grad()
    def moments(
        self, rbm: Bipartite, positive: PositivePhase, generator: Generator
    ) -> tuple[Moments, Mapping[str, Tensor]]:
        v, watched = self.draw_v(rbm, positive, generator)
        inputs = rbm.input_h_from_v(v)
        found = moments(rbm, v, inputs, rbm.hidden.mean(inputs), positive.weight)  # a chain weighs as much as its case
        return found, watched

    def draw_v(
        self, rbm: Bipartite, positive: PositivePhase, generator: Generator
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The visible states after `k` steps from the data, and what is watched."""
        h = rbm.hidden.draw(positive.inputs, positive.mean_h, generator)
        inputs_v = rbm.input_v_from_h(h)
        mean_v = rbm.visible.mean(inputs_v)
        error = _mean((positive.v - mean_v).square().sum(-1), positive.weight)
        v = rbm.visible.draw(inputs_v, mean_v, generator)
        for _ in range(self.k - 1):
            h = rbm.sample_h_from_v(v, generator)
            v = rbm.sample_v_from_h(h, generator)
        return v, {"reconstruction_error": error}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing lives from step to step."""


def _mean(values: Tensor, weight: Tensor | None) -> Tensor:
    return values.mean() if weight is None else (values * weight).sum() / weight.sum()
