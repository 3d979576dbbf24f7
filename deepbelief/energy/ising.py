"""Ising and Potts models on grids and given graphs.

Ising:  E(s) = -sum_edges coupling s_i s_j - sum_i field s_i,               s_i in {-1, +1}
Potts:  E(s) = -sum_edges coupling [s_i = s_j] - sum_i field[s_i],          s_i in {0, ..., n_values - 1}

at a temperature T: p(s) = exp(-E(s) / T) / Z (Ising 1925; Potts 1952). On the infinite square grid the Ising model
orders below T = 2 coupling / log(1 + sqrt 2), the Potts model below T = coupling / log(1 + sqrt n_values).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from deepbelief.energy.boltzmann import BoltzmannMachine
from deepbelief.energy.graph import Graph
from deepbelief.errors import InvalidArgumentError
from deepbelief.units.categorical import Categorical
from deepbelief.units.spin import Spin

Numbers = float | Tensor


def ising(graph: Graph, coupling: Numbers = 1.0, field: Numbers = 0.0, *, temperature: float = 1.0) -> BoltzmannMachine:
    """The Ising model on a graph; `coupling` is one number or one for each edge, `field` one or one for each site."""
    model = BoltzmannMachine(Spin(graph.n_sites), graph=graph, temperature=temperature, coupling_std=0.0)
    with torch.no_grad():
        model.coupling.copy_(_each(coupling, len(graph.edges), "coupling", "edge"))
        model.visible.bias.copy_(_each(field, graph.n_sites, "field", "site"))
    return model


def potts(
    graph: Graph, n_values: int, coupling: Numbers = 1.0, field: Numbers = 0.0, *, temperature: float = 1.0
) -> BoltzmannMachine:
    """The Potts model on a graph, sites one-hot coded in rows of ``n_sites * n_values`` numbers.

    `coupling` is one number or one for each edge; `field` one number, one for each value, or (n_sites, n_values).
    """
    units = Categorical(graph.n_sites, n_values)
    model = BoltzmannMachine(units, graph=graph, temperature=temperature, coupling_std=0.0)
    each = _each(coupling, len(graph.edges), "coupling", "edge")
    with torch.no_grad():
        model.coupling.copy_((each.view(-1, 1, 1) * torch.eye(n_values)).flatten())
        model.visible.bias.copy_(_field(field, graph.n_sites, n_values))
    return model


def ising_grid(
    shape: Sequence[int],
    coupling: Numbers = 1.0,
    field: Numbers = 0.0,
    *,
    temperature: float = 1.0,
    periodic: bool = False,
) -> BoltzmannMachine:
    """The Ising model on a grid of any number of dimensions, sites in row-major order.

    >>> model = ising_grid((3, 3), coupling=0.5)
    >>> round(model.energy(torch.ones(1, 9)).item(), 3)  # 12 edges
    -6.0
    """
    return ising(Graph.grid(shape, periodic=periodic), coupling, field, temperature=temperature)


def potts_grid(
    shape: Sequence[int],
    n_values: int,
    coupling: Numbers = 1.0,
    field: Numbers = 0.0,
    *,
    temperature: float = 1.0,
    periodic: bool = False,
) -> BoltzmannMachine:
    """The Potts model on a grid.

    >>> potts_grid((2, 2), 3).sample(2, n_steps=5, generator=torch.Generator().manual_seed(0)).shape
    torch.Size([2, 12])
    """
    return potts(Graph.grid(shape, periodic=periodic), n_values, coupling, field, temperature=temperature)


def _each(value: Numbers, n: int, name: str, what: str) -> Tensor:
    found = torch.as_tensor(value, dtype=torch.float32)
    if found.ndim > 1 or (found.ndim == 1 and len(found) != n):
        raise InvalidArgumentError(
            f"{name} must be one number or {n}, one for each {what}. Got shape {tuple(found.shape)}."
        )
    return found.expand(n)


def _field(value: Numbers, n_sites: int, n_values: int) -> Tensor:
    found = torch.as_tensor(value, dtype=torch.float32)
    if tuple(found.shape) not in ((), (n_values,), (n_sites, n_values)):
        raise InvalidArgumentError(
            f"field must be one number, {n_values} (one for each value) or of shape {(n_sites, n_values)}. "
            f"Got shape {tuple(found.shape)}."
        )
    return found.expand(n_sites, n_values).flatten()
