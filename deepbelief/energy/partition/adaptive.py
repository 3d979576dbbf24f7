"""Annealing schedules that fit the model: temperatures lie close where the model changes fast.

The variance of one step's increment is, for small steps, ``(beta' - beta)^2 Var_beta(dF/dbeta)``. The variance of the
whole log weight is least, for a given number of temperatures, when every step has the same share of the thermodynamic
length ``integral sqrt(Var_beta(dF/dbeta)) dbeta`` (Crooks 2007; Grosse, Maddison & Salakhutdinov 2013). A short pilot
run with few chains measures that length, and the schedule divides it evenly.
"""

from __future__ import annotations

import torch
from torch import Tensor

from deepbelief.energy.partition.ais import (
    Annealable,
    Inputs,
    Path,
    anneal,
    linear_betas,
    path_to,
)
from deepbelief.errors import check_count
from deepbelief.protocols import Generator
from deepbelief.units.base import Units

SMOOTHED_OVER = 0.02  # of the pilot's steps: few chains measure a step's spread poorly, its neighbours share it
EVEN_SHARE = 0.1  # of the length, spread evenly over the pilot's steps, so that no stretch is left without temperatures


class Recorder:
    """A path that remembers the standard deviation over chains of each step's increment."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.spreads: list[Tensor] = []

    def inputs(self, v: Tensor) -> Inputs:
        return self.path.inputs(v)

    def layers(self, beta: float) -> tuple[Units, Units]:
        return self.path.layers(beta)

    def increment(self, v: Tensor, inputs: Inputs, here: tuple[float, Units], there: tuple[float, Units]) -> Tensor:
        found = self.path.increment(v, inputs, here, there)
        self.spreads.append(found.std())
        return found

    def sweep(self, beta: float, layers: tuple[Units, Units], inputs: Inputs, generator: Generator) -> Tensor:
        return self.path.sweep(beta, layers, inputs, generator)


@torch.no_grad()
def adaptive_betas(
    model: Annealable,
    n_temperatures: int = 1000,
    *,
    pilot_temperatures: int = 500,
    pilot_chains: int = 50,
    generator: Generator = None,
) -> Tensor:
    """Inverse temperatures from 0 to 1 that share the thermodynamic length evenly: (n_temperatures,), float64.

    The pilot must not be part of the estimate, or the estimate would no longer be unbiased; it costs
    ``pilot_temperatures * pilot_chains`` sweeps.

    >>> from deepbelief.energy.rbm import RBM
    >>> betas = adaptive_betas(RBM(6, 3), 20, pilot_temperatures=10, generator=torch.Generator().manual_seed(0))
    >>> betas[0].item(), betas[-1].item(), len(betas)
    (0.0, 1.0, 20)
    """
    check_count("n_temperatures", n_temperatures, low=2)
    check_count("pilot_temperatures", pilot_temperatures, low=2)
    check_count("pilot_chains", pilot_chains, low=2)
    path, pilot = path_to(model), linear_betas(pilot_temperatures)
    recorder = Recorder(path)
    anneal(recorder, path.draw_base(pilot_chains, generator), pilot.tolist(), generator, None)
    return even_steps(pilot, torch.stack(recorder.spreads), n_temperatures)


def even_steps(betas: Tensor, spreads: Tensor, n: int) -> Tensor:
    """`n` betas that share evenly the length whose part on each step of `betas` is `spreads`."""
    steps = betas.diff()
    share = _smoothed(spreads.double().cpu() / steps) * steps
    share = share / share.sum() if share.sum() > 0 else torch.full_like(share, 1 / len(share))
    share = (1 - EVEN_SHARE) * share + EVEN_SHARE * steps
    length = torch.cat([torch.zeros(1, dtype=torch.float64), share.cumsum(0)])
    wanted = torch.linspace(0, 1, n, dtype=torch.float64) * length[-1]
    step = torch.searchsorted(length, wanted, right=True).clamp(1, len(betas) - 1)
    part = (wanted - length[step - 1]) / (length[step] - length[step - 1])
    found = torch.lerp(betas[step - 1], betas[step], part.clamp(0, 1))
    found[0], found[-1] = 0.0, 1.0
    return found


def _smoothed(density: Tensor) -> Tensor:
    width = 2 * int(len(density) * SMOOTHED_OVER / 2) + 1
    padded = torch.nn.functional.pad(density.view(1, 1, -1), (width // 2, width // 2), mode="replicate")
    return torch.nn.functional.avg_pool1d(padded, width, stride=1).flatten()
