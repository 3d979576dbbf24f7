"""What the real-valued kinds share: ``U(x) = precision x^2 / 2 - bias x`` with a learned precision.

The kinds differ in the range of x, and so in everything that follows from the potential by a sum over x.
"""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Tensor, nn

from deepbelief.units.base import Units

SMALLEST_VARIANCE = 1e-4  # a constant column would have infinite precision


class Quadratic(Units):
    """The potential, its statistics and its path of annealing; no kind of its own."""

    least, most = -math.inf, math.inf

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.log_precision = nn.Parameter(torch.zeros(size))

    @property
    def precision(self) -> Tensor:
        """What multiplies ``x^2 / 2``; learned through its logarithm, so that it stays positive."""
        return self.log_precision.exp()

    def potential(self, x: Tensor) -> Tensor:
        return (0.5 * self.precision * x - self.bias).mul(x).sum(-1)

    def statistics(self, x: Tensor) -> dict[str, Tensor]:
        return {"log_precision": -0.5 * self.precision * x * x}

    def blend(self, other: Self, beta: float) -> Self:
        """The precision, not its logarithm, is the natural parameter."""
        blended = self.empty_like()
        with torch.no_grad():
            blended.bias.copy_(torch.lerp(self.bias, other.bias, beta))
            blended.log_precision.copy_(torch.lerp(self.precision, other.precision, beta).log())
        return blended
