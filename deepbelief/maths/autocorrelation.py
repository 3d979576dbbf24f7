"""How much a Markov chain's draws are worth: autocorrelation time, effective sample size, R-hat, relaxation time.

    tau = 1 + 2 sum_t rho(t),        effective size = draws / tau,        tau <= coth(1 / (2 T))  for relaxation time T

The sum is cut by Sokal's self-consistent window (Sokal 1997; Madras & Sokal 1988): the first lag of at least three tau.
That rule has a known standard error, works on many chains and numbers at once, and says itself when a run was too short
for it; ArviZ's (Geyer's) has no error, and would bring xarray and HDF5 along for one sum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from deepbelief.errors import InvalidDataError
from deepbelief.types import Bound, Kind

WINDOW, SHORTEST = 3, 10  # the window in tau; lags that enter at least, so that alternating chains do not fool it
FEWEST_STEPS = 8


def autocorrelation(trace: Tensor) -> Tensor:
    """``rho(t)`` of one number along chains at equilibrium: (chains, steps) -> (steps,), with ``rho(0) = 1``.

    The mean is that of all chains together, so chains that sit in different places stay correlated for ever, as they
    should; each chain's own mean would hide it. NaN for a number that never changes.

    >>> autocorrelation(torch.tensor([[1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0]]))[:3].round(decimals=6).tolist()
    [1.0, -1.0, 1.0]
    """
    x = _checked(trace)
    n_chains, n = x.shape
    x = x - x.mean()
    frequency = torch.fft.rfft(x, 2 * n)
    sums = torch.fft.irfft(frequency.abs().square(), 2 * n)[:, :n].sum(0)
    covariance = sums / (n_chains * torch.arange(n, 0, -1, device=x.device))
    return covariance / covariance[0] if x.abs().max() > 0 else torch.full_like(covariance, math.nan)


def integrated_time(trace: Tensor) -> Bound:
    """The integrated autocorrelation time of one number along chains, in steps: (chains, steps) -> 1 for free draws.

    An estimate with its standard error, ``tau sqrt(2 (2 W + 1) / draws)`` for the window W. Where half a chain is
    shorter than the window, the sum so far is given as a `lower_bound`: run longer. Chains should begin at equilibrium.
    Draws that alternate (tau < 1) get a tau that is somewhat too large, which is the safe side.
    """
    rho = autocorrelation(trace)
    n_chains, n = trace.shape
    if bool(rho.isnan().any()):
        return Bound(math.inf, "estimate", math.nan, "a number that never changes")
    sums = 1 + 2 * rho[1 : n // 2].cumsum(0)
    lags = torch.arange(1, len(sums) + 1, device=sums.device)
    closed = ((lags % 2 == 0) & (lags >= WINDOW * sums.clamp_min(SHORTEST / WINDOW))).nonzero()
    lag = int(lags[closed[0, 0]]) if len(closed) else len(sums)
    share = (2 * lag + 1) / (n_chains * n)
    tau = max(float(sums[lag - 1]) * (1 + share), 2 / n)  # what the mean of these draws takes away (Wolff 2004)
    kind: Kind = "estimate" if len(closed) else "lower_bound"
    return Bound(tau, kind, tau * math.sqrt(2 * share), f"Sokal's window of {lag} steps, {n_chains} chains of {n}")


def effective_size(trace: Tensor) -> Bound:
    """How many independent draws the chains are worth, ``chains * steps / tau``; an upper bound where tau is a lower.

    >>> free = torch.randn(4, 1000, generator=torch.Generator().manual_seed(0))
    >>> 3000 < float(effective_size(free)) < 5500
    True
    """
    tau = integrated_time(trace)
    size = trace.numel() / float(tau)
    kind: Kind = "upper_bound" if tau.kind == "lower_bound" else "estimate"
    return Bound(size, kind, size * tau.stderr / float(tau), tau.method)


def relaxation_time(trace: Tensor) -> Bound:
    """The time T in which correlations fall to 1/e, in steps, as one number's ``tau = coth(1 / (2 T))`` shows it.

    For a reversible chain no number has a larger tau than the slowest mode, ``(1 + l) / (1 - l)`` with the second
    eigenvalue ``l = exp(-1 / T)``. So T is right for the slowest number and too small for others: look at several and
    take the largest (`slowest`).
    """
    tau = integrated_time(trace)
    value = float(tau)
    if math.isinf(value):
        return tau
    if value <= 1:
        return Bound(0.0, tau.kind, tau.stderr, tau.method)
    time = 1 / math.log((value + 1) / (value - 1))
    return Bound(time, tau.kind, tau.stderr * time**2 * 2 / (value**2 - 1), tau.method)


def slowest(traces: Tensor) -> Bound:
    """The largest relaxation time of several numbers, (chains, steps, numbers); numbers that never change are left out.

    As the largest of noisy estimates it errs on the long side, by about one standard error for a handful of numbers.
    """
    moving = [trace for trace in _checked(traces, 3).unbind(2) if bool((trace != trace[0, 0]).any())]
    times = [relaxation_time(trace) for trace in moving]
    if not times:
        return Bound(math.inf, "estimate", math.nan, "numbers that never change")
    return max(times, key=float)


def split_r_hat(trace: Tensor) -> float:
    """R-hat of the halves of all chains: (chains, steps) -> 1 where all chains agree (Gelman et al. 2013).

    ``sqrt(1 + B / W - 1 / n)`` of the variance B of the halves' means and W within the halves of n steps. Above about
    1.01 chains disagree, with themselves or with each other; start them apart, or they may all miss the same mode.

    >>> apart = torch.tensor([[0.0, 1.0] * 8, [5.0, 6.0] * 8])
    >>> split_r_hat(apart) > 5
    True
    """
    x = _checked(trace)
    half = x.shape[1] // 2
    halves = torch.cat([x[:, :half], x[:, -half:]])
    within, between = halves.var(1).mean().item(), halves.mean(1).var().item()
    if within == 0:
        return 1.0 if between == 0 else math.inf
    return math.sqrt((half - 1) / half + between / within)


def nested_r_hat(groups: Sequence[Tensor]) -> float:
    """R-hat of groups of chains that started in different places, each (chains, steps): 1 where the groups agree.

    ``sqrt(1 + B / W)`` of the variance B of the groups' means and W within the groups (Margossian et al. 2024). With
    many short chains `split_r_hat` is near ``sqrt(1 + (tau - 1) / n)`` however well they mix; this one is not.

    >>> same = torch.tensor([[0.0, 1.0] * 4, [1.0, 0.0] * 4])
    >>> nested_r_hat([same, same]), nested_r_hat([same, same + 10]) > 5
    (1.0, True)
    """
    checked = [_checked(group) for group in groups]
    within = sum(group.var().item() for group in checked) / len(checked)
    between = torch.stack([group.mean() for group in checked]).var().item()
    if within == 0:
        return 1.0 if between == 0 else math.inf
    return math.sqrt(1 + between / within)


def _checked(trace: Tensor, n_dimensions: int = 2) -> Tensor:
    """`trace` in double precision, if it is long enough and finite."""
    if trace.ndim != n_dimensions or trace.shape[0] < 1 or trace.shape[1] < FEWEST_STEPS:
        shape = "(chains, steps)" if n_dimensions == 2 else "(chains, steps, numbers)"
        raise InvalidDataError(
            f"a trace must have shape {shape} with at least {FEWEST_STEPS} steps. Got {tuple(trace.shape)}. Run longer."
        )
    if not bool(torch.isfinite(trace).all()):
        raise InvalidDataError("a trace must be finite. Got NaN or infinity. Look for divergence of the model.")
    return trace.double()
