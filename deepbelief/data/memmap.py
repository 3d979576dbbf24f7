"""Data larger than memory: a ``.npy`` file (or any memory-mapped array) streamed block by block."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepbelief.data.arrays import as_matrix, image_shape_of
from deepbelief.data.base import Source, Transform
from deepbelief.data.order import order_generator, share
from deepbelief.errors import DataNotFoundError, InvalidDataError, check_range
from deepbelief.types import Batch


class MemmapSource(Source):
    """Streams a memory-mapped array in an order that is random, yet reads the disk in long stretches.

    An epoch shuffles the order of blocks of ``block_size`` neighbouring cases and then the cases within each group of
    ``buffer_blocks`` blocks; seed and epoch determine both. A group is read at once, so memory holds at most
    ``block_size * buffer_blocks`` cases and one batch. A rank reads its own cases only. The finer order is less random
    than a full shuffle: shuffle the file itself once where neighbours in it are alike.

    ``x`` is the path of a ``.npy`` file or what ``np.load(path, mmap_mode="r")`` made of it (mapped anew for every
    group, which returns its pages to the system), or any other array such as `numpy.memmap`. Entries are checked as
    they are read. Other arguments are those of `Source`.
    """

    def __init__(
        self,
        x: str | Path | NDArray[Any],
        y: Any = None,
        weight: Any = None,
        *,
        batch_size: int = 100,
        seed: int = 0,
        shuffle: bool = True,
        transform: Transform | None = None,
        scale: float | None = None,
        device: torch.device | str = "cpu",
        block_size: int = 4096,
        buffer_blocks: int = 8,
    ) -> None:
        check_range("block_size", block_size, low=1)
        check_range("buffer_blocks", buffer_blocks, low=1)
        self._origin = Path(x) if isinstance(x, (str, Path)) else _file_of(x)
        array = self._open()
        _check_array(array)
        super().__init__(
            len(array),
            int(np.prod(array.shape[1:])),
            y,
            weight,
            batch_size=batch_size,
            seed=seed,
            shuffle=shuffle,
            transform=transform,
            scale=scale,
            device=device,
        )
        self.image_shape = image_shape_of(array)
        self.block_size, self.buffer_blocks = block_size, buffer_blocks

    def _open(self) -> NDArray[Any]:
        return open_npy(self._origin) if isinstance(self._origin, Path) else self._origin

    def _read(self, index: Tensor) -> Tensor:
        rows, inverse = torch.sort(index)
        array = self._open()
        contiguous = bool(len(rows)) and int(rows[-1]) - int(rows[0]) + 1 == len(rows)
        block = array[int(rows[0]) : int(rows[-1]) + 1] if contiguous else array[rows.numpy()]
        name = f"X (cases {int(rows[0])} to {int(rows[-1])})"
        # np.array copies: the mapping may go, and torch wants memory that it may write to
        return as_matrix(np.array(block), name=name, dtype=None)[inverse.argsort()]

    def _groups(self, epoch: int) -> Iterator[Tensor]:
        """The epoch's order, one group of blocks at a time."""
        n_blocks = -(-self.n_cases // self.block_size)
        generator = order_generator(self.seed, epoch)
        blocks = torch.randperm(n_blocks, generator=generator) if self.shuffle else torch.arange(n_blocks)
        for group in blocks.split(self.buffer_blocks):
            starts = (group * self.block_size).tolist()
            rows = torch.cat([torch.arange(s, min(s + self.block_size, self.n_cases)) for s in starts])
            yield rows[torch.randperm(len(rows), generator=generator)] if self.shuffle else rows

    def _epoch(self, epoch: int, start: int, generator: torch.Generator, rank: int, world_size: int) -> Iterator[Batch]:
        number, stop = start, self.n_batches(world_size)
        position, index, rows = 0, torch.empty(0, dtype=torch.int64), None
        for group in self._groups(epoch):
            mine = group[self._is_mine(position, len(group), start, rank, world_size)]
            position += len(group)
            if len(mine):
                block = self._read(mine)
                rows = block if rows is None else torch.cat([rows, block])
                index = torch.cat([index, mine])
            while rows is not None and number < stop:
                first, last = share(number, self.n_cases, self.batch_size, rank, world_size)
                if len(rows) < last - first:
                    break
                yield self._finish(rows[: last - first], index[: last - first], generator)
                rows, index, number = rows[last - first :], index[last - first :], number + 1

    def _is_mine(self, position: int, size: int, start: int, rank: int, world_size: int) -> Tensor:
        """Which of the `size` positions from `position` on belong to this rank's share of a batch still to come."""
        where = torch.arange(position, position + size)
        batch = where // self.batch_size
        length = (self.n_cases - batch * self.batch_size).clamp(max=self.batch_size)
        offset = where % self.batch_size
        in_share = (offset >= length * rank // world_size) & (offset < length * (rank + 1) // world_size)
        return in_share & (batch >= start) & (batch < self.n_batches(world_size))


def open_npy(path: str | Path) -> NDArray[Any]:
    """Map a ``.npy`` file into memory, read-only; Python objects in it are refused, never unpickled."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise DataNotFoundError(f"The file must exist. Got {str(path)!r}. Check the path.") from error
    except (ValueError, EOFError, OSError) as error:
        raise InvalidDataError(f"The file must be a NumPy .npy array of numbers. Got {str(path)!r}: {error}") from error


def _file_of(array: NDArray[Any]) -> Path | NDArray[Any]:
    """The ``.npy`` file that `array` is the whole of, or else the array itself."""
    name = getattr(array, "filename", None)
    if not isinstance(array, np.memmap) or name is None or Path(name).suffix != ".npy":
        return array
    whole = open_npy(name)
    same = (whole.shape, whole.dtype, whole.strides) == (array.shape, array.dtype, array.strides)
    return Path(name) if same else array


def _check_array(array: NDArray[Any]) -> None:
    if array.dtype.kind not in "buif":
        raise InvalidDataError(f"X must hold numbers. Got type {array.dtype}.")
    if not 2 <= array.ndim <= 4 or array.size == 0:
        raise InvalidDataError(
            f"X must be (cases, columns) or images (n, h, w[, c]) and not empty. Got shape {array.shape}."
        )
