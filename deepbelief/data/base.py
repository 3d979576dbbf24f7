"""What all sources share: the plan of an epoch, and how raw rows become a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from deepbelief.data.arrays import as_target, as_weight
from deepbelief.data.bits import unpack
from deepbelief.data.order import check_ranks, count_batches, epoch_order, share
from deepbelief.errors import check_count
from deepbelief.types import Batch

Transform = Callable[[Tensor, torch.Generator], Tensor]


class Source(ABC):
    """Batches of cases in an order that depends on ``seed`` and the epoch alone (obeys `protocols.BatchSource`).

    Rank r of W gets a contiguous share of every global batch, shares differing by at most one case. A ragged last
    batch is kept, unless it has fewer cases than there are ranks: then it is dropped for this epoch, so that no rank
    ever gets an empty batch. A batch's ``x`` is float32 (n, d), multiplied by ``scale`` and then passed through
    ``transform(x, generator)``, the hook for stochastic binarization and noise. ``y`` and ``weight`` travel along. With
    ``packed``, rows are that many bits, eight to a byte (`numpy.packbits`), and become 0 and 1 when a batch is made.
    """

    def __init__(
        self,
        n_cases: int,
        n_features: int,
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
    ) -> None:
        check_count("batch_size", batch_size, low=1)
        check_count("seed", seed, low=0)
        self.n_cases, self.n_features = n_cases, packed or n_features
        self.packed = packed
        self.batch_size, self.seed, self.shuffle = batch_size, seed, shuffle
        self.transform, self.scale, self.device = transform, scale, torch.device(device)
        self.y = None if y is None else as_target(y, n_cases)
        self.weight = None if weight is None else as_weight(weight, n_cases)

    def __len__(self) -> int:
        """Batches per epoch, for one process; see `n_batches` for several."""
        return self.n_batches()

    def n_batches(self, world_size: int = 1) -> int:
        """Batches per epoch that each of `world_size` ranks yields."""
        return count_batches(self.n_cases, self.batch_size, world_size)

    def batches(
        self, epoch: int, *, start: int = 0, generator: torch.Generator, rank: int = 0, world_size: int = 1
    ) -> Iterator[Batch]:
        """This rank's share of each batch of `epoch`, from batch number `start` on."""
        check_ranks(self.n_cases, self.batch_size, start, rank, world_size)
        return self._epoch(epoch, start, generator, rank, world_size)

    def chunks(self, size: int = 4096, *, generator: torch.Generator | None = None) -> Iterator[Batch]:
        """All cases in their original order, `size` at a time; transformed only where a `generator` is given."""
        check_count("size", size, low=1)
        for first in range(0, self.n_cases, size):
            yield self._batch(torch.arange(first, min(first + size, self.n_cases)), generator)

    def to(self, device: torch.device | str) -> Source:
        """This source, with its batches (and data that it keeps whole) on another device."""
        self.device = torch.device(device)
        return self

    @property
    def _index_device(self) -> torch.device:
        """Where `_read` wants its indices: moved there once per epoch rather than once per batch."""
        return torch.device("cpu")

    @abstractmethod
    def _read(self, index: Tensor) -> Tensor:
        """The raw rows `index` as a dense (n, d) tensor."""

    def _epoch(self, epoch: int, start: int, generator: torch.Generator, rank: int, world_size: int) -> Iterator[Batch]:
        order = epoch_order(self.n_cases, self.seed, epoch, shuffle=self.shuffle).to(self._index_device)
        for number in range(start, self.n_batches(world_size)):
            first, stop = share(number, self.n_cases, self.batch_size, rank, world_size)
            yield self._batch(order[first:stop], generator)

    def _batch(self, index: Tensor, generator: torch.Generator | None) -> Batch:
        return self._finish(self._read(index), index, generator)

    def _finish(self, rows: Tensor, index: Tensor, generator: torch.Generator | None) -> Batch:
        y = None if self.y is None else self.y.index_select(0, index.to(self.y.device)).to(self.device)
        weight = (
            None if self.weight is None else self.weight.index_select(0, index.to(self.weight.device)).to(self.device)
        )
        return Batch(self._prepare(rows, generator), y, weight)

    def _prepare(self, rows: Tensor, generator: torch.Generator | None) -> Tensor:
        moved = rows.to(self.device)
        moved = moved if self.packed is None else unpack(moved, self.packed)
        x = (moved if self.scale is None else moved * self.scale).to(torch.float32)
        return x if self.transform is None or generator is None else self.transform(x, generator)
