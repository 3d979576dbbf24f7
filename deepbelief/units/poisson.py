"""Poisson units: counts without an upper limit, ``U(x) = -bias x + log x!``.

A hidden unit multiplies a rate by ``exp(W)``, so summing the counts out leaves ``exp(exp(bias + W h))``. That outgrows
every quadratic and every factorial: log Z exists only beside a layer whose values are bounded (Bernoulli, spin,
categorical, binomial, multinomial), and beside Gaussian, rectified or Poisson units such a machine has no law, unless
its weights happened to have one sign. The RBM refuses those pairs.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from deepbelief.units.base import Units, check_non_negative
from deepbelief.units.bernoulli import CLIP

LARGEST_LOG_RATE = 20.0  # 5e8 events: beyond, single precision could neither sum nor draw


class Poisson(Units):
    """Counts 0, 1, 2, ...: ``Gamma(I) = sum exp(bias + I)``, mean ``exp(bias + I)``.

    A log rate above 20 counts as 20 in the mean and the draws (and the cumulant goes on as a straight line), so that a
    chain that runs away stays finite.

    >>> Poisson(2).mean(torch.zeros(1, 2)).tolist()
    [[1.0, 1.0]]
    """

    kind = "poisson"
    most = math.inf
    needs_bounded_partner = True

    @property
    def has_states(self) -> bool:
        return True

    def potential(self, x: Tensor) -> Tensor:
        return torch.lgamma(x + 1).sum(-1) - x @ self.bias

    def cumulants(self, inputs: Tensor) -> Tensor:
        return self.mean(inputs) * (1 + F.relu(inputs + self.bias - LARGEST_LOG_RATE))

    def mean(self, inputs: Tensor) -> Tensor:
        return torch.exp((inputs + self.bias).clamp_max(LARGEST_LOG_RATE))

    def draw(self, inputs: Tensor, mean: Tensor, generator: torch.Generator | None) -> Tensor:
        return torch.poisson(mean, generator=generator)

    @torch.no_grad()
    def match(self, mean: Tensor, variance: Tensor | None = None) -> None:
        self.bias.copy_(torch.log(mean.clamp_min(CLIP)))

    def check_values(self, x: Tensor, name: str = "X") -> None:
        check_non_negative(x, name, "Poisson", "give counts, or use Gaussian units")
