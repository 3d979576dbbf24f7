"""The RBM of `rbm500_likelihood` with five times its updates: what patience alone is worth."""

from __future__ import annotations

from dataclasses import replace

from deepbelief.recipes import rbm500_likelihood as short
from deepbelief.recipes.recipe import Options, Recipe, main
from deepbelief.types import Result

EPOCHS = 300


def reproduce(options: Options) -> list[Result]:
    """The same training over 300 epochs, its rate falling as slowly, and the same score."""
    return short.reproduce(options, replace(short.LEARNING, epochs=EPOCHS), RECIPE.name)


RECIPE = Recipe(
    name="rbm500_long",
    title="RBM with 500 hidden units, 300 epochs, log-likelihood on stochastically binarized MNIST",
    paper="Salakhutdinov & Murray 2008, On the quantitative analysis of deep belief networks",
    published="-86.34 nats with CD-25 (forward AIS alone)",
    setting=short.RECIPE.setting,
    reached="-83.22 +- 0.14 nats (seed 0), both ways within 0.05",
    time="about 80 minutes with the scoring, 1 thread",
    reproduce=reproduce,
)

if __name__ == "__main__":
    main(RECIPE)
