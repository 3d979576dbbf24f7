"""What the pixels before a pixel say of it: masked convolutions over pictures (van den Oord et al. 2016).

    h = K_0 * x + b_0;   h <- h + K_i * relu(h) + b_i;   g(x) = V relu(U relu(h) + c) + d

Pixels are taken in reading order, from the top row down and from left to right. The kernels' weights from later pixels,
and K_0's from the pixel itself, are zero: g_i(x) depends on x_1 ... x_(i-1) alone. So any law of single pixels that
takes g_i(x) for its input makes a law of pictures, ``p(x) = prod_i p(x_i | g_i(x))``, without a constant to estimate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepbelief.errors import check, check_count


class PixelCNN(nn.Module):
    """Numbers for each pixel of a picture from those before it: (n, height * width) -> (n, maps * height * width).

    It starts at 0 everywhere, so that a model that gains it starts as it was without.

    Parameters
    ----------
    shape
        (height, width) of the picture that a row is; (1, n) for a series.
    maps
        Numbers for each pixel, one map of the picture after the other.
    channels
        Maps between the layers.
    window
        Odd side of the first kernel; half of it reaches up, left and right.
    depth
        Further 3 x 3 layers, each of which reaches one pixel further.
    generator
        Draws the start: normal weights of variance 2 / inputs (He et al. 2015), the last layer 0.

    >>> PixelCNN((3, 4), channels=2)(torch.zeros(5, 12)).shape
    torch.Size([5, 12])
    """

    def __init__(
        self,
        shape: Sequence[int],
        *,
        maps: int = 1,
        channels: int = 16,
        window: int = 7,
        depth: int = 1,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check(len(shape) == 2, f"shape must be (height, width). Got shape={tuple(shape)}. Give one channel's.")
        for size in shape:
            check_count("every size of shape", size, low=1)
        check_count("maps", maps, low=1)
        check_count("channels", channels, low=1)
        check_count("window", window, low=3)
        check(window % 2 == 1, f"window must be odd. Got window={window}. Use {window + 1}.")
        check_count("depth", depth, low=0)
        self.shape, self.maps = tuple(shape), maps
        self.channels, self.window, self.depth = channels, window, depth
        self.first = _Masked(1, channels, window, itself=False, generator=generator)
        self.blocks = nn.ModuleList(
            _Masked(channels, channels, 3, itself=True, generator=generator) for _ in range(depth)
        )
        self.mix = _Masked(channels, channels, 1, itself=True, generator=generator)
        self.last = nn.Conv2d(channels, maps, 1)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # two thirds of the time on a CPU

    def forward(self, x: Tensor) -> Tensor:
        """Pixels from 0 to 1 come in as -1 to 1, so that what lies beyond the edges, 0, is neither."""
        maps = (2 * x - 1).unflatten(1, (1, *self.shape)).contiguous(memory_format=torch.channels_last)
        h = self.first(maps)
        for block in self.blocks:
            h = h + block(F.relu(h))
        outputs: Tensor = self.last(F.relu(self.mix(F.relu(h))))
        return outputs.flatten(1)

    def config(self) -> dict[str, Any]:
        """The arguments that make this network again."""
        own = {"maps": self.maps, "channels": self.channels, "window": self.window, "depth": self.depth}
        return {"shape": list(self.shape), **own}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The network that `config` describes, with fresh weights."""
        return cls(**config)


class _Masked(nn.Conv2d):
    """A convolution that reads no later pixel, nor, unless `itself`, the pixel that it writes.

    Its weight has the whole kernel, of which the rows below the middle, all zero, are not multiplied.
    """

    seen: Tensor

    def __init__(self, n_in: int, n_out: int, side: int, *, itself: bool, generator: torch.Generator | None) -> None:
        super().__init__(n_in, n_out, side, padding=side // 2)
        assert self.bias is not None
        seen, middle = torch.zeros(side, side, dtype=torch.bool), side // 2
        seen[:middle] = seen[middle, : middle + itself] = True
        self.register_buffer("seen", seen, persistent=False)
        with torch.no_grad():
            self.weight.normal_(0, (2 / (n_in * int(seen.sum()))) ** 0.5, generator=generator)
            self.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        middle = self.weight.shape[-1] // 2
        upper = (self.weight * self.seen)[:, :, : middle + 1]
        above = F.pad(x, (0, 0, middle, 0)) if middle else x
        return F.conv2d(above, upper, self.bias, padding=(0, middle))
