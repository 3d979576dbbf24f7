"""A small source and small modules for the loop's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from deepbelief.types import Batch


class SmallSource:
    """Cases in memory, shuffled by epoch, with a little noise from the trainer's generator."""

    def __init__(self, x: Tensor, y: Tensor, batch_size: int, noise: float = 0.0, seed: int = 0) -> None:
        self.x, self.y, self.batch_size, self.noise, self.seed = x, y, batch_size, noise, seed
        self.n_cases = len(x)

    def __len__(self) -> int:
        return -(-self.n_cases // self.batch_size)

    def batches(
        self, epoch: int, *, start: int = 0, generator: torch.Generator, rank: int = 0, world_size: int = 1
    ) -> Iterator[Batch]:
        order = torch.randperm(self.n_cases, generator=torch.Generator().manual_seed(self.seed * 1000 + epoch))
        for chunk in order.split(self.batch_size)[start:]:
            mine = chunk[rank::world_size]
            x = self.x[mine]
            yield Batch(x + self.noise * torch.randn(x.shape, generator=generator), self.y[mine])


def make_problem(batch_size: int = 10, noise: float = 0.1) -> tuple[nn.Module, SmallSource]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(60, 6, generator=generator)
    y = (x @ torch.randn(6, 3, generator=generator)).argmax(1)
    torch.manual_seed(2)
    module = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Dropout(0.3), nn.Linear(16, 3))
    return module, SmallSource(x, y, batch_size, noise)


@pytest.fixture
def problem() -> tuple[nn.Module, SmallSource]:
    """A classifier with dropout (the global random stream) on noisy data (the trainer's stream)."""
    return make_problem()
