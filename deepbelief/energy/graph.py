"""Which sites of a pairwise model are coupled: a full graph, a grid, or any given one; and its colouring.

Sites of one colour have no edge between them, so given all others they are independent and can be drawn at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from deepbelief.errors import InvalidArgumentError, check, check_choice, check_count

KINDS = ("full", "grid", "edges")


class Graph:
    """An undirected graph over sites 0 to ``n_sites - 1``: `edges` (m, 2), each once, the lower site first, sorted.

    Made by `Graph.full`, `Graph.grid`, `Graph.of_edges` and `Graph.of_adjacency`.

    >>> Graph.grid((2, 3)).edges.tolist()
    [[0, 1], [0, 3], [1, 2], [1, 4], [2, 5], [3, 4], [4, 5]]
    """

    def __init__(self, n_sites: int, edges: Tensor, description: Mapping[str, Any]) -> None:
        check_count("n_sites", n_sites, low=1)
        self.n_sites, self.edges, self.description = n_sites, edges, dict(description)

    @classmethod
    def full(cls, n_sites: int) -> Graph:
        """Every site coupled to every other."""
        check_count("n_sites", n_sites, low=1)
        return cls(n_sites, torch.triu_indices(n_sites, n_sites, 1).T, {"kind": "full"})

    @classmethod
    def grid(cls, shape: Sequence[int], *, periodic: bool = False) -> Graph:
        """Neighbours along each axis of a grid of any number of dimensions, sites in row-major order.

        `periodic` joins the ends of every axis, which must then have at least 3 sites.
        """
        check(len(shape) >= 1, "shape must have at least 1 axis. Got none.")
        for size in shape:
            check_count("each size of shape", size, low=3 if periodic else 1)
        sizes = [int(size) for size in shape]
        place = torch.arange(int(np.prod(sizes))).view(sizes)
        pairs = []
        for axis, size in enumerate(sizes):
            neighbour = place.roll(-1, axis) if periodic else place.narrow(axis, min(1, size), size - 1)
            here = place if periodic else place.narrow(axis, 0, size - 1)
            pairs.append(torch.stack([here.flatten(), neighbour.flatten()], 1))
        description = {"kind": "grid", "shape": sizes, "periodic": periodic}
        return cls(place.numel(), _tidy(torch.cat(pairs)), description)

    @classmethod
    def of_edges(cls, n_sites: int, edges: Iterable[Sequence[int]] | Tensor) -> Graph:
        """A given graph: pairs of sites in any order; an edge that is named twice counts once."""
        given = torch.as_tensor(edges if isinstance(edges, Tensor) else list(edges))
        pairs = given.long().reshape(-1, 2)
        check(
            bool((pairs.flatten() == given.flatten()).all()),
            f"edges must join whole-numbered sites. Got {given.flatten()[:2].tolist()}. Number the sites from 0.",
        )
        if len(pairs) and not (pairs.min() >= 0 and pairs.max() < n_sites):
            raise InvalidArgumentError(
                f"edges must join sites from 0 to {n_sites - 1}. Got site {int(pairs.max())} or one below 0. "
                "Raise n_sites, or count sites from 0."
            )
        loops = pairs[pairs[:, 0] == pairs[:, 1]]
        check(not len(loops), f"edges must join two sites. Got a loop at {loops[:1].tolist()}. Use a bias instead.")
        pairs = _tidy(pairs)
        return cls(n_sites, pairs, {"kind": "edges", "n_sites": n_sites, "edges": pairs.flatten().tolist()})

    @classmethod
    def of_adjacency(cls, adjacency: Any) -> Graph:
        """A given graph from its symmetric matrix, dense or scipy-sparse; nonzero entries are edges."""
        matrix = sparse.coo_matrix(adjacency)
        rows, columns = matrix.shape
        check(rows == columns, f"adjacency must be square. Got shape {(rows, columns)}.")
        check((matrix != matrix.T).nnz == 0, "adjacency must be symmetric. It is not. Use of_edges(...) instead.")
        found = torch.from_numpy(np.stack([matrix.row, matrix.col], 1).astype(np.int64))
        return cls.of_edges(rows, found[torch.from_numpy(np.asarray(matrix.data != 0))])

    # -- colouring --------------------------------------------------------------------------------------------------

    def colours(self) -> Tensor:
        """A colour for each site, (n_sites,), such that no edge joins two of one colour.

        Two colours where two suffice (checkerboards, trees, RBMs), as many as sites where all are coupled, and
        elsewhere a greedy colouring from the site with most neighbours to that with fewest: at most one colour more
        than the largest number of neighbours.
        """
        if self.description["kind"] == "full":
            return torch.arange(self.n_sites)
        pairs = self.edges.numpy()
        parity = self._depth(pairs) % 2
        if (parity[pairs[:, 0]] != parity[pairs[:, 1]]).all():
            return torch.from_numpy(parity)
        return torch.from_numpy(self._greedy(pairs))

    def _depth(self, pairs: np.ndarray) -> np.ndarray:
        """Steps from one site of each component, by one search from a root that touches them all."""
        ones, n = np.ones(len(pairs)), self.n_sites
        matrix = sparse.coo_matrix((ones, (pairs[:, 0], pairs[:, 1])), shape=(n, n))
        label = sparse.csgraph.connected_components(matrix, directed=False)[1]
        first = np.unique(label, return_index=True)[1]
        rows, columns = np.r_[pairs[:, 0], np.full(len(first), n)], np.r_[pairs[:, 1], first]
        whole = sparse.coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(n + 1, n + 1)).tocsr()
        order, before = sparse.csgraph.breadth_first_order(whole, n, directed=False)
        depth = np.zeros(n + 1, dtype=np.int64)
        for site in order[1:]:
            depth[site] = depth[before[site]] + 1
        return depth[:n]

    def _greedy(self, pairs: np.ndarray) -> np.ndarray:
        both = np.r_[pairs, pairs[:, ::-1]]
        adjacency = sparse.csr_matrix((np.ones(len(both)), (both[:, 0], both[:, 1])), shape=(self.n_sites,) * 2)
        colour = np.full(self.n_sites, -1)
        for site in np.argsort(-np.diff(adjacency.indptr), kind="stable"):
            taken = set(colour[adjacency.indices[adjacency.indptr[site] : adjacency.indptr[site + 1]]].tolist())
            colour[site] = next(c for c in range(self.n_sites) if c not in taken)
        return colour

    # -- storage ----------------------------------------------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        """What rebuilds the graph, as JSON."""
        return dict(self.description)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], n_sites: int) -> Graph:
        """A graph from `config`."""
        check_choice("kind", config.get("kind"), KINDS)
        if config["kind"] == "full":
            return cls.full(n_sites)
        if config["kind"] == "grid":
            return cls.grid(config["shape"], periodic=config["periodic"])
        return cls.of_edges(config["n_sites"], torch.tensor(config["edges"], dtype=torch.long))

    def __repr__(self) -> str:
        return f"Graph(n_sites={self.n_sites}, n_edges={len(self.edges)}, kind={self.description['kind']!r})"


def _tidy(pairs: Tensor) -> Tensor:
    """Each edge once, the lower site first, in order."""
    return torch.unique(pairs.sort(1).values, dim=0)
