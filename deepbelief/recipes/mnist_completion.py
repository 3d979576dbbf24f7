"""Missing halves of MNIST test images filled in by the RBM-500: log-loss per hidden pixel, beside two baselines."""

from __future__ import annotations

import torch
from torch import Tensor

from deepbelief.energy.rbm import RBM
from deepbelief.evaluation.completion import completion_results
from deepbelief.evaluation.pictures import picture_half
from deepbelief.recipes.rbm500_likelihood import trained
from deepbelief.recipes.recipe import Options, Recipe, bernoulli_draw, main
from deepbelief.rng import make_generator
from deepbelief.types import Result

HALVES = ("left", "right", "top", "bottom")
NEIGHBOURS = 10
IMAGES, SWEEPS, AVERAGED = 2000, 1500, 1400  # a short chain stays in one of the ways to go on, and is too sure of it


class Patient:
    """The model with longer chains than its `complete` runs by itself."""

    def __init__(self, rbm: RBM, options: Options) -> None:
        self.rbm, self.visible = rbm, rbm.visible
        self.steps = {"n_steps": 30, "n_average": 20} if options.quick else {"n_steps": SWEEPS, "n_average": AVERAGED}

    def complete(self, x: Tensor, known: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """The hidden entries' means, averaged along one long clamped chain for each case."""
        return self.rbm.complete(x, known, generator=generator, **self.steps)


def reproduce(options: Options) -> list[Result]:
    """For each half that is given: the loss of the model, of the training mean, and of the nearest neighbours."""
    rbm, generator = trained(options), make_generator(options.seed, stream=9)
    train, test = options.load("train"), options.load("test")
    x, cases = bernoulli_draw(test)[:: len(test) // (40 if options.quick else IMAGES)], bernoulli_draw(train, seed=3)
    rows = []
    for half in HALVES:
        known = picture_half(train.image_shape, half)
        rows += completion_results(
            Patient(rbm, options),
            x,
            known,
            train=cases,
            data=f"{test.name} test, one Bernoulli draw, {half} half given",
            model_name="RBM-500",
            generator=generator,
            k=NEIGHBOURS,
        )
    return rows


RECIPE = Recipe(
    name="mnist_completion",
    title="Missing halves of MNIST test images, filled in by an RBM with 500 hidden units",
    paper="Hinton, Osindero & Teh 2006, A fast learning algorithm for deep belief nets (pictures; no number)",
    published="no number for this setting; the baselines are the training mean and the 10 nearest training images",
    setting="2,000 test images (every fifth), drawn once; chains of 1,500 sweeps with the half clamped, of which the "
    "last 1,400 means are averaged",
    reached="nats a hidden pixel given the left, right, top, bottom half: .176, .146, .185, .165; "
    "the neighbours .213, .181, .216, .196 (seed 0)",
    time="6 minutes after the RBM, 1 thread",
    reproduce=reproduce,
)

if __name__ == "__main__":
    main(RECIPE)
