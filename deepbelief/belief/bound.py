"""The DBN's variational lower bound on the log-likelihood (Salakhutdinov & Murray 2008).

With the factorial posteriors ``Q(h_{l+1} | h_l)`` of the RBMs, draws h_1, ..., h_{L-1} going up give

    log p(v) >= E_Q [ sum_l log p(h_l | h_{l+1}) - log Q(h_{l+1} | h_l)  -  F_top(h_{L-1}) ] - log Z_top,     h_0 = v.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from deepbelief.energy.partition.choose import log_z as choose_log_z
from deepbelief.energy.rbm import RBM
from deepbelief.errors import check_range
from deepbelief.protocols import Generator
from deepbelief.types import Bound


class Stack(Protocol):
    """What the bound needs of a DBN."""

    @property
    def layers(self) -> list[RBM]: ...

    @property
    def top(self) -> RBM: ...

    def top_free_energy(self, h: Tensor) -> Tensor: ...


def log_weights(dbn: Stack, x: Tensor, generator: Generator) -> Tensor:
    """One draw per case of ``log p*(v, h) - log Q(h | v)`` (without log Z): (n, d) -> (n,), float64."""
    total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    for rbm in dbn.layers[:-1]:
        inputs = rbm.input_h_from_v(x)
        h = rbm.hidden.sample(inputs, generator)
        up, down = rbm.hidden.log_prob(h, inputs), rbm.visible.log_prob(x, rbm.input_v_from_h(h))
        total += (down - up).double()
        x = h
    return total - dbn.top_free_energy(x).double()


@torch.no_grad()
def variational_bound(
    dbn: Stack, x: Tensor, *, log_z: Bound | None = None, n_samples: int = 10, generator: Generator = None
) -> Bound:
    """The lower bound per case in nats, averaged over `n_samples` draws of the hidden layers.

    When log Z of the top is an estimate, its *high* end (reverse annealing) is used, so that the error falls on the
    safe side; ``high`` is the bound with the low end. The standard error joins the Monte-Carlo error of the average
    over all cases with that of log Z.
    """
    check_range("n_samples", n_samples, low=1)
    z = choose_log_z(dbn.top, generator=generator) if log_z is None else log_z
    draws = torch.stack([log_weights(dbn, x, generator) for _ in range(n_samples)])
    noise = draws.var(0, unbiased=True).mean().item() / (n_samples * len(x)) if n_samples > 1 else 0.0
    safe = float(z.value) if z.high is None else z.high
    value = draws.mean(0) - safe
    high = None if z.low is None else value.mean().item() + safe - z.low
    method = f"variational bound, {n_samples} draws; log Z: {z.method}"
    return Bound(value, "lower_bound", math.sqrt(noise + z.stderr**2), method, value.mean().item(), high)
