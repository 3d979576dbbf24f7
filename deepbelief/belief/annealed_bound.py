"""A tighter lower bound for the same number of products: annealing from the way up to the true posterior, case by case.

Between Q(h | x) and the posterior lie the laws ``f_b(h) = Q(h | x) w(h)^b``, b from 0 to 1, with the weight w of
`deepbelief.belief.bound`. A run draws h from Q and moves it through all of them (Neal 2001):

    log W = sum_k (b_{k+1} - b_k) log w(h_k),            <W> = p(x) Z_top,       <log W> <= log p(x) + log Z_top.

A move draws a random part of one layer anew from Q given the layer below, and accepts it by Metropolis & Hastings: with
``(w' / w)^b``, times ``Q(h_{l+1} | h_l') / Q(h_{l+1} | h_l)`` for the layer above. It leaves f_b as it is. Importance
weights are the same with one temperature: they wait for a good draw, annealing walks to one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from deepbelief.belief.bound import CHUNK, Stack, bound_over_cases, log_mean_and_variance
from deepbelief.errors import check_count
from deepbelief.protocols import Generator
from deepbelief.rng import uniform_like
from deepbelief.types import Bound
from deepbelief.units.base import Units
from deepbelief.units.side_by_side import SideBySide


@torch.no_grad()
def annealed_bound(
    dbn: Stack,
    x: Tensor,
    *,
    log_z: Bound | None = None,
    n_samples: int = 100,
    n_runs: int = 2,
    generator: Generator = None,
    chunk: int = CHUNK,
) -> Bound:
    """The lower bound per case in nats from `n_runs` annealing runs of ``n_samples / n_runs`` temperatures each.

    `n_samples` is how often each case's weight is computed, as in `importance_bound`, which costs the same. The runs
    are joined by the log of their average weight, and the standard error is their jackknife's, joined with log Z's.
    """
    check_count("n_runs", n_runs, low=1)
    check_count("n_samples", n_samples, low=n_runs)
    n_temperatures = n_samples // n_runs

    def estimate(rows: Tensor) -> tuple[Tensor, Tensor]:
        runs = [annealed_log_weights(dbn, rows, n_temperatures, generator) for _ in range(n_runs)]
        return log_mean_and_variance(torch.stack(runs))

    method = f"annealed bound, {n_runs} runs of {n_temperatures} temperatures"
    return bound_over_cases(dbn, x, estimate, method, log_z=log_z, generator=generator, chunk=chunk)


def annealed_log_weights(dbn: Stack, x: Tensor, n_temperatures: int, generator: Generator) -> Tensor:
    """``log W`` of one run per case, without log Z: (n, d) -> (n,), float64. One temperature is a draw of ``log w``."""
    check_count("n_temperatures", n_temperatures, low=1)
    path = _Path(dbn, x)
    if not path.below:
        return -dbn.top_free_energy(x).double()  # nothing is hidden from the top: the number is exact
    state = path.start(generator)
    for k in range(1, n_temperatures):
        state = path.move(state, k / n_temperatures, k % len(path.parts), generator)
    return state.total / n_temperatures


class _State:
    """The layers of every case, log w, the log Q of each layer, and the sum of log w over the temperatures so far."""

    def __init__(self, layers: list[Tensor], log_w: Tensor, log_q: list[Tensor], total: Tensor) -> None:
        self.layers, self.log_w, self.log_q, self.total = layers, log_w, log_q, total


class _Path:
    """The laws between the way up and the posterior of `x`."""

    def __init__(self, dbn: Stack, x: Tensor) -> None:
        self.dbn, self.x = dbn, x
        self.below = dbn.layers[:-1]
        self.parts = [independent_parts(layer.hidden).to(x.device) for layer in self.below]

    def start(self, generator: Generator) -> _State:
        layers, x = [], self.x
        for layer in self.below:
            x = layer.sample_h_from_v(x, generator)
            layers.append(x)
        log_w, log_q = self.scores(layers)
        return _State(layers, log_w, log_q, log_w.clone())

    def scores(self, layers: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """log w of the states, and log Q of each layer given the one below: float64, (n,)."""
        log_q, down = [], []
        for layer, v, h in zip(self.below, [self.x, *layers], layers, strict=False):
            log_q.append(layer.hidden.log_prob(h, layer.input_h_from_v(v)).double())
            down.append(layer.visible.log_prob(v, layer.input_v_from_h(h)).double())
        top = self.dbn.top_free_energy(layers[-1]).double()
        return torch.stack(down).sum(0) - torch.stack(log_q).sum(0) - top, log_q

    def move(self, state: _State, beta: float, which: int, generator: Generator) -> _State:
        """Draw a part of layer `which` anew, accept or not, and count log w at the next temperature."""
        own, v = state.layers[which], ([self.x, *state.layers])[which]
        fresh = self.below[which].sample_h_from_v(v, generator)
        layers = list(state.layers)
        layers[which] = torch.where(self._chosen(which, own, generator), fresh, own)
        log_w, log_q = self.scores(layers)
        gain = beta * (log_w - state.log_w)
        if which + 1 < len(self.below):
            gain += log_q[which + 1] - state.log_q[which + 1]
        accept = uniform_like(gain, generator).log() < gain
        layers[which] = torch.where(accept.unsqueeze(1), layers[which], own)
        log_w = torch.where(accept, log_w, state.log_w)
        log_q = [torch.where(accept, new, old) for new, old in zip(log_q, state.log_q, strict=True)]
        return _State(layers, log_w, log_q, state.total + log_w)

    def _chosen(self, which: int, own: Tensor, generator: Generator) -> Tensor:
        """The columns that are drawn anew: of each case a share between one and all, evenly spread in its logarithm."""
        parts = self.parts[which]
        n = int(parts[-1]) + 1
        share = torch.exp(-math.log(n) * uniform_like(own[:, :1], generator))
        return (uniform_like(own[:, :1].expand(-1, n), generator) < share)[:, parts]


def independent_parts(units: Units) -> Tensor:
    """The number of the independent part that each column belongs to: (size,), rising from 0.

    >>> from deepbelief.units.categorical import Categorical
    >>> independent_parts(Categorical(2, 3)).tolist()
    [0, 0, 0, 1, 1, 1]
    """
    if isinstance(units, SideBySide):
        pieces, start = [], 0
        for i in range(len(units.sizes)):
            piece = independent_parts(units.part(i)) + start
            pieces.append(piece)
            start = int(piece[-1]) + 1
        return torch.cat(pieces)
    n = units.cumulants(torch.zeros(1, units.size).to(units.bias)).shape[-1]
    return torch.arange(n).repeat_interleave(units.size // n)
