"""The learning rate of each family in a comparison, chosen by the same rule for all on cases that no final number sees.

A fifth of the training cases is held out; each family is fitted to the rest with a few multiples of its usual rate and
judged by what it is for: the log-likelihood of the held-out cases (or its bound), how well they are reconstructed, or
how near its samples come to them. Where the highest or the lowest rate is the best, the search goes on beyond it, by as
much again. Test cases take no part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from deepbelief.data.order import holdout
from deepbelief.errors import DivergenceError
from deepbelief.evaluation.feature_network import FeatureNetwork
from deepbelief.evaluation.kernel_distance import kernel_distance
from deepbelief.recipes.compare_cases import Cases
from deepbelief.recipes.compare_fit import affordable, draws_of, mean_log_likelihood
from deepbelief.recipes.compare_settings import CompareSettings
from deepbelief.recipes.families import Family, build, usual_rate
from deepbelief.rng import make_generator
from deepbelief.types import Kind, Result

Judged = tuple[float, Kind, str]  # higher is better; the number's kind and unit
RATE, JUDGED = "learning rate", "held-out training cases at learning rate"
HELD_OUT_SHARE = 0.2
MOST_BEYOND = 3  # rates beyond the given ones
WORST = float("-inf")


def tuned_rate(
    name: str, family: Family, settings: CompareSettings, cases: Cases, networks: Sequence[FeatureNetwork]
) -> list[Result]:
    """Rows: the chosen learning rate, and what the held-out cases said of each that was tried."""
    kept, held = holdout(len(cases.train), HELD_OUT_SHARE, seed=0)
    part = replace(cases, train=cases.train[kept], test=cases.train[held], y=None, truth=None)
    usual = usual_rate(family, settings.width, bits=cases.bits)
    judged = searched(
        [_rounded(usual * factor) for factor in settings.rates],
        lambda rate: _judge(family, settings, part, networks, rate),
    )
    best = max(judged, key=lambda rate: judged[rate][0])
    own = {"data": f"{cases.name}, training part", "model": name}
    rows = [Result(RATE, best, "exact", None, "", **own)]
    for rate, (value, kind, unit) in sorted(judged.items()):
        rows.append(Result(f"{JUDGED} {rate:.3g}", value if value > WORST else None, kind, None, unit, **own))
    return rows


def searched(rates: Sequence[float], judge: Callable[[float], Judged]) -> dict[float, Judged]:
    """What `judge` says of each rate, and of further ones in equal steps while the best is at an end of them all.

    >>> list(searched([1.0, 3.0], lambda rate: (-abs(rate - 10), "measured", "")))
    [1.0, 3.0, 9.0, 27.0]
    """
    found = {rate: judge(rate) for rate in rates}
    for _ in range(MOST_BEYOND if len(found) > 1 else 0):
        ordered = sorted(found)
        best, step = max(ordered, key=lambda rate: found[rate][0]), ordered[1] / ordered[0]
        if best not in (ordered[0], ordered[-1]) or found[best][0] == WORST:
            break
        beyond = _rounded(best * step if best == ordered[-1] else best / step)
        found[beyond] = judge(beyond)
    return found


def _rounded(rate: float) -> float:
    return float(f"{rate:.3g}")


def _judge(
    family: Family, settings: CompareSettings, cases: Cases, networks: Sequence[FeatureNetwork], rate: float
) -> Judged:
    """Higher is better; a training that diverges is worst."""
    epochs = settings.epochs if settings.seconds is None else affordable(family, settings, cases, 0)
    estimator = build(family, settings.width, epochs, cases, settings.seeds[0], rate)
    try:
        estimator.fit(cases.train.numpy())
    except DivergenceError:
        return WORST, "measured", ""
    generator = make_generator(0, stream=8)
    if hasattr(estimator, "log_likelihood"):
        mean = mean_log_likelihood(estimator, family, settings, cases.test, generator)
        return float(mean), mean.kind, "nats per case"
    if hasattr(estimator, "score"):
        return float(estimator.score(cases.test.numpy())), "measured", "score"
    return -_distance(estimator, cases, networks, generator), "measured", "minus KID"


def _distance(estimator: Any, cases: Cases, networks: Sequence[FeatureNetwork], generator: torch.Generator) -> float:
    drawn = draws_of(estimator, len(cases.test), cases, generator)
    return float(np.mean([kernel_distance(net.features(drawn), net.features(cases.test)).value for net in networks]))
