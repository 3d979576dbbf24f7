"""Labels for unlabelled cases: a few known labels spread over the graph of nearest codes (Zhou et al. 2004).

    F <- alpha S F + (1 - alpha) Y,      S = D^-1/2 A D^-1/2,      A: the symmetric graph of k nearest neighbours

Codes of a DBN that saw no label make good neighbours; the spread labels then teach the DBN by back-propagation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from deepbelief.errors import InvalidDataError, check_count, check_range


def spread_labels(
    codes: Tensor, y: Tensor, *, n_neighbors: int = 10, alpha: float = 0.99, max_iter: int = 100
) -> Tensor:
    """Class probabilities of every case from the labels of a few: (n, d), (n,) with -1 for unknown -> (n, n_classes).

    Columns are in the order of the sorted known labels, and a known label keeps probability 1. Neighbours are nearest
    by the angle between centred codes. Each class is weighed so that all get the same mass in total, which suits data
    of balanced classes.

    >>> spread_labels(torch.tensor([[0.0, 1], [0, 1.1], [1, 0], [1.1, 0]]), torch.tensor([0, -1, 1, -1]), n_neighbors=1)
    tensor([[1., 0.],
            [1., 0.],
            [0., 1.],
            [0., 1.]])
    """
    known = y >= 0
    if not known.any():
        raise InvalidDataError("y must hold at least one known label. Got only -1. Label a few cases first.")
    check_count("n_neighbors", n_neighbors, low=1, high=len(codes) - 1)
    check_count("max_iter", max_iter, low=1)
    check_range("alpha", alpha, low=0, high=1)
    graph = _normalized_graph(codes, n_neighbors)
    classes = y[known].unique()
    start = (y.unsqueeze(1) == classes).double().numpy()
    spread = start.copy()
    for _ in range(max_iter):
        spread = alpha * (graph @ spread) + (1 - alpha) * start
    spread /= spread.sum(0).clip(min=np.finfo(np.float64).tiny)
    total = spread.sum(1, keepdims=True)
    even = np.full_like(spread, 1 / spread.shape[1])
    reached = np.divide(spread, total, out=even, where=total > 0)
    probabilities = torch.from_numpy(reached).float()
    probabilities[known] = torch.from_numpy(start).float()[known]
    return probabilities


def _normalized_graph(codes: Tensor, n_neighbors: int) -> Any:
    """``D^-1/2 A D^-1/2`` as a sparse matrix."""
    from scipy import sparse
    from sklearn.neighbors import kneighbors_graph

    centred = (codes - codes.mean(0)).float()
    unit = centred / centred.norm(dim=1, keepdim=True).clamp_min(1e-12)
    graph = kneighbors_graph(unit.numpy(), n_neighbors, mode="connectivity", n_jobs=1)
    graph = graph.maximum(graph.T)
    scale = sparse.diags_array(1 / np.sqrt(np.asarray(graph.sum(1)).ravel()))
    return scale @ graph @ scale
