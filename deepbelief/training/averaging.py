"""An exponential moving average of the parameters, beside the parameters that learn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from deepbelief.errors import check_fraction

Tensors = tuple[Tensor, ...] | list[Tensor]


def decay_after(decay: float, n_averaged: int) -> float:
    """The decay of update number `n_averaged` (from 1): short trainings must not hold on to their first weights.

    >>> decay_after(0.999, 1), decay_after(0.999, 10**6)
    (0.18181818181818182, 0.999)
    """
    return min(decay, (1 + n_averaged) / (10 + n_averaged))


class Averaging:
    """The average ``a <- d a + (1 - d) w`` after every step, from ``a = w`` after the first; see `decay_after`."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        check_fraction("averaging", decay, remedy="Try 0.999.")
        self.module = module
        self.decay = decay
        self.average = AveragedModel(module, multi_avg_fn=self._move)

    @torch.no_grad()
    def _move(self, averages: Tensors, weights: Tensors, n_averaged: Tensor | int) -> None:
        torch._foreach_lerp_(list(averages), list(weights), 1.0 - decay_after(self.decay, int(n_averaged)))

    def update(self) -> None:
        """Count the parameters of one more step."""
        self.average.update_parameters(self.module)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The module holds the averaged weights inside, and its own again after."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def settle(self) -> None:
        """Leave the averaged weights in the module for good."""
        for own, mean in zip(self.module.parameters(), self.average.module.parameters(), strict=True):
            own.copy_(mean)

    def _exchange(self) -> None:
        for own, mean in zip(self.module.parameters(), self.average.module.parameters(), strict=True):
            own.data, mean.data = mean.data, own.data

    def state_dict(self) -> dict[str, Any]:
        return dict(self.average.state_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.average.load_state_dict(dict(state))
