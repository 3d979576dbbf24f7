"""Settings that an estimator leaves open (None), chosen by the data: passes, batches and the learning rate."""

from __future__ import annotations

import copy
import math
from typing import Any

from deepbelief.errors import check_count, check_fraction
from deepbelief.estimators.columns import Columns

LARGE_SET = 5000  # cases from which on batches of 100 do
FEWEST_PASSES, MOST_PASSES = 10, 100
UPDATES = 3000  # that learning takes at least; with fewer, layers stay near independent units
LEAST_TUNING, MOST_TUNING = 100, 400  # passes of back-propagation
RATE, RATE_OF_WIDE_REALS, FEW_COLUMNS = 0.05, 0.02, 100
RATES_OF_TWO = {"bernoulli": 0.2, "spin": 0.1}  # of units below that have two states, and bits above
BY_SAMPLES = ("pcd", "cd", "exact", "pt", "ptt")  # rules whose gradient is a difference of two means

Filled = Any  # an estimator of the same class, with nothing left open


def filled(estimator: Any, n_cases: int, columns: Columns, n_columns: int) -> Filled:
    """A copy of `estimator` in which ``batch_size``, epochs and ``learning_rate`` are numbers."""
    plan = copy.copy(estimator)
    plan.batch_size = open_batch_size(n_cases) if estimator.batch_size is None else estimator.batch_size
    for name in ("epochs", "pretrain_epochs"):
        if getattr(estimator, name, 0) is None:
            setattr(plan, name, passes(n_cases, plan.batch_size))
    if estimator.learning_rate is None:
        plan.learning_rate = open_rate(estimator, columns.kind, n_columns)
    return plan


def open_batch_size(n_cases: int) -> int:
    """Small sets are learned in small batches, or there would be too few updates."""
    return 100 if n_cases >= LARGE_SET else 20


def passes(n_cases: int, batch_size: int) -> int:
    """At least 10, and up to 100 where that makes fewer than 3,000 updates."""
    check_count("batch_size", batch_size, low=1)
    enough = math.ceil(UPDATES / math.ceil(n_cases / batch_size))
    return min(max(enough, FEWEST_PASSES), MOST_PASSES)


def tuning_passes(n_cases: int, batch_size: int) -> int:
    """Passes of back-propagation: at least 100, and up to 400 where that makes fewer than 3,000 steps."""
    enough = math.ceil(UPDATES / math.ceil(n_cases / batch_size))
    return min(max(enough, LEAST_TUNING), MOST_TUNING)


def open_rate(estimator: Any, visible: str, n_columns: int) -> float | list[float]:
    """The learning rate, or those of a stack's layers, of which the ones above the first see hidden units alone."""
    check_fraction("momentum", estimator.momentum, remedy="Try 0.9.")
    by_samples = estimator.centred and estimator.learning in BY_SAMPLES
    steady = 1 - estimator.momentum if by_samples and estimator.hidden == "bernoulli" else 0.0
    first, above = (rate_of(below, n_columns, steady) for below in (visible, estimator.hidden))
    sizes = getattr(estimator, "hidden_layer_sizes", 1)
    n_layers = len(sizes) if hasattr(sizes, "__len__") else 1
    return first if n_layers == 1 else [first, *[above] * (n_layers - 1)]


def rate_of(below: str, n_columns: int, steady: float = 1.0) -> float:
    """The learning rate of one layer of hidden units over units of the kind `below`.

    Centred gradients of bits over units with two states stand high rates (docs/developer/log.md), of which `steady` is
    the share that momentum leaves (0 for other gradients); real-valued columns stand less, the more there are.
    """
    of_two = steady * RATES_OF_TWO.get(below, 0.0)
    return of_two or (RATE_OF_WIDE_REALS if below == "gaussian" and n_columns > FEW_COLUMNS else RATE)
