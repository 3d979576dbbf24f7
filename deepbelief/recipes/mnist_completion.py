"""Missing halves of MNIST test images filled in by the RBM-500: log-loss per hidden pixel, beside two baselines."""

from __future__ import annotations

from deepbelief.evaluation.completion import completion_results
from deepbelief.evaluation.pictures import picture_half
from deepbelief.recipes.rbm500_likelihood import trained
from deepbelief.recipes.recipe import Options, Recipe, bernoulli_draw, main
from deepbelief.rng import make_generator
from deepbelief.types import Result

HALVES = ("left", "right", "top", "bottom")
NEIGHBOURS = 10


def reproduce(options: Options) -> list[Result]:
    """For each half that is given: the loss of the model, of the training mean, and of the nearest neighbours."""
    rbm, generator = trained(options), make_generator(options.seed, stream=9)
    train, test = options.load("train"), options.load("test")
    x, cases = bernoulli_draw(test), bernoulli_draw(train, seed=3)
    if options.quick:
        x = x[:40]
    rows = []
    for half in HALVES:
        known = picture_half(train.image_shape, half)
        rows += completion_results(
            rbm,
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
    setting="10,000 test images drawn once; chains of 200 sweeps with the half clamped, of which 50 means are averaged",
    reached="not run whole",
    time="not measured",
    reproduce=reproduce,
)

if __name__ == "__main__":
    main(RECIPE)
