"""What the kernels are tried on."""

from __future__ import annotations

import torch
from torch import Tensor

from deepbelief.rng import make_generator


def bits(*shape: int, seed: int = 0, on: float = 0.4) -> Tensor:
    """Zeros and ones."""
    return (torch.rand(shape, generator=make_generator(seed)) < on).float()


def normal(*shape: int, seed: int = 1) -> Tensor:
    """Standard normal numbers."""
    return torch.randn(shape, generator=make_generator(seed))
