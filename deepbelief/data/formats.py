"""The file formats that the named sets were published in; nothing is unpickled."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepbelief.errors import InvalidDataError

_UNSIGNED_BYTE = 0x08


def read_idx(path: Path) -> NDArray[np.uint8]:
    """An array of bytes in the idx format (zeros, type, rank, big-endian sizes, data), gzipped or not."""
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InvalidDataError(f"{path.name} must be a whole gzip file. Got: {error}.") from error
    n_dimensions = raw[3] if len(raw) > 3 else 0
    start = 4 + 4 * n_dimensions
    if raw[:3] != bytes([0, 0, _UNSIGNED_BYTE]) or n_dimensions == 0 or len(raw) < start:
        raise InvalidDataError(f"{path.name} must be an idx file of bytes. Got the beginning {raw[:4].hex()}.")
    shape = [int(size) for size in np.frombuffer(raw, ">u4", n_dimensions, offset=4)]
    if len(raw) - start != math.prod(shape):
        raise InvalidDataError(f"{path.name} must hold {math.prod(shape)} bytes of data. Got {len(raw) - start}.")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape).copy()


def read_idx_pair(part: str, paths: list[Path]) -> tuple[NDArray[np.uint8], NDArray[Any] | None]:
    """Images and labels, as MNIST and its kin come."""
    images, labels = (read_idx(path) for path in paths)
    return images.reshape(len(images), -1), labels.astype(np.int64)


def read_binarized(part: str, paths: list[Path]) -> tuple[NDArray[np.uint8], NDArray[Any] | None]:
    """One part of the binarized MNIST: an npz with three arrays, or text of 0 and 1 between blanks, a case a line."""
    path = paths[0]
    if path.suffix == ".npz":
        return np.load(path, allow_pickle=False)[part], None
    lines = path.read_bytes().splitlines()
    text = np.frombuffer(b"".join(lines), np.uint8).reshape(len(lines), -1)
    return text[:, ::2] - np.uint8(ord("0")), None


def read_olivetti(part: str, paths: list[Path]) -> tuple[NDArray[np.uint8], NDArray[Any] | None]:
    """MATLAB's ``faces`` (4096, 400): a picture a column, each column-major; ten pictures of each person in a row."""
    from scipy.io import loadmat

    faces = loadmat(paths[0], variable_names=["faces"])["faces"].T
    upright = faces.reshape(-1, 64, 64).transpose(0, 2, 1).reshape(len(faces), -1)
    return np.ascontiguousarray(upright, dtype=np.uint8), np.repeat(np.arange(40), 10)


def read_frey(part: str, paths: list[Path]) -> tuple[NDArray[np.uint8], NDArray[Any] | None]:
    """An npz with ``frames`` (1965, 560), or MATLAB's ``ff`` (560, 1965) as first published."""
    path = paths[0]
    if path.suffix == ".npz":
        return np.load(path, allow_pickle=False)["frames"], None
    from scipy.io import loadmat

    frames = loadmat(path).get("ff", np.empty((0, 0))).T
    if frames.shape != (1965, 560):
        raise InvalidDataError(f"{path.name} must hold an array 'ff' of shape (560, 1965). Got {frames.T.shape}.")
    return np.ascontiguousarray(frames, dtype=np.uint8), None


def read_digits(part: str, paths: list[Path]) -> tuple[NDArray[np.uint8], NDArray[Any] | None]:
    """scikit-learn's embedded digits, grey levels 0 to 16."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    return digits.data.astype(np.uint8), digits.target.astype(np.int64)
