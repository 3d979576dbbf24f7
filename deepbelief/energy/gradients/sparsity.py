"""Group sparsity: hidden units in groups of which few are active at a time.

    penalty(v) = cost * sum over groups g of  || <h_g | v> ||_2

The outer sum works as an L1 norm, which switches whole groups off; within a group the L2 norm lets units share the
work. Luo, Shen, Niu & Ungar 2011, "Sparse group restricted Boltzmann machines".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from deepbelief.energy.gradients.moments import Moments
from deepbelief.energy.gradients.negative import PositivePhase
from deepbelief.errors import check, check_count, check_range
from deepbelief.units.base import Units

SMALLEST_NORM = 1e-8  # the norm has no gradient at zero


def check_target(layers: Sequence[Units], target: float | None, cost: float) -> None:
    """Raise `InvalidArgumentError` unless the mean activity of every unit of `layers` can be `target`."""
    check_range("sparsity_cost", cost, low=0)
    for units in layers:
        if target is not None:
            remedy = f"It is a mean of {units.kind} units."
            check_range("sparsity_target", target, low=units.least, high=units.most, remedy=remedy)


def check_groups(n_hidden: int, group_size: int | None, group_cost: float) -> None:
    """Raise `InvalidArgumentError` unless the hidden units divide into groups, where groups are asked for."""
    check_range("group_cost", group_cost, low=0)
    check(
        group_size is not None or group_cost == 0,
        f"group_size must be given with a group_cost. Got group_cost={group_cost}. Say how many units are a group.",
    )
    if group_size is not None:
        check_count("group_size", group_size, low=1)
        check(
            n_hidden % group_size == 0,
            f"group_size must divide the {n_hidden} hidden units. Got group_size={group_size}.",
        )


def check_no_groups(options: Mapping[str, Any], what: str) -> None:
    """Refuse groups where a rule would pass them over in silence."""
    check(
        options.get("group_size") is None and not options.get("group_cost"),
        f"group_size must be None for learning {what}. Got group_size={options.get('group_size')}. "
        "Use sparsity_target instead.",
    )


def group_norms(mean_h: Tensor, group_size: int) -> Tensor:
    """The sum over groups of the L2 norm of a group's means: (n, n_hidden) -> (n,).

    >>> group_norms(torch.tensor([[3.0, 4.0, 0.0, 1.0]]), 2)
    tensor([6.])
    """
    squares = mean_h.unflatten(-1, (-1, group_size)).square().sum(-1)
    return squares.clamp_min(SMALLEST_NORM**2).sqrt().sum(-1)


def with_group_sparsity(
    positive: Moments, phase: PositivePhase, hidden: Units, group_size: int, cost: float
) -> Moments:
    """The data's half of the gradient with that of minus the penalty added, averaged over the cases like it.

    The penalty moves the weights as ``v (d penalty / d input)'``, which is a row of the outer product that the data's
    half is already; so centring takes it along.
    """
    n = len(phase.v)
    share = torch.full((n,), 1 / n).to(phase.v) if phase.weight is None else phase.weight / phase.weight.sum()
    names = [name for name, _ in hidden.named_parameters()]
    with torch.enable_grad():
        inputs = phase.inputs.detach().to(phase.v).requires_grad_()
        penalty = cost * (share.to(phase.v) @ group_norms(hidden.mean(inputs), group_size))
        wanted = [inputs, *hidden.parameters()]
        pull, *others = torch.autograd.grad(penalty, wanted, allow_unused=True)
    further = {
        name: value - found
        for name, found in zip(names, others, strict=True)
        if (value := positive.hidden.get(name)) is not None and found is not None
    }
    return Moments(
        positive.v,
        positive.h - pull.sum(0),  # every kind adds its bias to its input, so their gradients are the same
        positive.left,
        positive.right - pull,
        positive.visible,
        {**positive.hidden, **further},
    )
