"""Pooled units: groups of which at most one unit is on. A group is on where any of its units is.

    U(x) = -b.x,        Gamma(I) = sum over groups of log(1 + sum_i exp(b_i + I_i))

The detection layer of probabilistic max-pooling (Lee, Grosse, Ranganath & Ng 2009).
"""

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


class Pooled(Units):
    """`n_groups` groups of `group_size` units, group by group in a row of ``n_groups * group_size`` numbers.

    >>> units = Pooled(2, 3)
    >>> units.mean(torch.zeros(1, 6)).tolist(), units.pool(units.mean(torch.zeros(1, 6))).tolist()
    ([[0.25, 0.25, 0.25, 0.25, 0.25, 0.25]], [[0.75, 0.75]])
    """

    kind = "pooled"

    def __init__(self, n_groups: int, group_size: int) -> None:
        check_count("n_groups", n_groups, low=1)
        check_count("group_size", group_size, low=1)
        super().__init__(n_groups * group_size)
        self.n_groups, self.group_size = n_groups, group_size

    def pool(self, x: Tensor) -> Tensor:
        """Whether each group is on, or how likely, from its units: (..., size) -> (..., n_groups)."""
        return self._grouped(x).sum(-1)

    def _grouped(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.n_groups, self.group_size))

    def _logits(self, inputs: Tensor) -> Tensor:
        """Of "none" and of each unit: (..., n_groups, 1 + group_size)."""
        return F.pad(self._grouped(inputs + self.bias), (1, 0))

    def potential(self, x: Tensor) -> Tensor:
        return -(x @ self.bias)

    def cumulants(self, inputs: Tensor) -> Tensor:
        return torch.logsumexp(self._logits(inputs), -1)

    def mean(self, inputs: Tensor) -> Tensor:
        return torch.softmax(self._logits(inputs), -1)[..., 1:].flatten(-2)

    def draw(self, inputs: Tensor, mean: Tensor, generator: torch.Generator | None) -> Tensor:
        # inverse of the cumulative distribution: the unit in whose mass the number falls; "none" has what is left
        cumulative = self._grouped(mean).cumsum(-1)
        passed = (cumulative <= uniform_like(cumulative[..., :1], generator)).to(mean.dtype)
        before = F.pad(passed[..., :-1], (1, 0), value=1.0)
        return (before - passed).flatten(-2)

    def draw_given_pool(self, inputs: Tensor, on: Tensor, generator: torch.Generator | None) -> Tensor:
        """A draw given which groups are on, (..., n_groups): where in each of these the unit is."""
        share = torch.softmax(self._grouped(inputs + self.bias), -1)
        cumulative = share.cumsum(-1)
        u = uniform_like(cumulative[..., :1], generator) * cumulative[..., -1:]
        where = F.one_hot((cumulative[..., :-1] <= u).sum(-1), self.group_size)
        return (where * on.unsqueeze(-1)).flatten(-2).to(share.dtype)

    @torch.no_grad()
    def match(self, mean: Tensor, variance: Tensor | None = None) -> None:
        on = self._grouped(mean).clamp(CLIP, 1 - CLIP)
        none = (1 - on.sum(-1, keepdim=True)).clamp_min(CLIP)
        self.bias.copy_((on / none).log().flatten(-2))

    @property
    def bases(self) -> Sequence[int]:
        return [self.group_size + 1] * self.n_groups

    def from_digits(self, digits: Tensor) -> Tensor:
        return F.one_hot(digits, self.group_size + 1)[..., 1:].flatten(-2)

    def alternatives(self, x: Tensor, variable: Tensor) -> Tensor:
        copies = self._grouped(x).expand(self.group_size + 1, *x.shape[:-1], self.n_groups, self.group_size).clone()
        rows = torch.arange(len(x), device=x.device)
        states = F.pad(torch.eye(self.group_size, dtype=x.dtype, device=x.device), (0, 0, 1, 0))  # none, then each
        copies[:, rows, variable] = states.unsqueeze(1)
        return copies.flatten(-2)

    def check_known(self, known: Tensor) -> None:
        check_whole_groups(self._grouped(known))

    def check_values(self, x: Tensor, name: str = "X") -> None:
        if x.numel() and not (x.min() >= 0 and self.pool(x).max() <= 1 + 1e-3):  # NaN is neither
            raise InvalidDataError(
                f"{name} must have at most one unit on in each group of {self.group_size} for pooled units. "
                f"Got a group with sum {self.pool(x).max().item():g}. Use Bernoulli units for units that are free."
            )

    def config(self) -> dict[str, Any]:
        return {"kind": self.kind, "n_groups": self.n_groups, "group_size": self.group_size}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Pooled:
        return cls(config["n_groups"], config["group_size"])
