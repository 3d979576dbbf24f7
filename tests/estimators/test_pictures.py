"""The shape of pictures: what was asked for, what X came in, or a guess; and channels that come last are named."""

from __future__ import annotations

import numpy as np
import pytest

from deepbelief import VAE
from deepbelief.errors import InvalidDataError
from deepbelief.estimators.pictures import picture_shape


@pytest.mark.parametrize(
    ("asked", "given", "n", "shape"),
    [
        ((2, 6), None, 12, (2, 6)),
        (None, (3, 2, 2), 12, (3, 2, 2)),
        (None, (3, 4), 12, (3, 4)),
        (None, None, 16, (4, 4)),
        (None, None, 12, (1, 12)),
        ((3, 2, 2), (2, 2, 3), 12, (3, 2, 2)),
    ],
)
def test_the_shape(
    asked: tuple[int, ...] | None, given: tuple[int, ...] | None, n: int, shape: tuple[int, ...]
) -> None:
    assert picture_shape(asked, given, n) == shape


def test_a_shape_of_other_pixels_is_refused() -> None:
    with pytest.raises(InvalidDataError, match=r"image_shape must hold 12 pixels.*Got \(2, 5\)"):
        picture_shape((2, 5), None, 12)


def test_channels_that_come_last_are_refused_before_any_work() -> None:
    with pytest.raises(InvalidDataError, match=r"channels first.*Got pictures of \(8, 8, 3\).*transpose"):
        VAE(2, network="convolutional", epochs=1).fit(np.zeros((5, 8, 8, 3), dtype=np.float32))
