"""A tighter bound for a deep Boltzmann machine: half of the hidden layers summed out instead of approximated.

Mean field takes all hidden layers to be independent given v. Given the even ones, s = (h_2, h_4, ...), the odd ones are
independent indeed and their sum is known in closed form, so Q need only stand in for s:

    log p(v) >= E [ log 1/K sum_k exp(-F(v, s_k)) / Q(s_k | v) ] - log Z,        s_k ~ Q(s | v),

with F(v, s) the free energy of the even layers. For K = 1 the bound lies above that of mean field by the divergence
``E_Q(s) KL(Q(odd) || p(odd | v, s))``, and it rises with K (Burda, Grosse & Salakhutdinov 2016). Each weight averages
to ``p(v) Z`` exactly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from deepbelief.energy.even_odd import EvenOdd
from deepbelief.energy.mean_field import Posterior
from deepbelief.errors import check_count
from deepbelief.protocols import Generator
from deepbelief.units.base import Units


class Machine(Protocol):
    """What the bound needs of a deep Boltzmann machine."""

    @property
    def units(self) -> Sequence[Units]: ...

    def even_odd(self) -> EvenOdd: ...


@torch.no_grad()
def log_weights(dbm: Machine, posterior: Posterior, generator: Generator = None) -> Tensor:
    """One draw per case of ``-F(v, s) - log Q(s | v)``, nats without log Z: (n,), float64."""
    states = list(posterior.means)
    log_q = torch.zeros(len(states[0]), dtype=torch.float64, device=states[0].device)
    for layer in range(2, len(states), 2):
        units, inputs = dbm.units[layer], posterior.inputs[layer]
        states[layer] = units.sample(inputs, generator)
        log_q += units.log_prob(states[layer], inputs).double()
    even, _ = EvenOdd.join(states)
    return -dbm.even_odd().free_energy(even).double() - log_q


@torch.no_grad()
def collapsed_bound(
    dbm: Machine, posterior: Posterior, n_samples: int, generator: Generator = None
) -> tuple[Tensor, float]:
    """The bound of each case with K = `n_samples`, without log Z, and the standard error of its mean over the cases.

    One draw has no spread to take an error from: it is then given as 0.
    """
    check_count("n_samples", n_samples, low=1)
    draws = torch.stack([log_weights(dbm, posterior, generator) for _ in range(n_samples)])  # (K, n)
    value = torch.logsumexp(draws, 0) - math.log(n_samples)
    if n_samples == 1:
        return value, 0.0
    spread = torch.exp(draws - value).var(0, unbiased=True) / n_samples  # of log w: the relative variance of the mean
    return value, (spread.sum().sqrt() / len(value)).item()
