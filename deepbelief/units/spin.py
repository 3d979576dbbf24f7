"""Spin units: -1 or +1, ``U(x) = -bias x``; the units of the Ising model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from deepbelief.errors import InvalidDataError
from deepbelief.rng import uniform_like
from deepbelief.units.base import Units
from deepbelief.units.bernoulli import CLIP


class Spin(Units):
    """Units with values -1 and +1: ``Gamma(I) = sum log 2 cosh(bias + I)``, mean ``tanh(bias + I)``.

    >>> Spin(2).mean(torch.zeros(1, 2)).tolist()
    [[0.0, 0.0]]
    """

    kind = "spin"
    least = -1.0

    def potential(self, x: Tensor) -> Tensor:
        return -(x @ self.bias)

    def cumulants(self, inputs: Tensor) -> Tensor:
        field = inputs + self.bias
        return F.softplus(2 * field) - field  # log 2cosh(a) = log(1 + exp(2a)) - a, which does not overflow

    def mean(self, inputs: Tensor) -> Tensor:
        return torch.tanh(inputs + self.bias)

    def draw(self, inputs: Tensor, mean: Tensor, generator: torch.Generator | None) -> Tensor:
        return (2 * uniform_like(mean, generator) - 1 < mean).to(mean.dtype) * 2 - 1

    @torch.no_grad()
    def match(self, mean: Tensor, variance: Tensor | None = None) -> None:
        self.bias.copy_(torch.atanh(mean.clamp(2 * CLIP - 1, 1 - 2 * CLIP)))

    @property
    def bases(self) -> Sequence[int]:
        return [2] * self.size

    def from_digits(self, digits: Tensor) -> Tensor:
        return 2 * digits - 1

    def alternatives(self, x: Tensor, variable: Tensor) -> Tensor:
        both = torch.stack([x, x])
        rows = torch.arange(len(x), device=x.device)
        both[0, rows, variable], both[1, rows, variable] = -1.0, 1.0
        return both

    def check_values(self, x: Tensor, name: str = "X") -> None:
        if x.numel() and not (x.min() >= -1 and x.max() <= 1):  # NaN is neither
            worst = x.flatten()[x.abs().argmax()].item()
            raise InvalidDataError(
                f"{name} must lie in [-1, 1] for spin units. Got a value of {worst:g}: "
                "code the two values as -1 and +1, or use Gaussian units."
            )
