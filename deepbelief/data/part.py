"""Some rows of an array that is larger than memory, or several arrays one below the other, without a copy of them."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from deepbelief.errors import check

GAP_BYTES = 1 << 16  # rows that nobody asked for are read along where skipping them would cost more
PIECE_BYTES = 1 << 22  # what is read at once, unwanted rows included


class RowsOf:
    """The rows `index` of `array`, which rise, in the order of the file; they are read when they are asked for.

    >>> part = RowsOf(np.arange(10).reshape(5, 2), np.array([0, 3, 4]))
    >>> part.shape, part[1:].tolist()
    ((3, 2), [[6, 7], [8, 9]])
    """

    def __init__(self, array: Any, index: NDArray[np.int64]) -> None:
        self.array, self.index = array, index
        self.shape, self.dtype = (len(index), *array.shape[1:]), array.dtype

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        return np.asarray(self.array[self.index[key]])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """All of them in memory, for tools that know nothing but arrays."""
        return self[:].astype(dtype or self.dtype, copy=False)

    @property
    def arrays(self) -> tuple[Any, ...]:
        """What the rows are read from."""
        return (self.array,)


class RowsBelow:
    """The rows of several `arrays` of the same columns, those of the first above those of the next.

    >>> both = RowsBelow([np.zeros((3, 2)), np.ones((2, 2))])
    >>> both.shape, both[2:4].tolist()
    ((5, 2), [[0.0, 0.0], [1.0, 1.0]])
    """

    def __init__(self, arrays: Sequence[Any]) -> None:
        widths = [tuple(array.shape[1:]) for array in arrays]
        check(len(set(widths)) == 1, f"arrays must have rows of one shape. Got {widths}.")
        self.arrays = tuple(arrays)
        self.starts = np.cumsum([0, *(len(array) for array in arrays)])
        self.shape = (int(self.starts[-1]), *arrays[0].shape[1:])
        self.dtype = np.result_type(*(array.dtype for array in arrays))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        index = np.arange(*key.indices(len(self))) if isinstance(key, slice) else np.arange(len(self))[key]
        rows, which = np.empty((len(index), *self.shape[1:]), self.dtype), np.searchsorted(self.starts, index, "right")
        for number, array in enumerate(self.arrays):
            own = which == number + 1
            rows[own] = array[index[own] - self.starts[number]]
        return rows

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """All of them in memory, for tools that know nothing but arrays."""
        return self[:].astype(dtype or self.dtype, copy=False)


VIEWS = (RowsOf, RowsBelow)


def is_mapped(x: Any) -> bool:
    """Whether `x` may be larger than memory: a mapped file, or some of its rows."""
    return isinstance(x, (np.memmap, *VIEWS))


def part_of(x: Any, index: Any) -> Any:
    """The rows `index` of `x`, which rise: without a copy where `x` is a mapped file or rows of one.

    >>> part_of(RowsOf(np.arange(5), np.array([0, 3, 4])), slice(1, None)).index.tolist()
    [3, 4]
    """
    if isinstance(x, RowsOf):
        return RowsOf(x.array, x.index[index])
    if isinstance(x, RowsBelow) or (isinstance(x, np.memmap) and isinstance(index, np.ndarray)):
        return RowsOf(x, np.arange(len(x))[index])
    return x[index]


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


class BelowReader(FilledRows):
    """Readers of the same columns, one below the other."""

    def __init__(self, readers: Sequence[Reader], dtype: np.dtype[Any]) -> None:
        self.readers, self.dtype = readers, dtype
        self.starts = np.cumsum([0, *(reader.shape[0] for reader in readers)]).tolist()
        self.shape = (self.starts[-1], *readers[0].shape[1:])

    def announce(self, first: int, stop: int) -> None:
        """Ask the system to fetch these rows meanwhile."""
        for reader, start, end in self._parts(first, stop):
            reader.announce(start, end)

    def _fill(self, first: int, out: NDArray[Any]) -> None:
        filled = 0
        for reader, start, end in self._parts(first, first + len(out)):
            into = out[filled : filled + end - start]
            if not reader.rows_into(start, into):
                into[:] = reader.rows(start, end)
            filled += end - start

    def _parts(self, first: int, stop: int) -> Iterator[tuple[Reader, int, int]]:
        """Who reads the rows from `first` up to `stop`, and which of its own they are."""
        for reader, start, end in zip(self.readers, self.starts[:-1], self.starts[1:], strict=True):
            if max(first, start) < min(stop, end):
                yield reader, max(first, start) - start, min(stop, end) - start
