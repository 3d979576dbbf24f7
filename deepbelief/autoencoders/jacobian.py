"""The squared Frobenius norm of an encoder's Jacobian, case by case: ``sum_ij (dz_j / dx_i)^2``.

One layer ``z = s(W x + b)`` has it in closed form, ``sum_j s'(a_j)^2 sum_i W_ji^2``, and the usual squashings tell
their slope by their value: ``s' = z (1 - z)`` for a sigmoid. Everything deeper takes the rows of the Jacobian by
back-propagation, all of a batch at once, since a case's code depends on no other case.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from deepbelief.autoencoders.autoencoder import Autoencoder
from deepbelief.networks.dense import DenseNetwork

LARGEST_ROWS = 1 << 24  # numbers of the Jacobian that are held at a time before they are squared
SLOPES: dict[type[nn.Module], Callable[[Tensor], Tensor]] = {  # s'(a) by z = s(a)
    nn.Identity: torch.ones_like,
    nn.ReLU: lambda z: (z > 0).to(z.dtype),
    nn.Sigmoid: lambda z: z * (1 - z),
    nn.Tanh: lambda z: 1 - z * z,
}


def squared_jacobian_norms(module: Any, x: Tensor, z: Tensor | None = None) -> Tensor:
    """``||d encode(x) / dx||_F^2`` of each case: (n, inputs) -> (n,), differentiable in the parameters.

    `z` are the codes of `x` where they are known, which spare a single layer's pass.

    >>> from deepbelief.units.bernoulli import Bernoulli
    >>> net = Autoencoder.dense(Bernoulli(3), [2])
    >>> norms = squared_jacobian_norms(net, torch.rand(4, 3, generator=torch.Generator().manual_seed(0)))
    >>> bool(torch.allclose(norms, net.encoder.linear_layers[0].weight.square().sum()))
    True
    """
    layer = _only_layer(module)
    if layer is None:
        return norms_by_rows(module.encode, x)
    slope_at = SLOPES.get(type(module.squash))
    if slope_at is None:
        return _norms_of_layer(layer, module.squash, x)
    return slope_at(module.encode(x) if z is None else z).square() @ layer.weight.square().sum(1)


def _only_layer(module: Any) -> nn.Linear | None:
    """The linear layer of an encoder that is nothing else before its squashing."""
    encoder = module.encoder if isinstance(module, Autoencoder) else None
    if not isinstance(encoder, DenseNetwork) or len(encoder.layers) != 1:
        return None
    return encoder.linear_layers[0]


def _norms_of_layer(layer: nn.Linear, squash: nn.Module, x: Tensor) -> Tensor:
    """By the slope of any squashing."""
    with torch.enable_grad():
        a = layer(x)  # (n, k)
        a = a if a.requires_grad else a.requires_grad_()
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
