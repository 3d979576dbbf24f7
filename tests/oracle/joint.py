"""The joint law of an RBM known exactly, from its definition alone and without a line of the library's mathematics.

With z = (v, h), every machine of discrete and Gaussian units is one quadratic form,

    E(z) = z' A z / 2 - a' z,        A = [[diag(precision_v), -W], [-W', diag(precision_h)]],    a = (bias_v, bias_h),

where discrete units have no precision. Sums run over all joint states of the discrete columns; the Gaussian columns
are integrated in closed form given each of them. Fixing some columns gives the conditional law, which is the same kind
of thing. All of it is differentiable in the parameters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from deepbelief.energy.rbm import RBM
from deepbelief.energy.units.base import Units
from deepbelief.energy.units.gaussian import Gaussian
from deepbelief.energy.units.side_by_side import SideBySide
from tests.oracle.pvalues import corrected, counts_p_value, means_p_value


def parts_of(units: Units) -> list[Units]:
    """The plain kinds that a layer is made of, in order."""
    if not isinstance(units, SideBySide):
        return [units]
    return [plain for part in units.parts for plain in parts_of(part)]  # type: ignore[arg-type]


def rows_of(units: Units) -> list[tuple[float, ...]]:
    """Every state of a layer, written down from the meaning of its kind; Gaussian columns hold zeros."""
    by_part = []
    for part in parts_of(units):
        if part.kind == "categorical":
            n = part.n_values  # type: ignore[attr-defined]
            one_hot = [tuple(float(i == j) for i in range(n)) for j in range(n)]
            by_part += [one_hot] * part.n_groups  # type: ignore[attr-defined, operator]
        else:
            values = {"bernoulli": (0.0, 1.0), "spin": (-1.0, 1.0), "gaussian": (0.0,)}[part.kind]
            by_part += [[(value,) for value in values]] * part.size
    return [sum(pieces, ()) for pieces in product(*by_part)]


def precisions_of(units: Units) -> Tensor:
    """The precision of each column, zero for discrete ones."""
    pieces = [
        part.log_precision.exp() if isinstance(part, Gaussian) else torch.zeros_like(part.bias)
        for part in parts_of(units)
    ]
    return torch.cat(pieces)


@dataclass
class Joint:
    """A law over rows z: `states` (states, columns) of what is summed over, Gaussian columns that are `free`."""

    states: Tensor
    precision: Tensor
    field: Tensor
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
        states = torch.tensor(rows, dtype=rbm.weight.dtype)
        continuous = diagonal.detach() > 0
        return cls(
            states, torch.cat([upper, lower]) + torch.diag(diagonal), field, continuous, continuous, len(rbm.weight)
        )

    def given(self, values: Tensor, known: Tensor) -> Joint:
        """The law given the `known` columns of one row."""
        discrete = known & ~self.continuous
        fits = (self.states[:, discrete] == values[discrete]).all(1)
        states = torch.where(known & self.continuous, values, self.states[fits])
        return Joint(states, self.precision, self.field, self.continuous, self.free & ~known, self.n_visible)

    def given_visible(self, v: Tensor) -> Joint:
        """The law of h given one row of v."""
        values = torch.cat([v, v.new_zeros(self.states.shape[1] - len(v))])
        return self.given(values, torch.arange(len(values)) < len(v))

    def given_hidden(self, h: Tensor) -> Joint:
        """The law of v given one row of h."""
        values = torch.cat([h.new_zeros(self.n_visible), h])
        return self.given(values, torch.arange(len(values)) >= self.n_visible)

    def energy(self, z: Tensor) -> Tensor:
        """``E(z)`` of whole rows."""
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
        return 0.5 * (inner + volume) - self.energy(self.states)

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
        """How well independent rows fit: chi-square over the states, Student over moments of the Gaussian columns."""
        where = find(self.states[:, ~self.continuous], z[:, ~self.continuous])
        if (where < 0).any():
            return 0.0
        counts = torch.bincount(where, minlength=len(self.states))
        p_values = [counts_p_value(counts, self.probabilities)]
        if self.free.any():
            mean, second = self.moments()
            products = z[:, self.free].unsqueeze(2) * z.unsqueeze(1)
            p_values.append(means_p_value(z[:, self.free], mean[self.free]))
            p_values.append(means_p_value(products.flatten(1), second[self.free].flatten()))
        return corrected(p_values)


def find(states: Tensor, rows: Tensor) -> Tensor:
    """The number of each row among the states, -1 where it is none of them; entries are -1, 0 or 1."""
    powers = 3 ** torch.arange(states.shape[1])
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
