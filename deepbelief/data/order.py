"""Who gets which cases when: orders that depend on (seed, epoch) alone, shares of ranks, held-out cases."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from deepbelief.errors import InvalidArgumentError, check_count

_ORDER_KEY = 0x0DE5  # keeps the draws for the order apart from every other use of the same seed


def order_generator(seed: int, epoch: int) -> torch.Generator:
    """The CPU generator behind the order of one epoch: the same for every rank, device and library version of ours."""
    word = np.random.SeedSequence(entropy=seed, spawn_key=(_ORDER_KEY, epoch)).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(word >> np.uint64(1)))


def epoch_order(n: int, seed: int, epoch: int, *, shuffle: bool = True) -> Tensor:
    """The order of `n` cases in one epoch, as int64 indices.

    >>> bool((epoch_order(9, seed=0, epoch=3) == epoch_order(9, seed=0, epoch=3)).all())
    True
    >>> epoch_order(4, seed=0, epoch=3, shuffle=False)
    tensor([0, 1, 2, 3])
    """
    return torch.randperm(n, generator=order_generator(seed, epoch)) if shuffle else torch.arange(n)


def count_batches(n: int, batch_size: int, world_size: int = 1) -> int:
    """Batches per epoch: a ragged tail counts, unless it has fewer cases than there are ranks.

    >>> count_batches(10, 4), count_batches(9, 4, world_size=2)
    (3, 2)
    """
    whole, tail = divmod(n, batch_size)
    return whole + (tail >= world_size and tail > 0)


def share(batch: int, n: int, batch_size: int, rank: int, world_size: int) -> tuple[int, int]:
    """First and last+1 position, in the epoch's order, of one rank's contiguous share of one global batch.

    >>> [share(1, n=10, batch_size=6, rank=r, world_size=3) for r in range(3)]
    [(6, 7), (7, 8), (8, 10)]
    """
    first = batch * batch_size
    size = min(batch_size, n - first)
    return first + size * rank // world_size, first + size * (rank + 1) // world_size


def check_ranks(n: int, batch_size: int, start: int, rank: int, world_size: int) -> None:
    """Refuse ranks that would get empty batches."""
    check_count("start", start, low=0)
    check_count("world_size", world_size, low=1)
    check_count("rank", rank, low=0, high=world_size - 1)
    check_count("batch_size", batch_size, low=world_size, remedy=f"Each of {world_size} ranks needs a case.")
    if n < world_size:
        raise InvalidArgumentError(f"There must be a case for each rank. Got {n} cases for {world_size} ranks.")


def holdout(n: int, fraction: float, *, seed: int = 0, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Two sorted sets of indices, (kept, held out), drawn with `seed`; with `labels`, each class in proportion.

    >>> kept, held = holdout(10, 0.2)
    >>> len(kept), len(held)
    (8, 2)
    """
    if not 0 < fraction < 1:
        raise InvalidArgumentError(f"fraction must be between 0 and 1. Got fraction={fraction}.")
    check_count("n", n, low=2, remedy="A single case cannot be split.")
    held = _draw_classes(labels, fraction, seed) if labels is not None else _draw(torch.arange(n), fraction, seed, 0)
    is_held = torch.zeros(n, dtype=torch.bool)
    is_held[held] = True
    if not 0 < int(is_held.sum()) < n:
        raise InvalidArgumentError(f"fraction must leave cases on both sides. Got fraction={fraction} of {n} cases.")
    return (~is_held).nonzero()[:, 0], is_held.nonzero()[:, 0]


def _draw_classes(labels: Tensor, fraction: float, seed: int) -> Tensor:
    members = [(labels == label).nonzero()[:, 0] for label in labels.unique()]
    return torch.cat([_draw(indices, fraction, seed, k) for k, indices in enumerate(members)])


def _draw(indices: Tensor, fraction: float, seed: int, stream: int) -> Tensor:
    shuffled = indices[torch.randperm(len(indices), generator=order_generator(seed, stream))]
    return shuffled[: round(fraction * len(indices))]
