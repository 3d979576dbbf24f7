"""Differentiable augmentation (Zhao, Liu, Lin, Zhu & Han 2020): random changes of all cases that the critic sees.

Changing the data alone would teach the generator the changes; changing data and generated pictures alike, with
gradients that pass through, keeps a critic from learning few pictures by heart and the generator true to the data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from deepbelief.errors import check, check_choice, check_positive

Pictures = Callable[[Tensor, torch.Generator | None], Tensor]
Change = Callable[[Tensor, torch.Generator | None, float], Tensor]  # the last: the progress of the training, 0 to 1
FARTHEST = 8  # a translation is at most this part of the side, 1/8
CUT = 2  # the square that is cut out has this part of the side, 1/2


class Augmentation:
    """The changes in `names`, one after the other, each drawn anew for every picture.

    `names` are of ``translation`` (by at most 1/8 of each side, zeros come in), ``cutout`` (a square of half of each
    side becomes 0) and ``color`` (brightness, saturation where there are 3 channels, contrast). `shape` is
    (channels, height, width), or (height, width).

    >>> change = Augmentation(["cutout"], (4, 4))
    >>> float(change(torch.ones(1, 16), torch.Generator().manual_seed(0)).sum()) < 16
    True
    """

    def __init__(self, names: Sequence[str], shape: Sequence[int]) -> None:
        for name in names:
            check_choice("augment", name, CHANGES)
        check(len(shape) in (2, 3), f"shape must be (channels, height, width). Got shape={tuple(shape)}.")
        self.names = tuple(names)
        self.shape = (1, *shape) if len(shape) == 2 else tuple(shape)

    def __call__(self, x: Tensor, generator: torch.Generator | None = None, progress: float = 0.0) -> Tensor:
        """(n, channels * height * width) -> the same shape, the same law at any time."""
        pictures = x.unflatten(1, self.shape)
        for name in self.names:
            pictures = CHANGES[name](pictures, generator)
        return pictures.flatten(1)


class InstanceNoise:
    """Normal noise on every case that the critic sees, data and generated alike, of a width drawn for each case.

    ``x + fade scale u^power e``, u uniform and e standard normal: `power` above 1 leaves most cases nearly as they are,
    and some so wide that modes far apart overlap. The critic then has a slope wherever the generator draws (Sonderby et
    al. 2017, Arjovsky & Bottou 2017), and the generator is still told the data from their narrow side (Wang et al.
    2023, Diffusion-GAN, who tell the critic the width as well).

    ``fade = last + (1 - last) (1 + cos(pi progress)) / 2`` takes the noise away over the training, but for the share
    `last`: what the critic cannot tell apart the generator does not learn, so noise to the end leaves narrow modes
    blurred; where a loss needs a slope far from all data to the end (Wasserstein, hinge), a share of it serves.

    >>> x = torch.zeros(4, 2)
    >>> InstanceNoise(0.5)(x, torch.Generator().manual_seed(0)).shape
    torch.Size([4, 2])
    """

    def __init__(self, scale: float, *, power: float = 3.0, last: float = 0.0) -> None:
        check_positive("scale", scale, remedy="Try the distance between modes.")
        check_positive("power", power, remedy="Try 3.")
        check(0 <= last <= 1, f"last must be at least 0 and at most 1. Got last={last}. Try 0.")
        self.scale, self.power, self.last = scale, power, last

    def __call__(self, x: Tensor, generator: torch.Generator | None = None, progress: float = 0.0) -> Tensor:
        """(n, columns) -> the same shape."""
        fade = self.last + (1 - self.last) * (1 + math.cos(math.pi * progress)) / 2
        width = torch.rand((len(x), 1), dtype=x.dtype, device=x.device, generator=generator) ** self.power
        noise = torch.randn(x.shape, dtype=x.dtype, device=x.device, generator=generator)
        return x + fade * self.scale * width * noise


def in_turn(changes: Sequence[Change]) -> Change | None:
    """All of them, one after the other; None of none."""
    if not changes:
        return None
    return lambda x, generator, progress: reduce(lambda seen, change: change(seen, generator, progress), changes, x)


def translated(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """Each picture moved by whole pixels, up to 1/8 of its side (rounded) in each direction: (n, c, h, w)."""
    n, _, height, width = x.shape
    reach = [int(side / FARTHEST + 0.5) for side in (height, width)]
    moves = [torch.randint(-r, r + 1, (n, 1, 1), device=x.device, generator=generator) + r for r in reach]
    padded = F.pad(x, (reach[1], reach[1], reach[0], reach[0]))
    rows = torch.arange(height, device=x.device).view(1, -1, 1) + moves[0]
    columns = torch.arange(width, device=x.device).view(1, 1, -1) + moves[1]
    cases = torch.arange(n, device=x.device).view(-1, 1, 1)
    return padded.permute(0, 2, 3, 1)[cases, rows, columns].permute(0, 3, 1, 2)


def cut_out(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """Half of each side, as a square around a pixel drawn at random, set to 0: (n, c, h, w)."""
    n, _, height, width = x.shape
    inside = []
    for side, view in ((height, (1, -1, 1)), (width, (1, 1, -1))):
        size = int(side / CUT + 0.5)
        first = torch.randint(side + 1 - size % 2, (n, 1, 1), device=x.device, generator=generator) - size // 2
        places = torch.arange(side, device=x.device).view(view)
        inside.append((places >= first) & (places < first + size))
    return x.masked_fill((inside[0] & inside[1]).unsqueeze(1), 0.0)


def coloured(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """Brightness + U(-0.5, 0.5); saturation times U(0, 2) in colours; contrast times U(0.5, 1.5): (n, c, h, w)."""

    def uniform() -> Tensor:
        return torch.rand((len(x), 1, 1, 1), dtype=x.dtype, device=x.device, generator=generator)

    x = x + uniform() - 0.5
    if x.shape[1] == 3:
        grey = x.mean(1, keepdim=True)
        x = grey + (x - grey) * (2 * uniform())
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + (x - mean) * (uniform() + 0.5)


CHANGES: dict[str, Pictures] = {"translation": translated, "cutout": cut_out, "color": coloured}
