"""Categorical (softmax, Potts) units: groups of which exactly one state is on, one-hot coded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from deepbelief.errors import InvalidDataError, check_count
from deepbelief.rng import uniform_like
from deepbelief.units.base import Units, check_whole_groups
from deepbelief.units.bernoulli import CLIP


class Categorical(Units):
    """`n_groups` variables of `n_values` values each, one-hot in a row of ``n_groups * n_values`` numbers.

    ``Gamma(I) = sum over groups of logsumexp(bias + I)``, mean softmax within each group. The label of a classifying
    RBM is one group.

    >>> Categorical(1, 4).mean(torch.zeros(1, 4)).tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """

    kind = "categorical"

    def __init__(self, n_groups: int, n_values: int) -> None:
        check_count("n_groups", n_groups, low=1)
        check_count("n_values", n_values, low=2, remedy="One value carries no information.")
        super().__init__(n_groups * n_values)
        self.n_groups, self.n_values = n_groups, n_values

    def _grouped(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.n_groups, self.n_values))

    def potential(self, x: Tensor) -> Tensor:
        return -(x @ self.bias)

    def cumulants(self, inputs: Tensor) -> Tensor:
        return torch.logsumexp(self._grouped(inputs + self.bias), -1)

    def mean(self, inputs: Tensor) -> Tensor:
        return torch.softmax(self._grouped(inputs + self.bias), -1).flatten(-2)

    def draw(self, inputs: Tensor, mean: Tensor, generator: torch.Generator | None) -> Tensor:
        # inverse of the cumulative distribution: as many values are passed as cumulative masses lie below the number
        cumulative = self._grouped(mean).cumsum(-1)
        u = uniform_like(cumulative[..., :1], generator) * cumulative[..., -1:]
        value = (cumulative[..., :-1] <= u).sum(-1)
        return F.one_hot(value, self.n_values).flatten(-2).to(mean.dtype)

    @torch.no_grad()
    def match(self, mean: Tensor, variance: Tensor | None = None) -> None:
        log_mass = torch.log(self._grouped(mean).clamp_min(CLIP))
        self.bias.copy_((log_mass - log_mass.mean(-1, keepdim=True)).flatten(-2))

    @property
    def bases(self) -> Sequence[int]:
        return [self.n_values] * self.n_groups

    def from_digits(self, digits: Tensor) -> Tensor:
        return F.one_hot(digits, self.n_values).flatten(-2)

    def alternatives(self, x: Tensor, variable: Tensor) -> Tensor:
        copies = self._grouped(x).expand(self.n_values, *x.shape[:-1], self.n_groups, self.n_values).clone()
        rows = torch.arange(len(x), device=x.device)
        copies[:, rows, variable] = torch.eye(self.n_values, dtype=x.dtype, device=x.device).unsqueeze(1)
        return copies.flatten(-2)

    def check_known(self, known: Tensor) -> None:
        check_whole_groups(self._grouped(known))

    def check_values(self, x: Tensor, name: str = "X") -> None:
        if x.numel() == 0:
            return
        sums = self._grouped(x).sum(-1)
        if not (x.min() >= 0 and (sums - 1).abs().max() <= 1e-3):  # NaN is neither
            raise InvalidDataError(
                f"{name} must be one-hot (or probabilities) in groups of {self.n_values} for categorical units. "
                f"Got a group with sum {sums.flatten()[(sums - 1).abs().argmax()].item():g}. Use one_hot coding first."
            )

    def config(self) -> dict[str, Any]:
        return {"kind": self.kind, "n_groups": self.n_groups, "n_values": self.n_values}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Categorical:
        return cls(config["n_groups"], config["n_values"])
