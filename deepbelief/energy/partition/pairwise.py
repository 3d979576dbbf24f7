"""The path of annealing for a pairwise model: from independent units to the model, over states of all units.

    log f_beta(x) = (1 - beta) b0.x + beta (b.x + x' J x / 2) / T

where b0 are the biases of independent units with the means of the data, so log Z_0 is known. An increment is exactly
``(beta' - beta) (log f_1(x) - log f_0(x))``. A sweep visits the colours in a random order: then it satisfies detailed
balance, and one loop serves both directions.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from deepbelief.energy.kernels.coloured import ColouredGibbs, Machine, shuffled
from deepbelief.protocols import Generator

Place = tuple[float, Any]
Inputs = tuple[Tensor, Tensor]


class PathFromIndependent:
    """What `deepbelief.energy.partition.ais` walks along; a state has the log ratio of both ends as its input."""

    @torch.no_grad()
    def __init__(self, model: Machine) -> None:
        self.model, self.kernel, self.interaction = model, ColouredGibbs(model), model.interaction()
        self.first, self.last = model.independent_bias(), model.bias.detach() / model.temperature

    def independent_log_z(self) -> float:
        """log Z of the base, in closed form."""
        return float(self.model.plan().units.cumulants(self.first.unsqueeze(0)).double().sum())

    def draw_base(self, n: int, generator: Generator) -> Tensor:
        """Independent draws of the base: (n, size)."""
        return self.model.plan().units.sample(self.first.expand(n, -1), generator)

    def layers(self, beta: float) -> tuple[None, None]:
        """Nothing but beta tells the models on the path apart."""
        return None, None

    def inputs(self, v: Tensor) -> Inputs:
        """The state and ``log f_1 - log f_0`` at it."""
        pairs = (self.interaction.whole(v) * v).sum(-1, dtype=torch.float64)
        return v, (v @ (self.last - self.first)).double() + 0.5 * pairs / self.model.temperature

    def increment(self, v: Tensor, inputs: Inputs, here: Place, there: Place) -> Tensor:
        """The part of the log weight between two temperatures."""
        return (there[0] - here[0]) * inputs[1]

    def sweep(self, beta: float, layers: tuple[None, None], inputs: Inputs, generator: Generator) -> Tensor:
        """One sweep of the model at `beta`."""
        bias = torch.lerp(self.first, self.last, beta)
        order = shuffled(len(self.model.plan().blocks), generator)
        scale = beta / self.model.temperature
        return self.kernel.sweep(inputs[0], bias, scale, self.interaction, order, None, generator)[0]
