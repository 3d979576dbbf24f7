"""What the centred gradient is worth, and whether learning still sees the difference between an image and its inverse.

An RBM with 16 hidden units learns images (thresholded at 0.5; every fifth case is held out) by PCD-1, from the images
and from their inverses, with and without centring. The exact log-likelihood of the held-out cases is printed in nats.
A good learning rule does not care which of two equivalent codings of a pixel it gets.

The images are scikit-learn's digits, or the rows in [0, 1] of a .npy file:

    python benchmarks/centring.py [--images FILE.npy] [--seeds 5] [--epochs 200]
"""

from __future__ import annotations

import argparse
import contextlib
import statistics

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from deepbelief.energy.gradients.pcd import PersistentChains
from deepbelief.energy.gradients.procedure import LikelihoodLearning
from deepbelief.energy.rbm import RBM
from deepbelief.protocols import StepContext
from deepbelief.rng import make_generator
from deepbelief.types import Batch

N_HIDDEN = 16
BATCH_SIZE = 100


def images(path: str | None) -> tuple[Tensor, Tensor]:
    """Training and held-out images, thresholded at half of the grey levels."""
    grey = load_digits().data / 16 if path is None else np.load(path, allow_pickle=False)
    x = torch.from_numpy(grey.reshape(len(grey), -1) >= 0.5).float()
    held_out = torch.arange(len(x)) % 5 == 0
    return x[~held_out], x[held_out]


def learn(x: Tensor, *, centred: bool, learning_rate: float, epochs: int, seed: int) -> RBM:
    """An RBM after `epochs` of PCD-1 with the learning rate falling to zero in a straight line."""
    generator = make_generator(seed)
    rbm = RBM(x.shape[1], N_HIDDEN, generator=generator)
    rbm.match_data(x)
    learning = LikelihoodLearning(
        rbm,
        PersistentChains(BATCH_SIZE),
        learning_rate=learning_rate,
        schedule=lambda progress: 1 - progress,
        centred=centred,
    )
    learning.start(Batch(x[:BATCH_SIZE]), generator)
    steps = epochs * (len(x) // BATCH_SIZE)
    for step in range(steps):
        rows = torch.randint(len(x), (BATCH_SIZE,), generator=generator)
        context = StepContext(
            step, 0, step / steps, generator, average=lambda parameters: None, autocast=contextlib.nullcontext
        )
        learning.step(Batch(x[rows]), context)
    return rbm


def main() -> None:
    """Measure and print one table: medians over the seeds, lowest and highest in brackets."""
    parser = argparse.ArgumentParser(description="Exact held-out log-likelihood with and without centring")
    parser.add_argument("--images", help="a .npy file of rows in [0, 1] (default: scikit-learn's digits)")
    parser.add_argument("--seeds", type=int, default=5, help="seeds per cell (default 5)")
    parser.add_argument("--epochs", type=int, default=200, help="epochs per run (default 200)")
    settings = parser.parse_args()
    train, test = images(settings.images)
    print(f"{'nats per held-out case':28}{'images':>28}{'inverted images':>28}")
    for learning_rate in (0.01, 0.05, 0.2):
        for centred in (True, False):
            line = f"rate {learning_rate:<5} {'centred' if centred else 'plain':16}"
            for x, held_out in ((train, test), (1 - train, 1 - test)):
                run = {"centred": centred, "learning_rate": learning_rate, "epochs": settings.epochs}
                numbers = [float(learn(x, **run, seed=s).log_likelihood(held_out)) for s in range(settings.seeds)]
                line += f"{statistics.median(numbers):>13.2f} [{min(numbers):.2f}, {max(numbers):.2f}]"
            print(line, flush=True)


if __name__ == "__main__":
    main()
