"""Stacks with untied ways known exactly: every path through the hidden layers, differentiable in all parameters."""

from __future__ import annotations

import torch
from torch import Tensor

from deepbelief.belief.dbn import DBN
from deepbelief.belief.untied import UntiedDBN
from deepbelief.energy.rbm import RBM
from tests.oracle.joint import log_ways_at
from tests.oracle.stack import states_of
from tests.oracle.zoo import tiny_dbn


@torch.no_grad()
def tiny_untied(kinds: list[str], n_classes: int | None, generator: torch.Generator) -> UntiedDBN:
    """A small network whose way up is not that of its generative weights."""
    net = UntiedDBN.from_dbn(tiny_dbn(kinds, n_classes, generator))
    for layer, other in zip(net.untied, tiny_dbn(kinds, n_classes, generator).layers, strict=False):
        layer.recognition.copy_(other.weight)
        layer.hidden.load_state_dict(other.hidden.state_dict())
    return net


def paths(net: DBN | UntiedDBN, *, with_data: bool = False) -> list[Tensor]:
    """Every joint state of the hidden layers that the top sees from below, layer by layer: each (paths, width)."""
    units = [layer.hidden for layer in net.layers[:-1]]
    each = [states_of(u) for u in ([net.visible, *units] if with_data else units)]
    grid = torch.cartesian_prod(*[torch.arange(len(states)) for states in each]).reshape(-1, len(each))
    return [states[grid[:, i]] for i, states in enumerate(each)]


def log_q(net: UntiedDBN, states: list[Tensor]) -> Tensor:
    """``log Q`` of each layer given the one below, summed: (n,)."""
    pairs = zip(net.untied, states, states[1:], strict=False)
    return torch.stack(
        [layer.hidden.log_prob(h, x @ layer.recognition) + log_ways_at(layer.hidden, h) for layer, x, h in pairs]
    ).sum(0)


def log_p_down(net: UntiedDBN, states: list[Tensor]) -> Tensor:
    """``log p`` of each layer given the one above, summed: (n,)."""
    pairs = zip(net.untied, states, states[1:], strict=False)
    return torch.stack(
        [layer.visible.log_prob(x, h @ layer.generative.T) + log_ways_at(layer.visible, x) for layer, x, h in pairs]
    ).sum(0)


def log_z(rbm: RBM) -> Tensor:
    """Of the top, by its visible states."""
    v = states_of(rbm.visible)
    return torch.logsumexp(log_ways_at(rbm.visible, v) - rbm.free_energy(v), 0)


def log_top(net: UntiedDBN, h: Tensor, label: int | None = None) -> Tensor:
    """``log p(h, y)`` of rows of what the top sees, or ``log p(h)``: (n,)."""
    top, n = net.top, net.n_classes
    if not n:
        return log_ways_at(top.visible, h) - top.free_energy(h) - log_z(top)
    labels = range(n) if label is None else [label]
    rows = [torch.cat([h, torch.eye(n, dtype=h.dtype)[y].expand(len(h), -1)], 1) for y in labels]
    return torch.logsumexp(torch.stack([log_ways_at(top.visible, v) - top.free_energy(v) for v in rows]), 0) - log_z(
        top
    )


def along(net: UntiedDBN, x: Tensor) -> list[Tensor]:
    """Every path above every case: (cases * paths, width) for each layer, the cases' own rows first in line."""
    hidden = paths(net)
    n = len(hidden[0])
    return [x.repeat_interleave(n, 0), *(h.repeat(len(x), 1) for h in hidden)]


def log_likelihood(net: UntiedDBN, x: Tensor, labels: list[int | None]) -> Tensor:
    """``log p(x, y)``, or ``log p(x)`` where the label is None: (cases,)."""
    rows = []
    for row, label in zip(x, labels, strict=True):
        states = along(net, row.unsqueeze(0))
        rows.append(torch.logsumexp(log_p_down(net, states) + log_top(net, states[-1], label), 0))
    return torch.stack(rows)


def bound(net: UntiedDBN, x: Tensor, labels: list[int | None]) -> Tensor:
    """The variational bound with its expectation over Q taken exactly: (cases,)."""
    rows = []
    for row, label in zip(x, labels, strict=True):
        states = along(net, row.unsqueeze(0))
        q = log_q(net, states)
        rows.append((q.exp() * (log_p_down(net, states) + log_top(net, states[-1], label) - q)).sum())
    return torch.stack(rows)


def dream_score(net: UntiedDBN) -> Tensor:
    """``<log Q(h | v)>_p`` with p held fixed: what the sleep phase climbs."""
    states = paths(net, with_data=True)
    p = torch.softmax((log_p_down(net, states) + log_top(net, states[-1])).detach(), 0)
    return p @ log_q(net, states)


def label_score(net: UntiedDBN, x: Tensor, labels: list[int | None]) -> Tensor:
    """``log p(y | h)`` of the top at the means of a deterministic way up: (cases,)."""
    h = x
    for layer in net.untied:
        h = layer.hidden.mean(h @ layer.recognition)
    rows = [
        log_top(net, row.unsqueeze(0), y) - log_top(net, row.unsqueeze(0)) for row, y in zip(h, labels, strict=True)
    ]
    return torch.cat(rows)
