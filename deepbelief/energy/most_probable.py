"""The most probable state of a pairwise model: exactly by a minimum cut, or by simulated annealing.

For two-valued sites whose couplings all favour equal values (ferromagnetic), the energy is the value of a cut between a
source and a sink: a maximum flow finds the least one (Greig, Porteous & Seheult 1989). For all others, a chain cooled
slowly finds a good state, with no promise that it is the best (Kirkpatrick, Gelatt & Vecchi 1983).
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from deepbelief.energy.boltzmann import BoltzmannMachine
from deepbelief.energy.kernels.coloured import ColouredGibbs
from deepbelief.errors import InvalidArgumentError, check, check_count
from deepbelief.protocols import Generator

LARGEST_FLOW = 2**30  # capacities are integers whose sum stays below: an energy is exact to a billionth of that sum


def total_bias(model: BoltzmannMachine, evidence: Tensor | None) -> Tensor:
    """``b / T`` plus the evidence: fields in nats, one row for each case."""
    bias = model.bias.detach() / model.temperature
    return bias.unsqueeze(0) if evidence is None else bias + evidence


def scores(model: BoltzmannMachine, x: Tensor, evidence: Tensor | None = None) -> Tensor:
    """``-E(x) / T + evidence.x``, what a most probable state has most of: (n, size) -> (n,)."""
    pairs = 0.5 * (model.interaction().whole(x) * x).sum(-1) / model.temperature
    return (total_bias(model, evidence) * x).sum(-1) + pairs


def spin_form(model: BoltzmannMachine, evidence: Tensor | None) -> tuple[Tensor, Tensor]:
    """Couplings (m,) and fields (n, sites) of the same law over spins -1 and +1."""
    kinds = {part.kind for part in model.layout.parts}
    check(
        len(kinds) == 1 and kinds <= {"bernoulli", "spin"},
        f"units must all be bernoulli or all be spin for a minimum cut. Got {', '.join(sorted(kinds))}. "
        "Use simulated_annealing(...) instead.",
    )
    coupling, field = model.coupling.detach().double() / model.temperature, total_bias(model, evidence).double()
    if kinds == {"spin"}:
        return coupling, field
    a, b = model.pairs
    touching = torch.zeros_like(field[0]).index_add_(0, a, coupling).index_add_(0, b, coupling)
    return coupling / 4, field / 2 + touching / 4  # x = (1 + s) / 2


@torch.no_grad()
def minimum_cut(model: BoltzmannMachine, evidence: Tensor | None = None) -> Tensor:
    """The most probable state, exactly, for each row of `evidence` (n, size), fields in nats added to the model's.

    For spin or Bernoulli units and couplings of at least 0. Returns (n, size); without evidence, one row.

    >>> from deepbelief.energy.ising import ising_grid
    >>> minimum_cut(ising_grid((1, 3), 0.5), torch.tensor([[1.0, -0.2, 1.0]])).tolist()
    [[1.0, 1.0, 1.0]]
    """
    coupling, fields = spin_form(model, evidence)
    if (coupling < 0).any():
        raise InvalidArgumentError(
            f"couplings must be at least 0 for a minimum cut. Got {coupling.min().item():g}. "
            "Use simulated_annealing(...) instead."
        )
    edges, strengths = model.graph.edges.numpy(), coupling.cpu().numpy()
    spins = [_cut(edges, strengths, row) for row in fields.cpu().numpy()]
    low = -1.0 if model.visible.kind == "spin" else 0.0
    up = torch.from_numpy(np.stack(spins)).to(model.coupling.device)
    return torch.where(up, 1.0, low).to(model.coupling.dtype)


def _cut(edges: np.ndarray, strengths: np.ndarray, field: np.ndarray) -> np.ndarray:
    """Which sites lie on the source's side of the least cut; source and sink are the last two nodes."""
    n = len(field)
    here = np.arange(n)
    rows = np.concatenate([edges[:, 0], edges[:, 1], np.full(n, n), here])
    columns = np.concatenate([edges[:, 1], edges[:, 0], here, np.full(n, n + 1)])
    values = np.concatenate([strengths, strengths, np.maximum(field, 0), np.maximum(-field, 0)])
    total = values.sum()
    whole = np.round(values * (LARGEST_FLOW / total if total > 0 else 0.0)).astype(np.int32)
    capacity = sparse.csr_matrix((whole, (rows, columns)), shape=(n + 2, n + 2))
    flow = sparse.csgraph.maximum_flow(capacity, n, n + 1).flow
    rest = capacity - flow
    rest.data = np.maximum(rest.data, 0)
    rest.eliminate_zeros()
    reached = np.zeros(n + 2, dtype=bool)
    reached[sparse.csgraph.breadth_first_order(rest, n, return_predecessors=False)] = True
    return reached[:n]


@torch.no_grad()
def simulated_annealing(
    model: BoltzmannMachine,
    evidence: Tensor | None = None,
    *,
    n_sweeps: int = 200,
    hottest: float = 3.0,
    coldest: float = 0.05,
    generator: Generator = None,
) -> Tensor:
    """A state of high probability for each row of `evidence`: the best one that a cooling chain visited, (n, size).

    The temperature falls geometrically from `hottest` to `coldest` times the model's own.
    """
    check_count("n_sweeps", n_sweeps, low=2)
    check(0 < coldest <= hottest, f"coldest must be above 0 and at most hottest. Got {coldest} and {hottest}.")
    kernel, interaction, bias = ColouredGibbs(model), model.interaction(), total_bias(model, evidence)
    order = range(len(model.plan().blocks))
    x = model.plan().units.sample(bias / hottest, generator)
    best, height = x, scores(model, x, evidence)
    for cold in (1 / torch.logspace(np.log10(hottest), np.log10(coldest), n_sweeps).double()).tolist():
        x, _ = kernel.sweep(x, cold * bias, cold / model.temperature, interaction, order, None, generator)
        found = scores(model, x, evidence)
        better = found > height
        best, height = torch.where(better.unsqueeze(1), x, best), torch.where(better, found, height)
    return best
