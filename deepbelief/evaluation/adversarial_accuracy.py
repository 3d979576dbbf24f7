"""Adversarial accuracy: do samples lie nearer to the training cases than these lie to each other?

    AA_truth = mean over cases t   of  [ d(t, nearest sample) > d(t, nearest other case) ]
    AA_syn   = mean over samples s of  [ d(s, nearest case) > d(s, nearest other sample) ]        (a tie counts 1/2)

Both are 1/2 for two sets of one law. AA_truth near 0: every case has a sample beside it (learned by heart); AA_syn near
0: every sample has a case beside it; near 1: the sets lie apart. Yale et al. 2020, "Generation and evaluation of
privacy preserving synthetic health data"; for RBMs Bereux et al. 2023.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from deepbelief.errors import InvalidDataError
from deepbelief.evaluation.measured import random_rows, seed_from, to_numpy
from deepbelief.types import Result

IDEAL, NEIGHBOURS, SHUFFLES = 0.5, 20, 100
SAME = 1e-6  # distances that differ by less, in parts of the largest, are a tie (what rounding makes of one)


@dataclass(frozen=True)
class AdversarialAccuracy:
    """Both accuracies, and the standard error that each would have if the two sets had one law."""

    truth: float
    synthetic: float
    stderr: float

    @property
    def p_value(self) -> float:
        """Two-sided, of both being 1/2 (normal, corrected for looking twice)."""
        z = max(abs(self.truth - IDEAL), abs(self.synthetic - IDEAL)) / self.stderr
        return min(1.0, 2 * math.erfc(z / math.sqrt(2)))


def adversarial_accuracy(cases: Tensor, samples: Tensor, *, generator: torch.Generator) -> AdversarialAccuracy:
    """AA_truth and AA_syn of `samples` beside `cases`, by Euclidean distance; both are cut to one size.

    The error comes from drawing anew which half of the pooled rows is called samples, so ties and rows that share a
    neighbour are in it.
    """
    n = min(len(cases), len(samples))
    if n < 10:
        raise InvalidDataError(f"adversarial accuracy needs at least 10 cases and 10 samples. Got {n}. Draw more.")
    chosen = [x[random_rows(len(x), n, generator).to(x.device)] for x in (cases, samples)]
    pooled = np.concatenate([to_numpy(x).astype(np.float64) for x in chosen])
    distances, rows = _neighbours(pooled)
    of_samples = np.repeat([False, True], n)
    truth, synthetic = _accuracies(distances, rows, of_samples)
    shuffle = np.random.default_rng(seed_from(generator)).permutation
    null = [_accuracies(distances, rows, shuffle(of_samples)) for _ in range(SHUFFLES)]
    return AdversarialAccuracy(truth, synthetic, max(float(np.std(null)), 1 / (2 * n)))


def adversarial_rows(
    cases: Tensor, samples: Tensor, which: str, *, data: str, model_name: str, generator: torch.Generator
) -> list[Result]:
    """Rows of both accuracies against `which` cases ("training" or "held-out"), in percent: 50 is ideal."""
    found = adversarial_accuracy(cases, samples, generator=generator)
    names = {f"AA_truth, {which} cases": found.truth, f"AA_syn, {which} cases": found.synthetic}
    return [
        Result(name, 100 * value, "measured", 100 * found.stderr, "%", data, model_name)
        for name, value in names.items()
    ]


def _neighbours(pooled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances to the nearest rows and their numbers, nearest first, each row itself left out."""
    from sklearn.neighbors import NearestNeighbors

    k = min(NEIGHBOURS, len(pooled) - 1)
    tree = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(pooled)
    distances, rows = tree.kneighbors()  # without an argument a row is not its own neighbour
    return distances, rows


def _accuracies(distances: np.ndarray, rows: np.ndarray, of_samples: np.ndarray) -> tuple[float, float]:
    """AA_truth and AA_syn for one naming of the rows.

    A set that is absent among a row's nearest lies further away than the other, unless all of those tie.
    """
    own = of_samples[rows] == of_samples[:, None]
    to_own = np.where(own, distances, np.inf).min(1)
    to_other = np.where(own, np.inf, distances).min(1)
    close = SAME * distances.max()
    tie = (np.abs(to_other - to_own) <= close) | (distances[:, -1] - distances[:, 0] <= close)
    score = np.where(tie, 0.5, to_other > to_own)
    return float(score[~of_samples].mean()), float(score[of_samples].mean())
