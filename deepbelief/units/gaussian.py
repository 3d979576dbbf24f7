"""Gaussian units with a learned precision: ``U(x) = precision x^2 / 2 - bias x``."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from deepbelief.errors import InvalidDataError
from deepbelief.units.quadratic import SMALLEST_VARIANCE, Quadratic


class Gaussian(Quadratic):
    """Real units: given an input they have mean ``(bias + I) / precision`` and variance ``1 / precision``.

    ``Gamma(I) = sum (bias + I)^2 / (2 precision) + log(2 pi / precision) / 2``. The precision is learned through its
    logarithm, so that it stays positive (Cho, Ilin & Raiko 2011). Standardize the columns first: learning rates assume
    it.

    >>> Gaussian(2).mean(torch.ones(1, 2)).tolist()
    [[1.0, 1.0]]
    """

    kind = "gaussian"

    def cumulants(self, inputs: Tensor) -> Tensor:
        field = inputs + self.bias
        return 0.5 * (field * field / self.precision + math.log(2 * math.pi) - self.log_precision)

    def mean(self, inputs: Tensor) -> Tensor:
        return (inputs + self.bias) / self.precision

    def draw(self, inputs: Tensor, mean: Tensor, generator: torch.Generator | None) -> Tensor:
        noise = torch.randn(mean.shape, dtype=mean.dtype, device=mean.device, generator=generator)
        return torch.addcmul(mean, noise, torch.exp(-0.5 * self.log_precision).expand_as(mean))

    def expected_statistics(self, inputs: Tensor, mean: Tensor) -> dict[str, Tensor]:
        return {"log_precision": -0.5 * (self.precision * mean * mean + 1)}

    @torch.no_grad()
    def match(self, mean: Tensor, variance: Tensor | None = None) -> None:
        if variance is not None:
            self.log_precision.copy_(-torch.log(variance.clamp_min(SMALLEST_VARIANCE)))
        self.bias.copy_(mean.to(self.bias) * self.precision)

    def check_values(self, x: Tensor, name: str = "X") -> None:
        if not torch.isfinite(x).all():
            raise InvalidDataError(f"{name} must be finite. Got NaN or infinity. Fill in or drop these cases first.")
