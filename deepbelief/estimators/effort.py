"""Settings that an estimator leaves open (None), chosen by the data: passes, batches and the learning rate."""

from __future__ import annotations

import copy
import math
from typing import Any

from deepbelief.errors import check_count
from deepbelief.estimators.columns import Columns

LARGE_SET = 5000  # cases from which on batches of 100 do
FEWEST_PASSES, MOST_PASSES = 10, 100
UPDATES = 3000  # that learning takes at least; with fewer, layers stay near independent units
LEAST_TUNING, MOST_TUNING = 100, 400  # passes of back-propagation
RATE_OF_BITS, RATE, RATE_OF_WIDE_REALS, FEW_COLUMNS = 0.2, 0.05, 0.02, 100
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
    """The learning rate, or those of a stack's layers, of which the ones above the first see hidden units alone.

    Between bits, centred gradients stand 0.2 (docs/developer/log.md); real-valued columns less, the more there are.
    """
    hidden = estimator.hidden

    def of_pair(below: str) -> float:
        if below == "gaussian":
            return RATE if n_columns <= FEW_COLUMNS else RATE_OF_WIDE_REALS
        of_bits = below == hidden == "bernoulli" and estimator.centred and estimator.learning in BY_SAMPLES
        return RATE_OF_BITS * (1 - estimator.momentum) if of_bits else RATE

    sizes = getattr(estimator, "hidden_layer_sizes", 1)
    n_layers = len(sizes) if hasattr(sizes, "__len__") else 1
    rates = [of_pair(visible), *[of_pair(hidden)] * (n_layers - 1)]
    return rates[0] if n_layers == 1 else rates
