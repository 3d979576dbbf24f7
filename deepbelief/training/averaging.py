"""An exponential moving average of the parameters, beside the parameters that learn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from deepbelief.errors import check


class Averaging:
    """The average ``a <- decay * a + (1 - decay) * w`` after every step, from ``a = w`` after the first."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        check(0.0 <= decay < 1.0, f"averaging must be at least 0 and below 1. Got averaging={decay}. Try 0.999.")
        self.module = module
        self.average = AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(decay))

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
