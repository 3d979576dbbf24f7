"""Coloured sampling: colourings are proper, sweeps leave the law as it is, planted bugs are seen."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import Tensor

from deepbelief.energy.boltzmann import BoltzmannMachine
from deepbelief.energy.graph import Graph
from deepbelief.energy.kernels import coloured
from deepbelief.energy.kernels.coloured import ColouredGibbs, ColouredMetropolis, SiteState
from deepbelief.errors import InvalidArgumentError
from deepbelief.protocols import Kernel
from deepbelief.types import Clamp
from deepbelief.units.base import Units
from tests.oracle.pairwise import CYCLE, SORTS, law_of, sweep_keeps_the_law, tiny_machine
from tests.oracle.pvalues import FALSE_ALARM

N = 10_000
KERNELS: dict[str, Callable[[BoltzmannMachine], ColouredGibbs]] = {
    "gibbs": ColouredGibbs,
    "gibbs, random scan": lambda machine: ColouredGibbs(machine, scan="random"),
    "metropolis": ColouredMetropolis,
    "metropolis, random scan": lambda machine: ColouredMetropolis(machine, scan="random", proposing=0.5),
}


# -- graphs ---------------------------------------------------------------------------------------------------------


GRAPHS = {
    "full": (Graph.full(6), 6),
    "grid": (Graph.grid((4, 5)), 2),
    "even torus": (Graph.grid((4, 6), periodic=True), 2),
    "odd torus": (Graph.grid((5, 5), periodic=True), 5),
    "cube": (Graph.grid((3, 4, 2)), 2),
    "odd cycle": (Graph.of_edges(5, CYCLE), 3),
    "two parts": (Graph.of_edges(7, [(5, 4), (0, 1), (1, 2)]), 2),
    "no edges": (Graph.of_edges(3, []), 1),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_no_edge_joins_two_sites_of_a_colour(name: str) -> None:
    graph, most = GRAPHS[name]
    colours = graph.colours()
    assert len(colours) == graph.n_sites
    assert (colours[graph.edges[:, 0]] != colours[graph.edges[:, 1]]).all()
    assert len(colours.unique()) <= most


@pytest.mark.parametrize("name", GRAPHS)
def test_config_rebuilds_the_graph(name: str) -> None:
    graph = GRAPHS[name][0]
    twin = Graph.from_config(graph.config(), graph.n_sites)
    assert torch.equal(twin.edges, graph.edges)
    assert twin.n_sites == graph.n_sites


@pytest.mark.parametrize(("shape", "periodic"), [((3, 4), False), ((3, 4), True), ((5,), False), ((3, 3, 3), True)])
def test_grids_join_neighbours(shape: tuple[int, ...], periodic: bool) -> None:
    places = list(np.ndindex(*shape))
    edges = set()
    for a in places:
        for axis in range(len(shape)):
            b = list(a)
            b[axis] += 1
            if periodic:
                b[axis] %= shape[axis]
            if b[axis] < shape[axis]:
                edges.add(frozenset({places.index(a), places.index(tuple(b))}))
    found = [frozenset(edge) for edge in Graph.grid(shape, periodic=periodic).edges.tolist()]
    assert set(found) == edges
    assert len(found) == len(edges)


def test_an_adjacency_is_its_edges() -> None:
    matrix = np.zeros((4, 4))
    for i, j in [(0, 2), (1, 3), (0, 1)]:
        matrix[i, j] = matrix[j, i] = 2.0
    for given in (matrix, sparse.csr_matrix(matrix)):
        assert Graph.of_adjacency(given).edges.tolist() == [[0, 1], [0, 2], [1, 3]]


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: Graph.of_edges(3, [(0, 3)]), "edges must join sites from 0 to 2. Got site 3"),
        (lambda: Graph.of_edges(3, [(1, 1)]), r"Got a loop at \[\[1, 1\]\]. Use a bias"),
        (lambda: Graph.of_adjacency(np.ones((2, 3))), "adjacency must be square"),
        (lambda: Graph.of_adjacency(np.array([[0, 1], [0, 0]])), "adjacency must be symmetric"),
        (lambda: Graph.grid((2, 3), periodic=True), "each size of shape must be at least 3"),
        (lambda: Graph.grid(()), "at least 1 axis"),
        (lambda: Graph.full(0), "n_sites must be at least 1"),
        (lambda: ColouredGibbs(BoltzmannMachine(2), scan="rnadom"), "Did you mean 'random'"),
        (lambda: ColouredMetropolis(BoltzmannMachine(2), proposing=1.0), "proposing must be above 0 and below 1"),
    ],
)
def test_wrong_arguments_get_a_sentence(call: Callable[[], object], sentence: str) -> None:
    with pytest.raises(InvalidArgumentError, match=sentence):
        call()


# -- sweeps ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clamped", [False, True], ids=["free", "clamped"])
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("sort", SORTS)
def test_a_sweep_keeps_the_law(sort: str, kernel: str, clamped: bool, generator: torch.Generator) -> None:
    machine = tiny_machine(sort, generator, scale=0.8)
    assert sweep_keeps_the_law(machine, KERNELS[kernel](machine), N, generator, clamped=clamped) > FALSE_ALARM


@pytest.mark.parametrize("kernel", KERNELS)
def test_sweeps_from_anywhere_end_at_the_law(kernel: str, generator: torch.Generator) -> None:
    machine = tiny_machine("potts", generator, scale=0.5)
    chain, law = KERNELS[kernel](machine), law_of(machine)
    state = chain.start_at(law.states[:1].expand(N, -1), generator=generator)
    first = law.p_value(state.x)
    for _ in range(40):
        state, _ = chain.step(state, generator=generator)
    assert first < FALSE_ALARM < law.p_value(state.x)


def test_metropolis_without_fields_does_not_swing(generator: torch.Generator) -> None:
    machine = BoltzmannMachine(4, graph=Graph.grid((2, 2)), coupling_std=0.0).double()
    chain = ColouredMetropolis(machine)
    state = SiteState(torch.zeros(N, 4).double())
    for _ in range(100):
        state, _ = chain.step(state, generator=generator)
    assert law_of(machine).p_value(state.x) > FALSE_ALARM


def test_metropolis_moves_more_often_than_gibbs(generator: torch.Generator) -> None:
    machine = tiny_machine("grid", generator)
    start = SiteState(law_of(machine).draw(N, generator))
    moved = [
        kernel(machine).step(start, generator=generator)[1].moved.item()
        for kernel in (ColouredGibbs, ColouredMetropolis)
    ]
    assert moved[1] > moved[0]


def test_clamps_may_differ_from_chain_to_chain(generator: torch.Generator) -> None:
    machine = tiny_machine("hidden", generator)
    values = (torch.rand(40, 3, generator=generator) < 0.5).double()
    known = torch.rand(40, 3, generator=generator) < 0.5
    state = machine.kernel().start_at(values, generator=generator)
    for _ in range(10):
        state, _ = machine.kernel().step(state, clamp=Clamp(values, known), generator=generator)
    assert torch.equal(state.x[:, :3][known], values[known])
    assert not torch.equal(state.x[:, :3], values)


def test_a_sweep_leaves_its_input_alone(generator: torch.Generator) -> None:
    machine = tiny_machine("spin", generator)
    state = machine.kernel().init(20, generator=generator)
    before = state.x.clone()
    machine.kernel().step(state, generator=generator)
    assert torch.equal(state.x, before)
    assert isinstance(machine.kernel(), Kernel)


def test_too_many_chains_are_refused_before_anything_is_allocated() -> None:
    with pytest.raises(InvalidArgumentError, match="must fit in memory"):
        BoltzmannMachine(4).sample(10**15)


# -- planted bugs ---------------------------------------------------------------------------------------------------

CHAINS = 100_000
Plant = Callable[[pytest.MonkeyPatch], None]


def no_bug(patch: pytest.MonkeyPatch) -> None:
    """Nothing planted."""


def all_sites_at_once(patch: pytest.MonkeyPatch) -> None:
    """Neighbours drawn together, from each other's old values."""
    patch.setattr(Graph, "colours", lambda self: torch.zeros(self.n_sites, dtype=torch.long))


