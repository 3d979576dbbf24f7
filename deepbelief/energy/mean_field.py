"""Mean-field inference in a deep Boltzmann machine: the factorial posterior that fits best.

    Q(h | v) = prod_l q_l(h_l),   q_l(x) = exp(-U_l(x) + eta_l.x - Gamma_l(eta_l)),   mu_l = <h_l>

Each layer's best input given its neighbours is ``eta_l = mu_{l-1} W_{l-1} + mu_{l+1} W_l'``. Layers of one parity
do not touch, so all odd and then all even ones are updated together; every such update raises the variational bound

    B(v) = E_Q[-E(v, h)] + H(Q) = -U_v(v) + sum_l [Gamma_l(eta_l) - eta_l.mu_l] + sum_l mu_{l-1} W_{l-1} mu_l

(mu_0 = v), which is at most ``log sum_h exp(-E(v, h))``. Salakhutdinov & Hinton 2009.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from deepbelief.errors import check_count
from deepbelief.maths.products import product
from deepbelief.units.base import Units

MOST_STEPS = 50
TOLERANCE = 1e-4  # of the means, at which the iteration stops


@dataclass(frozen=True)
class Posterior:
    """Means of all layers from the data up (the data itself first), and the inputs they have; no input for the data."""

    means: list[Tensor]
    inputs: list[Tensor]


def infer(
    layers: Sequence[Units],
    weights: Sequence[Tensor],
    x: Tensor,
    *,
    n_steps: int = MOST_STEPS,
    tolerance: float = TOLERANCE,
    means: Sequence[Tensor] | None = None,
    held: Sequence[int] = (0,),
) -> Posterior:
    """Coordinate ascent from one pass up with doubled inputs (or from `means`), for at most `n_steps` rounds.

    A case stops when none of its means moves by `tolerance`, so what is inferred of a case depends on that case alone.
    Layers of the numbers in `held` keep their means: the data; or for the way down, the top.
    """
    check_count("n_steps", n_steps, low=1)
    top = len(weights)
    mu = [x] if means is None else list(means)
    fixed = {layer: _messages(weights, mu[layer], layer) for layer in held}  # what held layers send never changes
    if means is None:
        mu += _pass_up(layers, weights, fixed[0][1])
    eta = [torch.empty(0)] * (top + 1)
    moving, all_move = torch.ones(mu[0].shape[0], 1, dtype=torch.bool, device=mu[0].device), True
    for _ in range(n_steps):
        change = torch.zeros_like(moving, dtype=mu[0].dtype)
        for parity in (1, 0):
            for layer in range(parity, top + 1, 2):
                if layer in held:
                    continue
                inputs = _input(weights, mu, layer, fixed)
                new = layers[layer].mean(inputs)
                change = torch.maximum(change, (new - mu[layer]).abs().amax(1, keepdim=True))
                mu[layer] = new if all_move else torch.where(moving, new, mu[layer])
                eta[layer] = inputs if all_move else torch.where(moving, inputs, eta[layer])
        moving = moving & (change >= tolerance)
        if torch.compiler.is_compiling():
            all_move = False  # a file of fixed operations takes all rounds, for any number of cases
            continue
        left = int(moving.sum())
        if not left:
            break
        all_move = left == len(moving)
    return Posterior(mu, eta)


def _messages(weights: Sequence[Tensor], mu: Tensor, layer: int) -> dict[int, Tensor]:
    """What a layer of these means sends to its neighbours, by their numbers."""
    found = {}
    if layer > 0:
        found[layer - 1] = product(mu, weights[layer - 1].T)
    if layer < len(weights):
        found[layer + 1] = product(mu, weights[layer])
    return found


def _input(
    weights: Sequence[Tensor], mu: Sequence[Tensor], layer: int, fixed: Mapping[int, Mapping[int, Tensor]]
) -> Tensor:
    """What a layer gets from its neighbours."""
    terms = []
    for neighbour in (layer - 1, layer + 1):
        if neighbour in fixed:
            terms.append(fixed[neighbour][layer])
        elif 0 <= neighbour < layer:
            terms.append(mu[neighbour] @ weights[neighbour])
        elif layer < neighbour <= len(weights):
            terms.append(mu[neighbour] @ weights[layer].T)
    return terms[0] if len(terms) == 1 else terms[0] + terms[1]


def _pass_up(layers: Sequence[Units], weights: Sequence[Tensor], from_data: Tensor) -> list[Tensor]:
    """The means above the data, from what these send to the first layer.

    Below the top, the input from below counts twice: for itself, and for the layer above that is not there yet.
    """
    mu: list[Tensor] = []
    for layer in range(1, len(layers)):
        inputs = from_data if layer == 1 else mu[-1] @ weights[layer - 1]
        mu.append(layers[layer].mean(2.0 * inputs if layer < len(weights) else inputs))
    return mu


def bound(layers: Sequence[Units], weights: Sequence[Tensor], posterior: Posterior) -> Tensor:
    """``B(v)`` without log Z, in nats: (n,). It holds for any means and inputs that belong together."""
    mu, eta = posterior.means, posterior.inputs
    total = -layers[0].potential(mu[0])
    for layer in range(1, len(layers)):
        total = total + layers[layer].cumulant(eta[layer]) - (eta[layer] * mu[layer]).sum(-1)
        total = total + ((mu[layer - 1] @ weights[layer - 1]) * mu[layer]).sum(-1)
    return total
