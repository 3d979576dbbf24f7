"""Real columns cut in two at a threshold each, in memory or batch by batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from deepbelief.data.base import Transform
from deepbelief.estimators.arrays import dense_chunks
from deepbelief.estimators.columns import Columns

Array = NDArray[Any]


@dataclass(frozen=True)
class BitColumns(Columns):
    """Columns that the units take as they are, or real ones cut in two at a threshold."""

    threshold: Array | None = None

    def inward(self, rows: Array) -> Array:
        """Rows of data as the visible units see them."""
        if self.threshold is None:
            return rows
        return (rows > self.threshold).astype(rows.dtype if rows.dtype.kind == "f" else np.float32)


def column_means(x: Any, weight: NDArray[np.float32] | None) -> Array:
    """The mean of each column in float64, some rows at a time."""
    share = np.ones(x.shape[0]) if weight is None else weight.astype(np.float64)
    total, first = np.zeros(x.shape[1]), 0
    for rows in dense_chunks(x):
        total += (rows * share[first : first + len(rows), None]).sum(0)
        first += len(rows)
    return total / share.sum()


def cut_at(threshold: Array, dtype: np.dtype[Any]) -> Transform:
    """`BitColumns.inward` for batches, which are float32: so is the threshold of values that were rounded to it."""
    level = torch.as_tensor(threshold.astype(np.float32 if dtype == np.float64 else np.float64)).double()
    return lambda x, generator: (x.double() > level.to(x.device)).to(x.dtype)
