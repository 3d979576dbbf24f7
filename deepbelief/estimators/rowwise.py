"""Random choices that depend on a case and a seed alone, so that a case's score does not depend on its company.

The hash is multilinear with random coefficients: ``(a_0 + sum_i a_i x_i mod 2^64) >> 32`` over the 32-bit words of a
row. It is uniform, and independent for any two different rows (Thorup 2015, "High speed hashing for integers and
strings", section 3.4).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def hash_of_each_row(rows: NDArray[Any], seed: int) -> NDArray[np.uint64]:
    """32 random bits for each row, the same wherever and whenever the row comes: (n, d) -> (n,)."""
    values = np.ascontiguousarray(rows + 0.0)  # makes -0.0 and 0.0 one value
    words = values.view(np.uint32).astype(np.uint64)
    draws = np.random.default_rng(np.random.SeedSequence(entropy=seed, spawn_key=(0x40B,)))
    a = draws.integers(0, 2**64, size=words.shape[1] + 1, dtype=np.uint64)
    return (a[0] + words @ a[1:]) >> np.uint64(32)


def column_of_each_row(rows: NDArray[Any], n_columns: int, seed: int) -> NDArray[np.int64]:
    """One column in ``range(n_columns)`` for each row, uniformly: (n, d) -> (n,)."""
    return ((hash_of_each_row(rows, seed) * np.uint64(n_columns)) >> np.uint64(32)).astype(np.int64)
