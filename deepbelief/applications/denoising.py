"""Denoising by a Markov random field: a pairwise prior of clean pictures, and noise that changes each pixel alone.

    p(x | y) ~ p(x) prod_i p(y_i | x_i),        p(y_i | x_i) = 1 - e where y_i = x_i, e / (values - 1) elsewhere

The noise enters as a field on every pixel, so the posterior is a model of the same kind. Three answers are asked of it:
the posterior mean (least squared error), the most probable value of each pixel ("MPM", least pixel error), and the most
probable picture (MAP). Geman & Geman 1984; Besag 1986; Marroquin, Mitter & Poggio 1987.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from deepbelief.energy.boltzmann import BoltzmannMachine
from deepbelief.energy.kernels.coloured import ColouredGibbs
from deepbelief.energy.most_probable import minimum_cut, simulated_annealing, total_bias
from deepbelief.errors import InvalidDataError, check, check_choice, check_count, check_range
from deepbelief.protocols import Generator
from deepbelief.rng import uniform_like
from deepbelief.units.categorical import Categorical

LEAST_NOISE = 1e-6


@dataclass(frozen=True)
class Denoiser:
    """A prior over all-visible pictures of one kind of units, and the probability that noise changed a pixel.

    >>> from deepbelief.energy.ising import ising_grid
    >>> noisy = torch.ones(1, 9)
    >>> noisy[0, 4] = -1
    >>> bool((Denoiser(ising_grid((3, 3), 0.5), 0.1).most_probable(noisy) == 1).all())
    True
    """

    prior: BoltzmannMachine
    noise: float

    def __post_init__(self) -> None:
        self.prior.check_all_visible("a denoiser")
        check(0 < self.noise < 1, f"noise must be above 0 and below 1. Got noise={self.noise}.")
        kind = self.prior.visible.kind
        check_choice("the kind of the prior's units", kind, ["bernoulli", "spin", "categorical"])

    def evidence(self, noisy: Tensor) -> Tensor:
        """What noisy pixels say of clean ones, as fields in nats: (n, size) -> (n, size).

        Raises `InvalidDataError` unless the pixels are states of the prior's units.
        """
        units = self.prior.visible
        units.check_shape(noisy, "noisy")
        units.check_values(noisy, "noisy")
        if units.kind == "spin" and not bool((noisy.abs() == 1).all()):
            raise InvalidDataError("noisy must hold -1 and 1 for spin units. Got other values. Code black as -1.")
        if isinstance(units, Categorical):
            return noisy * math.log((1 - self.noise) * (units.n_values - 1) / self.noise)
        strength = math.log((1 - self.noise) / self.noise)
        return strength * (0.5 * noisy if units.kind == "spin" else 2 * noisy - 1)

    @torch.no_grad()
    def posterior_mean(
        self, noisy: Tensor, *, n_steps: int = 150, burn_in: int = 50, generator: Generator = None
    ) -> Tensor:
        """``<x>`` given each noisy picture, from a chain that starts at it: (n, size) -> (n, size).

        Averages the conditional means of the sweeps after `burn_in`.
        """
        check_count("n_steps", n_steps, low=1)
        check_count("burn_in", burn_in, low=0, high=n_steps - 1)
        prior, kernel = self.prior, ColouredGibbs(self.prior)
        bias, interaction = total_bias(prior, self.evidence(noisy)), prior.interaction()
        x, total = noisy, torch.zeros_like(noisy)
        for step in range(n_steps):
            order = range(len(prior.plan().blocks))
            x, info = kernel.sweep(x, bias, 1 / prior.temperature, interaction, order, None, generator)
            if step >= burn_in:
                total += info.mean
        return total / (n_steps - burn_in)

    def most_probable_pixels(self, mean: Tensor) -> Tensor:
        """The most probable value of each pixel, from posterior means: (n, size) -> (n, size)."""
        units = self.prior.visible
        if isinstance(units, Categorical):
            best = mean.unflatten(-1, (units.n_groups, units.n_values)).argmax(-1)
            return torch.nn.functional.one_hot(best, units.n_values).flatten(-2).to(mean)
        middle, low = (0.0, -1.0) if units.kind == "spin" else (0.5, 0.0)
        return torch.where(mean > middle, 1.0, low).to(mean)

    def most_probable(
        self, noisy: Tensor, *, method: str = "cut", n_sweeps: int = 200, generator: Generator = None
    ) -> Tensor:
        """The most probable picture given each noisy one: (n, size) -> (n, size).

        "cut" is exact, for two values and couplings of at least 0; "annealing" takes any prior and makes no promise.
        """
        check_choice("method", method, ["cut", "annealing"])
        if method == "cut":
            return minimum_cut(self.prior, self.evidence(noisy))
        return simulated_annealing(self.prior, self.evidence(noisy), n_sweeps=n_sweeps, generator=generator)

    def learn_noise(
        self, noisy: Tensor, *, n_rounds: int = 10, n_steps: int = 60, generator: Generator = None
    ) -> Denoiser:
        """A denoiser with the noise that fits noisy pictures best, by EM; clean ones are not needed.

        Each round sets ``noise`` to the expected share of changed pixels under the posterior of the round before.
        """
        check_count("n_rounds", n_rounds, low=1)
        found = self
        for _ in range(n_rounds):
            mean = found.posterior_mean(noisy, n_steps=n_steps, burn_in=n_steps // 3, generator=generator)
            share = float(found.expected_change(noisy, mean))
            found = Denoiser(self.prior, min(max(share, LEAST_NOISE), 1 - LEAST_NOISE))
        return found

    def expected_change(self, noisy: Tensor, mean: Tensor) -> Tensor:
        """The mean share of pixels whose clean value is another, where clean pixels have posterior means `mean`."""
        units = self.prior.visible
        if isinstance(units, Categorical):
            return 1 - (noisy * mean).sum(-1).mean() / units.n_groups
        if units.kind == "spin":
            return 0.5 * (1 - noisy * mean).mean()
        return (noisy + mean - 2 * noisy * mean).mean()


def flip(x: Tensor, noise: float, units: BoltzmannMachine | str, generator: Generator) -> Tensor:
    """Two-valued pictures with each pixel changed with probability `noise`; `units` is "spin" or "bernoulli"."""
    check_range("noise", noise, low=0, high=1)
    kind = units if isinstance(units, str) else units.visible.kind
    check_choice("units", kind, ["bernoulli", "spin"])
    changed = uniform_like(x, generator) < noise
    return torch.where(changed, -x if kind == "spin" else 1 - x, x)


def median_filter(pictures: Tensor, size: int = 3) -> Tensor:
    """The median of each pixel's neighbourhood: (n, height, width) -> the same; the usual baseline."""
    from scipy import ndimage

    check_count("size", size, low=1)
    return torch.from_numpy(ndimage.median_filter(pictures.cpu().numpy(), size=(1, size, size))).to(pictures)
