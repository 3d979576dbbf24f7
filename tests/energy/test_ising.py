"""Ising and Potts models against exact results: enumeration, and Kaufman's closed form for a torus."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from torch import Tensor

from deepbelief.energy.graph import Graph
from deepbelief.energy.ising import ising, ising_grid, potts, potts_grid
from deepbelief.energy.kernels.coloured import ColouredGibbs, ColouredMetropolis
from deepbelief.energy.partition.choose import log_z
from deepbelief.energy.partition.exact import exact_log_z
from deepbelief.errors import InvalidArgumentError
from tests.oracle.pvalues import FALSE_ALARM, means_p_value

close = torch.testing.assert_close


def kaufman_log_z(k: Tensor, rows: int, columns: int) -> Tensor:
    """log Z of the Ising torus at ``k = coupling / T`` (Kaufman 1949), in which Onsager's solution is the limit."""
    step = torch.arange(2 * rows, dtype=torch.float64)
    cosh = torch.cosh(2 * k) / torch.tanh(2 * k) - torch.cos(math.pi * step / rows)
    gamma = torch.acosh(cosh[1:])
    gamma = torch.cat([(2 * k + torch.log(torch.tanh(k))).reshape(1), gamma])
    even, odd = 0.5 * columns * gamma[0::2], 0.5 * columns * gamma[1::2]
    terms = [
        torch.log(2 * torch.cosh(odd)).sum(),
        torch.log(2 * torch.sinh(odd)).sum(),
        torch.log(2 * torch.cosh(even)).sum(),
        torch.log(2 * torch.sinh(even).abs()).sum(),
    ]
    sign = torch.tensor([1.0, 1.0, 1.0, torch.sign(gamma[0]).item()], dtype=torch.float64)
    top = torch.stack(terms).max()
    total = top + torch.log((sign * torch.exp(torch.stack(terms) - top)).sum())
    return 0.5 * rows * columns * torch.log(2 * torch.sinh(2 * k)) - math.log(2) + total


def kaufman_energy(k: float, rows: int, columns: int) -> float:
    """The mean energy per site at coupling 1."""
    at = torch.tensor(k, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(kaufman_log_z(at, rows, columns), at)
    return -slope.item() / (rows * columns)


@pytest.mark.parametrize("temperature", [1.5, 2.0, 3.0])
def test_the_closed_form_is_the_enumeration(temperature: float) -> None:
    model = ising_grid((4, 4), temperature=temperature, periodic=True).double()
    wanted = kaufman_log_z(torch.tensor(1 / temperature, dtype=torch.float64), 4, 4)
    close(float(exact_log_z(model)), wanted.item())  # type: ignore[arg-type]


@pytest.mark.parametrize("kernel", [ColouredGibbs, ColouredMetropolis])
def test_chains_on_a_torus_have_the_exact_energy(kernel: type[ColouredGibbs], generator: torch.Generator) -> None:
    model = ising_grid((16, 12), temperature=3.0, periodic=True)
    chain = kernel(model)
    state = chain.init(400, generator=generator)
    energies = []
    for step in range(120):
        state, _ = chain.step(state, generator=generator)
        if step >= 60:
            energies.append(model.energy(state.x).double() / 192)
    assert means_p_value(torch.stack(energies).mean(0), kaufman_energy(1 / 3, 16, 12)) > FALSE_ALARM


def test_annealing_brackets_the_exact_log_z_of_a_torus(generator: torch.Generator) -> None:
    model = ising_grid((12, 12), temperature=2.6, periodic=True)
    found = log_z(model, "ais", n_chains=50, betas=150, burn_in=50, generator=generator)
    exact = kaufman_log_z(torch.tensor(1 / 2.6, dtype=torch.float64), 12, 12).item()
    assert found.low is not None
    assert found.high is not None
    assert found.low - 5 * found.stderr < exact < found.high + 5 * found.stderr
    assert found.high - found.low < 5


def test_the_ising_energy_is_its_definition(generator: torch.Generator) -> None:
    graph, field = Graph.grid((2, 3), periodic=False), torch.randn(6, generator=generator)
    coupling = torch.randn(7, generator=generator)
    model = ising(graph, coupling, field)
    s = torch.tensor(list(product((-1.0, 1.0), repeat=6)))
    pairs = sum(-j * s[:, a] * s[:, b] for j, (a, b) in zip(coupling, graph.edges.tolist(), strict=True))
    close(model.energy(s), pairs - s @ field)


@pytest.mark.parametrize("field_shape", [(), (3,), (4, 3)])
def test_the_potts_energy_is_its_definition(field_shape: tuple[int, ...], generator: torch.Generator) -> None:
    graph, field = Graph.grid((2, 2)), torch.randn(field_shape, generator=generator)
    coupling = torch.randn(4, generator=generator)
    model = potts(graph, 3, coupling, field)
    digits = torch.tensor(list(product(range(3), repeat=4)))
    full = field.expand(4, 3)
    wanted = sum(
        -j * (digits[:, a] == digits[:, b]).float() for j, (a, b) in zip(coupling, graph.edges.tolist(), strict=True)
    ) - sum(full[i, digits[:, i]] for i in range(4))
    close(model.energy(torch.nn.functional.one_hot(digits, 3).flatten(1).float()), wanted)


def test_two_potts_values_are_the_ising_model() -> None:
    two = exact_log_z(potts_grid((3, 3), 2, 0.8))  # type: ignore[arg-type]
    spins = exact_log_z(ising_grid((3, 3), 0.4))  # type: ignore[arg-type]
    close(float(two), float(spins) + 12 * 0.4)  # [s = t] = (1 + s t) / 2 on 12 edges


def test_wrong_arguments_get_a_sentence() -> None:
    with pytest.raises(InvalidArgumentError, match=r"field must be one number, 3 .one for each value. or of shape"):
        potts_grid((2, 2), 3, field=torch.ones(4))
    with pytest.raises(InvalidArgumentError, match=r"coupling must be one number or 12, one for each edge. Got shape"):
        ising_grid((3, 3), torch.ones(3))
    with pytest.raises(InvalidArgumentError, match="field must be one number or 9, one for each site"):
        ising_grid((3, 3), 1.0, torch.ones(3))
