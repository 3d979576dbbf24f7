"""The product ``J x`` of a symmetric coupling matrix, dense or sparse, for all columns or for one block of them.

A snapshot: made from the couplings as they are, and thrown away when they change.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from deepbelief.energy.sites import Block
from deepbelief.maths.products import product

SPARSE_BELOW = 0.05  # the share of nonzero entries; below it, and from 200 columns on, the sparse product is faster
DENSE_BELOW = 200


class Interaction(Protocol):
    """``J x``, whole and by blocks."""

    def whole(self, x: Tensor) -> Tensor:
        """(n, size) -> (n, size)."""
        ...

    def on(self, index: int, x: Tensor) -> Tensor:
        """The columns of block number `index`: (n, size) -> (n, columns of the block)."""
        ...


def is_sparse(n_pairs: int, size: int) -> bool:
    """Whether so few pairs of so many columns are kept and multiplied sparse."""
    return size >= DENSE_BELOW and 2 * n_pairs < SPARSE_BELOW * size * size


class DenseInteraction:
    """A matrix in memory."""

    def __init__(self, coupling: Tensor, pairs: Tensor, size: int, blocks: Sequence[Block]) -> None:
        self.matrix = dense_matrix(coupling, pairs, size)
        self.blocks = blocks

    def whole(self, x: Tensor) -> Tensor:
        return product(x, self.matrix)

    def on(self, index: int, x: Tensor) -> Tensor:
        return product(x, self.matrix[:, self.blocks[index].place])


def dense_matrix(coupling: Tensor, pairs: Tensor, size: int) -> Tensor:
    """The symmetric matrix J: (size, size)."""
    matrix = coupling.new_zeros(size * size).index_put((pairs[0] * size + pairs[1],), coupling)
    matrix = matrix.view(size, size)
    return matrix + matrix.T


@dataclass(frozen=True)
class Pattern:
    """Compressed rows of the symmetric matrix (or of some of its rows): where entry number k of `source` goes."""

    starts: Tensor
    columns: Tensor
    source: Tensor
    shape: tuple[int, int]

    @classmethod
    def of(cls, pairs: Tensor, size: int, rows: Tensor | None = None) -> Pattern:
        """The pattern of J, or of its rows `rows`."""
        number = torch.arange(pairs.shape[1], device=pairs.device)
        row, column, source = torch.cat([pairs[0], pairs[1]]), torch.cat([pairs[1], pairs[0]]), number.repeat(2)
        n_rows = size
        if rows is not None:
            place = torch.full((size,), -1, device=pairs.device)
            place[rows] = torch.arange(len(rows), device=pairs.device)
            row = place[row]
            kept = row >= 0
            row, column, source, n_rows = row[kept], column[kept], source[kept], len(rows)
        order = torch.argsort(row * size + column)
        starts = torch.zeros(n_rows + 1, dtype=torch.long, device=pairs.device)
        starts[1:] = torch.bincount(row, minlength=n_rows).cumsum(0)
        return cls(starts, column[order], source[order], (n_rows, size))

    def product(self, coupling: Tensor, x: Tensor) -> Tensor:
        """``x J'`` for rows of x: (n, size) -> (n, rows)."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
            matrix = torch.sparse_csr_tensor(
                self.starts, self.columns, coupling[self.source], self.shape, check_invariants=False
            )
            return (matrix @ x.T).T


class SparseInteraction:
    """Compressed sparse rows, one matrix for each block."""

    def __init__(self, coupling: Tensor, patterns: Sequence[Pattern], blocks: Sequence[Pattern]) -> None:
        self.coupling, self.patterns, self.blocks = coupling, patterns, blocks

    def whole(self, x: Tensor) -> Tensor:
        return self.patterns[0].product(self.coupling, x)

    def on(self, index: int, x: Tensor) -> Tensor:
        return self.blocks[index].product(self.coupling, x)
