"""Pictures to vectors and back by strided convolutions, for any size and number of channels (Radford et al. 2016).

Cases are rows, as everywhere in the house: a picture of shape (channels, height, width) is a row of their product.
Every block halves the height and the width, rounded up, on the way in, and doubles them on the way out; the way out
cuts off the row or column too many of an odd size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepbelief.errors import check, check_choice, check_count
from deepbelief.networks.spectral import with_unit_norm

Shape = tuple[int, int, int]
NORMALIZATIONS = ("none", "batch", "group")
CONVOLUTION_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(0.2),
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


class _Pictures(nn.Module):
    """What both ways share: their arguments and the sizes between the blocks."""

    def __init__(self, shape: Sequence[int], channels: Sequence[int], normalization: str, activation: str) -> None:
        super().__init__()
        check(len(shape) == 3, f"shape must be (channels, height, width). Got shape={tuple(shape)}.")
        check(len(channels) >= 1, "channels must name at least 1 block. Got none.")
        for size in [*shape, *channels]:
            check_count("every size of shape and channels", size, low=1)
        check_choice("normalization", normalization, NORMALIZATIONS)
        check_choice("activation", activation, CONVOLUTION_ACTIVATIONS)
        self.shape: Shape = (shape[0], shape[1], shape[2])
        self.channels, self.normalization, self.activation = tuple(channels), normalization, activation

    @property
    def n_features(self) -> int:
        """The length of a picture as a row."""
        c, h, w = self.shape
        return c * h * w

    def _sizes(self) -> list[tuple[int, int]]:
        """Height and width of the picture and after each halving."""
        sizes = [self.shape[1:]]
        for _ in self.channels:
            h, w = sizes[-1]
            sizes.append(((h + 1) // 2, (w + 1) // 2))
        return sizes

    def _after(self, n: int) -> list[nn.Module]:
        """What follows a convolution to `n` channels: normalization and activation."""
        norms: dict[str, Callable[[], list[nn.Module]]] = {
            "none": list,
            "batch": lambda: [nn.BatchNorm2d(n)],
            "group": lambda: [nn.GroupNorm(1, n)],
        }
        return [*norms[self.normalization](), CONVOLUTION_ACTIVATIONS[self.activation]()]

    def config(self) -> dict[str, Any]:
        """The arguments that both ways have."""
        return {
            "shape": list(self.shape),
            "channels": list(self.channels),
            "normalization": self.normalization,
            "activation": self.activation,
        }


class ConvolutionalEncoder(_Pictures):
    """Pictures to vectors: blocks of a 4 x 4 convolution with stride 2, then one linear layer.

    (n, channels * height * width) -> (n, n_outputs). With `spectral`, every weight is divided by its largest singular
    value (Miyato et al. 2018), as a critic may want. `n_extra` further columns after the picture's (a label, one-hot)
    enter the last linear layer.

    >>> import torch
    >>> ConvolutionalEncoder((1, 7, 9), 10, channels=(4, 8))(torch.zeros(5, 63)).shape
    torch.Size([5, 10])
    """

    def __init__(
        self,
        shape: Sequence[int],
        n_outputs: int,
        *,
        channels: Sequence[int] = (32, 64),
        normalization: str = "none",
        activation: str = "leaky_relu",
        spectral: bool = False,
        n_extra: int = 0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(shape, channels, normalization, activation)
        check_count("n_outputs", n_outputs, low=1)
        check_count("n_extra", n_extra, low=0)
        self.n_outputs, self.spectral, self.n_extra = n_outputs, spectral, n_extra
        sizes, widths = self._sizes(), [self.shape[0], *self.channels]
        blocks = []
        for i in range(len(channels)):
            conv = start_weights(nn.utils.skip_init(nn.Conv2d, widths[i], widths[i + 1], 4, 2, 1), generator)
            # the first layer sees the raw picture, whose statistics no normalization may hide (Radford et al. 2016)
            after = self._after(widths[i + 1]) if i else [CONVOLUTION_ACTIVATIONS[activation]()]
            blocks.append(nn.Sequential(self._bounded(conv, generator), *after))
        self.blocks = nn.ModuleList(blocks)
        n_last = widths[-1] * sizes[-1][0] * sizes[-1][1]
        last = start_weights(nn.utils.skip_init(nn.Linear, n_last + n_extra, n_outputs), generator)
        self.last = self._bounded(last, generator)

    def _bounded(self, layer: nn.Module, generator: torch.Generator | None) -> nn.Module:
        return with_unit_norm(layer, generator) if self.spectral else layer

    def forward(self, x: Tensor) -> Tensor:
        """(n, n_features + n_extra) -> (n, n_outputs)."""
        maps = x[:, : self.n_features].unflatten(1, self.shape)  # (n, channels, height, width)
        for block in self.blocks:
            maps = block(F.pad(maps, (0, maps.shape[3] % 2, 0, maps.shape[2] % 2)))
        return self.last(torch.cat([maps.flatten(1), x[:, self.n_features :]], 1))

    def config(self) -> dict[str, Any]:
        """The arguments that make this network again."""
        own = {"n_outputs": self.n_outputs, "spectral": self.spectral, "n_extra": self.n_extra}
        return super().config() | own

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The network that `config` describes, with fresh weights."""
        return cls(**config)


