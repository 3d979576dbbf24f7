"""log Z by the Thouless-Anderson-Palmer expansion: mean field with its first correction, for weak couplings.

For Bernoulli units with magnetizations m (visible) and n (hidden) and variances ``a = m - m^2``, ``b = n - n^2``,

    log Z_TAP = H(m) + H(n) + b_v.m + b_h.n + m' W n + (1/2) sum_ij W_ij^2 a_i b_j

at a stationary point, which solves ``n = sigmoid(b_h + W' m + (1/2 - n) * (W^2)' a)`` and likewise for m. The terms
left out are of third order in W. It is an estimate without a sign: neither a lower nor an upper bound (the naive mean
field, without the last term, is a lower bound). Plefka 1982; Gabrie, Tramel & Krzakala 2015.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from deepbelief.errors import InvalidArgumentError, check_count, check_range
from deepbelief.types import Bound

if TYPE_CHECKING:  # the RBM itself asks `log_z`, which knows this method
    from deepbelief.energy.rbm import RBM


@dataclass(frozen=True)
class Magnetizations:
    """Mean-field means of both layers, one row per solution: (n, n_visible), (n, n_hidden)."""

    v: Tensor
    h: Tensor


def check_tap(rbm: RBM) -> None:
    """Refuse units whose expansion is another one."""
    if (rbm.visible.kind, rbm.hidden.kind) != ("bernoulli", "bernoulli"):
        raise InvalidArgumentError(
            f"TAP needs bernoulli units in both layers. Got {rbm.visible.kind} and {rbm.hidden.kind}. "
            'Use learning="pcd" or log_z(method="ais") instead.'
        )


def check_order(order: int, name: str = "order") -> None:
    """Refuse expansions of log Z that are not here."""
    if order not in (1, 2) or isinstance(order, bool):
        raise InvalidArgumentError(f"{name} must be 1 (mean field) or 2 (TAP). Got {name}={order!r}.")


@torch.no_grad()
def solve(rbm: RBM, start: Magnetizations, *, n_steps: int, damping: float = 0.5, order: int = 2) -> Magnetizations:
    """`n_steps` damped iterations of the self-consistent equations; order 1 is the naive mean field."""
    check_order(order)
    check_count("n_steps", n_steps, low=1)
    check_range("damping", damping, low=0, high=1)
    squared = rbm.weight.square() if order == 2 else None
    m, n = start.v, start.h
    for _ in range(n_steps):
        field = rbm.input_h_from_v(m) + rbm.hidden.bias
        if squared is not None:
            field = field + (0.5 - n) * ((m - m * m) @ squared)
        n = torch.lerp(torch.sigmoid(field), n, damping)
        field = rbm.input_v_from_h(n) + rbm.visible.bias
        if squared is not None:
            field = field + (0.5 - m) * ((n - n * n) @ squared.T)
        m = torch.lerp(torch.sigmoid(field), m, damping)
    return Magnetizations(m, n)


def tap_log_z(rbm: RBM, at: Magnetizations, *, order: int = 2) -> Tensor:
    """``log Z_TAP`` of each row of magnetizations: (n,), differentiable in the parameters."""
    m, n = at.v, at.h
    entropy = torch.special.entr(m).sum(-1) + torch.special.entr(1 - m).sum(-1)
    entropy = entropy + torch.special.entr(n).sum(-1) + torch.special.entr(1 - n).sum(-1)
    value = entropy + m @ rbm.visible.bias + n @ rbm.hidden.bias + ((m @ rbm.weight) * n).sum(-1)
    if order == 2:
        value = value + 0.5 * (((m - m * m) @ rbm.weight.square()) * (n - n * n)).sum(-1)
    return value


@torch.no_grad()
def mean_field_log_z(
    rbm: RBM, starts: Tensor | None = None, *, order: int = 2, n_steps: int = 500, damping: float = 0.5
) -> Bound:
    """log Z by mean field (order 1: a lower bound) or TAP (order 2: an estimate without error bars).

    Solutions are sought from each row of `starts` (n, n_visible) (default: the data's means), and the best one is
    taken. With order 1, any solution is a lower bound, so the best is; convergence is not needed for that.

    >>> from deepbelief.energy.rbm import RBM
    >>> round(float(mean_field_log_z(RBM(3, 2, weight_std=0.0))), 4)  # independent units: exact
    3.4657
    """
    check_tap(rbm)
    check_order(order)
    v = rbm.visible_offset.unsqueeze(0) if starts is None else starts.to(rbm.weight)
    found = solve(rbm, Magnetizations(v, rbm.mean_h_from_v(v)), n_steps=n_steps, damping=damping, order=order)
    value = tap_log_z(rbm, found, order=order).double().max().item()
    name = "mean field" if order == 1 else "TAP"
    return Bound(value, "lower_bound" if order == 1 else "estimate", 0.0, f"{name}, best of {len(v)} solutions")
