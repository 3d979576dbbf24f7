"""A DBN known exactly: its likelihood, its bound and its label posterior by sums over all hidden states."""

from __future__ import annotations

import torch
from torch import Tensor

from deepbelief.belief.dbn import DBN
from deepbelief.energy.rbm import RBM
from tests.oracle.joint import Joint, log_ways_at, rows_of


def states_of(units: object) -> Tensor:
    """Every state of a discrete layer, one a row."""
    return torch.tensor(rows_of(units), dtype=torch.float64)  # type: ignore[arg-type]


def energy_table(rbm: RBM, v: Tensor | None = None) -> Tensor:
    """``E(v, h)`` over all hidden states, for all visible states or the given rows: (rows, hidden states)."""
    v = states_of(rbm.visible) if v is None else v
    h = states_of(rbm.hidden)
    z = torch.cat([v.repeat_interleave(len(h), 0), h.repeat(len(v), 1)], 1)
    ways = log_ways_at(rbm.visible, v).unsqueeze(1) + log_ways_at(rbm.hidden, h)
    return Joint.of(rbm).energy(z).reshape(len(v), len(h)).detach() - ways


def log_down(rbm: RBM, x: Tensor) -> Tensor:
    """``log p(x | h)`` of rows of x for all hidden states: (rows, hidden states)."""
    joint = Joint.of(rbm)
    totals = torch.stack([joint.given_hidden(h).log_z for h in states_of(rbm.hidden)])
    return -energy_table(rbm, x) - totals.detach()


def log_up(rbm: RBM, x: Tensor) -> Tensor:
    """``log p(h | x)`` in the RBM alone: (rows, hidden states)."""
    return torch.log_softmax(-energy_table(rbm, x), 1)


def log_top(dbn: DBN, h: Tensor) -> Tensor:
    """``log p(h, y)`` of rows of the layer below the top RBM: (rows, labels), one column without labels."""
    n = dbn.n_classes or 1
    labels = torch.eye(n, dtype=h.dtype) if dbn.n_classes else h.new_zeros(1, 0)
    rows = torch.cat([h.repeat_interleave(n, 0), labels.repeat(len(h), 1)], 1)
    log_p = torch.logsumexp(-energy_table(dbn.top, rows), 1) - Joint.of(dbn.top).log_z.detach()
    return log_p.reshape(len(h), n)


def rows_below(dbn: DBN, x: Tensor) -> list[Tensor]:
    """What each layer is asked about: the cases at the bottom, all states further up."""
    return [x, *(states_of(rbm.hidden) for rbm in dbn.layers[:-1])]


def log_joint(dbn: DBN, x: Tensor) -> Tensor:
    """``log p(x, y)``: (rows, labels)."""
    rows = rows_below(dbn, x)
    log_p = log_top(dbn, rows[-1])
    for rbm, below in zip(dbn.layers[:-1][::-1], rows[:-1][::-1], strict=True):
        log_p = torch.logsumexp(log_down(rbm, below).unsqueeze(2) + log_p, 1)
    return log_p


def log_likelihood(dbn: DBN, x: Tensor) -> Tensor:
    """``log p(x)`` of rows of x, exactly."""
    return torch.logsumexp(log_joint(dbn, x), 1)


def bound(dbn: DBN, x: Tensor) -> Tensor:
    """The variational bound of rows of x with its expectation taken exactly."""
    rows = rows_below(dbn, x)
    value = torch.logsumexp(log_top(dbn, rows[-1]), 1)
    for rbm, below in zip(dbn.layers[:-1][::-1], rows[:-1][::-1], strict=True):
        up = log_up(rbm, below)
        value = (up.exp() * (log_down(rbm, below) - up + value)).sum(1)
    return value
