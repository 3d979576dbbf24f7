"""Tiles show the numbers they are given: grey levels, signs, colours, what is not known, and the gaps between."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from deepbelief.report.tiles import UNKNOWN_COLOUR, grey_range, grey_tiles, png_of_tiles, signed_tiles, to_pictures


def pixels(element: str) -> np.ndarray:
    data = re.search(r"base64,([^\"]*)", element).group(1)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA")).astype(int)


def middles(image: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """The colours in the middle of rows x columns equal cells."""
    height, width = image.shape[0] // rows, image.shape[1] // columns
    return image[height // 2 :: height, width // 2 :: width][:rows, :columns]


def test_grey_levels_and_gaps():
    element = grey_tiles(np.array([[0.0], [0.5], [1.0]]), (1, 1), "three", limits=(0, 1), columns=3)
    image = pixels(element)
    assert np.abs(middles(image, 1, 3)[0, :, 0] - [0, 127.5, 255]).max() <= 1
    assert (middles(image, 1, 3)[..., 3] == 255).all()
    assert (image[0, :, 3] == 0).all()
    assert (image[:, 0, 3] == 0).all()


def test_pixels_lie_where_the_picture_has_them():
    case = np.arange(6.0).reshape(1, 6)
    image = pixels(grey_tiles(case, (2, 3), "six", limits=(0, 5)))
    opaque = image[image[:, :, 3].any(axis=1)][:, image[:, :, 3].any(axis=0)]
    assert np.abs(middles(opaque, 2, 3)[..., 0] - case.reshape(2, 3) * 51).max() <= 1


def test_unknown_pixels_are_tinted_also_where_the_picture_has_colours():
    image = pixels(grey_tiles(np.ones((2, 1)), (1, 1), "two", limits=(0, 1), known=np.array([[True], [False]])))
    assert middles(image, 1, 2)[0, 0, :3].tolist() == [255, 255, 255]
    assert middles(image, 1, 2)[0, 1, :3].tolist() == list(UNKNOWN_COLOUR)
    known = np.array([[True] * 3, [False] * 3])
    image = pixels(grey_tiles(np.ones((2, 3)), (3, 1, 1), "two", limits=(0, 1), known=known))
    assert middles(image, 1, 2)[0, 1, :3].tolist() == list(UNKNOWN_COLOUR)


@pytest.mark.parametrize(("shape", "order"), [((3, 1, 2), (0, 2, 4, 1, 3, 5)), ((1, 2, 3), (0, 1, 2, 3, 4, 5))])
def test_channels_may_come_first_or_last(shape, order):
    if shape == (1, 2, 3):
        # One channel first wins over three last, so a colour picture of one row is given channels first.
        assert to_pictures(np.arange(6.0)[None], shape).shape == (1, 2, 3)
    else:
        assert to_pictures(np.arange(6.0)[None], shape)[0].ravel().tolist() == list(map(float, order))


def test_weights_are_white_at_zero_red_above_blue_below():
    image = middles(pixels(signed_tiles(np.array([[-1.0, 0.0, 1.0]]), (1, 3), "one", columns=1)), 1, 3)[0]
    assert image[0, 2] > image[0, 0]
    assert image[1, :3].min() > 240
    assert image[2, 0] > image[2, 2]


def test_own_scale_and_shared_scale():
    weights = np.array([[1.0, -1.0], [0.1, -0.1]])
    own = middles(pixels(signed_tiles(weights, (1, 2), "own")), 1, 4)[0]
    shared = middles(pixels(signed_tiles(weights, (1, 2), "shared", shared=True)), 1, 4)[0]
    assert (own[:2] == own[2:]).all()
    assert not (shared[:2] == shared[2:]).all()


@pytest.mark.parametrize(
    ("values", "limits"),
    [([0.2, 0.9], (0, 1)), ([-1, 1], (-1, 1)), ([-0.5, 0.5], (-1, 1)), ([-3, 4], (-3, 4)), ([np.nan], (0, 1))],
)
def test_grey_range(values, limits):
    assert grey_range(np.array(values, dtype=float)) == limits


def test_constant_and_missing_values_are_drawn():
    assert pixels(grey_tiles(np.full((1, 4), 7.0), (2, 2), "flat", limits=grey_range(np.full(4, 7.0)))).size
    assert pixels(signed_tiles(np.array([[np.nan, 0.0]]), (1, 2), "nan")).size


@pytest.mark.parametrize("shape", [(2, 2), (2, 2, 3)])
def test_rows_that_belong_together_stand_apart_from_the_next(shape):
    cases = np.full((6, np.prod(shape)), 0.5)
    plain, apart = (
        np.asarray(Image.open(io.BytesIO(png_of_tiles(cases, shape, columns=2, rows_together=n))).convert("RGBA"))
        for n in (None, 2)
    )
    row = plain.shape[0] // 3
    gap = row // 4
    assert apart.shape == (plain.shape[0] + gap, *plain.shape[1:])  # three rows: two together, and one
    assert np.array_equal(np.delete(apart, slice(2 * row, 2 * row + gap), 0), plain)
    assert (apart[2 * row : 2 * row + gap, :, 3] == 0).all()
