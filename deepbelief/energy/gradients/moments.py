"""The two halves of every likelihood gradient: statistics of (v, h) under the data and under the model.

d log p / dW = <v h'>_data - <v h'>_model,     d log p / db = <v>_data - <v>_model, ...
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from deepbelief.energy.kernels.gibbs import Bipartite


@dataclass(frozen=True)
class Moments:
    """Averages over cases or chains: of v, of h, of v h', and of the further statistics of the two layers.

    The product is kept as its two factors (rows scaled by their weights), so that both halves go into one gradient
    buffer without a copy.
    """

    v: Tensor  # (n_visible,)
    h: Tensor  # (n_hidden,)
    left: Tensor  # (rows, n_visible)
    right: Tensor  # (rows, n_hidden), rows weighted to sum to one
    visible: Mapping[str, Tensor]
    hidden: Mapping[str, Tensor]


def _average(rows: Mapping[str, Tensor], share: Tensor) -> dict[str, Tensor]:
    return {name: share @ values for name, values in rows.items()}


def moments(rbm: Bipartite, v: Tensor, inputs: Tensor, mean_h: Tensor, weight: Tensor | None = None) -> Moments:
    """Moments of the rows of `v`, with h averaged out given each row; `weight` gives rows unequal shares.

    `inputs` is ``v W`` and `mean_h` the mean of h, which the caller has already. Given a sample of the model, these
    are Rao-Blackwell averages: h enters by its conditional mean. Averages are taken in the type of `v` even where a
    lower precision serves for sampling: a gradient is a small difference of large sums.
    """
    if not torch.is_autocast_enabled(v.device.type):  # entering the context costs as much as a product of small layers
        return _moments(rbm, v, inputs, mean_h, weight)
    with torch.autocast(v.device.type, enabled=False):
        return _moments(rbm, v, inputs, mean_h, weight)


def shares(rows: Tensor, weight: Tensor | None = None) -> Tensor:
    """What each row counts in an average: (n,), in the type of `rows`, of sum one."""
    n = rows.shape[0]
    return rows.new_full((n,), 1 / n) if weight is None else (weight / weight.sum()).to(rows)


def _moments(rbm: Bipartite, v: Tensor, inputs: Tensor, mean_h: Tensor, weight: Tensor | None) -> Moments:
    share = shares(v, weight)
    right = mean_h * share.unsqueeze(1)
    visible = _average(rbm.visible.statistics(v), share)
    hidden = _average(rbm.hidden.expected_statistics(inputs, mean_h), share)
    return Moments(share @ v, right.sum(0), v, right, visible, hidden)


def offset_rows_times_offsets(offsets: tuple[Tensor, Tensor], up_v: Tensor, down_h: Tensor) -> tuple[Tensor, Tensor]:
    """``D lambda`` and ``D' mu`` of what centring adds to the weights' gradient, ``D = mu down_h' - up_v lambda'``.

    mu and lambda are the `offsets` of v and h, `up_v` is ``<v>_data - <v>_model`` and `down_h` minus the same of h.
    """
    mu, offset = offsets
    to_v = torch.addcmul(up_v * -offset.dot(offset), mu, down_h.dot(offset))
    to_h = torch.addcmul(down_h * mu.dot(mu), offset, mu.dot(up_v), value=-1)
    return to_v, to_h
