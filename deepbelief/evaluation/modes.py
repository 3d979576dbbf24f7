"""Does a sampler reach every mode? Counted on mixtures whose modes are known, and on classes that a classifier names.

The ring of 8 and the grid of 25 Gaussians, 2,500 samples, and 1,000 classes of stacked digits, 26,000 samples, are the
field's habit (Srivastava et al. 2017, Metz et al. 2017, Lin et al. 2018). A perfect sampler has all modes, 98.9 % good
samples, and on stacked digits a KL of 0.0194, for counts are never even.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from deepbelief.errors import InvalidDataError, check, check_count
from deepbelief.types import Result

GOOD = 3.0  # standard deviations from its centre within which a sample is good


@dataclass(frozen=True)
class Mixture:
    """Equal round Gaussians: ``centres`` (modes, d), and the standard deviation of every coordinate."""

    name: str
    centres: Tensor
    sd: float

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """`n` cases: (n, d)."""
        which = torch.randint(len(self.centres), (n,), generator=generator)
        return self.centres[which] + self.sd * torch.randn((n, self.centres.shape[1]), generator=generator)


def ring(n_modes: int = 8, radius: float = 1.0, sd: float = 0.01) -> Mixture:
    """Modes on a circle in the plane."""
    check_count("n_modes", n_modes, low=1)
    angle = torch.arange(n_modes) * (2 * math.pi / n_modes)
    return Mixture(f"ring of {n_modes}", radius * torch.stack([angle.cos(), angle.sin()], 1), sd)


def grid(side: int = 5, spacing: float = 2.0, sd: float = 0.05) -> Mixture:
    """Modes on a square grid around 0: by default the 25 points of {-4, -2, 0, 2, 4}^2."""
    check_count("side", side, low=1)
    line = spacing * (torch.arange(side) - (side - 1) / 2)
    return Mixture(f"grid of {side * side}", torch.cartesian_prod(line, line), sd)


@dataclass(frozen=True)
class ModeCount:
    """Modes that were hit, of how many; the share of samples that are good; and KL(counts || uniform) in nats."""

    hit: int
    modes: int
    good: float
    kl: float


def count_modes(samples: Tensor, mixture: Mixture) -> ModeCount:
    """Count samples by their nearest centre, those within 3 standard deviations of it.

    >>> count_modes(grid().draw(2500, torch.Generator().manual_seed(0)), grid()).hit
    25
    """
    if samples.shape[1:] != mixture.centres.shape[1:]:
        width = mixture.centres.shape[1]
        raise InvalidDataError(f"samples must have {width} columns. Got shape {tuple(samples.shape)}.")
    distance, nearest = torch.cdist(samples.to(mixture.centres), mixture.centres).min(1)
    good = distance <= GOOD * mixture.sd
    found = count_classes(nearest[good], len(mixture.centres))
    return ModeCount(found.hit, found.modes, good.double().mean().item(), found.kl)


def count_classes(classes: Tensor, n_classes: int) -> ModeCount:
    """Count samples by the class that a classifier gave each, (n,) numbers from 0: all of them are good.

    ``KL = sum_k f_k log(f_k n_classes)`` for the shares f_k of the classes; infinite where there is no sample.

    >>> count_classes(torch.tensor([0, 0, 1, 1]), 4)
    ModeCount(hit=2, modes=4, good=1.0, kl=0.6931471805599453)
    """
    check_count("n_classes", n_classes, low=1)
    outside = len(classes) > 0 and (int(classes.min()) < 0 or int(classes.max()) >= n_classes)
    check(not outside, f"classes must be numbers from 0 to {n_classes - 1}. Got others. Give more classes.")
    counts = torch.bincount(classes, minlength=n_classes).double()
    if not len(classes):
        return ModeCount(0, n_classes, 0.0, math.inf)
    share = counts / counts.sum()
    kl = (torch.special.xlogy(share, share * n_classes)).sum().item()
    return ModeCount(int((counts > 0).sum()), n_classes, 1.0, kl)


def mode_results(found: ModeCount, *, n_samples: int, data: str, model_name: str) -> list[Result]:
    """The three numbers as rows; the error of the share of good samples is that of so many draws."""
    check_count("n_samples", n_samples, low=1)
    stderr = math.sqrt(found.good * (1 - found.good) / n_samples)
    rows = [
        (f"modes hit of {found.modes}", float(found.hit), None, "modes"),
        ("good samples", 100 * found.good, 100 * stderr, "%"),
        ("KL to uniform", found.kl, None, "nats"),
    ]
    return [Result(name, value, "measured", error, unit, data, model_name) for name, value, error, unit in rows]
