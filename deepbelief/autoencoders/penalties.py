"""What an autoencoder may pay beside its reconstructions: for busy codes, for a wrong rate, for a steep encoder.

All are means over the cases with their weights, summed over the code, in nats per unit of `weight`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from deepbelief.autoencoders.autoencoder import Autoencoder
from deepbelief.autoencoders.jacobian import squared_jacobian_norms
from deepbelief.errors import InvalidArgumentError, check, check_range

Joint = Callable[[Tensor], Tensor]


def itself(mean: Tensor) -> Tensor:
    """What one process makes of a mean over its cases: they are all there are."""
    return mean


class Penalty(Protocol):
    """A price of the codes ``z = encode(x)`` of a batch whose cases have these shares (they sum to 1)."""

    @property
    def name(self) -> str:
        """What its price is called in the history."""
        ...

    @property
    def weight(self) -> float:
        """What one unit of it costs."""
        ...

    def check_fits(self, module: nn.Module, z: Tensor) -> None:
        """Raise `InvalidArgumentError` where the penalty makes no sense for this module, given codes of a batch."""

    def price(self, module: nn.Module, x: Tensor, z: Tensor, share: Tensor, joint: Joint = itself) -> Tensor:
        """(n, inputs), (n, k), (n,) -> one number, differentiable in the parameters, not yet times `weight`.

        `joint` turns a mean over these cases into that over the whole batch, whose other cases other processes hold.
        """
        ...


@dataclass(frozen=True)
class L1Codes:
    """``weight * mean_n sum_j |z_nj|``: most codes near 0 (Olshausen & Field 1996 in a network)."""

    weight: float
    name: ClassVar[str] = "l1"

    def __post_init__(self) -> None:
        check_range("weight", self.weight, low=0)

    def check_fits(self, module: nn.Module, z: Tensor) -> None:
        """Every code has an absolute value."""

    def price(self, module: nn.Module, x: Tensor, z: Tensor, share: Tensor, joint: Joint = itself) -> Tensor:
        """The mean length of the codes in the 1-norm."""
        return share @ z.abs().sum(1)


@dataclass(frozen=True)
class RateKL:
    """``weight * sum_j KL(target || r_j)``, with ``r_j`` the mean of code j over the batch (Ng 2011, CS294A).

    ``KL(t || r) = t log(t / r) + (1 - t) log((1 - t) / (1 - r))``. Codes must lie in [0, 1]: squash them by a sigmoid.
    The mean is the batch's own, so batches should be large beside 1/t.
    """

    weight: float
    target: float = 0.05
    name: ClassVar[str] = "rate_kl"

    def __post_init__(self) -> None:
        check_range("weight", self.weight, low=0)
        check(0 < self.target < 1, f"target must lie between 0 and 1. Got target={self.target}.")

    def check_fits(self, module: nn.Module, z: Tensor) -> None:
        """Only codes between 0 and 1 have a rate."""
        squashed = getattr(module, "code", "") not in ("relu", "tanh")
        if not squashed or not (z.min() >= 0 and z.max() <= 1):
            raise InvalidArgumentError(
                f"codes must lie in [0, 1] to have a rate. Got codes from {z.min():g} to {z.max():g}. "
                "Use code='sigmoid', or the penalty L1Codes."
            )

    def price(self, module: nn.Module, x: Tensor, z: Tensor, share: Tensor, joint: Joint = itself) -> Tensor:
        """The divergence of the codes' rates from the target."""
        edge = torch.finfo(z.dtype).eps
        rate, t = joint(share @ z).clamp(edge, 1 - edge), self.target
        return (t * torch.log(t / rate) + (1 - t) * torch.log((1 - t) / (1 - rate))).sum()


@dataclass(frozen=True)
class Contraction:
    """``weight * mean_n ||dz/dx||_F^2`` at what the encoder saw, exact for any depth (Rifai et al. 2011).

    With a linear code or untied weights the codes can shrink and the decoder grow, which costs nothing: tie the weights
    or squash the codes.
    """

    weight: float
    name: ClassVar[str] = "contraction"

    def __post_init__(self) -> None:
        check_range("weight", self.weight, low=0)

    def check_fits(self, module: nn.Module, z: Tensor) -> None:
        """A case's code must depend on that case alone."""
        encoder = module.encoder if isinstance(module, Autoencoder) else module
        if any(isinstance(layer, _BatchNorm) for layer in encoder.modules()):
            raise InvalidArgumentError(
                "a contracting encoder must code each case alone. Got batch normalization. "
                "Use normalization='group' or 'none'."
            )

    def price(self, module: nn.Module, x: Tensor, z: Tensor, share: Tensor, joint: Joint = itself) -> Tensor:
        """The mean squared norm of the encoder's Jacobian."""
        return share @ squared_jacobian_norms(module, x, z)
