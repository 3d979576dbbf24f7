"""Corruptions of denoising autoencoders: the network sees a spoilt case and must give back the clean one.

Every entry is spoilt independently of the others. Vincent, Larochelle, Lajoie, Bengio & Manzagol 2010, "Stacked
denoising autoencoders", section 3.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from deepbelief.errors import check, check_choice, check_range
from deepbelief.protocols import Generator
from deepbelief.rng import uniform_like


class Corruption(Protocol):
    """Anything that spoils cases by draws from a generator, in their own shape."""

    def __call__(self, x: Tensor, generator: Generator) -> Tensor: ...


@dataclass(frozen=True)
class Masking:
    """Each entry becomes 0 with probability `rate`: ``x m`` with ``m ~ Bernoulli(1 - rate)``.

    Of a one-hot variable this hides the value with the same probability. `rate` lies in [0, 1].

    >>> Masking(1.0)(torch.ones(1, 3), None).tolist()
    [[0.0, 0.0, 0.0]]
    """

    rate: float

    def __post_init__(self) -> None:
        check_range("rate", self.rate, low=0, high=1)

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        return x * (uniform_like(x, generator) >= self.rate)


@dataclass(frozen=True)
class SaltAndPepper:
    """Each entry becomes `low` or `high`, each with probability ``rate / 2``.

    `rate` lies in [0, 1]; the ends are those of the data, 0 and 1 for grey levels.

    >>> SaltAndPepper(1.0, low=5.0, high=5.0)(torch.ones(1, 3), None).tolist()
    [[5.0, 5.0, 5.0]]
    """

    rate: float
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        check_range("rate", self.rate, low=0, high=1)
        check(self.low <= self.high, f"low must be at most high. Got low={self.low}, high={self.high}. Swap them.")

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        u = uniform_like(x, generator)
        return torch.where(u < self.rate / 2, self.low, torch.where(u < self.rate, self.high, x))


@dataclass(frozen=True)
class GaussianNoise:
    """``x + std e`` with ``e ~ N(0, 1)``; `std` in the units of the data, at least 0.

    >>> GaussianNoise(0.0)(torch.ones(1, 3), None).tolist()
    [[1.0, 1.0, 1.0]]
    """

    std: float

    def __post_init__(self) -> None:
        check_range("std", self.std, low=0)

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        return x + self.std * torch.randn(x.shape, dtype=x.dtype, device=x.device, generator=generator)


CORRUPTIONS = ("none", "masking", "salt_and_pepper", "gaussian")


def make_corruption(name: str, amount: float, *, low: float = 0.0, high: float = 1.0) -> Corruption | None:
    """A corruption by name: `amount` is a rate, or the deviation of Gaussian noise; None for "none".

    >>> make_corruption("masking", 0.3)
    Masking(rate=0.3)
    """
    check_choice("corruption", name, CORRUPTIONS)
    if name == "none":
        return None
    if name == "salt_and_pepper":
        return SaltAndPepper(amount, low, high)
    return Masking(amount) if name == "masking" else GaussianNoise(amount)
