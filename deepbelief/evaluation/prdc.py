"""Precision, recall, density and coverage of samples by balls around nearest neighbours.

With r_i the distance of the real case x_i to its k-th nearest other real case, and s_j the same among the samples y_j:

    precision = mean_j [ y_j in some ball (x_i, r_i) ]      recall   = mean_i [ x_i in some ball (y_j, s_j) ]
    density   = 1/k mean_j #{ i : y_j in ball (x_i, r_i) }  coverage = mean_i [ some y_j in ball (x_i, r_i) ]

Kynkaanniemi et al. 2019, Naeem et al. 2020. Only density may exceed 1. For n cases and m samples of one law, density
is 1 on average, and coverage ``1 - C(n - 1, k) / C(n + m - 1, k)``, about 1 - 2^-k; precision and recall depend on the
law. Distances are computed in chunks in float64, so that 50,000 samples fit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from deepbelief.errors import InvalidDataError, check_count

ENTRIES = 20_000_000  # of a chunk of the distance matrix: 160 MB
SAME = (
    1e-10  # squared distances that differ by less, in parts of the largest norm, are a tie: what rounding makes of one
)


@dataclass(frozen=True)
class PRDC:
    """The four numbers."""

    precision: float
    recall: float
    density: float
    coverage: float


def prdc(real: Tensor, samples: Tensor, *, k: int = 5) -> PRDC:
    """Precision, recall, density and coverage of `samples` (m, d) beside `real` cases (n, d) with `k` neighbours."""
    if real.ndim != 2 or samples.ndim != 2 or real.shape[1] != samples.shape[1]:
        raise InvalidDataError(
            "real and samples must have shape (cases, features), with the same features. "
            f"Got {tuple(real.shape)} and {tuple(samples.shape)}."
        )
    check_count("k", k, low=1, high=min(len(real), len(samples)) - 1)
    centre = real.double().mean(0)  # distances are differences of products: near the origin they lose the least
    x, y = real.double() - centre, samples.double() - centre
    slack = SAME * float(torch.maximum(x.square().sum(1).max(), y.square().sum(1).max()))
    x_radii, y_radii = kth_distances(x, k) + slack, kth_distances(y, k) + slack
    in_real, covered = torch.zeros(len(y), dtype=torch.long), torch.zeros(len(x), dtype=torch.bool)
    recalled = torch.zeros(len(x), dtype=torch.bool)
    for rows, squares in squared_distances(x, y):
        inside = squares <= x_radii[rows].unsqueeze(1)
        in_real += inside.sum(0)
        covered[rows] = inside.any(1)
        recalled[rows] = (squares <= y_radii).any(1)
    precision, density = (in_real > 0).double().mean(), in_real.double().mean() / k
    return PRDC(float(precision), float(recalled.double().mean()), float(density), float(covered.double().mean()))


def kth_distances(x: Tensor, k: int) -> Tensor:
    """The squared distance of each row to its `k`-th nearest other row: (n,)."""
    check_count("k", k, low=1, high=len(x) - 1)
    found = []
    for rows, squares in squared_distances(x, x):
        own = torch.arange(rows.start, rows.stop)
        squares[own - rows.start, own] = torch.inf
        found.append(squares.kthvalue(k, dim=1).values)
    return torch.cat(found)


def squared_distances(x: Tensor, y: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """``|x_i - y_j|^2`` for a chunk of the rows of `x` at a time, with the slice that the chunk is."""
    step = max(1, ENTRIES // len(y))
    y_squares = y.square().sum(1)
    for first in range(0, len(x), step):
        part = x[first : first + step]
        squares = torch.addmm(y_squares.expand(len(part), -1), part, y.T, alpha=-2)
        yield slice(first, first + len(part)), squares.add_(part.square().sum(1, keepdim=True)).clamp_min_(0)
