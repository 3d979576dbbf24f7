"""Do samples lie nearer to the training cases than new data do? The three-sample test C_T (Meehan et al. 2020).

In every cell of a partition of the space (k-means on the training cases), the distances of samples to their nearest
training case are ranked against those of held-out cases by the Mann-Whitney U statistic, standardized to Z:

    C_T = sum_cells w Z(cell),   w the cell's share of held-out cases among the cells that have enough of both

Far below 0: the samples are copies of training cases. Far above 0: they are further off than new data, underfitting.
Under no difference C_T has mean 0 and standard deviation sqrt(sum w^2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from deepbelief.errors import InvalidDataError, check_count
from deepbelief.evaluation.measured import seed_from, to_numpy
from deepbelief.evaluation.samples import nearest_distances

FEWEST_IN_CELL, MOST_CLUSTERED = 5, 5000


@dataclass(frozen=True)
class CopyingTest:
    """C_T, its standard deviation were samples like new data, and the cells that were counted."""

    value: float
    null_deviation: float
    n_cells: int

    @property
    def p_value(self) -> float:
        """The probability of a C_T this low or lower without copying (normal)."""
        return 0.5 * math.erfc(-self.value / self.null_deviation / math.sqrt(2))


def copying_test(
    train: Tensor, held_out: Tensor, samples: Tensor, *, generator: torch.Generator, n_cells: int = 10
) -> CopyingTest:
    """C_T of `samples` beside `held_out` cases, by Euclidean distance to the nearest row of `train`.

    Cells with fewer than 5 held-out cases or 5 samples say nothing and are left out.
    """
    from sklearn.cluster import KMeans

    check_count("n_cells", n_cells, low=1, high=len(train))
    rows = to_numpy(train).astype(np.float64)[:MOST_CLUSTERED]
    cells = KMeans(n_cells, n_init=2, random_state=seed_from(generator)).fit(rows)
    in_cell = [cells.predict(to_numpy(x).astype(np.float64)) for x in (held_out, samples)]
    distances = [to_numpy(nearest_distances(x.double(), train.double())) for x in (held_out, samples)]
    found = []
    for cell in range(n_cells):
        new, drawn = (d[c == cell] for d, c in zip(distances, in_cell, strict=True))
        if min(len(new), len(drawn)) >= FEWEST_IN_CELL:
            found.append((len(new), mann_whitney_z(drawn, new)))
    if not found:
        raise InvalidDataError(
            f"some cell must have {FEWEST_IN_CELL} held-out cases and {FEWEST_IN_CELL} samples. Got none of {n_cells}. "
            "Draw more, or lower n_cells."
        )
    weights = np.array([n for n, _ in found]) / sum(n for n, _ in found)
    value = float(weights @ np.array([z for _, z in found]))
    return CopyingTest(value, float(np.sqrt((weights**2).sum())), len(found))


def mann_whitney_z(first: np.ndarray, second: np.ndarray) -> float:
    """``(U - m n / 2) / sd(U)``: below 0 where `first` tends to be smaller; the deviation is corrected for ties.

    >>> mann_whitney_z(np.array([1.0, 2.0]), np.array([1.0, 2.0]))
    0.0
    """
    from scipy.stats import rankdata

    m, n = len(first), len(second)
    pooled = np.concatenate([first, second])
    u = rankdata(pooled)[:m].sum() - m * (m + 1) / 2
    ties = np.unique(pooled, return_counts=True)[1].astype(np.float64)
    total = m + n
    variance = m * n / 12 * (total + 1 - (ties**3 - ties).sum() / (total * (total - 1)))
    return float((u - m * n / 2) / math.sqrt(variance)) if variance > 0 else 0.0
