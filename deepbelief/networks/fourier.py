"""A dense network that sees its inputs beside waves of them, for functions with narrow features.

    f(x) = dense(x, sin(B x), cos(B x)),   B_kj ~ N(0, bandwidth^2), drawn once

A network of rectified units learns slow waves first and narrow peaks late or never; with waves of its inputs beside
them it learns both (Tancik et al. 2020). `bandwidth` is in radians per unit of the inputs: about one over the width of
the narrowest feature that matters. Far above that the network makes up what lies between the cases.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from deepbelief.errors import check, check_count, check_positive
from deepbelief.networks.dense import DenseNetwork


class FourierNetwork(nn.Module):
    """`DenseNetwork` over a case and `n_waves` sines and cosines of it.

    Parameters
    ----------
    sizes
        Inputs, then the hidden layers.
    bandwidth
        Standard deviation of the waves' frequencies, in radians per unit of the inputs.
    activation, output, spectral, generator
        As for `DenseNetwork`; the frequencies come from `generator` too.

    >>> FourierNetwork((2, 8), n_waves=5, output=1)(torch.zeros(3, 2)).shape
    torch.Size([3, 1])
    """

    frequencies: Tensor

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        n_waves: int = 64,
        bandwidth: float = 8.0,
        activation: str = "relu",
        output: int | None = None,
        spectral: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_count("n_waves", n_waves, low=1)
        check_positive("bandwidth", bandwidth, remedy="Try 8 for standardized inputs.")
        check(len(sizes) >= 1, "sizes must name the inputs at least. Got none.")
        self.sizes, self.n_waves, self.bandwidth = tuple(sizes), n_waves, bandwidth
        self.register_buffer("frequencies", bandwidth * torch.randn(sizes[0], n_waves, generator=generator))
        widths = sizes[0] + 2 * n_waves, *sizes[1:]
        self.dense = DenseNetwork(widths, activation=activation, output=output, spectral=spectral, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """(cases, sizes[0]) -> (cases, output or sizes[-1])."""
        phase = x @ self.frequencies  # (cases, n_waves)
        return self.dense(torch.cat([x, torch.sin(phase), torch.cos(phase)], 1))

    def config(self) -> dict[str, Any]:
        """The arguments that make this network again."""
        own = {key: self.dense.config()[key] for key in ("activation", "output", "spectral")}
        return {"sizes": list(self.sizes), "n_waves": self.n_waves, "bandwidth": self.bandwidth, **own}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The network that `config` describes, with fresh weights and frequencies."""
        return cls(**config)
