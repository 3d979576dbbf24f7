"""Chains beside data: are means, pairwise covariances and clusters visited as in the data, as far as sampling can tell?

Every distance stands beside its own floor: the same distance for held-out cases, as many as there are chains.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from deepbelief.errors import InvalidDataError, check_count
from deepbelief.evaluation.measured import random_rows, seed_from, to_numpy
from deepbelief.evaluation.samples import HELD_OUT
from deepbelief.types import Result

REPEATS, CLUSTERS, MOST_CLUSTERED = 50, 10, 5000
SMALLEST_SHARE = 0.02  # of the data, below which a cluster that no chain visits says nothing


@dataclass(frozen=True)
class FlooredDistance:
    """A distance of chains from data, and what it is for held-out cases: mean and standard deviation over draws."""

    value: float
    floor: float
    spread: float

    @property
    def excess(self) -> float:
        """How many standard deviations the value lies above its floor."""
        return (self.value - self.floor) / max(self.spread, 1e-12)


@dataclass(frozen=True)
class Comparison:
    """Chains beside data. ``shares`` (clusters, 2) are how often data and chains are in each cluster."""

    means: FlooredDistance
    covariances: FlooredDistance
    occupancy: FlooredDistance
    shares: np.ndarray

    @property
    def missed(self) -> int:
        """Clusters with at least 2 % of the data where fewer chains than a tenth of their share are."""
        data, chains = self.shares.T
        return int(((data >= SMALLEST_SHARE) & (chains < 0.1 * data)).sum())


class Yardstick:
    """What the training cases look like, computed once: means, covariances, clusters and their shares."""

    def __init__(self, train: Tensor, n_clusters: int, generator: torch.Generator) -> None:
        from sklearn.cluster import KMeans

        some = train[random_rows(len(train), MOST_CLUSTERED, generator).to(train.device)]
        clusters = KMeans(n_clusters, n_init=3, random_state=seed_from(generator))
        self.clusters, self.n_clusters = clusters.fit(to_numpy(some).astype(np.float64)), n_clusters
        self.mean, self.covariance = train.double().mean(0), _covariance(train)
        self.shares = self.shares_of(train)

    def shares_of(self, x: Tensor) -> np.ndarray:
        """The share of `x` in each cluster."""
        labels = self.clusters.predict(to_numpy(x).astype(np.float64))
        return np.bincount(labels, minlength=self.n_clusters) / len(x)

    def distances(self, x: Tensor) -> tuple[float, float, float]:
        """``sum_i (m_i - m'_i)^2``, ``sum_{i<j} (C_ij - C'_ij)^2``, and total variation between the shares."""
        means = (x.double().mean(0) - self.mean).square().sum()
        covariances = (_covariance(x) - self.covariance).triu(1).square().sum()
        return float(means), float(covariances), float(np.abs(self.shares_of(x) - self.shares).sum() / 2)


def _covariance(x: Tensor) -> Tensor:
    return torch.cov(x.double().T).reshape(x.shape[1], -1)


def compare_with_data(
    samples: Tensor, train: Tensor, held_out: Tensor, *, n_clusters: int = CLUSTERS, generator: torch.Generator
) -> Comparison:
    """`samples` (the ends of independent chains) beside training cases, with the floor from held-out cases.

    Clusters are k-means' on the training cases; occupancy is the total variation distance between their shares, 0 where
    chains visit them as often as the data, 1 where they visit none of the data's. The floor is right on average; its
    spread is a little small, since draws of half the held-out cases overlap.
    """
    check_count("n_clusters", n_clusters, low=2)
    n = min(len(samples), len(held_out) // 2)
    if n < 10 or len(train) < 2 * n_clusters:
        raise InvalidDataError(
            f"chains are compared with at least 10 chains, 20 held-out and {2 * n_clusters} training cases. "
            f"Got {len(samples)}, {len(held_out)} and {len(train)}."
        )
    chosen, yardstick = _some(samples, n, generator), Yardstick(train, n_clusters, generator)
    values = yardstick.distances(chosen)
    rows = [yardstick.distances(_some(held_out, n, generator)) for _ in range(REPEATS)]
    floors, spreads = np.mean(rows, 0), np.std(rows, 0, ddof=1)
    three = [FlooredDistance(value, float(m), float(s)) for value, m, s in zip(values, floors, spreads, strict=True)]
    return Comparison(three[0], three[1], three[2], shares=np.stack([yardstick.shares, yardstick.shares_of(chosen)], 1))


def comparison_rows(found: Comparison, *, data: str, model_name: str) -> list[Result]:
    """Rows of results, for the model and for held-out cases: read one beside the other."""
    rows = []
    for name, distance in {
        "squared distance of the chains' means from the data's": found.means,
        "squared distance of the chains' covariances from the data's": found.covariances,
        "total variation of the chains' clusters from the data's": found.occupancy,
    }.items():
        rows.append(Result(name, distance.value, "measured", None, "", data, model_name))
        rows.append(Result(name, distance.floor, "measured", distance.spread, "", data, HELD_OUT))
    return rows


def _some(x: Tensor, n: int, generator: torch.Generator) -> Tensor:
    return x[random_rows(len(x), n, generator).to(x.device)]
