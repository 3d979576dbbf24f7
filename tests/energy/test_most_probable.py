"""The most probable state: the minimum cut is exact, annealing comes near."""

from __future__ import annotations

import pytest
import torch

from deepbelief.energy.boltzmann import BoltzmannMachine
from deepbelief.energy.graph import Graph
from deepbelief.energy.ising import ising_grid, potts_grid
from deepbelief.energy.most_probable import minimum_cut, scores, simulated_annealing
from deepbelief.errors import InvalidArgumentError
from deepbelief.units.spin import Spin
from tests.oracle.pairwise import law_of

close = torch.testing.assert_close


def ferromagnet(kind: str, generator: torch.Generator) -> BoltzmannMachine:
    """A small machine whose couplings favour equal values, with random fields."""
    graph = Graph.of_edges(9, [*Graph.grid((3, 3)).edges.tolist(), (0, 4), (2, 4), (0, 8)])
    machine = BoltzmannMachine(Spin(9) if kind == "spin" else 9, graph=graph, temperature=1.4).double()
    with torch.no_grad():
        machine.coupling.copy_(torch.rand(len(graph.edges), generator=generator))
        machine.visible.bias.copy_(torch.randn(9, generator=generator))
    return machine


def best_of(machine: BoltzmannMachine, evidence: torch.Tensor) -> torch.Tensor:
    """The most probable state by looking at all."""
    law = law_of(machine)
    return torch.stack([law.states[(-law.energy(law.states) + law.states @ row).argmax()] for row in evidence])


@pytest.mark.parametrize("kind", ["spin", "bernoulli"])
def test_the_minimum_cut_is_the_best_of_all_states(kind: str, generator: torch.Generator) -> None:
    machine = ferromagnet(kind, generator)
    evidence = 2 * torch.randn(12, 9, generator=generator).double()
    assert torch.equal(minimum_cut(machine, evidence), best_of(machine, evidence))
    assert torch.equal(minimum_cut(machine), best_of(machine, torch.zeros(1, 9).double()))


def test_annealing_finds_the_best_of_small_machines_and_any_units(generator: torch.Generator) -> None:
    for machine in (potts_grid((2, 3), 3, 0.5).double(), ising_grid((3, 3), -0.7).double()):
        evidence = torch.randn(6, machine.size, generator=generator).double()
        found = simulated_annealing(machine, evidence, n_sweeps=300, generator=generator)
        close(scores(machine, found, evidence), scores(machine, best_of(machine, evidence), evidence))


def test_scores_are_the_log_weights(generator: torch.Generator) -> None:
    machine = ferromagnet("spin", generator)
    law = law_of(machine)
    close(scores(machine, law.states), -law.energy(law.states))


def test_what_a_cut_cannot_do_gets_a_sentence() -> None:
    with pytest.raises(InvalidArgumentError, match=r"at least 0 for a minimum cut. Got -1. Use simulated_annealing"):
        minimum_cut(ising_grid((2, 2), -1.0))
    with pytest.raises(InvalidArgumentError, match=r"bernoulli or all be spin for a minimum cut. Got categorical"):
        minimum_cut(potts_grid((2, 2), 3))
    with pytest.raises(InvalidArgumentError, match="coldest must be above 0"):
        simulated_annealing(ising_grid((2, 2)), coldest=0.0)
