"""The importance-weighted lower bound of a log-likelihood, over many samples in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from deepbelief.errors import check_count

CASES, ROWS = 100, 10_000  # cases looked at together, and cases times samples held in memory


class StreamingLogMeans:
    """``log 1/n sum_i w_i`` of each case from chunks of ``log w``, in float64, with its standard error."""

    def __init__(self, n_cases: int) -> None:
        self.top = torch.full((n_cases,), -math.inf, dtype=torch.float64)
        self.sums = torch.zeros(n_cases, dtype=torch.float64)
        self.squares = torch.zeros(n_cases, dtype=torch.float64)
        self.n = 0

    def add(self, log_weights: Tensor) -> None:
        """Count more samples: (samples, cases)."""
        w = log_weights.double().cpu()
        top = torch.maximum(self.top, w.amax(0))
        safe = torch.where(torch.isfinite(top), top, 0.0)
        shrink = torch.exp(self.top - safe)
        w = torch.exp(w - safe)
        self.sums = self.sums * shrink + w.sum(0)
        self.squares = self.squares * shrink.square() + w.square().sum(0)
        self.top, self.n = top, self.n + len(log_weights)

    def value(self) -> Tensor:
        """The logarithms of the means: (cases,)."""
        return torch.where(self.sums > 0, self.sums.log() - math.log(self.n) + self.top, self.top)

    def stderr(self) -> Tensor:
        """Standard errors of the logarithms (delta method); NaN for a single sample: (cases,)."""
        if self.n < 2:
            return torch.full_like(self.sums, math.nan)
        mean = self.sums / self.n
        variance = ((self.squares / self.n - mean.square()) * self.n / (self.n - 1)).clamp_min(0)
        return (variance / self.n).sqrt() / mean.clamp_min(torch.finfo(torch.float64).tiny)


def importance_weighted(
    draw: Callable[[slice, slice], Tensor], n_cases: int, n_samples: int, *, rows: int = ROWS, shared: bool = False
) -> tuple[Tensor, float]:
    """``log 1/K sum_k w_k`` of each case, a lower bound of ``log p(x)`` in the mean (Burda et al. 2016).

    ``draw(cases, draws)`` gives ``log w = log p(x, z) - log q(z | x)`` for a slice of the cases and one of the
    samples' numbers, (draws, cases). Returns the values, (cases,) in float64, and the standard error of their average;
    where all cases share their random numbers, they may err together (`shared`).

    >>> value, error = importance_weighted(lambda cases, draws: torch.zeros(10, 3), 3, 10)
    >>> value.tolist(), error
    ([0.0, 0.0, 0.0], 0.0)
    """
    check_count("n_samples", n_samples, low=1)
    check_count("rows", rows, low=1)
    values, errors = [], []
    for first in range(0, n_cases, CASES):
        cases = slice(first, min(first + CASES, n_cases))
        size = cases.stop - cases.start
        means, k = StreamingLogMeans(size), max(1, rows // size)
        for start in range(0, n_samples, k):
            means.add(draw(cases, slice(start, min(start + k, n_samples))))
        values.append(means.value())
        errors.append(means.stderr())
    each = torch.cat(errors)
    error = each.mean() if shared else each.square().sum().sqrt() / n_cases
    return torch.cat(values), error.item()
