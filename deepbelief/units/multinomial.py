"""Multinomial units: how often each of several values came up in n draws, as the words of a document of n words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from deepbelief.errors import InvalidDataError, check, check_count
from deepbelief.units.base import Units, check_whole_groups
from deepbelief.units.bernoulli import CLIP

MOST_LISTED = 1 << 22  # states that fit in memory as a table


class Multinomial(Units):
    """A row of `size` counts that sum to `n_draws`: ``U(x) = -bias.x - log(n_draws! / prod x!)``.

    ``Gamma(I) = n_draws logsumexp(bias + I)``, mean ``n_draws softmax(bias + I)``: `n_draws` copies of one categorical
    unit that share weights and bias, of which only the counts are kept. They are the visible layer of a replicated
    softmax (Salakhutdinov & Hinton 2009) for documents of one length.

    >>> Multinomial(4, 8).mean(torch.zeros(1, 4)).tolist()
    [[2.0, 2.0, 2.0, 2.0]]
    """

    kind = "multinomial"

    def __init__(self, size: int, n_draws: int) -> None:
        check_count("size", size, low=2, remedy="One value carries no information.")
        check_count("n_draws", n_draws, low=1)
        super().__init__(size)
        self.n_draws = n_draws
        self.most = float(n_draws)

    def potential(self, x: Tensor) -> Tensor:
        return torch.lgamma(x + 1).sum(-1) - math.lgamma(self.n_draws + 1) - x @ self.bias

    def cumulants(self, inputs: Tensor) -> Tensor:
        return self.n_draws * torch.logsumexp(inputs + self.bias, -1, keepdim=True)

    def mean(self, inputs: Tensor) -> Tensor:
        return self.n_draws * torch.softmax(inputs + self.bias, -1)

    def draw(self, inputs: Tensor, mean: Tensor, generator: torch.Generator | None) -> Tensor:
        rows = mean.reshape(-1, self.size)
        draws = torch.full((len(rows),), self.n_draws, device=mean.device)
        return draw_counts(rows, draws, generator).reshape(mean.shape)

    @torch.no_grad()
    def match(self, mean: Tensor, variance: Tensor | None = None) -> None:
        log_mass = torch.log((mean / self.n_draws).clamp_min(CLIP / self.size))
        self.bias.copy_(log_mass - log_mass.mean())

    @property
    def bases(self) -> Sequence[int]:
        """The counts are not free of one another, so the layer is one variable with as many values as it has states."""
        return [math.comb(self.n_draws + self.size - 1, self.n_draws)]

    @property
    def n_states(self) -> float:
        """``(n_draws + size - 1) choose n_draws``, infinite where no float holds it."""
        states = self.bases[0]
        return states if states < 1e300 else float("inf")

    @cached_property
    def _table(self) -> Tensor:
        check(
            self.n_states <= MOST_LISTED,
            f"multinomial units must have at most {MOST_LISTED:,} states to be enumerated. Got {self.n_states:.3g}. "
            "Use ais(...) instead.",
        )
        return torch.tensor(list(_compositions(self.n_draws, self.size)))

    def states(self, chunk: int = 1 << 14) -> Iterator[Tensor]:
        for rows in self._table.split(chunk):
            yield rows.to(self.bias)

    def from_digits(self, digits: Tensor) -> Tensor:
        return self._table.to(digits.device)[digits[:, 0]]

    def check_known(self, known: Tensor) -> None:
        check_whole_groups(known.unsqueeze(-2))

    def check_values(self, x: Tensor, name: str = "X") -> None:
        if x.numel() == 0:
            return
        off = (x.sum(-1) - self.n_draws).abs()
        if not (x.min() >= 0 and off.max() <= 1e-3 * self.n_draws):  # NaN is neither
            raise InvalidDataError(
                f"{name} must hold counts that sum to {self.n_draws} in each row for these multinomial units. Got a "
                f"row with sum {x.sum(-1)[off.argmax()].item():g} and least entry {x.min().item():g}. For rows "
                "of unequal sums use a ReplicatedSoftmax."
            )

    def config(self) -> dict[str, Any]:
        return {"kind": self.kind, "size": self.size, "n_draws": self.n_draws}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Multinomial:
        return cls(config["size"], config["n_draws"])


def draw_counts(weights: Tensor, n_draws: Tensor, generator: torch.Generator | None) -> Tensor:
    """Counts of ``n_draws[i]`` draws with the probabilities of row i, up to a factor: (n, k), (n,) -> (n, k).

    By the inverse of the cumulative distribution, all rows laid end to end, so that rows of any lengths cost no more
    than the draws that they ask for. In float64: single precision would starve rare values of large vocabularies.
    """
    n, k = weights.shape
    cumulative = weights.double().cumsum(-1)
    shares = cumulative / cumulative[:, -1:]
    rows = torch.arange(n, device=weights.device).repeat_interleave(n_draws)
    u = torch.rand(len(rows), dtype=torch.float64, device=weights.device, generator=generator)
    ends = (shares + torch.arange(n, device=weights.device).unsqueeze(1)).flatten()
    place = torch.searchsorted(ends, u + rows, right=True)
    place = torch.minimum(place, (rows + 1) * k - 1)  # a number that rounding lifted over the end of its row
    return torch.bincount(place, minlength=n * k).reshape(n, k).to(weights.dtype)


def _compositions(total: int, parts: int) -> Iterator[tuple[int, ...]]:
    """Every row of `parts` counts with this total."""
    if parts == 1:
        yield (total,)
        return
    for first in range(total + 1):
        for rest in _compositions(total - first, parts - 1):
            yield (first, *rest)
