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
from deepbelief.data.parquet import ParquetReader
from deepbelief.data.part import Reader
from deepbelief.errors import (
    InvalidArgumentError,
    check,
    check_count,
)


class ShardSource(BlockSource):
    """Streams ``.npy`` and ``.parquet`` files, in the order given, as one data set; see `BlockSource` for the order.

    All files must have the same number of columns, and all bytes or all other numbers. A block of a parquet file is a
    row group; of a row group that is larger than 128 MiB it is 16 MiB, and such blocks follow each other, for they can
    be decoded in this order only. So write row groups of some thousand rows. ``packed`` is for shards of
    `numpy.packbits`. Other arguments are those of `Source`.
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
        check_count("buffer_blocks", buffer_blocks, low=1)
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
        runs = [_runs(shard, len(own) - 1) for shard, own in zip(self.shards, edges, strict=True)]
        self.runs = torch.cat([torch.zeros(1, dtype=torch.int64), torch.cat(runs).cumsum(0)])
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
        return torch.from_numpy(shard.edges)
    return blocks_of(shard.shape[0], bytes_per_case, block_size, buffer_blocks)[0]


def _runs(shard: Reader, n_blocks: int) -> Tensor:
    """How many blocks follow each other each time."""
    return torch.from_numpy(shard.runs).diff() if isinstance(shard, ParquetReader) else torch.ones(n_blocks).long()
