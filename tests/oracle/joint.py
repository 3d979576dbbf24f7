"""The joint law of an RBM known exactly, from its definition alone and without a line of the library's mathematics.

With z = (v, h), every machine is one quadratic form beside a base measure,

    p(z) ~ m(z) exp(a' z - z' A z / 2),  A = [[diag(precision_v), -W], [-W', diag(precision_h)]],  a = (bias_v, bias_h),

where units without a precision have none and m counts the ways to have a state (1, a binomial coefficient, 1 / x! ...).
Sums run over all joint states of the discrete columns; Poisson columns stop where the tail is below rounding, and
rectified columns run over the nodes of a quadrature whose weights are their m. Gaussian columns are integrated in
closed form given each of these. Fixing some columns gives the conditional law, which is the same kind of thing. All
of it is differentiable in the parameters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deepbelief.energy.rbm import RBM
from deepbelief.units.base import Units
from deepbelief.units.side_by_side import SideBySide
from tests.oracle.pvalues import corrected, counts_p_value, means_p_value

MOST_EVENTS = 120  # of a Poisson column, whose rates stay below 30 here
LINE_END, N_NODES = 16.0, 72  # of the quadrature for rectified columns


def _nodes() -> list[tuple[float, float]]:
    """The nodes of Gauss and Legendre on [0, LINE_END], with the logarithms of their weights."""
    x, weight = np.polynomial.legendre.leggauss(N_NODES)
    return list(zip(((x + 1) * LINE_END / 2).tolist(), np.log(weight * LINE_END / 2).tolist(), strict=True))


NODES = _nodes()


def parts_of(units: Units) -> list[Units]:
    """The plain kinds that a layer is made of, in order."""
    if not isinstance(units, SideBySide):
        return [units]
    return [plain for part in units.parts for plain in parts_of(part)]  # type: ignore[arg-type]


def rows_of(units: Units) -> list[tuple[float, ...]]:
    """Every state of a layer, written down from the meaning of its kind; Gaussian columns hold zeros."""
    return [sum((values for values, _ in pieces), ()) for pieces in product(*_blocks(units))]


def log_ways_of(units: Units) -> list[float]:
    """The logarithm of the base measure of each state, in the order of `rows_of`."""
    return [sum(log_ways for _, log_ways in pieces) for pieces in product(*_blocks(units))]


def _blocks(units: Units) -> list[list[tuple[tuple[float, ...], float]]]:
    """The states of each independent variable, with the logarithm of their base measure."""
    return [block for part in parts_of(units) for block in _blocks_of_kind(part)]


def _blocks_of_kind(part: Any) -> list[list[tuple[tuple[float, ...], float]]]:
    if part.kind == "categorical":
        n = part.n_values
        return [[(tuple(float(i == j) for i in range(n)), 0.0) for j in range(n)]] * part.n_groups
    if part.kind == "pooled":
        n = part.group_size
        return [[(tuple(float(i == j) for i in range(n)), 0.0) for j in range(n + 1)]] * part.n_groups  # the last: none
    if part.kind == "multinomial":
        rows = [x for x in product(range(part.n_draws + 1), repeat=part.size) if sum(x) == part.n_draws]
        ways = [math.factorial(part.n_draws) / math.prod(map(math.factorial, row)) for row in rows]
        return [[(tuple(map(float, row)), math.log(n)) for row, n in zip(rows, ways, strict=True)]]
    if part.kind == "binomial":
        n = part.n_trials
        return [[((float(k),), math.log(math.comb(n, k))) for k in range(n + 1)]] * part.size
    if part.kind == "poisson":
        return [[((float(k),), -math.log(math.factorial(k))) for k in range(MOST_EVENTS)]] * part.size
    if part.kind == "rectified":
        return [[((x,), log_weight) for x, log_weight in NODES]] * part.size
    values = {"bernoulli": (0.0, 1.0), "spin": (-1.0, 1.0), "gaussian": (0.0,)}[part.kind]
    return [[((value,), 0.0) for value in values]] * part.size


def log_ways_at(units: Units, rows: Tensor) -> Tensor:
    """The logarithm of the base measure of given rows of a layer, from its definition: (n, size) -> (n,)."""
    total, first = rows.new_zeros(len(rows)), 0
    for part in parts_of(units):
        piece, first = rows[:, first : first + part.size], first + part.size
        if part.kind in ("binomial", "multinomial", "poisson"):
            blocks = [dict(block) for block in _blocks_of_kind(part)]
            width = part.size // len(blocks)
            cells = piece.unflatten(1, (len(blocks), width)).tolist()
            ways = [[block[tuple(cell)] for block, cell in zip(blocks, row, strict=True)] for row in cells]
            total = total + torch.tensor(ways, dtype=rows.dtype).sum(1)
    return total


def precisions_of(units: Units) -> Tensor:
    """The precision of each column, zero for those without."""
    pieces = [getattr(part, "log_precision", torch.full_like(part.bias, -math.inf)).exp() for part in parts_of(units)]
    return torch.cat(pieces)


def columns_of(rbm: RBM, kind: str) -> Tensor:
    """Which columns of a row of both layers are of this kind."""
    parts = [part for units in (rbm.visible, rbm.hidden) for part in parts_of(units)]
    return torch.cat([torch.full((part.size,), part.kind == kind) for part in parts])


@dataclass
class Joint:
    """A law over rows z: `states` (states, columns) of what is summed over, Gaussian columns that are `free`.

    `log_ways` is the logarithm of the base measure of each state; `noded` marks the rectified columns.
    """

    states: Tensor
    log_ways: Tensor
    precision: Tensor
    field: Tensor
    noded: Tensor
    continuous: Tensor
    free: Tensor
    n_visible: int

    @classmethod
    def of(cls, rbm: RBM) -> Joint:
        """The joint law of both layers; the visible states change slowest."""
        rows = [v + h for v, h in product(rows_of(rbm.visible), rows_of(rbm.hidden))]
        diagonal = torch.cat([precisions_of(rbm.visible), precisions_of(rbm.hidden)])
        nothing = [rbm.weight.new_zeros(n, n) for n in rbm.weight.shape]
        upper = torch.cat([nothing[0], -rbm.weight], 1)
        lower = torch.cat([-rbm.weight.T, nothing[1]], 1)
        field = torch.cat([part.bias for units in (rbm.visible, rbm.hidden) for part in parts_of(units)])
        ways = [v + h for v, h in product(log_ways_of(rbm.visible), log_ways_of(rbm.hidden))]
        states, log_ways = (torch.tensor(numbers, dtype=rbm.weight.dtype) for numbers in (rows, ways))
        gaussian, noded = columns_of(rbm, "gaussian"), columns_of(rbm, "rectified")
        precision = torch.cat([upper, lower]) + torch.diag(diagonal)
        return cls(states, log_ways, precision, field, noded, gaussian | noded, gaussian, len(rbm.weight))

    def given(self, values: Tensor, known: Tensor) -> Joint:
        """The law given the `known` columns of one row."""
        discrete, noded = known & ~self.continuous, known & self.noded
        fits = (self.states[:, discrete] == values[discrete]).all(1)
        fits &= (self.states[:, noded] == NODES[0][0]).all(1)  # one node stands for the value, without its weight
        states = torch.where(known & self.continuous, values, self.states[fits])
        log_ways = self.log_ways[fits] - noded.sum() * NODES[0][1]
        free = self.free & ~known
        return Joint(
            states, log_ways, self.precision, self.field, self.noded & ~known, self.continuous, free, self.n_visible
        )

    def given_visible(self, v: Tensor) -> Joint:
        """The law of h given one row of v."""
        values = torch.cat([v, v.new_zeros(self.states.shape[1] - len(v))])
        return self.given(values, torch.arange(len(values)) < len(v))

    def given_hidden(self, h: Tensor) -> Joint:
        """The law of v given one row of h."""
        values = torch.cat([h.new_zeros(self.n_visible), h])
        return self.given(values, torch.arange(len(values)) >= self.n_visible)

    def energy(self, z: Tensor) -> Tensor:
        """``E(z)`` of whole rows, but for the base measure."""
        return 0.5 * torch.einsum("ni,ij,nj->n", z, self.precision, z) - z @ self.field

    def _gaussian(self) -> tuple[Tensor, Tensor]:
        """The precision of the free columns, and their field at each state."""
        field = self.field - self.states @ self.precision
        return self.precision[self.free][:, self.free], field[:, self.free]

    @property
    def log_weights(self) -> Tensor:
        """``log sum exp(-E)`` at each state, over the free Gaussian columns."""
        precision, field = self._gaussian()
        inner = (field * torch.linalg.solve(precision, field.T).T).sum(1)
        volume = len(precision) * math.log(2 * math.pi) - torch.logdet(precision) if len(precision) else 0.0
        return 0.5 * (inner + volume) - self.energy(self.states) + self.log_ways

    @property
    def log_z(self) -> Tensor:
        """The logarithm of the sum over everything that is not fixed."""
        return torch.logsumexp(self.log_weights, 0)

    @property
    def probabilities(self) -> Tensor:
        """The probability of each state."""
        return torch.softmax(self.log_weights, 0)

    def means_by_state(self) -> Tensor:
        """z at each state, with the means of the free columns."""
        precision, field = self._gaussian()
        rows = self.states.clone()
        rows[:, self.free] = torch.linalg.solve(precision, field.T).T
        return rows

    def moments(self) -> tuple[Tensor, Tensor]:
        """``<z>`` and ``<z z'>``."""
        p, rows = self.probabilities, self.means_by_state()
        second = rows.T @ (p.unsqueeze(1) * rows)
        places = self.free.nonzero().squeeze(1)
        second[places.unsqueeze(1), places] += torch.linalg.inv(self._gaussian()[0])
        return p @ rows, second

    @torch.no_grad()
    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Independent draws of z: (n, columns)."""
        z = self.means_by_state()[torch.multinomial(self.probabilities, n, replacement=True, generator=generator)]
        factor = torch.linalg.cholesky(torch.linalg.inv(self._gaussian()[0]))
        noise = torch.randn(n, len(factor), generator=generator, dtype=z.dtype)
        z[:, self.free] += noise @ factor.T
        return z

    def halves(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """v and h of whole rows."""
        return z[:, : self.n_visible], z[:, self.n_visible :]

    @torch.no_grad()
    def p_value(self, z: Tensor) -> float:
        """How well independent rows fit: chi-square over the states, Student over moments of the real columns."""
        discrete = ~self.continuous
        states, place = self.states[:1, discrete], torch.zeros(len(self.states), dtype=torch.long)
        if discrete.any():
            states, place = torch.unique(self.states[:, discrete], dim=0, return_inverse=True)
        where = find(states, z[:, discrete])
        if (where < 0).any():
            return 0.0
        counts = torch.bincount(where, minlength=len(states))
        probabilities = self.probabilities.new_zeros(len(states)).index_add(0, place, self.probabilities)
        p_values = [counts_p_value(counts, probabilities)]
        real = self.free | self.noded
        if real.any():
            mean, second = self.moments()
            products = z[:, real].unsqueeze(2) * z.unsqueeze(1)
            p_values.append(means_p_value(z[:, real], mean[real]))
            p_values.append(means_p_value(products.flatten(1), second[real].flatten()))
        return corrected(p_values)


def find(states: Tensor, rows: Tensor) -> Tensor:
    """The number of each row among the states, -1 where it is none of them; entries are whole and at least -1."""
    powers = (int(states.max()) + 2) ** torch.arange(states.shape[1]) if states.numel() else torch.arange(0)
    keys, order = ((states + 1).long() @ powers).sort()
    wanted = (rows + 1).long() @ powers
    place = torch.searchsorted(keys, wanted).clamp_max(len(keys) - 1)
    exact = (keys[place] == wanted) & (states[order[place]] == rows).all(1)
    return torch.where(exact, order[place], -1)


def mean_log_likelihood(rbm: RBM, x: Tensor, weight: Tensor | None = None) -> Tensor:
    """The (weighted) mean of ``log p(v)`` over rows of x, differentiable in the parameters."""
    joint = Joint.of(rbm)
    each = torch.stack([joint.given_visible(row).log_z for row in x]) - joint.log_z
    return each.mean() if weight is None else (weight * each).sum() / weight.sum()
