"""Who couples with whom in a fitted Boltzmann machine: a strength for every edge, and the edges by rank.

The strength of an edge between binary units is ``|J_ij|``. Between categorical ones it is the Frobenius norm of the
block of couplings after each row and column has lost its mean, which no shift between couplings and biases changes (the
zero-sum gauge). The average product correction (Dunn, Wahl & Gloor 2008) takes away what two sites owe to coupling
strongly with everyone:

    S'_ij = S_ij - S_i S_j / S,            S_i, S: means of S over the edges of i, over all edges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from deepbelief.energy.boltzmann import BoltzmannMachine
from deepbelief.errors import check, check_count


@dataclass(frozen=True)
class Link:
    """An edge with its names (or numbers), its score, and for binary units its signed coupling."""

    first: str | int
    second: str | int
    score: float
    coupling: float | None


@torch.no_grad()
def edge_strengths(model: BoltzmannMachine, *, corrected: bool = False) -> Tensor:
    """The strength of every edge of the graph, in the order of ``model.graph.edges``: (m,).

    `corrected` applies the average product correction; scores may then be below 0.

    >>> from deepbelief.energy.ising import ising_grid
    >>> edge_strengths(ising_grid((1, 3), torch.tensor([0.5, -2.0]))).tolist()
    [0.5, 2.0]
    """
    layout, edges = model.layout, model.graph.edges
    strengths = model.coupling.new_empty(len(edges))
    widths, edge = layout.widths[edges], layout.edge_of_pair()
    for shape in widths.unique(dim=0).tolist():
        chosen = (widths == torch.tensor(shape)).all(1)
        blocks = model.coupling[chosen[edge]].view(-1, *shape)
        for axis, width in ((1, shape[0]), (2, shape[1])):
            blocks = blocks - blocks.mean(axis, keepdim=True) if width > 1 else blocks
        strengths[chosen.to(strengths.device)] = blocks.flatten(1).norm(dim=1)
    return _corrected(strengths, edges.to(strengths.device), layout.n_sites) if corrected else strengths


def _corrected(strengths: Tensor, edges: Tensor, n_sites: int) -> Tensor:
    if not len(edges) or not strengths.any():
        return strengths
    both, twice = edges.T.flatten(), strengths.repeat(2)
    total = torch.zeros(n_sites, dtype=strengths.dtype, device=strengths.device).index_add_(0, both, twice)
    mean = total / torch.bincount(both, minlength=n_sites).clamp_min(1)
    return strengths - mean[edges[:, 0]] * mean[edges[:, 1]] / strengths.mean()


def strength_matrix(model: BoltzmannMachine, *, corrected: bool = False) -> Tensor:
    """`edge_strengths` as a symmetric matrix, zero off the graph: (n_sites, n_sites)."""
    strengths = edge_strengths(model, corrected=corrected)
    n, (i, j) = model.layout.n_sites, model.graph.edges.T.to(strengths.device)
    matrix = strengths.new_zeros(n, n)
    matrix[i, j] = matrix[j, i] = strengths
    return matrix


def ranked_links(
    model: BoltzmannMachine, n: int | None = None, *, corrected: bool = False, names: Sequence[str] | None = None
) -> list[Link]:
    """The `n` strongest edges (None for all), the strongest first; `names` of the sites replace their numbers.

    >>> from deepbelief.energy.ising import ising_grid
    >>> ranked_links(ising_grid((1, 3), torch.tensor([0.5, -2.0])), 1, names=["a", "b", "c"])
    [Link(first='b', second='c', score=2.0, coupling=-2.0)]
    """
    layout = model.layout
    if n is not None:
        check_count("n", n, low=0)
    check(
        names is None or len(names) == layout.n_sites,
        f"names must be {layout.n_sites}, one for each variable. Got {len(names or [])}.",
    )
    strengths = edge_strengths(model, corrected=corrected)
    edge = layout.edge_of_pair()
    alone = torch.bincount(edge, minlength=len(strengths)) == 1
    signed = torch.zeros_like(strengths)
    signed[edge.to(signed.device)] = model.coupling.detach()  # one number an edge wherever it is read below
    found = []
    for number in torch.argsort(strengths, descending=True, stable=True)[:n].tolist():
        i, j = model.graph.edges[number].tolist()
        pair: tuple[str | int, str | int] = (i, j) if names is None else (names[i], names[j])
        coupling = signed[number].item() if alone[number] else None
        found.append(Link(*pair, strengths[number].item(), coupling))
    return found
