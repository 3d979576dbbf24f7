"""Whole fits of small machines on scikit-learn's digits, as a newcomer calls them, beside scikit-learn's.

A machine of 64-100 has so little to multiply that an update's time is that of its calls. Same rows, batches of 20, 20
passes; `RBM` keeps 100 chains where the others have as many as a batch, and centres.

    python benchmarks/small_machines.py [--rounds 5] [--threads 1]
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import sklearn.neural_network
from _measure import interleaved, parser, print_table, ratio, set_up
from sklearn.datasets import load_digits

from deepbelief import RBM, BernoulliRBM

ROWS, BATCH, EPOCHS = 1240, 20, 20
PEER = "scikit-learn's BernoulliRBM, float32"


def fit(made: Callable[[], Any], x: np.ndarray) -> None:
    """One whole fit."""
    made().fit(x)


def ways(n_hidden: int, x: np.ndarray) -> dict[str, Callable[[], object]]:
    """Each library's fit of the same machine."""
    theirs = {"batch_size": BATCH, "n_iter": EPOCHS, "random_state": 0}
    ours = {"batch_size": BATCH, "epochs": EPOCHS, "random_state": 0}
    kinds: dict[str, Callable[[], Any]] = {
        PEER: partial(sklearn.neural_network.BernoulliRBM, n_hidden, **theirs),
        "deepbelief BernoulliRBM": partial(BernoulliRBM, n_hidden, **theirs),
        "deepbelief RBM, 100 chains": partial(RBM, n_hidden, **ours),
        "deepbelief RBM, 20 chains": partial(RBM, n_hidden, n_chains=BATCH, **ours),
        "deepbelief RBM, CD-1": partial(RBM, n_hidden, learning="cd", **ours),
    }
    return {name: partial(fit, made, x) for name, made in kinds.items()}


def main() -> None:
    """Measure and print one table for each machine and kind of data."""
    options = parser("Milliseconds per update of small machines, whole fits", 5).parse_args()
    set_up(options.threads)
    grey = (load_digits().data[:ROWS] / 16).astype(np.float32)
    for n_hidden in (16, 100, 256):
        for kind, x in (("bits", (grey > 0.5).astype(np.float32)), ("grey levels", grey)):
            seconds = interleaved(ways(n_hidden, x), options.rounds)
            title = f"RBM 64-{n_hidden}, {kind}, batch {BATCH}: one update of a whole fit"
            print_table(title, seconds, limit=PEER, per=EPOCHS * ROWS // BATCH)
            print(f"  scikit-learn takes {ratio(seconds, PEER, 'deepbelief BernoulliRBM'):.2f} times our drop-in")


if __name__ == "__main__":
    main()
