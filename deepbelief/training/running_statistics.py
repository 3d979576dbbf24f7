"""Running statistics of batch normalization in several processes.

While it learns, each process normalizes its share of a batch by the share's own mean and variance, as torch's
`DistributedDataParallel` does; what is kept for later use would then differ from process to process. Here the kept
means and variances are averaged after every step. A share's variance is an unbiased estimate of the data's, as the
whole batch's is, so the average follows the same numbers, and every process holds one model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase


def running_statistics(module: nn.Module) -> list[Tensor]:
    """The running means and variances in `module`, in a fixed order.

    >>> [s.tolist() for s in running_statistics(nn.Sequential(nn.BatchNorm1d(2), nn.ReLU()))]
    [[0.0, 0.0], [1.0, 1.0]]
    """
    layers = [part for part in module.modules() if isinstance(part, _NormBase)]
    kept = [statistic for layer in layers for statistic in (layer.running_mean, layer.running_var)]
    return [statistic for statistic in kept if statistic is not None]


@torch.no_grad()
def average_statistics(statistics: Iterable[Tensor], average: Callable[..., None]) -> None:
    """Replace each by its mean over the processes, which travels as a gradient does: `average` is a step's own."""
    kept = list(statistics)
    if not kept:
        return
    for statistic in kept:
        statistic.grad = statistic.clone()
    average(kept)
    for statistic in kept:
        assert statistic.grad is not None
        statistic.copy_(statistic.grad)
        statistic.grad = None
