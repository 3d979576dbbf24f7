"""Rows of a parquet file of numbers, decoded a few thousand at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepbelief.data.blocks import BLOCK, GROUP_BYTES
from deepbelief.errors import DataNotFoundError, InvalidDataError, missing_extra

PIECES = 8  # that a group of blocks holds of a row group that it cannot hold whole


class ParquetReader:
    """Rows of a parquet file of numbers; the last piece that was decoded is kept, and where decoding stands.

    A piece is a row group of up to 128 MiB, or 16 MiB of a larger one. Pieces of a row group can be decoded one after
    the other only: those before are decoded and dropped where they are skipped. ``edges`` are where pieces begin, in
    rows, and ``runs`` where row groups begin, in pieces.
    """

    _kept: tuple[int, NDArray[Any]] | None
    _batches: Iterator[Any]

    def __init__(self, path: Path) -> None:
        try:
            import pyarrow
            from pyarrow import parquet
        except ImportError as error:
            raise missing_extra("pyarrow", "frames", "Reading parquet files") from error
        self.path = path
        try:
            self.file = parquet.ParquetFile(path)
        except FileNotFoundError as error:
            raise DataNotFoundError(f"The file must exist. Got {str(path)!r}. Check the path.") from error
        except (pyarrow.ArrowInvalid, OSError) as error:
            raise InvalidDataError(f"{path.name} must be a whole parquet file. Got: {error}") from error
        metadata, schema = self.file.metadata, self.file.schema_arrow
        numbers = [pyarrow.types.is_integer(t) or pyarrow.types.is_floating(t) for t in schema.types]
        truths = [pyarrow.types.is_boolean(t) for t in schema.types]
        text = [name for name, one, other in zip(schema.names, numbers, truths, strict=True) if not one and not other]
        if text:
            raise InvalidDataError(f"{path.name} must hold numbers only. Got columns {', '.join(map(repr, text[:5]))}.")
        is_bytes = all(truth or t == pyarrow.uint8() for truth, t in zip(truths, schema.types, strict=True))
        self.shape, self.dtype = (
            (metadata.num_rows, metadata.num_columns),
            np.dtype(np.uint8 if is_bytes else np.float32),
        )
        self.edges, self.runs, self._batch = self._divided(
            [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        )
        self.forget()

    def rows(self, first: int, stop: int) -> NDArray[Any]:
        """The rows from `first` up to `stop`, which lie in one piece."""
        piece = int(np.searchsorted(self.edges, first, side="right")) - 1
        if self._kept is None or self._kept[0] != piece:
            self._kept = None
            self._kept = piece, self._decoded(piece)
        start = int(self.edges[piece])
        return self._kept[1][first - start : stop - start]

    def rows_into(self, first: int, out: NDArray[Any]) -> bool:
        """Columns are put side by side by `rows`."""
        return False

    def forget(self) -> None:
        """Let what is decoded go."""
        self._kept = None
        self._batches = iter(())
        self._next = -1  # the piece at which `_batches` stands

    def announce(self, first: int, stop: int) -> None:
        """Row groups lie where the file says; the system is told nothing."""

    def _divided(self, sizes: list[int]) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
        """Where pieces begin, where row groups begin, and how many rows are decoded at once."""
        bytes_per_case = max(1, self.shape[1] * self.dtype.itemsize)
        most, piece = GROUP_BYTES // bytes_per_case, max(1, GROUP_BYTES // PIECES // bytes_per_case)
        batch = min(BLOCK, piece)
        piece -= piece % batch  # whole batches
        edges, runs = [0], [0]
        for size in filter(None, sizes):
            first, step = edges[-1], size if size <= most else piece
            edges += [first + min(end, size) for end in range(step, size + step, step)]
            runs.append(len(edges) - 1)
        return np.array(edges), np.array(runs), batch

    def _decoded(self, piece: int) -> NDArray[Any]:
        if piece != self._next or piece in self.runs:
            self._next = self._open(piece)
        while self._next < piece:
            self._one(self._next, keep=False)
        return self._one(piece, keep=True)

    def _open(self, piece: int) -> int:
        """Begin to decode the row group of `piece`; its first piece."""
        run = int(np.searchsorted(self.runs, piece, side="right")) - 1
        filled = [i for i in range(self.file.num_row_groups) if self.file.metadata.row_group(i).num_rows]
        self._batches = self.file.iter_batches(batch_size=self._batch, row_groups=[filled[run]])
        return int(self.runs[run])

    def _one(self, piece: int, *, keep: bool) -> NDArray[Any]:
        """The piece at which decoding stands."""
        n_rows = int(self.edges[piece + 1] - self.edges[piece])
        columns, filled = np.empty((self.shape[1], n_rows if keep else 0), dtype=self.dtype), 0
        while filled < n_rows:
            batch = next(self._batches)
            if keep:
                self._put(batch, columns[:, filled : filled + len(batch)])
            filled += len(batch)
        self._next = piece + 1
        return columns.T

    def _put(self, batch: Any, into: NDArray[Any]) -> None:
        for row, name, column in zip(into, batch.schema.names, batch.columns, strict=True):
            if column.null_count:
                raise InvalidDataError(f"{self.path.name} must have no empty entries. Got some in column {name!r}.")
            row[:] = column.to_numpy(zero_copy_only=False)