class ConvolutionalDecoder(_Pictures):
    """Vectors to pictures: one linear layer, then blocks that double height and width by transposed convolutions.

    (n, n_inputs) -> (n, channels * height * width); the outputs are raw, for the units or the squashing
    that follow. `channels` are those of the encoder's blocks, from the picture inwards.

    >>> import torch
    >>> ConvolutionalDecoder(10, (1, 7, 9), channels=(4, 8))(torch.zeros(5, 10)).shape
    torch.Size([5, 63])
    """

    def __init__(
        self,
        n_inputs: int,
        shape: Sequence[int],
        *,
        channels: Sequence[int] = (32, 64),
        normalization: str = "none",
        activation: str = "relu",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(shape, channels, normalization, activation)
        check_count("n_inputs", n_inputs, low=1)
        self.n_inputs = n_inputs
        h, w = self._sizes()[-1]
        self.first = nn.Sequential(
            start_weights(nn.utils.skip_init(nn.Linear, n_inputs, channels[-1] * h * w), generator),
            nn.Unflatten(1, (channels[-1], h, w)),
            *self._after(channels[-1]),
        )
        widths = [*reversed(self.channels), self.shape[0]]
        blocks = []
        for i in range(len(channels)):
            conv = start_weights(nn.utils.skip_init(nn.ConvTranspose2d, widths[i], widths[i + 1], 4, 2, 1), generator)
            blocks.append(nn.Sequential(conv, *(self._after(widths[i + 1]) if i + 1 < len(channels) else [])))
        self.blocks = nn.ModuleList(blocks)

    def forward(self, z: Tensor) -> Tensor:
        """(n, n_inputs) -> (n, n_features)."""
        maps = self.first(z)
        for block, (h, w) in zip(self.blocks, self._sizes()[-2::-1], strict=True):
            maps = block(maps)[:, :, :h, :w]
        return maps.flatten(1)

    def config(self) -> dict[str, Any]:
        """The arguments that make this network again."""
        return super().config() | {"n_inputs": self.n_inputs}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The network that `config` describes, with fresh weights."""
        return cls(**config)


@torch.no_grad()
def start_weights(layer: Any, generator: torch.Generator | None) -> Any:
    """Weights normal with the variance that keeps a rectified layer's scale (He et al. 2015), biases 0; the layer.

    >>> start_weights(nn.Linear(2, 2), None).bias.tolist()
    [0.0, 0.0]
    """
    inputs = layer.weight[0].numel() if not isinstance(layer, nn.ConvTranspose2d) else layer.weight[:, 0].numel() / 4
    layer.weight.normal_(0, (2 / inputs) ** 0.5, generator=generator)
    layer.bias.zero_()
    return layer
