"""Annealing over a VAE's codes: a tighter bound of log p(x), and both ends of a bracket on the model's own cases.

The encoder draws ``z(e)`` with e standard normal, of weight ``w(e) = p(x, z(e)) / q(z(e) | x)``. In e its law is
N(e; 0, I), the posterior is N(e; 0, I) w(e) / p(x), and between them lie ``f_b(e) = N(e; 0, I) w(e)^b``. A run draws e
and carries it through all of them by Hamiltonian Monte Carlo (Neal 2001; Wu, Burda, Salakhutdinov & Grosse 2017):

    log W = sum_k (b_{k+1} - b_k) log w(e_k),    <W> = p(x),    <log W> <= log p(x),

a lower bound in the mean as the importance-weighted one is, and a tighter one for the same work where the encoder is
far from the posterior. Backwards from a draw of the posterior ``<1 / W> = 1 / p(x)``: an upper bound. A case that the
model itself made comes with such a draw, the codes that it was made of, so on the model's own cases both ends are known
(Grosse, Ghahramani & Adams 2015, "Sandwiching the marginal likelihood using bidirectional Monte Carlo").

A step whose length hung on the chain's own past would not leave f_b as it is. So each case's lengths are found by a
first run, one for each temperature, and that run is thrown away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from deepbelief.autoencoders.diagonal import normal_noise
from deepbelief.autoencoders.importance import StreamingLogMeans
from deepbelief.errors import check_count
from deepbelief.maths.float32 import quick_float32
from deepbelief.protocols import Generator
from deepbelief.rng import uniform_like
from deepbelief.types import Bound

ROWS = 1000  # chains that move together
WANTED, SPEED = 0.7, 0.1  # of the acceptance, and of the first run's search for it
FIRST_STEP, LONGEST = 0.5, 1.5  # leapfrog steps; a standard normal takes none above 2
BEND = 4.0  # of the temperatures: b is a logistic curve over -4 to 4, close together at both ends

LogWeights = Callable[[Tensor], Tensor]  # e, (chains, size) -> log w, (chains,)


@dataclass(frozen=True)
class Bracket:
    """Both ends on cases that the model made, in nats per case."""

    lower: Bound
    upper: Bound

    @property
    def gap(self) -> float:
        """``upper - lower``, on average at least 0: what annealing leaves open on such cases is at most this."""
        return float(self.upper) - float(self.lower)


def annealed_log_likelihood(
    vae: Any,
    x: Tensor,
    *,
    condition: Any = None,
    n_temperatures: int = 200,
    n_runs: int = 2,
    n_leapfrog: int = 5,
    generator: Generator = None,
) -> Bound:
    """The lower bound of each case in nats from `n_runs` annealing runs, joined by the log of their average weight.

    A run of a case costs ``n_temperatures * n_leapfrog`` passes of its decoder both ways, and one run more finds the
    steps' lengths. The standard error is that of the average of all cases (delta method); NaN for a single run, as one
    weight does not tell its spread.

    >>> from deepbelief.autoencoders.vae_builders import dense_vae
    >>> from deepbelief.units.bernoulli import Bernoulli
    >>> vae = dense_vae(Bernoulli(6), [2], hidden=[[8]])
    >>> annealed_log_likelihood(vae, torch.zeros(3, 6), n_temperatures=10, n_runs=2).kind
    'lower_bound'
    """
    for name, value in (("n_temperatures", n_temperatures), ("n_runs", n_runs), ("n_leapfrog", n_leapfrog)):
        check_count(name, value, low=1)
    vae.visible.check_shape(x, "x")
    vae.visible.check_values(x, "x")
    c = vae.checked_condition(condition, len(x))
    betas, n = temperatures(n_temperatures), max(1, ROWS // n_runs)
    values, errors = [], []
    with quick_float32(vae, min(ROWS, len(x) * n_runs)):
        for start in range(0, len(x), n):
            rows, given = x[start : start + n], None if c is None else c[start : start + n]
            log_w, like = weights_of(vae, rows, given), _like(vae, len(rows))
            steps = find_steps(log_w, normal_noise(like.shape, like, generator), betas, n_leapfrog, generator)
            log_w = weights_of(vae, rows.repeat(n_runs, 1), None if given is None else given.repeat(n_runs, 1))
            e = normal_noise((n_runs * len(rows), like.shape[1]), like, generator)
            total = anneal(log_w, e, betas, steps.repeat(1, n_runs), n_leapfrog, generator)
            means = StreamingLogMeans(len(rows))
            means.add(total.view(n_runs, -1))
            values.append(means.value())
            errors.append(means.stderr())
    error = torch.cat(errors).square().sum().sqrt().item() / len(x)
    how = f"annealed bound, {n_runs} runs of {n_temperatures} temperatures"
    return Bound(torch.cat(values), "lower_bound", error, how)


def bracket_on_samples(
    vae: Any,
    n: int = 100,
    *,
    condition: Any = None,
    n_temperatures: int = 200,
    n_leapfrog: int = 5,
    generator: Generator = None,
) -> Bracket:
    """Forward and reverse annealing of `n` cases that the model makes: how tight `annealed_log_likelihood` is.

    The two standard errors are those of the method's average over these cases, from the spread of ``log W`` less the
    other end's, so they hold for the gap.
    """
    for name, value in (("n", n), ("n_temperatures", n_temperatures), ("n_leapfrog", n_leapfrog)):
        check_count(name, value, low=1)
    with torch.no_grad():
        codes, c = vae.draw_all_codes(n, condition, generator)
        x = vae.visible.sample(vae.visible_inputs(codes[0], c), generator)
        posterior = torch.cat(vae.noise_of(x, codes, c), -1)
    betas, log_w, like = temperatures(n_temperatures), weights_of(vae, x, c), _like(vae, n)
    steps = find_steps(log_w, normal_noise(like.shape, like, generator), betas, n_leapfrog, generator)
    forward = anneal(log_w, normal_noise(like.shape, like, generator), betas, steps, n_leapfrog, generator)
    back = -anneal(log_w, posterior, betas.flip(0), steps.flip(0), n_leapfrog, generator)
    error = (back - forward).std().item() / n**0.5
    how = f"of {n_temperatures} temperatures"
    return Bracket(
        Bound(forward, "lower_bound", error, f"annealing {how}"),
        Bound(back, "upper_bound", error, f"reverse annealing {how}"),
    )


def temperatures(n: int) -> Tensor:
    """``b_0 = 0 ... b_n = 1`` along a logistic curve: (n + 1,), float64.

    >>> temperatures(1).tolist(), round(temperatures(4)[1].item(), 3)
    ([0.0, 1.0], 0.105)
    """
    curve = torch.sigmoid(torch.linspace(-BEND, BEND, n + 1, dtype=torch.float64))
    return (curve - curve[0]) / (curve[-1] - curve[0])


def weights_of(vae: Any, x: Tensor, c: Tensor | None = None) -> LogWeights:
    """``log w(e)`` of these cases; what no code changes, the encoder's lowest law and the prior's, is computed once."""
    with torch.no_grad():
        lowest, vae = vae.posterior(0, x, c), vae.settled()

    def log_w(e: Tensor) -> Tensor:
        noises = [part.unsqueeze(0) for part in e.split(list(vae.sizes), -1)]
        found: Tensor = vae.log_weights(x, c=c, noises=noises, lowest=lowest)[0]
        return found

    return log_w


def _like(vae: Any, n: int) -> Tensor:
    """The shape and type of the noise of `n` cases."""
    return vae.visible.bias.new_empty((n, sum(vae.sizes)))


def find_steps(log_w: LogWeights, e: Tensor, betas: Tensor, n_leapfrog: int, generator: Generator) -> Tensor:
    """Lengths of the steps at every temperature, for each case: (n + 1, cases), by a run from `e` that adapts them."""
    size = torch.full_like(e[:, 0], FIRST_STEP)
    steps, chain = [size], _Chain(log_w, e)
    for beta in betas[1:].tolist():
        steps.append(size)
        accepted = chain.move(beta, size, n_leapfrog, generator)
        size = (size * torch.exp(SPEED * (accepted - WANTED))).clamp(max=LONGEST)
    return torch.stack(steps)


def anneal(log_w: LogWeights, e: Tensor, betas: Tensor, steps: Tensor, n_leapfrog: int, generator: Generator) -> Tensor:
    """``sum_k (b_{k+1} - b_k) log w(e_k)`` of each chain, in float64: ``e_0 = e``, and e_k comes from a move at b_k.

    `betas` may rise or fall; ``steps[k]`` are the lengths at b_k.
    """
    chain = _Chain(log_w, e)
    total = torch.zeros(len(e), dtype=torch.float64, device=e.device)
    ends = betas.tolist()
    for k in range(len(ends) - 1):
        total += (ends[k + 1] - ends[k]) * chain.log_w.double()
        if k + 2 < len(ends):
            chain.move(ends[k + 1], steps[k + 1], n_leapfrog, generator)
    return total


class _Chain:
    """States e of many chains, with log w and its slope there."""

    def __init__(self, log_w: LogWeights, e: Tensor) -> None:
        self.function = log_w
        self.e, (self.log_w, self.slope) = e, self.look(e)

    def look(self, e: Tensor) -> tuple[Tensor, Tensor]:
        """log w and its gradient, (chains,) and (chains, size)."""
        with torch.enable_grad():
            e = e.detach().requires_grad_()
            value = self.function(e)
            (slope,) = torch.autograd.grad(value.sum(), e)
        return value.detach(), slope

    @torch.no_grad()
    def move(self, beta: float, size: Tensor, n_leapfrog: int, generator: Generator) -> Tensor:
        """One Hamiltonian step that leaves ``N(e; 0, I) w(e)^beta`` as it is; how likely each chain was to take it."""
        # of random length, as paths of one length may all come back to where they began (Neal 2011, section 3.2)
        length = (size * (1 - 0.5 * uniform_like(size, generator))).unsqueeze(1)
        start = normal_noise(self.e.shape, self.e, generator)
        e, p, log_w, slope = self.e, start, self.log_w, self.slope
        for _ in range(n_leapfrog):
            p = p + 0.5 * length * (beta * slope - e)
            e = e + length * p
            log_w, slope = self.look(e)
            p = p + 0.5 * length * (beta * slope - e)
        before = beta * self.log_w - 0.5 * (self.e.square() + start.square()).sum(1)
        after = beta * log_w - 0.5 * (e.square() + p.square()).sum(1)
        chance = torch.exp((after - before).clamp(max=0)).nan_to_num(0.0)  # a path that left all numbers is refused
        taken = uniform_like(chance, generator) < chance
        row = taken.unsqueeze(1)
        self.e, self.slope = torch.where(row, e, self.e), torch.where(row, slope, self.slope)
        self.log_w = torch.where(taken, log_w, self.log_w)
        return chance
