"""The weights between two layers: their gradient from the data's and the model's half, and one step along it.

    dW = <v h'>_d - <v h'>_m - (<v>_d - <v>_m) lambda' - mu (<h>_d - <h>_m)' - l2 W

with mu and lambda the offsets of centring, if there are any. Each half is a product of two factors with a row for every
case, so the gradient is one product, and a plain step along it needs no gradient in between: that of 784 x 500 weights
would be written once and read five times. Both ways return ``dW lambda`` and ``dW' mu``, by which centring shifts the
gradients of the biases.
"""

from __future__ import annotations

import torch
from torch import Tensor

from deepbelief.energy.gradients.moments import Moments, offset_rows_times_offsets
from deepbelief.native.products import bits_step

Offsets = tuple[Tensor, Tensor]  # mu of v, and lambda of h


def put_gradient(
    weight: Tensor,
    positive: Moments,
    negative: Moments,
    offsets: Offsets | None,
    *,
    l2: float = 0.0,
    l1: float = 0.0,
    directions: Tensor | None = None,
) -> Offsets | None:
    """Put ``-dW`` where the optimizer looks for it, after weight decay and the fall into the span of `directions`."""
    ascent = torch.zeros_like(weight, requires_grad=False)
    if not bits_step(ascent, 1.0, *_halves(positive, negative, offsets, 1.0)):
        left, right = _factors(positive, negative, offsets)
        ascent = torch.mm(left.T, right)
    if l2:
        ascent.add_(weight, alpha=-l2)
    if l1:
        ascent.add_(weight.sign(), alpha=-l1)
    if directions is not None:
        ascent = directions @ (directions.T @ ascent)
    shifts = None if offsets is None else (ascent @ offsets[1], offsets[0] @ ascent)
    weight.grad = ascent.neg_()
    return shifts


def take_step(
    weight: Tensor, positive: Moments, negative: Moments, offsets: Offsets | None, *, rate: float, l2: float = 0.0
) -> Offsets | None:
    """``W += rate dW`` in place."""
    keep = 1 - rate * l2
    shifts = None if offsets is None else _shifts(weight, positive, negative, offsets, l2)
    weight.grad = None
    if not bits_step(weight, keep, *_halves(positive, negative, offsets, rate)):
        left, right = _factors(positive, negative, offsets)
        weight.addmm_(left.T, right, beta=keep, alpha=rate)
    return shifts


def _shifts(weight: Tensor, positive: Moments, negative: Moments, offsets: Offsets, l2: float) -> Offsets:
    """``dW lambda`` and ``dW' mu``, from factors that are a fraction of dW, decay included."""
    mu, offset = offsets
    to_v, to_h = offset_rows_times_offsets(offsets, positive.v - negative.v, negative.h - positive.h)
    for half, sign in ((positive, 1), (negative, -1)):
        to_v.addmv_(half.left.T, half.right.mv(offset), alpha=sign)
        to_h.addmv_(half.right.T, half.left.mv(mu), alpha=sign)
    if l2:
        to_v.addmv_(weight, offset, alpha=-l2)
        to_h.addmv_(weight.T, mu, alpha=-l2)
    return to_v, to_h


def _halves(
    positive: Moments, negative: Moments, offsets: Offsets | None, rate: float
) -> tuple[list[tuple[Tensor, Tensor, float]], Tensor, Tensor]:
    """`rate` times the gradient as `bits_step` takes it: both halves, and the offsets' rows."""
    halves = [(positive.left, positive.right, rate), (negative.left, negative.right, -rate)]
    if offsets is None:
        none = positive.v.new_empty(0)
        return halves, none.view(0, len(positive.v)), none.view(0, len(positive.h))
    left = torch.stack([positive.v - negative.v, offsets[0]])
    right = torch.stack([-offsets[1], negative.h - positive.h])
    return halves, left, right.mul_(rate)


def _factors(positive: Moments, negative: Moments, offsets: Offsets | None) -> tuple[Tensor, Tensor]:
    """The gradient as one product, ``left' right``: both halves, and the offsets' rows."""
    left, right = [positive.left, negative.left], [positive.right, -negative.right]
    if offsets is not None:
        left += [(positive.v - negative.v).unsqueeze(0), offsets[0].unsqueeze(0)]
        right += [-offsets[1].unsqueeze(0), (negative.h - positive.h).unsqueeze(0)]
    return torch.cat(left), torch.cat(right)
