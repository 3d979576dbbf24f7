"""How the columns of the data meet the visible units: which kind of units, and on which scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from deepbelief.estimators.arrays import dense_chunks
from deepbelief.units.base import Units
from deepbelief.units.catalog import make_units

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Columns:
    """The kind of the visible units, and ``(x - mean) / scale`` where real-valued columns are standardized."""

    kind: str
    mean: Numbers | None = None
    scale: Numbers | None = None

    def inward(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Rows of data as the visible units see them."""
        return rows if self.mean is None or self.scale is None else (rows - self.mean) / self.scale

    def outward(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Values of the visible units on the scale of the data, in the type of `rows`."""
        if self.mean is None or self.scale is None:
            return rows
        return (rows * self.scale + self.mean).astype(rows.dtype)

    @property
    def log_scale(self) -> float:
        """``sum_j log scale_j``: what a density in nats loses on the way from the units' scale to the data's."""
        return 0.0 if self.scale is None else float(np.log(self.scale).sum())

    def units(self, x: Any, n_values: int | None) -> Units:
        """Visible units for the rows of `x`, after checking that they can take its values."""
        units = make_units(self.kind, x.shape[1], n_values=n_values, name="visible")
        for rows in dense_chunks(x):
            units.check_values(torch.as_tensor(np.array(self.inward(rows), dtype=np.float32)))
        return units


def choose_columns(x: Any, visible: str, weight: NDArray[Any] | None = None) -> Columns:
    """The columns for ``visible="auto"`` (Bernoulli in [0, 1], else standardized Gaussian), or as they were named."""
    if visible != "auto":
        return Columns(visible)
    if all(rows.min() >= 0 and rows.max() <= 1 for rows in dense_chunks(x)):
        return Columns("bernoulli")
    mean, variance = _moments(x, weight)
    return Columns("gaussian", mean, np.sqrt(np.where(variance > 0, variance, 1.0)))


def _moments(x: Any, weight: NDArray[Any] | None) -> tuple[Numbers, Numbers]:
    """Mean and variance of each column in float64; constant columns have a variance of exactly 0."""
    share = np.full(x.shape[0], 1 / x.shape[0]) if weight is None else weight / weight.sum(dtype=np.float64)
    mean = _weighted_sum(x, share, np.zeros(x.shape[1]), power=1)
    variance = _weighted_sum(x, share, mean, power=2)
    least, most = zip(*((rows.min(0), rows.max(0)) for rows in dense_chunks(x)), strict=True)
    return mean, np.where(np.min(least, 0) == np.max(most, 0), 0.0, variance)


def _weighted_sum(x: Any, share: Numbers, centre: Numbers, power: int) -> Numbers:
    total, first = np.zeros(x.shape[1]), 0
    for rows in dense_chunks(x):
        total += share[first : first + len(rows)] @ (rows - centre) ** power
        first += len(rows)
    return total
