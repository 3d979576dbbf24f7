"""Masks of known entries for completion: True where an entry is given, False where it is to be filled in."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from deepbelief.errors import InvalidArgumentError, check_choice, check_count, check_range

SIDES = ("left", "right", "top", "bottom")


def half_mask(image_shape: Sequence[int], side: str = "left") -> Tensor:
    """A (d,) mask that knows the `side` half of an image and hides the other; with an odd size, the smaller half.

    >>> half_mask((2, 4), "left").view(2, 4).int().tolist()
    [[1, 1, 0, 0], [1, 1, 0, 0]]
    """
    check_choice("side", side, SIDES)
    height, width = _check_image_shape(image_shape)[:2]
    known = torch.zeros(*image_shape, dtype=torch.bool)
    rows, columns = height // 2, width // 2
    half = {
        "left": known[:, :columns],
        "right": known[:, width - columns :],
        "top": known[:rows],
        "bottom": known[height - rows :],
    }
    half[side].fill_(True)
    return known.flatten()


def random_mask(n: int, d: int, fraction: float, generator: torch.Generator) -> Tensor:
    """An (n, d) mask that knows exactly ``round(fraction * d)`` entries of each case, in random places.

    >>> random_mask(3, 10, 0.4, torch.Generator().manual_seed(0)).sum(1)
    tensor([4, 4, 4])
    """
    check_count("n", n, low=1)
    check_count("d", d, low=1)
    check_range("fraction", fraction, low=0.0, high=1.0)
    places = torch.rand(n, d, generator=generator, device=generator.device).argsort(dim=1)
    return torch.zeros(n, d, dtype=torch.bool, device=places.device).scatter_(1, places[:, : round(fraction * d)], True)


def patch_mask(
    image_shape: Sequence[int], height: int, width: int, *, top: int | None = None, left: int | None = None
) -> Tensor:
    """A (d,) mask that knows an image but for one patch; in the middle unless `top` and `left` say where.

    >>> patch_mask((3, 3), 1, 1).view(3, 3).int().tolist()
    [[1, 1, 1], [1, 0, 1], [1, 1, 1]]
    """
    image_height, image_width = _check_image_shape(image_shape)[:2]
    check_count("height", height, low=1, high=image_height)
    check_count("width", width, low=1, high=image_width)
    top = (image_height - height) // 2 if top is None else top
    left = (image_width - width) // 2 if left is None else left
    check_range("top", top, low=0, high=image_height - height)
    check_range("left", left, low=0, high=image_width - width)
    known = torch.ones(*image_shape, dtype=torch.bool)
    known[top : top + height, left : left + width] = False
    return known.flatten()


def _check_image_shape(image_shape: Sequence[int]) -> tuple[int, ...]:
    shape = tuple(int(size) for size in image_shape)
    if len(shape) not in (2, 3) or min(shape) < 1:
        raise InvalidArgumentError(f"image_shape must be (height, width) or (height, width, channels). Got {shape}.")
    return shape
