"""The squared Frobenius norm of an encoder's Jacobian, case by case: ``sum_ij (dz_j / dx_i)^2``.

One layer ``z = s(W x + b)`` has it in closed form, ``sum_j s'(a_j)^2 sum_i W_ji^2``. Everything deeper takes the rows
of the Jacobian by back-propagation, all of a batch at once, since a case's code depends on no other case.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from deepbelief.autoencoders.autoencoder import Autoencoder
from deepbelief.networks.dense import DenseNetwork

LARGEST_ROWS = 1 << 24  # numbers of the Jacobian that are held at a time before they are squared


def squared_jacobian_norms(module: Any, x: Tensor) -> Tensor:
    """``||d encode(x) / dx||_F^2`` of each case: (n, inputs) -> (n,), differentiable in the parameters.

    >>> from deepbelief.units.bernoulli import Bernoulli
    >>> net = Autoencoder.dense(Bernoulli(3), [2])
    >>> norms = squared_jacobian_norms(net, torch.rand(4, 3, generator=torch.Generator().manual_seed(0)))
    >>> bool(torch.allclose(norms, net.encoder.linear_layers[0].weight.square().sum()))
    True
    """
    layer = _only_layer(module)
    return norms_by_rows(module.encode, x) if layer is None else _norms_of_layer(layer, module.squash, x)


def _only_layer(module: Any) -> nn.Linear | None:
    """The linear layer of an encoder that is nothing else before its squashing."""
    encoder = module.encoder if isinstance(module, Autoencoder) else None
    if not isinstance(encoder, DenseNetwork) or len(encoder.layers) != 1:
        return None
    return encoder.linear_layers[0]


def _norms_of_layer(layer: nn.Linear, squash: nn.Module, x: Tensor) -> Tensor:
    with torch.enable_grad():
        a = layer(x.detach().requires_grad_())  # (n, k)
        (slope,) = torch.autograd.grad(squash(a).sum(), a, create_graph=True)
    return slope.square() @ layer.weight.square().sum(1)


def norms_by_rows(encode: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The same by back-propagation of each code, for an encoder of any kind that codes each case alone."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        z = encode(x)  # (n, k)
        n, k = z.shape
        norms = z.new_zeros(n)
        for codes in torch.eye(k, dtype=z.dtype, device=z.device).split(max(1, LARGEST_ROWS // x.numel())):
            directions = codes.unsqueeze(1).expand(len(codes), n, k)
            (rows,) = torch.autograd.grad(z, x, directions, create_graph=True, is_grads_batched=True)
            norms = norms + rows.square().sum((0, 2))  # (codes, n, inputs) -> (n,)
    return norms
