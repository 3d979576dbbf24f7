"""Whole fits of small machines on scikit-learn's digits, as a newcomer calls them, beside scikit-learn's.

A machine of 64-100 has so little to multiply that an update's time is that of its calls. Same rows, batches of 20, 20
passes; `RBM` keeps 100 chains where the others have as many as a batch, and centres. Real values and spins, which
scikit-learn's machine cannot learn, stand beside the five bare products of an update.

    python benchmarks/small_machines.py [--rounds 5] [--threads 1]
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import sklearn.neural_network
import torch
from _measure import interleaved, parser, print_table, ratio, set_up
from sklearn.datasets import load_digits

from deepbelief import RBM, BernoulliRBM

ROWS, BATCH, EPOCHS = 1240, 20, 20
PEER = "scikit-learn's BernoulliRBM, float32"
LIMIT = "five bare products"


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


def products(n_visible: int, n_hidden: int) -> None:
    """The products of a whole fit: three along the cases of a batch and two along as many chains."""
    v, h, w = torch.ones(BATCH, n_visible), torch.ones(BATCH, n_hidden), torch.ones(n_visible, n_hidden)
    for _ in range(EPOCHS * ROWS // BATCH):
        torch.mm(v, w, out=h)
        torch.mm(h, w.T, out=v)
        torch.mm(v, w, out=h)
        torch.mm(v.T, h, out=w)
        torch.mm(v.T, h, out=w)


def other_units(n_hidden: int, grey: np.ndarray) -> dict[str, Callable[[], object]]:
    """Fits of units that are no bits, to the columns as each of them takes them."""
    plan = {"batch_size": BATCH, "epochs": EPOCHS, "n_chains": BATCH, "random_state": 0}
    real = (grey - grey.mean(0)) / (grey.std(0) + 0.1)
    data = {"gaussian": real, "spin": np.where(grey > 0.5, 1, -1).astype(np.float32)}
    ways: dict[str, Callable[[], object]] = {LIMIT: partial(products, grey.shape[1], n_hidden)}
    for visible, x in data.items():
        ways[f"deepbelief RBM, {visible} units"] = partial(fit, partial(RBM, n_hidden, visible=visible, **plan), x)
    return ways


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
        seconds = interleaved(other_units(n_hidden, grey), options.rounds)
        print_table(f"RBM 64-{n_hidden}, other units, batch {BATCH}", seconds, limit=LIMIT, per=EPOCHS * ROWS // BATCH)


if __name__ == "__main__":
    main()
