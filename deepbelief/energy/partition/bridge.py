"""log Z of one model relative to another of the same shape: two layers' worth of annealing instead of a whole path.

Models that lie close together (before and after training, two epochs of one training) have a ratio of partition
functions that is far more certain than either of the two. Between them lie K models whose natural parameters are
``(1 - beta) first + beta second``; runs of annealed importance sampling go both ways, and Bennett's acceptance ratio
joins the two sets of weights (Bennett 1976; Crooks 1999).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from deepbelief.energy.kernels.tempering import checked_betas
from deepbelief.energy.kernels.trajectory import Rung
from deepbelief.energy.partition.ais import anneal, check_schedule
from deepbelief.errors import InvalidArgumentError, check_range
from deepbelief.maths.bennett import bennett
from deepbelief.maths.logspace import log_mean_exp
from deepbelief.protocols import Generator
from deepbelief.types import Bound
from deepbelief.units.base import Units


class PathBetween:
    """From one model of two layers to another of the same units and sizes; a state has two products, one with each."""

    def __init__(self, first: Rung, second: Rung) -> None:
        kinds = [(model.visible.config(), model.hidden.config()) for model in (first, second)]
        if kinds[0] != kinds[1]:
            raise InvalidArgumentError(
                f"first and second must have the same units and sizes. Got {kinds[0]} and {kinds[1]}. "
                "Use log_z(...) of each instead."
            )
        self.first, self.second = first, second

    def layers(self, beta: float) -> tuple[Units, Units]:
        return (
            self.first.visible.blend(self.second.visible, beta),
            self.first.hidden.blend(self.second.hidden, beta),
        )

    def inputs(self, v: Tensor) -> tuple[Tensor, Tensor]:
        return self.first.input_h_from_v(v), self.second.input_h_from_v(v)

    def increment(
        self, v: Tensor, inputs: tuple[Tensor, Tensor], here: tuple[float, Units], there: tuple[float, Units]
    ) -> Tensor:
        (beta, hidden), (beta_next, hidden_next) = here, there
        visible = (beta_next - beta) * (self.first.visible.potential(v) - self.second.visible.potential(v)).double()
        terms = hidden_next.cumulants(torch.lerp(*inputs, beta_next)) - hidden.cumulants(torch.lerp(*inputs, beta))
        return visible + terms.sum(-1, dtype=torch.float64)

    def sweep(
        self, beta: float, layers: tuple[Units, Units], inputs: tuple[Tensor, Tensor], generator: Generator
    ) -> Tensor:
        h = layers[1].sample(torch.lerp(*inputs, beta), generator)
        down = torch.lerp(self.first.input_v_from_h(h), self.second.input_v_from_h(h), beta)
        return layers[0].sample(down, generator)


@torch.no_grad()
def log_z_ratio(
    first: Rung,
    second: Rung,
    samples_of_first: Tensor,
    samples_of_second: Tensor,
    *,
    betas: int | Sequence[float] | Tensor = 200,
    generator: Generator = None,
) -> Bound:
    """``log Z_second - log Z_first`` in nats: an estimate by Bennett's acceptance ratio, with both ways as its ends.

    The models are RBMs, or deep Boltzmann machines as their ``even_odd()`` layers. The samples (n, n_visible) must be
    draws of their models: long chains. ``low`` and ``high`` are the two one-sided
    annealing estimates, in order; where they are far apart, the models are, and more `betas` are needed. A number of
    `betas` means equal steps, since neither end is hot.
    """
    check_range("the number of samples", min(len(samples_of_first), len(samples_of_second)), low=2)
    steps = checked_betas(betas) if np.ndim(betas) == 0 else betas
    schedule, path = check_schedule(steps), PathBetween(first, second)
    forward, _ = anneal(path, samples_of_first, schedule, generator, None)
    reverse, _ = anneal(path, samples_of_second, schedule[::-1], generator, None)
    value, stderr = bennett(forward, reverse)
    ends = log_mean_exp(forward).value, -log_mean_exp(reverse).value
    method = f"Bennett's acceptance ratio, {len(forward)} + {len(reverse)} runs of {len(schedule)} temperatures"
    return Bound(value, "estimate", stderr, method, min(ends), max(ends))
