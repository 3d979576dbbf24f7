"""A folder of images as one array of bytes; subfolders, where there are any, are the class labels."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from deepbelief.errors import InvalidDataError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".pgm", ".ppm", ".tif", ".tiff", ".webp"})
GREY_MODES = frozenset({"1", "L", "LA"})
COLOUR_MODES = frozenset({"P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"})


def read_image_folder(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64] | None, list[str] | None]:
    """All images below `folder`, in the order of their paths: (images, labels or None, class names or None).

    Images are (n, h, w) bytes if all are grey and (n, 3, h, w) otherwise, as convolutions take them. All must have one
    size. With images in subfolders only, the name of the first-level subfolder is the label.
    """
    paths = _find(folder)
    labels, class_names = _labels(folder, paths)
    size, grey = _inspect(paths, folder)
    shape = (len(paths), size[1], size[0]) if grey else (len(paths), 3, size[1], size[0])
    images = np.empty(shape, dtype=np.uint8)
    for slot, path in zip(images, paths, strict=True):
        pixels = _pixels(path, folder, "L" if grey else "RGB")
        slot[...] = pixels if grey else pixels.transpose(2, 0, 1)
    return images, labels, class_names


def _find(folder: Path) -> list[Path]:
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    if not paths:
        known = ", ".join(sorted(SUFFIXES))
        raise InvalidDataError(f"The folder must hold images ({known}). Got {str(folder)!r} with none.")
    return paths


def _labels(folder: Path, paths: list[Path]) -> tuple[NDArray[np.int64] | None, list[str] | None]:
    tops = [path.relative_to(folder).parts[:-1][:1] for path in paths]
    if not any(tops):
        return None, None
    if not all(tops):
        odd = next(path.name for path, top in zip(paths, tops, strict=True) if not top)
        raise InvalidDataError(
            f"Images must lie either all in the folder or all in subfolders named by class. Got both: {odd!r} lies "
            f"beside the subfolder {next(top[0] for top in tops if top)!r}."
        )
    class_names, codes = np.unique([top[0] for top in tops], return_inverse=True)
    return codes.astype(np.int64), [str(name) for name in class_names]


def _inspect(paths: list[Path], folder: Path) -> tuple[tuple[int, int], bool]:
    """Common (width, height), and whether all images are grey; reads the headers only."""
    headers = [_header(path, folder) for path in paths]
    first_size = headers[0][0]
    for path, (size, _) in zip(paths, headers, strict=True):
        if size != first_size:
            raise InvalidDataError(
                f"Images must have one size. Got {_shape(size)} in {str(path.relative_to(folder))!r} and "
                f"{_shape(first_size)} in {str(paths[0].relative_to(folder))!r}. Resize them first."
            )
    return first_size, all(mode in GREY_MODES for _, mode in headers)


def _header(path: Path, folder: Path) -> tuple[tuple[int, int], str]:
    with _open(path, folder) as image:
        if image.mode not in GREY_MODES | COLOUR_MODES:
            raise InvalidDataError(
                f"Images must have 8 bits a channel. Got mode {image.mode!r} in {str(path.relative_to(folder))!r}."
            )
        return image.size, image.mode


def _pixels(path: Path, folder: Path, mode: str) -> NDArray[Any]:
    try:
        with _open(path, folder) as image:
            return np.asarray(image.convert(mode))
    except (OSError, SyntaxError, struct.error) as error:
        raise _damaged(path, folder, error) from error


def _open(path: Path, folder: Path) -> Image.Image:
    try:
        return Image.open(path)
    except (UnidentifiedImageError, OSError) as error:
        raise _damaged(path, folder, error) from error


def _damaged(path: Path, folder: Path, error: Exception) -> InvalidDataError:
    return InvalidDataError(f"Every image must be readable. Got {str(path.relative_to(folder))!r}: {error}.")


def _shape(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"
