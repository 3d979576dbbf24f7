"""One data set in several files: ``.npy`` and ``.parquet`` shards, streamed as if they were one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepbelief.data.base import Transform
from deepbelief.data.bits import check_packed
from deepbelief.data.blocks import GROUP_BYTES, BlockSource, blocks_of
from deepbelief.data.memmap import check_array, reader_of
from deepbelief.data.part import Reader
from deepbelief.errors import (
    DataNotFoundError,
    InvalidArgumentError,
    InvalidDataError,
    check,
    check_range,
    missing_extra,
)


class ShardSource(BlockSource):
    """Streams ``.npy`` and ``.parquet`` files, in the order given, as one data set; see `BlockSource` for the order.

    All files must have the same number of columns, and all bytes or all other numbers. A block of a parquet file is a
    row group, which is decoded whole: 128 MiB hold as many as fit, at least one, so write row groups of some thousand
    rows. ``packed`` is for shards of `numpy.packbits`. Other arguments are those of `Source`.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
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
        check_range("buffer_blocks", buffer_blocks, low=1)
        self.shards, width, is_bytes = _opened([Path(path) for path in paths])
        if packed is not None:
            check_packed(packed, width, is_bytes)
        self._last = self.shards[0]
        self._starts = np.cumsum([0, *(shard.shape[0] for shard in self.shards)]).tolist()
        options: dict[str, Any] = {"transform": transform, "scale": scale, "device": device, "packed": packed}
        super().__init__(
            self._starts[-1], width, y, weight, batch_size=batch_size, seed=seed, shuffle=shuffle, **options
        )
        self._width, self._is_bytes = width, is_bytes
        edges = [_edges(shard, self._case_bytes, block_size, buffer_blocks) for shard in self.shards]
        joined = torch.cat([own[:-1] + start for own, start in zip(edges, self._starts[:-1], strict=True)])
        self.edges = torch.cat([joined, torch.tensor([self.n_cases])])
        largest = int(self.edges.diff().max()) * self._case_bytes
        self.buffer_blocks = max(1, min(buffer_blocks, GROUP_BYTES // largest))

    def _rows(self, first: int, stop: int) -> NDArray[Any]:
        shard, start = self._shard_of(first)
        rows = self._used(shard).rows(first - start, stop - start)
        return rows.reshape(len(rows), -1)

    def _rows_into(self, first: int, out: NDArray[Any]) -> bool:
        shard, start = self._shard_of(first)
        return shard.rows_into(first - start, out)

    def _announce(self, first: int, stop: int) -> None:
        shard, start = self._shard_of(first)
        shard.announce(first - start, stop - start)

    def _shard_of(self, case: int) -> tuple[Reader, int]:
        """The file that holds a case, and the number of its first case."""
        number = int(np.searchsorted(self._starts, case, side="right")) - 1
        return self.shards[number], self._starts[number]

    def _used(self, shard: Reader) -> Reader:
        """One decoded row group is in memory, however many shards there are."""
        if shard is not self._last and isinstance(self._last, ParquetReader):
            self._last.forget()
        self._last = shard
        return shard


class ParquetReader:
    """Rows of a parquet file of numbers, a row group at a time; the last one decoded is kept."""

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
        sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        self.edges = np.cumsum([0, *sizes])
        self._kept: tuple[int, NDArray[Any]] | None = None

    def rows(self, first: int, stop: int) -> NDArray[Any]:
        """The rows from `first` up to `stop`, which lie in one row group."""
        number = int(np.searchsorted(self.edges, first, side="right")) - 1
        if self._kept is None or self._kept[0] != number:
            self.forget()
            self._kept = number, self._decoded(number)
        start = int(self.edges[number])
        return self._kept[1][first - start : stop - start]

    def rows_into(self, first: int, out: NDArray[Any]) -> bool:
        """Columns are put side by side by `rows`."""
        return False

    def forget(self) -> None:
        """Let the decoded row group go."""
        self._kept = None

    def announce(self, first: int, stop: int) -> None:
        """Row groups lie where the file says; nothing is fetched ahead."""

    def _decoded(self, number: int) -> NDArray[Any]:
        table = self.file.read_row_group(number)
        columns = np.empty((table.num_columns, table.num_rows), dtype=self.dtype)
        for row, (name, column) in zip(columns, zip(table.column_names, table.columns, strict=True), strict=True):
            if column.null_count:
                raise InvalidDataError(f"{self.path.name} must have no empty entries. Got some in column {name!r}.")
            row[:] = column.to_numpy()
        return columns.T


def _opened(paths: list[Path]) -> tuple[list[Reader], int, bool]:
    """The files with their width and whether they are bytes, in which they must agree."""
    check(len(paths) > 0, "X must name at least 1 file. Got none.")
    shards: list[Reader] = []
    for path in paths:
        shard: Reader = ParquetReader(path) if path.suffix.lower() == ".parquet" else reader_of(path)
        check_array(shard.shape, shard.dtype)
        shards.append(shard)
    kinds = [(math.prod(shard.shape[1:]), shard.dtype in (np.uint8, np.bool_)) for shard in shards]
    for (name, kind), (other, another) in pairwise(zip(paths, kinds, strict=True)):
        if kind != another:
            what = [f"{width} columns of {'bytes' if small else 'other numbers'}" for width, small in (kind, another)]
            raise InvalidArgumentError(
                f"All files must have the same columns. Got {what[0]} in {name.name} and {what[1]} in {other.name}."
            )
    return shards, *kinds[0]


def _edges(shard: Reader, bytes_per_case: int, block_size: int | None, buffer_blocks: int) -> Tensor:
    if isinstance(shard, ParquetReader):
        return torch.from_numpy(shard.edges).unique()
    return blocks_of(shard.shape[0], bytes_per_case, block_size, buffer_blocks)[0]
