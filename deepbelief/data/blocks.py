"""Data larger than memory, read block by block in an order that is random, yet takes the disk in long stretches."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from deepbelief.data.ahead import Errand, Read, ReadAhead
from deepbelief.data.arrays import as_matrix, check_finite
from deepbelief.data.base import Source
from deepbelief.data.order import order_generator, share
from deepbelief.data.part import GAP_BYTES
from deepbelief.errors import check_count

BLOCK = 4096  # cases, where that many fit
GROUP_BYTES = 1 << 27  # what a group of blocks may take, of bytes or float32
_Group = tuple[Tensor, Tensor, Tensor]  # its cases in order, where they lie in what was read, and that


class BlockSource(Source):
    """Streams cases in groups of blocks of neighbours.

    An epoch shuffles the order of the blocks and then the cases within each group of `buffer_blocks` blocks; seed and
    epoch determine both. Memory holds two groups (a thread reads the next while one is used), one block and one batch.
    A rank reads its own cases only, and what lies between them where that is little. The finer order is less random
    than a full shuffle: shuffle the file itself once where neighbours in it are alike. Entries are checked as they are
    read.
    """

    edges: Tensor  # (n_blocks + 1,): where each block begins, and the number of cases
    runs: Tensor | None = None  # where runs of blocks begin that are read in this order only; None for none
    buffer_blocks: int
    _width: int  # of a row as it is kept: of bytes, or float32
    _is_bytes: bool
    _errand: Errand[_Group] | None = None  # the group that is being read ahead

    @property
    def _case_bytes(self) -> int:
        return self._width * (1 if self._is_bytes else 4)

    @abstractmethod
    def _rows(self, first: int, stop: int) -> NDArray[Any]:
        """The cases from `first` up to `stop`, which are of one block, in memory of their own."""

    def _rows_into(self, first: int, out: NDArray[Any]) -> bool:
        """Put the cases from `first` on straight into `out`, if the file holds them as they are wanted."""
        return False

    def _announce(self, first: int, stop: int) -> None:
        """The cases from `first` up to `stop` will be read soon."""

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_errand"}  # a thread stays here

    def _read(self, index: Tensor) -> Tensor:
        self._settle()
        if bool((index.diff() > 0).all()):
            return self._load(index)
        rows, place = torch.unique(index, return_inverse=True)
        return self._load(rows)[place]

    def _load(self, rows: Tensor, room: Tensor | None = None, wanted: Callable[[], bool] = lambda: True) -> Tensor:
        """The cases `rows`, which rise, stretch by stretch while they are `wanted`; in `room` if they fit there."""
        like = torch.empty(0, dtype=torch.uint8 if self._is_bytes else torch.float32)
        fits = room is not None and len(room) >= len(rows)
        loaded, filled = room[: len(rows)] if fits else like.new_empty(len(rows), self._width), 0  # type: ignore[index]
        for part in self._stretches(rows):
            if not wanted():
                break
            first, stop = int(part[0]), int(part[-1]) + 1
            name, into = f"X (cases {first} to {stop - 1})", loaded[filled : filled + len(part)]
            if stop - first == len(part) and self._rows_into(first, into.numpy()):
                check_finite(into, name, None, allow_nan=False)
            else:
                stretch = as_matrix(self._rows(first, stop), name=name, dtype=None)
                whole = len(part) == len(stretch)
                into.copy_(stretch) if whole else torch.index_select(stretch, 0, part - first, out=into)
            filled += len(part)
        return loaded

    def _stretches(self, rows: Tensor) -> Iterator[Tensor]:
        """`rows` divided at the edges of blocks, and where skipping pays."""
        gap = max(1, GAP_BYTES // self._case_bytes)
        block = torch.bucketize(rows, self.edges, right=True)
        cuts = ((block.diff() > 0) | (rows.diff() > gap)).nonzero()[:, 0] + 1
        yield from rows.tensor_split(cuts)

    def _groups(self, epoch: int) -> Iterator[Tensor]:
        """The epoch's order, one group of blocks at a time."""
        generator = order_generator(self.seed, epoch)
        for group in self._blocks(generator):
            spans = zip(self.edges[group].tolist(), self.edges[group + 1].tolist(), strict=True)
            rows = torch.cat([torch.arange(first, stop) for first, stop in spans])
            yield rows[torch.randperm(len(rows), generator=generator)] if self.shuffle else rows

    def _blocks(self, generator: torch.Generator) -> Iterator[Tensor]:
        """The blocks of each group. Those of a run of several stay in order, in groups of their own."""
        runs = torch.arange(len(self.edges)) if self.runs is None else self.runs
        n_runs = len(runs) - 1
        order = torch.randperm(n_runs, generator=generator) if self.shuffle else torch.arange(n_runs)
        alone: list[int] = []  # blocks that are runs of their own
        for first, stop in zip(runs[order].tolist(), runs[order + 1].tolist(), strict=True):
            if stop - first == 1:
                alone.append(first)
            if alone and (len(alone) == self.buffer_blocks or stop - first > 1):
                yield torch.tensor(alone)
                alone = []
            if stop - first > 1:
                yield from torch.arange(first, stop).split(self.buffer_blocks)
        if alone:
            yield torch.tensor(alone)

    def _epoch(self, epoch: int, start: int, generator: torch.Generator, rank: int, world_size: int) -> Iterator[Any]:
        number = start
        left, left_index = torch.empty(0), torch.empty(0, dtype=torch.int64)  # of a batch that the next group completes
        with closing(ReadAhead(self._reads(epoch, start, rank, world_size))) as groups:
            for mine, place, loaded in groups:
                taken = 0
                while number < self.n_batches(world_size):
                    first, last = share(number, self.n_cases, self.batch_size, rank, world_size)
                    end = taken + last - first - len(left)
                    if end > len(mine):
                        break
                    batch, index = loaded.index_select(0, place[taken:end]), mine[taken:end]
                    if len(left):
                        batch, index = torch.cat([left, batch]), torch.cat([left_index, index])
                        left, left_index = left[:0], left_index[:0]
                    yield self._finish(batch, index, generator)
                    self._begin_next(groups)  # not before the second batch: a look at one reads one group
                    number, taken = number + 1, end
                rest = loaded.index_select(0, place[taken:])
                left = torch.cat([left, rest]) if len(left) else rest
                left_index = torch.cat([left_index, mine[taken:]])

    def _begin_next(self, groups: ReadAhead[_Group]) -> None:
        if groups.errand is None:
            self._settle()
            groups.begin_next()
            self._errand = groups.errand

    def _settle(self) -> None:
        """One thread reads at a time: wait for the one that does."""
        errand, self._errand = self._errand, None
        if errand is not None:
            errand.join()

    def _reads(self, epoch: int, start: int, rank: int, world_size: int) -> Iterator[Read[_Group]]:
        """What reads this rank's cases of one group after the other: in their order, where they lie, what was read."""
        position, rooms, turn = 0, dict[int, Tensor](), 0  # the groups take turns in the same memory
        for group in self._groups(epoch):
            mine = group[self._is_mine(position, len(group), start, rank, world_size)]
            position += len(group)
            if len(mine):
                yield partial(self._load_group, mine, rooms, turn)
                turn = 1 - turn

    def _load_group(self, mine: Tensor, rooms: dict[int, Tensor], turn: int, wanted: Callable[[], bool]) -> _Group:
        rows, where = mine.sort()
        for part in rows.tensor_split((torch.bucketize(rows, self.edges, right=True).diff() > 0).nonzero()[:, 0] + 1):
            self._announce(int(part[0]), int(part[-1]) + 1)
        rooms[turn] = self._load(rows, rooms.get(turn), wanted)
        return mine, where.argsort(), rooms[turn]

    def _is_mine(self, position: int, size: int, start: int, rank: int, world_size: int) -> Tensor:
        """Which of the `size` positions from `position` on belong to this rank's share of a batch still to come."""
        where = torch.arange(position, position + size)
        batch = where // self.batch_size
        length = (self.n_cases - batch * self.batch_size).clamp(max=self.batch_size)
        offset = where % self.batch_size
        in_share = (offset >= length * rank // world_size) & (offset < length * (rank + 1) // world_size)
        return in_share & (batch >= start) & (batch < self.n_batches(world_size))


def blocks_of(n_cases: int, bytes_per_case: int, block_size: int | None, buffer_blocks: int) -> tuple[Tensor, int]:
    """Edges of even blocks, and their size: 4096 cases, or as many as keep a group of them within 128 MiB."""
    check_count("buffer_blocks", buffer_blocks, low=1)
    if block_size is None:
        block_size = min(BLOCK, max(1, GROUP_BYTES // (buffer_blocks * bytes_per_case)))
    check_count("block_size", block_size, low=1)
    edges = torch.arange(0, n_cases + block_size, block_size).clamp(max=n_cases)
    return edges.unique(), block_size
