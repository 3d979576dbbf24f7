"""Sample quality without a downloaded network: a model's numbers beside those of held-out data and of training copies.

Held-out data are what a perfect sampler reaches (the floor of every distance), copies are what learning by heart
reaches (the cheat: good in every distance, found out by C_T). A number of a model says something only between the two.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deepbelief.errors import InvalidDataError, check
from deepbelief.evaluation.feature_network import FeatureNetwork
from deepbelief.evaluation.frechet import frechet_distance
from deepbelief.evaluation.kernel_distance import kernel_distance
from deepbelief.evaluation.measured import random_rows, standard_error
from deepbelief.evaluation.memorisation import copying_test
from deepbelief.evaluation.prdc import prdc
from deepbelief.evaluation.samples import COPIES, HELD_OUT
from deepbelief.evaluation.two_sample import pair_test
from deepbelief.types import Result

FRECHET, KERNEL = "Frechet distance (FD)", "kernel distance (KID)"
FOUR = ("precision", "recall", "density", "coverage")
PAIRS, PAIRS_P, COPYING = "two-sample pair accuracy", "two-sample pair accuracy: p-value", "memorisation C_T"
FEWEST = 40


def quality_results(
    samples: Tensor,
    train: Tensor,
    held_out: Tensor,
    networks: Sequence[FeatureNetwork],
    *,
    data: str,
    model_name: str,
    generator: torch.Generator,
    shape: Sequence[int] | None = None,
    references: bool = True,
    k: int = 5,
    most: int = 10_000,
) -> list[Result]:
    """Rows of FD, KID, precision, recall, density, coverage, two-sample test and C_T.

    They are given for `samples`, and with `references` for held-out data and for copies of training data too. Half of
    `held_out` is the yardstick, the other half the floor; all sets are cut to one size, at most `most`. FD, KID and the
    four are means over `networks`, with the standard error over them (for KID with the error of sampling too); FD is
    also given for each network under its name and hash. Samples and data must be of one kind: draws beside bits.
    """
    check(len(networks) >= 1, "networks must hold at least 1 network. Got none. Use feature_networks(...).")
    sets = Candidates(train, held_out, generator, most=min(most, len(samples)))
    rows = sets.cut(samples, "samples")
    candidates = {model_name: rows} | ({HELD_OUT: sets.floor, COPIES: sets.copies} if references else {})
    result: list[Result] = []
    for name, candidate in candidates.items():
        result += distance_rows(candidate, sets.yardstick, networks, k=k, data=data, model_name=name)
        test = pair_test(sets.yardstick, candidate, generator=generator, shape=shape)
        copying = copying_test(train, sets.yardstick, candidate, generator=generator)
        result += [
            Result(PAIRS, 100 * test.accuracy, "measured", 100 * test.stderr, "%", data, name),
            Result(PAIRS_P, test.p_value, "measured", None, "", data, name),
            Result(COPYING, copying.value, "measured", copying.null_deviation, "", data, name),
        ]
    return result


class Candidates:
    """The yardstick and both references, of one size: half of the held-out cases at most."""

    def __init__(self, train: Tensor, held_out: Tensor, generator: torch.Generator, *, most: int = 10_000) -> None:
        self.n = min(len(train), len(held_out) // 2, most)
        if self.n < FEWEST:
            raise InvalidDataError(
                f"at least {FEWEST} samples, {FEWEST} training and {2 * FEWEST} held-out cases are needed. "
                f"Got enough for {self.n}."
            )
        self.generator = generator
        order = random_rows(len(held_out), 2 * self.n, generator)
        self.yardstick, self.floor = held_out[order[: self.n]], held_out[order[self.n :]]
        self.copies = self.cut(train, "train")

    def cut(self, x: Tensor, name: str) -> Tensor:
        """A random choice of as many rows as the other sets have."""
        if x.ndim != 2 or x.shape[1] != self.yardstick.shape[1] or not bool(torch.isfinite(x).all()):
            raise InvalidDataError(
                f"{name} must be finite, of shape (cases, {self.yardstick.shape[1]}). Got {tuple(x.shape)}."
            )
        return x[random_rows(len(x), self.n, self.generator)]


def distance_rows(
    candidate: Tensor, yardstick: Tensor, networks: Iterable[FeatureNetwork], *, k: int, data: str, model_name: str
) -> list[Result]:
    """FD for each network, and the means over networks of FD, KID and the four."""
    values: dict[str, list[float]] = {name: [] for name in (FRECHET, KERNEL, *FOUR)}
    errors: list[float] = []
    each: list[Result] = []

    def row(quantity: str, value: float, error: float | None) -> Result:
        known = None if error is None or math.isnan(error) else error  # one network has no spread
        return Result(quantity, value, "measured", known, "", data, model_name)

    for net in networks:
        real, drawn = net.features(yardstick), net.features(candidate)
        distance, kernel, four = frechet_distance(real, drawn), kernel_distance(real, drawn), prdc(real, drawn, k=k)
        each.append(row(f"FD({net.name}, {net.hash})", distance, None))
        for name, value in zip(values, [distance, kernel.value, *vars(four).values()], strict=True):
            values[name].append(value)
        errors.append(kernel.stderr)
    spread = {name: standard_error(np.array(found)) for name, found in values.items()}
    # one and the same draw of cases is seen by all networks, so its error does not shrink with their number
    spread[KERNEL] = math.hypot(float(np.mean(errors)), 0.0 if math.isnan(spread[KERNEL]) else spread[KERNEL])
    means: list[Any] = [row(name, float(np.mean(found)), spread[name]) for name, found in values.items()]
    return means + each
