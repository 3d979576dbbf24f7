"""Rectified units: a Gaussian cut off below zero, ``U(x) = precision x^2 / 2 - bias x`` for x >= 0.

This is the exact rectified unit of the exponential family. With ``z = (bias + I) / sqrt(precision)`` and the normal
density phi and distribution Phi,

    Gamma(I) = log(2 pi / precision) / 2 + z^2 / 2 + log Phi(z)
    mean     = (z + phi(z) / Phi(z)) / sqrt(precision)

The "noisy rectified linear unit" ``max(0, N(I, sigmoid(I)))`` of Nair & Hinton 2010 is another thing: a fast sampling
rule that approximates a sum of many Bernoulli units with shifted biases. Its law is that of no potential (it puts a
positive mass on x = 0, and its variance follows a rule of its own), so a free energy or log Z beside it would belong to
another model; it is no kind of units here.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from deepbelief.rng import uniform_like
from deepbelief.units.base import check_non_negative
from deepbelief.units.quadratic import SMALLEST_VARIANCE, Quadratic

SMALLEST_MEAN = 1e-3  # a column of zeros would have a bias of minus infinity
FAR = 5.0  # standard deviations beyond which a difference of large numbers gives way to a continued fraction
TERMS = 24  # with so many its error there is of the order of rounding
NEWTON_STEPS = 6
LARGEST_SPREAD = 0.999  # of variance / mean^2, which is 1 for an exponential law, the end of the family
HALF_LOG_2_PI = 0.5 * math.log(2 * math.pi)


class Rectified(Quadratic):
    """Units on x >= 0 with the law of a Gaussian given that it is positive; the precision is learned too.

    Far below zero the law is nearly exponential with mean ``1 / |bias + I|``, far above it is Gaussian; cumulant, mean
    and draws keep their digits in both tails.

    >>> [round(mean, 4) for mean in Rectified(1).mean(torch.tensor([[-100.0], [0.0], [100.0]])).flatten().tolist()]
    [0.01, 0.7979, 100.0]
    """

    kind = "rectified"
    least = 0.0

    def _standard(self, inputs: Tensor) -> Tensor:
        """``z``: the field in standard deviations."""
        return (inputs + self.bias) * torch.exp(-0.5 * self.log_precision)

    def cumulants(self, inputs: Tensor) -> Tensor:
        return HALF_LOG_2_PI - 0.5 * self.log_precision + _log_mass(self._standard(inputs))

    def mean(self, inputs: Tensor) -> Tensor:
        return standard_mean(self._standard(inputs)) * torch.exp(-0.5 * self.log_precision)

    def draw(self, inputs: Tensor, mean: Tensor, generator: torch.Generator | None) -> Tensor:
        z = self._standard(inputs)
        chance = 1 - uniform_like(z, generator)  # in (0, 1]: of a value at least as large
        return standard_quantile(z, chance) * torch.exp(-0.5 * self.log_precision)

    def expected_statistics(self, inputs: Tensor, mean: Tensor) -> dict[str, Tensor]:
        # by parts, precision <x^2> = 1 + (bias + I) <x>
        return {"log_precision": -0.5 * (1 + (inputs + self.bias) * mean).clamp_min(0)}

    @torch.no_grad()
    def match(self, mean: Tensor, variance: Tensor | None = None) -> None:
        """Both moments exactly where the family has them: variance below ``mean^2``, the exponential law's."""
        mean = mean.to(self.bias).double().clamp_min(SMALLEST_MEAN)
        if variance is None:
            root = torch.exp(0.5 * self.log_precision.double())
            z = _solve(standard_mean, root * mean)
        else:
            spread = (variance.to(mean).clamp_min(SMALLEST_VARIANCE) / mean.square()).clamp_max(LARGEST_SPREAD)
            z = _solve(lambda z: -_spread(z), -spread)
            root = standard_mean(z) / mean
            self.log_precision.copy_(2 * root.log())
        self.bias.copy_(z * root)

    def check_values(self, x: Tensor, name: str = "X") -> None:
        check_non_negative(x, name, "rectified", "shift or clip the columns, or use Gaussian units")


def _log_mass(z: Tensor) -> Tensor:
    """``z^2 / 2 + log Phi(z)``, which is ``log(erfcx(-z / sqrt 2) / 2)`` below zero, where its terms cancel."""
    low, high = z.clamp_max(0), z.clamp_min(0)  # each branch sees only what it is good for: gradients stay finite
    below = torch.log(torch.special.erfcx(-low / math.sqrt(2))) - math.log(2)
    above = 0.5 * high * high + torch.special.log_ndtr(high)
    return torch.where(z < 0, below, above)


def _hazard(t: Tensor) -> Tensor:
    """``phi(t) / (1 - Phi(t))``: about t far above zero; it vanishes far below."""
    return math.sqrt(2 / math.pi) / torch.special.erfcx(t / math.sqrt(2))


def standard_mean(z: Tensor) -> Tensor:
    """The mean for precision 1: ``z + phi(z) / Phi(z)``, by a continued fraction far below zero.

    There it is ``1 / (t + 2 / (t + 3 / (t + ...)))`` with t = -z (Abramowitz & Stegun 26.2.14).
    """
    t = (-z).clamp_min(FAR)
    tail = t
    for k in range(TERMS, 1, -1):
        tail = t + k / tail
    return torch.where(z < -FAR, 1 / tail, z + _hazard(-z))


def standard_quantile(z: Tensor, chance: Tensor) -> Tensor:
    """The y that is exceeded with this `chance`, for precision 1.

    Above zero by the normal quantile. Below, Newton's method for ``log chance`` of exceeding y,

        t y + y^2 / 2 - log erfcx((t + y) / sqrt 2) + log erfcx(t / sqrt 2) = -log chance,    t = -z,

    a convex function of y, so that from a start above the root every step comes nearer.
    """
    smallest = torch.finfo(z.dtype)
    inner = (chance * torch.special.ndtr(z)).clamp(smallest.tiny, 1 - smallest.eps / 2)
    above = (z - torch.special.ndtri(inner)).clamp_min(0)
    t, wanted = (-z).clamp_min(0), -chance.log()
    start = torch.special.erfcx(t / math.sqrt(2)).log()
    y = torch.minimum(wanted / _hazard(t), 2 * wanted / (t + torch.sqrt(t * t + 2 * wanted)).clamp_min(smallest.tiny))
    for _ in range(NEWTON_STEPS):
        value = t * y + 0.5 * y * y - torch.special.erfcx((t + y) / math.sqrt(2)).log() + start
        y = (y - (value - wanted) / _hazard(t + y)).clamp_min(0)
    return torch.where(z < 0, y, above)


def _spread(z: Tensor) -> Tensor:
    """``variance / mean^2``, which falls from 1 to 0."""
    mean = standard_mean(z)
    return (1 + z * mean) / mean.square() - 1


def _solve(rising: Callable[[Tensor], Tensor], wanted: Tensor) -> Tensor:
    """The z at which a rising function has the value `wanted`, by bisection between ends that move apart first."""
    low, high = torch.full_like(wanted, -1.0), torch.full_like(wanted, 1.0)
    for _ in range(14):
        low = torch.where(rising(low) > wanted, 2 * low, low)
        high = torch.where(rising(high) < wanted, 2 * high, high)
    for _ in range(80):
        middle = (low + high) / 2
        above = rising(middle) > wanted
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return (low + high) / 2
