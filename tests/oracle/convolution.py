"""A convolutional RBM as the RBM with one number for each pair of units that it is."""

from __future__ import annotations

import torch
from torch import Tensor

from deepbelief.energy.convolutional_rbm import ConvolutionalRBM
from deepbelief.energy.rbm import RBM
from deepbelief.units.gaussian import Gaussian
from deepbelief.units.pooled import Pooled

SHAPES = {  # image, filters, filter size, pool: few enough hidden states to be summed
    "one block": ((1, 3, 3), 2, 2, 2),
    "two blocks": ((1, 2, 4), 1, 1, 2),
    "no pooling": ((1, 2, 3), 2, 2, 1),
    "two channels": ((2, 2, 3), 2, 2, 1),
    "gaussian": ((1, 3, 3), 2, 2, 2),
}


@torch.no_grad()
def tiny_convolution(name: str, generator: torch.Generator, *, scale: float = 0.8) -> ConvolutionalRBM:
    """A machine of one of the shapes with random parameters and offsets, in float64."""
    image, n_filters, size, pool = SHAPES[name]
    n = image[0] * image[1] * image[2]
    rbm = ConvolutionalRBM(image, n_filters, size, pool=pool, visible=Gaussian(n) if name == "gaussian" else None)
    rbm = rbm.double()
    for parameter in (rbm.filters, rbm.visible.bias):
        parameter.copy_(scale * torch.randn(parameter.shape, generator=generator).double())
    of_maps = torch.randn(n_filters, 1, generator=generator).double()
    rbm.hidden.bias.copy_(of_maps.expand(n_filters, rbm.hidden.size // n_filters).flatten())
    for units, offset in ((rbm.visible, rbm.visible_offset), (rbm.hidden, rbm.hidden_offset)):
        offset.copy_(units.mean(torch.randn(1, units.size, generator=generator).double())[0])
    return rbm


def block_order(rbm: ConvolutionalRBM) -> list[tuple[int, int, int]]:
    """(map, row, column) of each hidden unit: map by map, block by block, row by row within a block."""
    n_filters, rows, columns = rbm.maps_shape
    p = rbm.pool
    return [
        (k, p * block_row + i, p * block_column + j)
        for k in range(n_filters)
        for block_row in range(rows // p)
        for block_column in range(columns // p)
        for i in range(p)
        for j in range(p)
    ]


def dense_weight(rbm: ConvolutionalRBM, filters: Tensor | None = None) -> Tensor:
    """The matrix of all pairs of units, written from the definition; differentiable in the filters."""
    filters = rbm.filters if filters is None else filters
    channels, height, width = rbm.image_shape
    size = filters.shape[-1]
    columns = []
    for k, i, j in block_order(rbm):
        column = filters.new_zeros(channels, height, width)
        column[:, i : i + size, j : j + size] = filters[k]
        columns.append(column.flatten())
    return torch.stack(columns, 1)


@torch.no_grad()
def twin(rbm: ConvolutionalRBM) -> RBM:
    """The same law as an ordinary RBM."""
    dense = RBM(rbm.visible.empty_like(), Pooled(rbm.hidden.n_groups, rbm.hidden.group_size)).double()
    dense.visible.load_state_dict(rbm.visible.state_dict())
    dense.hidden.load_state_dict(rbm.hidden.state_dict())
    dense.weight.copy_(dense_weight(rbm))
    dense.visible_offset.copy_(rbm.visible_offset)
    dense.hidden_offset.copy_(rbm.hidden_offset)
    return dense
