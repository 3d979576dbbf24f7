"""Data larger than memory: a ``.npy`` file (or any memory-mapped array) streamed block by block."""

from __future__ import annotations

import math
import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from deepbelief.data.arrays import image_shape_of
from deepbelief.data.base import Transform
from deepbelief.data.bits import check_packed
from deepbelief.data.blocks import BlockSource, blocks_of
from deepbelief.data.part import VIEWS, BelowReader, FilledRows, PartReader, Reader, RowsBelow, RowsOf
from deepbelief.errors import DataNotFoundError, InvalidDataError


class MemmapSource(BlockSource):
    """Streams a memory-mapped array in an order that is random, yet reads the disk in long stretches (`BlockSource`).

    ``x`` is the path of a ``.npy`` file or what ``np.load(path, mmap_mode="r")`` made of it (read by plain reads, so
    that no page of the file stays in this process's memory), any other array such as `numpy.memmap` (whose pages are
    given back after each block), `RowsOf` one of these, or several of them as `RowsBelow`. ``block_size=None`` is 4096
    cases, or as many as keep a group of blocks within 128 MiB: peak memory does not depend on the file. Other arguments
    are those of `Source`.
    """

    def __init__(
        self,
        x: str | Path | NDArray[Any] | RowsOf | RowsBelow,
        y: Any = None,
        weight: Any = None,
        *,
        batch_size: int = 100,
        seed: int = 0,
        shuffle: bool = True,
        transform: Transform | None = None,
        scale: float | None = None,
        device: torch.device | str = "cpu",
        packed: int | None = None,
        block_size: int | None = None,
        buffer_blocks: int = 8,
    ) -> None:
        self._reader = reader_of(x)
        shape, dtype = self._reader.shape, self._reader.dtype
        check_array(shape, dtype)
        if packed is not None:
            check_packed(packed, math.prod(shape[1:]), dtype == np.uint8)
        super().__init__(
            shape[0],
            math.prod(shape[1:]),
            y,
            weight,
            batch_size=batch_size,
            seed=seed,
            shuffle=shuffle,
            transform=transform,
            scale=scale,
            device=device,
            packed=packed,
        )
        self.image_shape = None if packed else image_shape_of(self._reader)
        self._width, self._is_bytes = math.prod(shape[1:]), dtype in (np.uint8, np.bool_)
        self.edges, self.block_size = blocks_of(self.n_cases, self._case_bytes, block_size, buffer_blocks)
        self.buffer_blocks = buffer_blocks

    def _rows(self, first: int, stop: int) -> NDArray[Any]:
        return self._reader.rows(first, stop)

    def _rows_into(self, first: int, out: NDArray[Any]) -> bool:
        return self._reader.rows_into(first, out)

    def _announce(self, first: int, stop: int) -> None:
        self._reader.announce(first, stop)


class NpyReader(FilledRows):
    """Rows of a ``.npy`` file in C order, by reads: pages of a mapping would count as this process's memory."""

    def __init__(self, path: Path, mapped: np.memmap[Any, Any]) -> None:
        self.path, self.offset = path, mapped.offset
        self.shape, self.dtype = mapped.shape, mapped.dtype
        self._row_bytes = math.prod(self.shape[1:]) * self.dtype.itemsize

    def _fill(self, first: int, out: NDArray[Any]) -> None:
        with self.path.open("rb", buffering=0) as file:
            file.seek(self.offset + first * self._row_bytes)
            left = out.reshape(-1).view(np.uint8).data
            while len(left):
                got = file.readinto(left)
                if not got:
                    raise InvalidDataError(f"{self.path.name} must stay whole while it is read. It became shorter.")
                left = left[got:]

    def announce(self, first: int, stop: int) -> None:
        """Ask the system to fetch these rows meanwhile."""
        if not hasattr(os, "posix_fadvise"):
            return
        with self.path.open("rb") as file:
            span = self.offset + first * self._row_bytes, (stop - first) * self._row_bytes
            os.posix_fadvise(file.fileno(), *span, os.POSIX_FADV_WILLNEED)


class ArrayReader:
    """Rows of any array, copied; the pages of a mapped one are given back after each read."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.array, self.shape, self.dtype = array, array.shape, array.dtype

    def rows(self, first: int, stop: int) -> NDArray[Any]:
        """The rows from `first` up to `stop`, in memory of their own."""
        copied = np.array(self.array[first:stop])
        release_pages(self.array)
        return copied

    def announce(self, first: int, stop: int) -> None:
        """Nothing to fetch."""

    def rows_into(self, first: int, out: NDArray[Any]) -> bool:
        """An array's rows are copied by `rows`."""
        return False


def reader_of(x: str | Path | NDArray[Any] | RowsOf | RowsBelow) -> Reader:
    """What reads `x`: a path, an array, some rows of an array, or several arrays one below the other."""
    if isinstance(x, RowsOf):
        return PartReader(reader_of(x.array), x.index)
    if isinstance(x, RowsBelow):
        return BelowReader([reader_of(array) for array in x.arrays], x.dtype)
    origin = Path(x) if isinstance(x, (str, Path)) else _file_of(x)
    if not isinstance(origin, Path):
        return ArrayReader(origin)
    mapped = open_npy(origin)
    if isinstance(mapped, np.memmap) and mapped.flags.c_contiguous:
        return NpyReader(origin, mapped)
    return ArrayReader(mapped)


def release_pages(array: Any) -> None:
    """Give back the pages of a mapped file that this process has touched; they are read again where they are needed.

    Copy-on-write mappings keep theirs, for changes live nowhere else.
    """
    if isinstance(array, VIEWS):
        for below in array.arrays:
            release_pages(below)
        return
    mapping = getattr(array, "_mmap", None)
    if mapping is not None and getattr(array, "mode", "c") != "c" and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)


def open_npy(path: str | Path) -> NDArray[Any]:
    """Map a ``.npy`` file into memory, read-only; Python objects in it are refused, never unpickled."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise DataNotFoundError(f"The file must exist. Got {str(path)!r}. Check the path.") from error
    except (ValueError, EOFError, OSError) as error:
        rule = "The file must be a NumPy .npy array of numbers"
        raise InvalidDataError(f"{rule}. Got {str(path)!r}{what_numpy_met(error)}") from error


def what_numpy_met(error: Exception) -> str:
    """Why NumPy did not read a file, without its advice to unpickle: it takes any other bytes for a pickle."""
    if "pickle" in str(error) or "Python objects" in str(error):
        return ", which holds Python objects or something else. Write it with numpy.save or numpy.savez."
    return f": {error}"


def _file_of(array: NDArray[Any]) -> Path | NDArray[Any]:
    """The ``.npy`` file that `array` is the whole of, or else the array itself."""
    name = getattr(array, "filename", None)
    if not isinstance(array, np.memmap) or name is None or Path(name).suffix != ".npy" or array.mode == "c":
        return array
    whole = open_npy(name)
    same = (whole.shape, whole.dtype, whole.strides) == (array.shape, array.dtype, array.strides)
    return Path(name) if same else array


def check_array(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Refuse arrays that are no cases of numbers."""
    if dtype.kind not in "buif":
        raise InvalidDataError(f"X must hold numbers. Got type {dtype}.")
    if not 2 <= len(shape) <= 4 or 0 in shape:
        raise InvalidDataError(f"X must be (cases, columns) or images (n, h, w[, c]) and not empty. Got shape {shape}.")
