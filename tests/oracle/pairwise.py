"""Boltzmann machines known exactly, from the definition of their energy alone, and tiny ones of every kind."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

from deepbelief.energy.boltzmann import BoltzmannMachine
from deepbelief.energy.graph import Graph
from deepbelief.energy.kernels.coloured import ColouredGibbs, SiteState
from deepbelief.types import Clamp
from deepbelief.units.base import Units
from deepbelief.units.bernoulli import Bernoulli
from deepbelief.units.categorical import Categorical
from deepbelief.units.side_by_side import SideBySide
from deepbelief.units.spin import Spin
from tests.oracle.joint import Joint, parts_of, rows_of

CYCLE = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 0)]  # an odd cycle: three colours


def machines() -> dict[str, BoltzmannMachine]:
    """One machine of each sort, without parameters."""
    return {
        "bernoulli": BoltzmannMachine(4),
        "spin": BoltzmannMachine(Spin(4), temperature=1.7),
        "categorical": BoltzmannMachine(Categorical(3, 3)),
        "grid": BoltzmannMachine(Spin(6), graph=Graph.grid((2, 3)), temperature=0.8),
        "cycle": BoltzmannMachine(Bernoulli(5), graph=Graph.of_edges(5, CYCLE)),
        "potts": BoltzmannMachine(Categorical(4, 3), graph=Graph.grid((2, 2))),
        "mixed": BoltzmannMachine(SideBySide([Bernoulli(2), Categorical(1, 3)]), Spin(2)),
        "hidden": BoltzmannMachine(3, 3),
        "restricted": BoltzmannMachine(3, Spin(2), graph=Graph.of_edges(5, product((0, 1, 2), (3, 4)))),
        "chain of hidden": BoltzmannMachine(
            Spin(3), Bernoulli(2), temperature=1.3, graph=Graph.of_edges(5, [(0, 3), (1, 3), (3, 4), (4, 2)])
        ),
    }


SORTS = list(machines())
WITH_HIDDEN = [sort for sort, machine in machines().items() if machine.hidden is not None]
ALL_VISIBLE = [sort for sort in SORTS if sort not in WITH_HIDDEN]


@torch.no_grad()
def tiny_machine(sort: str, generator: torch.Generator, *, scale: float = 0.6) -> BoltzmannMachine:
    """A machine of one sort with random parameters and offsets, in float64."""
    machine = machines()[sort].double()
    for parameter in machine.parameters():
        parameter.copy_(scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    inputs = 0.7 * torch.randn(1, machine.size, generator=generator, dtype=torch.float64)
    layers = [machine.visible] if machine.hidden is None else [machine.visible, machine.hidden]
    pieces = inputs.split([layer.size for layer in layers], 1)
    means = [layer.mean(piece)[0] for layer, piece in zip(layers, pieces, strict=True)]
    machine.offset.copy_(torch.cat(means))
    return machine


def columns_by_site(machine: BoltzmannMachine) -> list[list[int]]:
    """The columns of each variable, by counting."""
    found: list[list[int]] = []
    layers: list[Units] = [machine.visible] if machine.hidden is None else [machine.visible, machine.hidden]
    for part in (part for layer in layers for part in parts_of(layer)):
        width = part.n_values if part.kind == "categorical" else 1  # type: ignore[attr-defined]
        for _ in range(part.size // width):  # type: ignore[operator]
            start = found[-1][-1] + 1 if found else 0
            found.append(list(range(start, start + width)))  # type: ignore[arg-type]
    return found


def matrix_of(machine: BoltzmannMachine) -> Tensor:
    """J, entry by entry: edges in order, of each edge the columns of its first site by those of its second."""
    sites, numbers = columns_by_site(machine), iter(machine.coupling)
    matrix = machine.coupling.new_zeros(machine.size, machine.size)
    for i, j in machine.graph.edges.tolist():
        for a, b in product(sites[i], sites[j]):
            entry = torch.zeros_like(matrix)
            entry[a, b] = entry[b, a] = 1.0
            matrix = matrix + next(numbers) * entry
    return matrix


def law_of(machine: BoltzmannMachine) -> Joint:
    """The law of all units, differentiable in the parameters."""
    layers = [machine.visible] if machine.hidden is None else [machine.visible, machine.hidden]
    rows = [sum(parts, ()) for parts in product(*(rows_of(layer) for layer in layers))]
    field = torch.cat([part.bias for layer in layers for part in parts_of(layer)])
    none = torch.zeros(machine.size, dtype=torch.bool)
    states = torch.tensor(rows, dtype=machine.coupling.dtype)
    cold, ways = 1 / machine.temperature, states.new_zeros(len(states))
    return Joint(states, ways, -cold * matrix_of(machine), cold * field, none, none, none, machine.visible.size)


def mean_log_likelihood_of(machine: BoltzmannMachine, x: Tensor, weight: Tensor | None = None) -> Tensor:
    """The (weighted) mean of ``log p(v)`` over rows of x, differentiable in the parameters."""
    law = law_of(machine)
    each = torch.stack([law.given_visible(row).log_z for row in x]) - law.log_z
    return each.mean() if weight is None else (weight * each).sum() / weight.sum()


def known_site(machine: BoltzmannMachine) -> Tensor:
    """A mask of visible columns to clamp: those of the second variable."""
    mask = torch.zeros(machine.visible.size, dtype=torch.bool)
    mask[columns_by_site(machine)[1]] = True
    return mask


def sweep_keeps_the_law(
    machine: BoltzmannMachine, kernel: ColouredGibbs, n: int, generator: torch.Generator, *, clamped: bool = False
) -> float:
    """Chains that start exactly at the (conditional) law have it after a sweep."""
    law, clamp = law_of(machine), None
    if clamped:
        row, known = law.draw(1, generator)[0], known_site(machine)
        clamp = Clamp(row[: machine.visible.size], known)
        law = law.given(row, torch.cat([known, torch.zeros(machine.size - len(known), dtype=torch.bool)]))
    state, _ = kernel.step(SiteState(law.draw(n, generator)), clamp=clamp, generator=generator)
    return law.p_value(state.x)
