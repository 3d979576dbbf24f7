"""Lower bounds on the log-likelihood of a DBN: variational (Salakhutdinov & Murray 2008) and importance-weighted.

With the factorial posteriors ``Q(h_{l+1} | h_l)`` of the way up, draws h_1, ..., h_{L-1} have the weight

    log w(h) = sum_l log p(h_l | h_{l+1}) - log Q(h_{l+1} | h_l)  -  F_top(h_{L-1}),     h_0 = x,

and ``<w>_Q = p(x) Z_top`` exactly. By Jensen's inequality, for any number K of independent draws,

    <log w> = L_1  <=  L_K = < log 1/K sum_k w(h_k) >  <=  L_{K+1}  <=  log p(x) + log Z_top

(Burda, Grosse & Salakhutdinov 2016, "Importance weighted autoencoders"). L_1 is the variational bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from deepbelief.belief.layers import Layer
from deepbelief.energy.partition.choose import log_z as choose_log_z
from deepbelief.energy.rbm import RBM
from deepbelief.errors import check_count
from deepbelief.protocols import Generator
from deepbelief.types import Bound

CHUNK = 1000  # cases at a time: the draws of so many live at once
Estimate = Callable[[Tensor], tuple[Tensor, Tensor]]  # cases -> the bound without log Z and its variance, per case


class Stack(Protocol):
    """What the bound needs of a DBN."""

    @property
    def layers(self) -> Sequence[Layer]: ...

    @property
    def top(self) -> RBM: ...

    def top_free_energy(self, h: Tensor) -> Tensor: ...


def log_weights(dbn: Stack, x: Tensor, generator: Generator) -> Tensor:
    """One draw per case of ``log p*(v, h) - log Q(h | v)`` (without log Z): (n, d) -> (n,), float64."""
    total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    for layer in dbn.layers[:-1]:
        inputs = layer.input_h_from_v(x)
        h = layer.hidden.sample(inputs, generator)
        up, down = layer.hidden.log_prob(h, inputs), layer.visible.log_prob(x, layer.input_v_from_h(h))
        total += (down - up).double()
        x = h
    return total - dbn.top_free_energy(x).double()


def many_log_weights(dbn: Stack, x: Tensor, n_samples: int, generator: Generator) -> Tensor:
    """`n_samples` draws per case of `log_weights`: (n_samples, n); of few cases many draws are made at once."""
    check_count("n_samples", n_samples, low=1)
    at_once = max(1, CHUNK // len(x))
    counts = [min(at_once, n_samples - done) for done in range(0, n_samples, at_once)]
    return torch.cat([log_weights(dbn, x.repeat(n, 1), generator).reshape(n, len(x)) for n in counts])


@torch.no_grad()
def variational_bound(
    dbn: Stack,
    x: Tensor,
    *,
    log_z: Bound | None = None,
    n_samples: int = 10,
    generator: Generator = None,
    chunk: int = CHUNK,
) -> Bound:
    """The lower bound per case in nats, averaged over `n_samples` draws of the hidden layers.

    When log Z of the top is an estimate, its *high* end (reverse annealing) is used, so that the error falls on the
    safe side; ``high`` is the bound with the low end. The standard error joins the Monte-Carlo error of the average
    over all cases with that of log Z.
    """
    check_count("n_samples", n_samples, low=1)

    def estimate(rows: Tensor) -> tuple[Tensor, Tensor]:
        draws = many_log_weights(dbn, rows, n_samples, generator)
        noise = draws.var(0, unbiased=True) / n_samples if n_samples > 1 else torch.zeros_like(draws[0])
        return draws.mean(0), noise

    method = f"variational bound, {n_samples} draws"
    return bound_over_cases(dbn, x, estimate, method, log_z=log_z, generator=generator, chunk=chunk)


@torch.no_grad()
def importance_bound(
    dbn: Stack,
    x: Tensor,
    *,
    log_z: Bound | None = None,
    n_samples: int = 100,
    generator: Generator = None,
    chunk: int = CHUNK,
) -> Bound:
    """The importance-weighted lower bound ``L_K - log Z`` per case in nats, with ``K = n_samples`` draws per case.

    A lower bound on average over the draws, never below the variational one and rising in K. A draw costs one product
    down through every layer and one into the top. log Z enters as in `variational_bound`. The standard error joins that
    of log Z with the jackknife's error of the draws, which is too large rather than too small (Efron & Stein 1981).
    """
    check_count("n_samples", n_samples, low=1)

    def estimate(rows: Tensor) -> tuple[Tensor, Tensor]:
        return log_mean_and_variance(many_log_weights(dbn, rows, n_samples, generator))

    method = f"importance-weighted bound, {n_samples} draws"
    return bound_over_cases(dbn, x, estimate, method, log_z=log_z, generator=generator, chunk=chunk)


def log_mean_and_variance(log_w: Tensor) -> tuple[Tensor, Tensor]:
    """``log 1/K sum_k w_k`` of each column, and the jackknife's estimate of its variance: (K, n) -> (n,), (n,).

    On average the jackknife of K draws is at least the variance of the same estimate from K - 1 draws (Efron & Stein
    1981, "The jackknife estimate of variance"). One draw has no estimate of its error, and gets 0.

    >>> [t.item() for t in log_mean_and_variance(torch.zeros(4, 1))]
    [0.0, 0.0]
    """
    n = len(log_w)
    total = torch.logsumexp(log_w, 0)
    if n == 1:
        return total, torch.zeros_like(total)
    without = total + torch.log1p(-torch.exp(log_w - total))
    largest = log_w.argmax(0, keepdim=True)  # where a share is near 1, log1p loses what the others hold
    rest = torch.logsumexp(log_w.scatter(0, largest, -torch.inf), 0, keepdim=True)
    without = without.scatter(0, largest, rest)
    return total - math.log(n), (without - without.mean(0)).square().sum(0)


def bound_over_cases(
    dbn: Stack,
    x: Tensor,
    estimate: Estimate,
    method: str,
    *,
    log_z: Bound | None,
    generator: Generator,
    chunk: int = CHUNK,
) -> Bound:
    """A lower bound per case from an estimate of ``log p(x) + log Z`` that errs low, `chunk` cases at a time."""
    check_count("chunk", chunk, low=1)
    z = choose_log_z(dbn.top, generator=generator) if log_z is None else log_z
    parts = [estimate(rows) for rows in x.split(chunk)]
    free, variance = (torch.cat(pieces) for pieces in zip(*parts, strict=True))
    noise = variance.mean().item() / len(x)
    safe = float(z.value) if z.high is None else z.high
    value = free - safe
    high = None if z.low is None else value.mean().item() + safe - z.low
    method = f"{method}; log Z: {z.method}"
    return Bound(value, "lower_bound", math.sqrt(noise + z.stderr**2), method, value.mean().item(), high)
