"""The shape of a picture that is a row of X."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt, prod

from deepbelief.errors import InvalidDataError


def picture_shape(
    n_features: int, asked: Sequence[int] | None = None, given: Sequence[int] | None = None
) -> tuple[int, int, int]:
    """(channels, height, width) of a row: as `asked`, else as the data were `given`, else a square or a single line.

    >>> picture_shape(64), picture_shape(10), picture_shape(12, (3, 2, 2))
    ((1, 8, 8), (1, 1, 10), (3, 2, 2))
    """
    side = isqrt(n_features)
    flat = (side, side) if side * side == n_features else (1, n_features)
    shape = tuple(int(n) for n in (asked or given or flat))
    if prod(shape) != n_features or len(shape) not in (2, 3):
        raise InvalidDataError(
            f"image_shape must hold {n_features} pixels, the columns of X. Got {shape}. Give (height, width)."
        )
    channels, height, width = shape if len(shape) == 3 else (1, *shape)
    return channels, height, width
