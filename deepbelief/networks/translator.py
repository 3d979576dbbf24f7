"""Pictures to pictures by convolutions that keep the size: what a pixel becomes hangs on the pixels around it only.

h_0 = act(W_0 * x + b_0);   h_i = act(W_i * h_{i-1} + b_i);   f(x) = V * h_n + c

with * a convolution of 3 x 3 pixels, zeros beyond the edges. Where the pictures that come out have another size, h_0 is
brought to it by bilinear interpolation. With n layers and one size a pixel of f(x) sees 2 n + 3 pixels each way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepbelief.errors import check, check_choice, check_count
from deepbelief.networks.convolutional import CONVOLUTION_ACTIVATIONS, start_weights


class ConvolutionalTranslator(nn.Module):
    """Rows that are pictures of one shape to rows that are pictures of another.

    Parameters
    ----------
    shape, to_shape
        (channels, height, width) of what goes in and of what comes out.
    channels
        Maps of each layer between them.
    activation
        "relu", "leaky_relu", "silu" or "tanh". The outputs are raw, for the squashing that follows.
    generator
        Draws the weights: normal with the variance that keeps a rectified layer's scale (He et al. 2015).

    >>> ConvolutionalTranslator((1, 7, 9), (3, 14, 18), channels=(4, 8))(torch.zeros(5, 63)).shape
    torch.Size([5, 756])
    """

    def __init__(
        self,
        shape: Sequence[int],
        to_shape: Sequence[int],
        *,
        channels: Sequence[int] = (32, 64),
        activation: str = "relu",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        for name, given in (("shape", shape), ("to_shape", to_shape)):
            check(len(given) == 3, f"{name} must be (channels, height, width). Got {name}={tuple(given)}.")
        check(len(channels) >= 1, "channels must name at least 1 layer. Got none.")
        for size in [*shape, *to_shape, *channels]:
            check_count("every size of shape, to_shape and channels", size, low=1)
        check_choice("activation", activation, CONVOLUTION_ACTIVATIONS)
        self.shape, self.to_shape = tuple(shape), tuple(to_shape)
        self.channels, self.activation = tuple(channels), activation
        widths = [shape[0], *channels, to_shape[0]]
        self.layers = nn.ModuleList(
            start_weights(nn.utils.skip_init(nn.Conv2d, widths[i], widths[i + 1], 3, 1, 1), generator)
            for i in range(len(widths) - 1)
        )
        self.between = CONVOLUTION_ACTIVATIONS[activation]()

    def forward(self, x: Tensor) -> Tensor:
        """(n, pixels of shape) -> (n, pixels of to_shape)."""
        maps = self.between(self.layers[0](x.unflatten(1, self.shape)))  # (n, channels, height, width)
        if self.shape[1:] != self.to_shape[1:]:
            maps = F.interpolate(maps, size=self.to_shape[1:], mode="bilinear", align_corners=False)
        for layer in list(self.layers)[1:-1]:
            maps = self.between(layer(maps))
        pictures: Tensor = self.layers[-1](maps)
        return pictures.flatten(1)

    def config(self) -> dict[str, Any]:
        """The arguments that make this network again."""
        sizes = {"shape": list(self.shape), "to_shape": list(self.to_shape), "channels": list(self.channels)}
        return {**sizes, "activation": self.activation}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The network that `config` describes, with fresh weights."""
        return cls(**config)
