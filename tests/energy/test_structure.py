"""Reading the graph off a fitted machine."""

from __future__ import annotations

import pytest
import torch

from deepbelief.data.source import make_source
from deepbelief.energy.boltzmann import BoltzmannMachine
from deepbelief.energy.gradients.pairwise_learning import make_pairwise_procedure
from deepbelief.energy.gradients.settings import LearningSettings
from deepbelief.energy.graph import Graph
from deepbelief.energy.ising import ising, potts
from deepbelief.energy.structure import edge_strengths, ranked_links, strength_matrix
from deepbelief.errors import InvalidArgumentError
from deepbelief.training.trainer import Trainer
from deepbelief.units.categorical import Categorical
from deepbelief.units.spin import Spin
from tests.oracle.pairwise import columns_by_site, matrix_of, tiny_machine

EDGES = [(0, 4), (1, 2), (1, 7), (3, 5), (5, 6), (6, 8), (2, 8), (0, 9)]
close = torch.testing.assert_close


def learned(x: torch.Tensor, machine: BoltzmannMachine, rate: float) -> BoltzmannMachine:
    machine.match_data(x)
    settings = LearningSettings(learning="pl", learning_rate=rate, l1=0.005)
    source = make_source(x, batch_size=500)
    Trainer(epochs=25, progress=False).fit(make_pairwise_procedure(machine, settings), source)
    return machine


@pytest.mark.parametrize("kind", ["spin", "potts"])
def test_learning_from_samples_recovers_the_edges(kind: str, generator: torch.Generator) -> None:
    graph = Graph.of_edges(10, EDGES)
    signs = torch.tensor([1.0, -1.0] * 4)
    truth = ising(graph, 0.5 * signs, 0.1) if kind == "spin" else potts(graph, 3, 1.2 * signs)
    x = truth.sample(3000, n_steps=40, generator=generator)
    units = Spin(10) if kind == "spin" else Categorical(10, 3)
    machine = learned(x, BoltzmannMachine(units, generator=generator), 0.1 if kind == "spin" else 0.4)
    for corrected in (False, True):
        links = ranked_links(machine, len(EDGES), corrected=corrected)
        assert {(link.first, link.second) for link in links} == set(EDGES)
    if kind == "spin":
        found = {(link.first, link.second): link.coupling for link in ranked_links(machine, len(EDGES))}
        assert all(found[tuple(edge)] * sign > 0 for edge, sign in zip(graph.edges.tolist(), signs, strict=True))


@pytest.mark.parametrize("sort", ["bernoulli", "potts", "mixed", "cycle"])
def test_strengths_are_norms_that_no_shift_changes(sort: str, generator: torch.Generator) -> None:
    machine = tiny_machine(sort, generator)
    sites, matrix = columns_by_site(machine), matrix_of(machine).detach()
    for strength, (i, j) in zip(edge_strengths(machine), machine.graph.edges.tolist(), strict=True):
        block = matrix[sites[i]][:, sites[j]]
        for axis in (0, 1):
            block = block - block.mean(axis, keepdim=True) if block.shape[axis] > 1 else block
        close(strength, block.norm())
    if sort == "potts":
        before = edge_strengths(machine)
        with torch.no_grad():  # what a row of a block gains, a bias can lose: the law stays, and so must the strengths
            machine.coupling.view(-1, 3, 3).add_(torch.randn(3, 1, generator=generator).double())
        close(edge_strengths(machine), before)


def test_the_correction_is_its_definition(generator: torch.Generator) -> None:
    machine = tiny_machine("bernoulli", generator)
    plain, corrected = strength_matrix(machine), strength_matrix(machine, corrected=True)
    off = ~torch.eye(4, dtype=torch.bool)
    mean = torch.stack([row[keep].mean() for row, keep in zip(plain, off, strict=True)])
    wanted = plain - torch.outer(mean, mean) / plain[off].mean()
    close(corrected[off], wanted[off])
    assert not corrected[~off].any()
    assert torch.equal(corrected, corrected.T)


def test_a_machine_without_couplings_has_nothing_to_rank() -> None:
    assert not edge_strengths(BoltzmannMachine(3, coupling_std=0.0), corrected=True).any()
    assert ranked_links(BoltzmannMachine(3, graph=Graph.of_edges(3, []))) == []
    with pytest.raises(InvalidArgumentError, match=r"names must be 3, one for each variable. Got 2"):
        ranked_links(BoltzmannMachine(3), names=["a", "b"])
    with pytest.raises(InvalidArgumentError, match=r"n must be at least 0. Got n=-1"):
        ranked_links(BoltzmannMachine(3), -1)


def test_a_graph_refuses_sites_that_are_no_whole_numbers() -> None:
    assert Graph.of_edges(3, torch.tensor([[0.0, 2.0]])).edges.tolist() == [[0, 2]]
    with pytest.raises(InvalidArgumentError, match="whole-numbered sites"):
        Graph.of_edges(3, [[0.0, 1.5]])
