"""Some rows of an array that is larger than memory, without a copy of them."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

GAP_BYTES = 1 << 16  # rows that nobody asked for are read along where skipping them would cost more
PIECE_BYTES = 1 << 22  # what is read at once, unwanted rows included


class RowsOf:
    """The rows `index` of `array`, which rise, in the order of the file; they are read when they are asked for.

    >>> part = RowsOf(np.arange(10).reshape(5, 2), np.array([0, 3, 4]))
    >>> part.shape, part[1:].tolist()
    ((3, 2), [[6, 7], [8, 9]])
    """

    def __init__(self, array: NDArray[Any], index: NDArray[np.int64]) -> None:
        self.array, self.index = array, index
        self.shape, self.dtype = (len(index), *array.shape[1:]), array.dtype

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        return np.asarray(self.array[self.index[key]])


class Reader(Protocol):
    """What reads rows of a file or an array."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def rows(self, first: int, stop: int) -> NDArray[Any]: ...

    def rows_into(self, first: int, out: NDArray[Any]) -> bool: ...

    def announce(self, first: int, stop: int) -> None: ...


class FilledRows:
    """Rows that a reader puts into memory it is given: `_fill` is the reader's own."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def rows(self, first: int, stop: int) -> NDArray[Any]:
        """The rows from `first` up to `stop`, in memory of their own."""
        read = np.empty((stop - first, *self.shape[1:]), dtype=self.dtype)
        self._fill(first, read)
        return read

    def rows_into(self, first: int, out: NDArray[Any]) -> bool:
        """Put rows straight into `out`, if they have its type."""
        same = out.dtype == self.dtype
        if same:
            self._fill(first, out.reshape(len(out), *self.shape[1:]))
        return same

    @abstractmethod
    def _fill(self, first: int, out: NDArray[Any]) -> None:
        """Put the rows from `first` on into `out`, (rows, ...) of this type."""


class PartReader(FilledRows):
    """The rows `index` of another reader, a few megabytes at a time, however far they lie from each other."""

    def __init__(self, reader: Reader, index: NDArray[np.int64]) -> None:
        self.reader, self.index = reader, index
        self.shape, self.dtype = (len(index), *reader.shape[1:]), reader.dtype
        row_bytes = math.prod(self.shape[1:]) * self.dtype.itemsize
        self._gap, self._piece = (max(1, size // max(1, row_bytes)) for size in (GAP_BYTES, PIECE_BYTES))

    def announce(self, first: int, stop: int) -> None:
        """Ask the system to fetch these rows meanwhile, with those that lie between them."""
        self.reader.announce(int(self.index[first]), int(self.index[stop - 1]) + 1)

    def _fill(self, first: int, out: NDArray[Any]) -> None:
        filled = 0
        for part in self._parts(self.index[first : first + len(out)]):
            start, into = int(part[0]), out[filled : filled + len(part)]
            read = self.reader.rows(start, int(part[-1]) + 1)
            np.take(read, part - start, axis=0, out=into, mode="clip")  # "raise" would take a copy of `into`
            filled += len(part)

    def _parts(self, wanted: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        """`wanted` divided where skipping pays, and so that each part spans one piece of the file at most."""
        piece = (wanted - wanted[0]) // self._piece
        yield from np.split(wanted, np.flatnonzero((np.diff(wanted) > self._gap) | (np.diff(piece) > 0)) + 1)
