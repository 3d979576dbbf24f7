"""The shape of the picture that a row of X is."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt, prod

from deepbelief.errors import InvalidDataError, check_count, check_sequence

CHANNELS = (1, 3, 4)  # grey, colour, colour with transparency


def picture_shape(
    asked: Sequence[int] | None,
    given: Sequence[int] | None,
    n_features: int,
    names: tuple[str, str] = ("image_shape", "X"),
) -> tuple[int, ...]:
    """What was asked for, else the shape that X came in, else a square, else one row of pixels.

    `names` are those of the argument and of the data, for the sentence of an error.

    >>> picture_shape(None, None, 64), picture_shape((1, 4, 3), None, 12), picture_shape(None, None, 7)
    ((8, 8), (1, 4, 3), (1, 7))
    """
    argument, data = names
    if not asked and given and len(given) == 3 and given[2] in CHANNELS and given[0] not in CHANNELS:
        raise InvalidDataError(
            f"{data} must have its channels first, (cases, channels, height, width). Got pictures of {tuple(given)}. "
            f"Use {data}.transpose(0, 3, 1, 2), or give {argument}."
        )
    if asked is not None:
        check_sequence(argument, asked, "two or three integers, (height, width) or (channels, height, width)")
        for number in asked:
            check_count(argument, number, low=1)
    side = isqrt(n_features)
    flat = (side, side) if side * side == n_features else (1, n_features)
    shape = tuple(int(n) for n in (asked or given or flat))
    if prod(shape) != n_features or len(shape) not in (2, 3):
        raise InvalidDataError(
            f"{argument} must hold {n_features} pixels, the columns of {data}. Got {shape}. Give (height, width)."
        )
    return shape


def with_channels(shape: Sequence[int]) -> tuple[int, int, int]:
    """(channels, height, width), with one channel where only two are given.

    >>> with_channels((8, 8))
    (1, 8, 8)
    """
    channels, height, width = shape if len(shape) == 3 else (1, *shape)
    return channels, height, width
