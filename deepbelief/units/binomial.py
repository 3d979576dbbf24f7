"""Binomial units: n copies of a Bernoulli unit that share weights and bias; the state is how many are on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from deepbelief.errors import InvalidDataError, check_count
from deepbelief.units.base import Units
from deepbelief.units.bernoulli import CLIP


class Binomial(Units):
    """Counts from 0 to `n_trials`: ``U(x) = -bias x - log(n_trials choose x)`` (Teh & Hinton 2001's rate-coded units).

    ``Gamma(I) = sum n_trials log(1 + exp(bias + I))``, mean ``n_trials sigmoid(bias + I)``. With one trial they are
    Bernoulli units.

    >>> Binomial(2, 10).mean(torch.zeros(1, 2)).tolist()
    [[5.0, 5.0]]
    """

    kind = "binomial"

    def __init__(self, size: int, n_trials: int) -> None:
        check_count("n_trials", n_trials, low=1)
        super().__init__(size)
        self.n_trials = n_trials
        self.most = float(n_trials)

    def potential(self, x: Tensor) -> Tensor:
        ways = math.lgamma(self.n_trials + 1) - torch.lgamma(x + 1) - torch.lgamma(self.n_trials - x + 1)
        return -(x @ self.bias) - ways.sum(-1)

    def cumulants(self, inputs: Tensor) -> Tensor:
        return self.n_trials * F.softplus(inputs + self.bias)

    def mean(self, inputs: Tensor) -> Tensor:
        return self.n_trials * torch.sigmoid(inputs + self.bias)

    def draw(self, inputs: Tensor, mean: Tensor, generator: torch.Generator | None) -> Tensor:
        trials = torch.full_like(mean, float(self.n_trials))
        return torch.binomial(trials, (mean / self.n_trials).clamp(0, 1), generator=generator)

    @torch.no_grad()
    def match(self, mean: Tensor, variance: Tensor | None = None) -> None:
        self.bias.copy_(torch.logit((mean / self.n_trials).clamp(CLIP, 1 - CLIP)))

    @property
    def bases(self) -> Sequence[int]:
        return [self.n_trials + 1] * self.size

    def from_digits(self, digits: Tensor) -> Tensor:
        return digits

    def alternatives(self, x: Tensor, variable: Tensor) -> Tensor:
        copies = x.expand(self.n_trials + 1, *x.shape).clone()
        values = torch.arange(self.n_trials + 1, dtype=x.dtype, device=x.device)
        copies[:, torch.arange(len(x), device=x.device), variable] = values.unsqueeze(1)
        return copies

    def check_values(self, x: Tensor, name: str = "X") -> None:
        if x.numel() and not (x.min() >= 0 and x.max() <= self.n_trials):  # NaN is neither
            worst = (x.max() if x.max() > self.n_trials else x.min()).item()
            raise InvalidDataError(
                f"{name} must lie in [0, {self.n_trials}] for binomial units of {self.n_trials} trials. "
                f"Got a value of {worst:g}: use more trials, or Poisson units for counts without a limit."
            )

    def config(self) -> dict[str, Any]:
        return {"kind": self.kind, "size": self.size, "n_trials": self.n_trials}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Binomial:
        return cls(config["size"], config["n_trials"])
