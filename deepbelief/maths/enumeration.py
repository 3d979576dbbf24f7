"""Enumeration of every state of a few discrete variables, in mixed radix."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from deepbelief.errors import check_count


def n_states(bases: Sequence[int]) -> int:
    """How many joint states variables with these numbers of values have.

    >>> n_states([2, 2, 3])
    12
    """
    return math.prod(bases)


def digits(start: int, stop: int, bases: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """Joint states number `start` to `stop - 1`, one a row, as digits below `bases`; the last variable runs fastest.

    >>> digits(0, 4, [2, 2]).tolist()
    [[0, 0], [0, 1], [1, 0], [1, 1]]
    """
    rest = torch.arange(start, stop, device=device)
    columns = []
    for base in reversed(bases):
        columns.append(rest % base)
        rest = rest // base
    return torch.stack(columns[::-1], dim=1) if columns else rest.new_zeros((stop - start, 0))


def all_digits(bases: Sequence[int], chunk: int = 1 << 14, device: torch.device | str = "cpu") -> Iterator[Tensor]:
    """Every joint state, in chunks of rows, so that memory stays bounded."""
    check_count("chunk", chunk, low=1)
    total = n_states(bases)
    for start in range(0, total, chunk):
        yield digits(start, min(start + chunk, total), bases, device)
