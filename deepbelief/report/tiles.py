"""Arrays of cases as one picture of tiles: PNG in the page, with gaps through which the page shows."""

from __future__ import annotations

import base64
import io
import math
from typing import Literal

import numpy as np
from markupsafe import Markup

Colours = Literal["grey", "signed"]
SHADES, UNKNOWN, GAP = 251, 251, 255
UNKNOWN_COLOUR = (236, 186, 92)
TILE_PIXELS, LARGEST_TILE = 96, 128


def to_pictures(cases: np.ndarray, image_shape: tuple[int, ...]) -> np.ndarray:
    """Cases (n, features) as pictures (n, height, width), or (n, height, width, 3) when they have colours."""
    pictures = np.asarray(cases, dtype=np.float64).reshape(len(cases), *image_shape)
    if len(image_shape) == 3:
        channels_first = image_shape[0] in (1, 3)
        pictures = np.moveaxis(pictures, 1, 3) if channels_first else pictures
        pictures = pictures[..., 0] if pictures.shape[3] == 1 else pictures
    while max(pictures.shape[1:3]) > LARGEST_TILE:
        pictures = _halve(pictures)
    return pictures


def grey_range(cases: np.ndarray) -> tuple[float, float]:
    """The values that become black and white: [0, 1] or [-1, 1] where the data fit them, else their own ends."""
    finite = cases[np.isfinite(cases)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if low >= 0 and high <= 1:
        return 0.0, 1.0
    if low >= -1 and high <= 1:
        return -1.0, 1.0
    return low, max(high, low + 1e-12)


def best_columns(n: int) -> int:
    """Between 10 and 14 columns, those that leave the fewest empty places in the last row.

    >>> best_columns(7), best_columns(60), best_columns(64), best_columns(100)
    (7, 12, 13, 10)
    """
    return n if n < 10 else min(range(14, 9, -1), key=lambda columns: -n % columns)


def grey_tiles(
    cases: np.ndarray,
    image_shape: tuple[int, ...],
    alt: str,
    *,
    limits: tuple[float, float],
    known: np.ndarray | None = None,
    columns: int | None = None,
    tile_width: int = 64,
) -> Markup:
    """Tiles of pictures in grey or colour; where `known` is False the pixel is tinted instead of shown."""
    scaled = (np.asarray(cases, dtype=np.float64) - limits[0]) / (limits[1] - limits[0])
    pictures = to_pictures(scaled, image_shape)
    hidden = None if known is None else ~(to_pictures(known, image_shape) > 0.5)
    return _element(pictures, hidden, "grey", alt, columns, tile_width)


def png_of_tiles(
    cases: np.ndarray,
    image_shape: tuple[int, ...],
    *,
    columns: int,
    limits: tuple[float, float] | None = None,
    rows_together: int | None = None,
) -> bytes:
    """Tiles of pictures as the bytes of a PNG file, `columns` in a row; `limits` become black and white.

    After every `rows_together` rows a wider gap follows.
    """
    low, high = grey_range(cases) if limits is None else limits
    scaled = (np.asarray(cases, dtype=np.float64) - low) / (high - low)
    canvas = _canvas(to_pictures(scaled, image_shape), None, columns)
    n_rows = math.ceil(len(cases) / columns)
    return _png(canvas if rows_together is None else _apart(canvas, n_rows, rows_together), "grey")


def _apart(canvas: np.ndarray, n_rows: int, together: int) -> np.ndarray:
    """Rows of tiles in groups, a quarter of a row between them."""
    height = canvas.shape[0] // n_rows
    groups = [canvas[top : top + together * height] for top in range(0, canvas.shape[0], together * height)]
    gap = np.full((height // 4, *canvas.shape[1:]), 0 if canvas.ndim == 3 else GAP, dtype=np.uint8)
    return np.concatenate([part for group in groups for part in (gap, group)][1:])


def signed_tiles(
    weights: np.ndarray,
    image_shape: tuple[int, ...],
    alt: str,
    *,
    shared: bool = False,
    columns: int | None = None,
    tile_width: int = 64,
) -> Markup:
    """Tiles of weights: white is 0, blue negative, red positive; each on its own scale unless `shared`.

    The scale ends at the 99.5th percentile of the absolute weights, so that one large weight does not pale the rest.
    """
    size = np.abs(np.nan_to_num(np.asarray(weights, dtype=np.float64)))
    top = np.quantile(size, 0.995) if shared else np.quantile(size, 0.995, axis=1, keepdims=True)
    pictures = to_pictures(0.5 + 0.5 * np.asarray(weights) / np.maximum(top, 1e-12), image_shape)
    return _element(pictures, None, "signed", alt, columns, tile_width)


def _halve(pictures: np.ndarray) -> np.ndarray:
    padding = [(0, 0)] + [(0, size % 2) for size in pictures.shape[1:3]] + [(0, 0)] * (pictures.ndim - 3)
    even = np.pad(pictures, padding, mode="edge")
    return (even[:, ::2, ::2] + even[:, 1::2, ::2] + even[:, ::2, 1::2] + even[:, 1::2, 1::2]) / 4


def _element(
    pictures: np.ndarray, hidden: np.ndarray | None, colours: Colours, alt: str, columns: int | None, tile_width: int
) -> Markup:
    """An ``<img>`` of the tiles. Half a gap surrounds each tile, so every tile with its gap is equally wide."""
    columns = columns or best_columns(len(pictures))
    canvas = _canvas(pictures, hidden, columns)
    png = base64.b64encode(_png(canvas, colours)).decode("ascii")
    return Markup(
        '<img class="tiles" src="data:image/png;base64,{}" alt="{}" width="{}" height="{}" style="max-width:{}px">'
    ).format(png, alt, canvas.shape[1], canvas.shape[0], columns * tile_width)


def _canvas(pictures: np.ndarray, hidden: np.ndarray | None, columns: int) -> np.ndarray:
    """Shade numbers (height, width), or red, green, blue and opacity (height, width, 4)."""
    shades = np.rint(np.clip(np.nan_to_num(pictures, nan=0.5), 0, 1) * (SHADES - 1)).astype(np.uint8)
    if pictures.ndim == 4:
        shades = np.rint(np.clip(np.nan_to_num(pictures, nan=0.5), 0, 1) * 255).astype(np.uint8)
        shades = np.concatenate([shades, np.full_like(shades[..., :1], 255)], axis=3)
    if hidden is not None:
        shades[hidden.any(axis=3) if hidden.ndim == 4 else hidden] = (
            (*UNKNOWN_COLOUR, 255) if pictures.ndim == 4 else UNKNOWN
        )
    factor = max(1, math.ceil(TILE_PIXELS / max(shades.shape[1:3])))
    shades = shades.repeat(factor, axis=1).repeat(factor, axis=2)
    n, height, width = shades.shape[:3]
    gap = max(2, round(0.03 * max(height, width)))
    rows = math.ceil(n / columns)
    empty = 0 if pictures.ndim == 4 else GAP
    cells = np.full((rows * columns, height + 2 * gap, width + 2 * gap, *shades.shape[3:]), empty, dtype=np.uint8)
    cells[:n, gap : gap + height, gap : gap + width] = shades
    grid = cells.reshape(rows, columns, *cells.shape[1:]).swapaxes(1, 2)
    return grid.reshape(rows * cells.shape[1], columns * cells.shape[2], *cells.shape[3:])


def _png(canvas: np.ndarray, colours: Colours) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    image = Image.fromarray(canvas)
    if canvas.ndim == 2:
        image = Image.frombytes("P", (canvas.shape[1], canvas.shape[0]), canvas.tobytes())
        image.putpalette(_palette(colours))
        image.info["transparency"] = GAP
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _palette(colours: Colours) -> bytes:
    """256 colours: the shades, then the tint of unknown pixels, and unused ones up to the transparent gap."""
    shades = np.linspace(0, 1, SHADES)
    if colours == "grey":
        rgb = np.repeat(shades[:, None], 3, axis=1)
    else:
        import matplotlib

        rgb = matplotlib.colormaps["RdBu_r"](shades)[:, :3]
    table = np.zeros((256, 3), dtype=np.uint8)
    table[:SHADES] = np.rint(rgb * 255)
    table[UNKNOWN] = UNKNOWN_COLOUR
    return table.tobytes()