def forgotten_temperature(patch: pytest.MonkeyPatch) -> None:
    """Couplings that the temperature does not weaken."""
    sweep = ColouredGibbs.sweep

    def hot(self: ColouredGibbs, x: Tensor, bias: Tensor, scale: float, *rest: object) -> object:
        return sweep(self, x, bias, 1.0, *rest)  # type: ignore[arg-type]

    patch.setattr(ColouredGibbs, "sweep", hot)


def always_accepted(patch: pytest.MonkeyPatch) -> None:
    """Metropolis that takes every proposal that is made."""

    def draw(self: ColouredMetropolis, units: Units, field: Tensor, old: Tensor, generator: object) -> tuple:
        return units.mean(field), coloured._another(units, old, generator)  # type: ignore[arg-type]

    patch.setattr(ColouredMetropolis, "draw", draw)


def ignored_clamp(patch: pytest.MonkeyPatch) -> None:
    """A chain that moves what it was told to hold."""
    step = ColouredGibbs.step
    patch.setattr(
        ColouredGibbs, "step", lambda self, state, *, clamp, generator: step(self, state, generator=generator)
    )


@pytest.mark.parametrize(
    ("plant", "kernel", "clamped"),
    [
        (no_bug, "gibbs", False),
        (no_bug, "metropolis", True),
        (all_sites_at_once, "gibbs", False),
        (all_sites_at_once, "metropolis", False),
        (forgotten_temperature, "gibbs", False),
        (always_accepted, "metropolis", False),
        (ignored_clamp, "gibbs", True),
    ],
)
def test_planted_bugs_are_seen(
    plant: Plant, kernel: str, clamped: bool, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    plant(monkeypatch)
    machine = tiny_machine("grid", torch.Generator().manual_seed(3), scale=1.0)
    p_value = sweep_keeps_the_law(machine, KERNELS[kernel](machine), CHAINS, generator, clamped=clamped)
    assert (p_value > FALSE_ALARM) == (plant is no_bug)
