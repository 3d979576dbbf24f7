"""Sums and averages of numbers known by their logarithms."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LogMean:
    """The logarithm of an average of weights, its standard error (delta method) and the effective sample size."""

    value: float
    stderr: float
    effective_size: float


def log_mean_exp(log_weights: Tensor) -> LogMean:
    """``log(1/n sum exp(log_weights))`` in float64.

    The standard error is that of the mean divided by the mean, the first-order error of a logarithm; the effective
    sample size is ``(sum w)^2 / sum w^2``, between 1 and n.

    >>> log_mean_exp(torch.zeros(4)).value
    0.0
    """
    w = log_weights.double().flatten()
    n = len(w)
    top = w.max()
    if not torch.isfinite(top):
        return LogMean(top.item(), math.nan, 0.0)
    scaled = torch.exp(w - top)
    mean = scaled.mean()
    stderr = (scaled.std(unbiased=True) / (mean * math.sqrt(n))).item() if n > 1 else math.nan
    return LogMean((mean.log() + top).item(), stderr, (scaled.sum() ** 2 / (scaled**2).sum()).item())


class StreamingLogSum:
    """``log sum exp`` over chunks that never meet in memory, in float64."""

    def __init__(self) -> None:
        self.value = -math.inf

    def add(self, log_terms: Tensor) -> None:
        """Add a chunk of terms."""
        chunk = torch.logsumexp(log_terms.double().flatten(), 0).item()
        high, low = max(self.value, chunk), min(self.value, chunk)
        self.value = high + math.log1p(math.exp(low - high)) if low > -math.inf else high
