"""Gaussians with a diagonal covariance: what an encoder gives, and what a stochastic layer is given the one above."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

LOG_TWO_PI = math.log(2 * math.pi)
WIDEST = 30.0  # log variances beyond this are cut off: an untrained network on wild data must not overflow


def normal_noise(shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal numbers of `shape` in the type and on the device of `like`."""
    return torch.randn(shape, dtype=like.dtype, device=like.device, generator=generator)


@dataclass(frozen=True)
class Diagonal:
    """``N(z; mean, diag exp(log_variance))`` for many cases at once; both are (..., size).

    >>> Diagonal(torch.zeros(1, 2), torch.zeros(1, 2)).kl_from_standard().tolist()
    [0.0]
    """

    mean: Tensor
    log_variance: Tensor

    @classmethod
    def from_outputs(cls, outputs: Tensor) -> Self:
        """From a network's outputs: (..., 2 size), the means first."""
        mean, log_variance = outputs.chunk(2, -1)
        return cls(mean, log_variance.clamp(-WIDEST, WIDEST))

    def place(self, noise: Tensor) -> Tensor:
        """``z = mean + std * noise``, a draw whose gradient flows to both (Kingma & Welling 2014)."""
        return torch.addcmul(self.mean, torch.exp(0.5 * self.log_variance), noise)

    def noise_at(self, z: Tensor) -> Tensor:
        """``(z - mean) / std``, what `place` turns into z."""
        return (z - self.mean) * torch.exp(-0.5 * self.log_variance)

    def log_prob(self, z: Tensor) -> Tensor:
        """``log N(z)``: (..., size) -> (...)."""
        gap = z - self.mean
        return -0.5 * (gap * gap * torch.exp(-self.log_variance) + self.log_variance + LOG_TWO_PI).sum(-1)

    def log_prob_of_noise(self, noise: Tensor) -> Tensor:
        """``log N(place(noise))``, without the way back from z: (..., size) -> (...)."""
        return -0.5 * ((noise * noise).sum(-1) + (self.log_variance + LOG_TWO_PI).sum(-1))

    def kl_terms(self) -> Tensor:
        """``KL(N || N(0, 1))`` of each unit in nats: (..., size)."""
        return 0.5 * (self.mean * self.mean + torch.exp(self.log_variance) - 1 - self.log_variance)

    def kl_from_standard(self) -> Tensor:
        """``KL(N || N(0, I))`` in nats: (...)."""
        return self.kl_terms().sum(-1)

    def kl_from(self, other: Diagonal) -> Tensor:
        """``KL(N || other)`` in nats: (...)."""
        gap = self.mean - other.mean
        log_ratio = self.log_variance - other.log_variance
        squares = gap * gap * torch.exp(-other.log_variance)
        return 0.5 * (squares + torch.exp(log_ratio) - 1 - log_ratio).sum(-1)

    def detached(self) -> Diagonal:
        """The same law as a constant."""
        return Diagonal(self.mean.detach(), self.log_variance.detach())


@dataclass(frozen=True)
class Inferred:
    """Codes drawn from an encoder, lowest layer first, with their noise and the laws that they came from.

    Codes are (draws, cases, size); the lowest law has no axis of draws.
    """

    codes: list[Tensor]
    noises: list[Tensor]
    laws: list[Diagonal]

    def log_q(self, n_layers: int | None = None) -> Tensor:
        """``log q(z_1 ... | x)`` of the lowest `n_layers`, of all by default: (draws, cases)."""
        pairs = list(zip(self.laws, self.noises, strict=True))[:n_layers]
        return sum((law.log_prob_of_noise(e) for law, e in pairs), torch.zeros_like(self.codes[0][..., 0]))


@dataclass(frozen=True)
class Generated:
    """What codes say of the layers below them: the visible units' inputs, and the laws of all codes but the top."""

    inputs: Tensor
    laws: list[Diagonal]

    def log_codes(self, codes: Sequence[Tensor]) -> Tensor:
        """``sum log p(z_l | z_(l+1))``, 0 for a single layer: (..., cases)."""
        pairs = zip(self.laws, codes[:-1], strict=True)
        return sum((law.log_prob(z) for law, z in pairs), torch.zeros_like(codes[0][..., 0]))
