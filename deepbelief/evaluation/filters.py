"""What hidden units look for: weights on the data, projected down from higher layers, and the cases that drive them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from deepbelief.belief.layers import weight_down
from deepbelief.belief.stack import BeliefStack
from deepbelief.errors import check_count
from deepbelief.evaluation.measured import to_numpy

FIRST = "The weights to the data."
HIGHER = (
    "Projected down: each picture is the average of the layer below's pictures, weighted by the unit's weights; a "
    "linear picture of what is not linear."
)


def shown_units(dbn: BeliefStack, layer: int, most: int) -> Tensor:
    """The unit numbers of a layer (from 0) to show: all in order, or the `most` with the largest weights first."""
    check_count("layer", layer, low=0, high=len(dbn.layers) - 1)
    check_count("most", most, low=1)
    weight = weight_down(dbn.layers[layer]).detach()
    if weight.shape[1] <= most:
        return torch.arange(weight.shape[1], device=weight.device)
    return weight.norm(dim=0).topk(most).indices


@torch.no_grad()
def projected_filters(dbn: BeliefStack) -> list[Tensor]:
    """For each layer the pictures (units, features) of its units in the space of the data, signed.

    Layer 1 has its weights, ``W_1'``; a unit above has the average of the pictures below with its own weights,
    ``sum_j w_j f_j / sum_j |w_j|`` (Erhan et al. 2009, "Visualizing higher-layer features of a deep network").
    """
    pictures: list[Tensor] = []
    for rbm in dbn.layers:
        below = pictures[-1] if pictures else None
        weight = weight_down(rbm)[: dbn.visible.size if below is None else len(below)].T
        if below is None:
            pictures.append(weight.clone())
        else:
            size = weight.abs().sum(1, keepdim=True).clamp_min(torch.finfo(weight.dtype).tiny)
            pictures.append(weight @ below / size)
    return pictures


def layer_filters(dbn: BeliefStack, *, most: int = 100) -> tuple[list[np.ndarray], list[str]]:
    """`projected_filters` of the units to show, and a sentence for each layer on what its pictures are."""
    filters, notes = [], []
    for layer, pictures in enumerate(projected_filters(dbn)):
        filters.append(to_numpy(pictures[shown_units(dbn, layer, most)]))
        kept = f" The {most} of {len(pictures)} units with the largest weights." if len(pictures) > most else ""
        notes.append((HIGHER if layer else FIRST) + kept)
    return filters, notes


@torch.no_grad()
def unit_inputs(dbn: BeliefStack, x: Tensor, layer: int) -> Tensor:
    """The inputs of a layer's hidden units (layers from 0), which rank cases even where their means are all at 1.

    A missing label enters by its posterior.
    """
    v = dbn.upward(x, n_layers=layer)
    if dbn.n_classes and layer == len(dbn.layers) - 1:
        v = torch.cat([v, torch.softmax(-dbn.label_free_energies(v), 1)], 1)
    return dbn.layers[layer].input_h_from_v(v)


@torch.no_grad()
def unit_drivers(
    dbn: BeliefStack, x: Tensor, *, n_units: int = 8, k: int = 10, most: int = 100
) -> list[np.ndarray | None]:
    """For each layer above the first, the `k` of the cases `x` that drive each of its first `n_units` shown units most.

    Arrays (units, k, features), strongest first; None for the first layer, whose weights say it already.
    """
    check_count("n_units", n_units, low=1)
    check_count("k", k, low=1, high=len(x))
    drivers: list[np.ndarray | None] = [None]
    for layer in range(1, len(dbn.layers)):
        inputs = unit_inputs(dbn, x, layer)[:, shown_units(dbn, layer, most)[:n_units]]
        drivers.append(to_numpy(x[inputs.topk(k, dim=0).indices.T]))
    return drivers
