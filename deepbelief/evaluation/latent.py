"""Walks and arithmetic in the space of codes: between two cases, along an attribute, along one number at a time.

Every function takes a `Coder`; `PixelSpace` is the coder whose codes are the cases themselves, so that the same
operation without a model can stand beside it. A walk in codes that looks no better than one in pixels shows nothing.

A model with a condition is given it in rows, (width,) for all cases or (n, width): ``encode(x, condition=c)``.

White 2016, "Sampling generative networks" (spherical walks); Larsen et al. 2016 (attributes); Mikolov et al. 2013.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from deepbelief.errors import InvalidDataError, check, check_choice, check_count
from deepbelief.protocols import Coder

PATHS = ("straight", "spherical")
SMALLEST_SINE = 1e-6  # two directions nearer to parallel have the straight line as their arc


class PixelSpace:
    """The coder that does nothing: codes are cases. What the same operation gives without a model.

    >>> PixelSpace().decode(torch.ones(1, 2)).tolist()
    [[1.0, 1.0]]
    """

    def encode(self, x: Tensor, *, condition: Tensor | None = None) -> Tensor:
        """`x` itself, whatever the condition."""
        return x

    def decode(self, z: Tensor, *, condition: Tensor | None = None) -> Tensor:
        """`z` itself, whatever the condition."""
        return z


def straight(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """``(1 - t) a + t b``: (..., k), (..., k), (steps,) -> (steps, ..., k).

    >>> straight(torch.zeros(1), torch.ones(1), torch.tensor([0.25])).tolist()
    [[0.25]]
    """
    t = t.reshape(-1, *[1] * a.ndim)
    return (1 - t) * a + t * b


def spherical(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """``(sin((1 - t) w) a + sin(t w) b) / sin w`` with w the angle between a and b: shapes as for `straight`.

    Codes of a wide Gaussian lie near a sphere, whose inside a straight line crosses; the arc keeps their length. Where
    a and b are parallel it is the straight line. Raises `InvalidDataError` where they are opposite, for then any arc
    would do, and where one of them is 0.

    >>> half = spherical(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), torch.tensor([0.5]))
    >>> round(float(half.norm()), 6)
    1.0
    """
    lengths = a.norm(dim=-1, keepdim=True), b.norm(dim=-1, keepdim=True)
    if not all((length > 0).all() for length in lengths):
        raise InvalidDataError("both ends of an arc must have a direction. Got a code of zeros. Use a straight path.")
    u, v = a / lengths[0], b / lengths[1]
    angle = 2 * torch.atan2(
        (u - v).norm(dim=-1, keepdim=True), (u + v).norm(dim=-1, keepdim=True)
    )  # exact near 0 and pi
    sine = torch.sin(angle)
    if ((sine <= SMALLEST_SINE) & (angle > 1)).any():
        raise InvalidDataError("two ends of an arc must not be opposite. Got opposite codes. Use a straight path.")
    t = t.reshape(-1, *[1] * a.ndim)
    safe = sine.clamp_min(SMALLEST_SINE)
    arc = (torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / safe
    return torch.where(sine > SMALLEST_SINE, arc, (1 - t) * a + t * b)


@torch.no_grad()
def interpolate(
    model: Coder,
    first: Tensor,
    last: Tensor,
    n: int = 8,
    *,
    path: str = "straight",
    condition: Tensor | None = None,
    last_condition: Tensor | None = None,
) -> Tensor:
    """What the model decodes on the way from each of `first` to its `last`: (m, d), (m, d) -> (m, n, d).

    Both ends are reconstructions, not the cases themselves. `path` is "straight" or "spherical". `condition` is that of
    `first`, and of the whole way unless `last_condition` differs: then it goes straight from the one to the other.
    """
    check_choice("path", path, PATHS)
    check_count("n", n, low=2)
    check(
        last_condition is None or condition is not None,
        "last_condition must be None where condition is None. Got the last alone. Give both.",
    )
    there = condition if last_condition is None else last_condition
    a, b = _encoded(model, first, condition), _encoded(model, last, there)
    walk = straight if path == "straight" else spherical
    t = torch.linspace(0, 1, n, dtype=a.dtype, device=a.device)
    given = None
    if condition is not None and there is not None:
        start, end = (c.expand(len(a), c.shape[-1]) for c in (condition, there))
        given = straight(start, end, t.to(condition.dtype)).transpose(0, 1)
    return _decoded(model, walk(a, b, t).transpose(0, 1), given)


@torch.no_grad()
def attribute_vector(
    model: Coder, x: Tensor, has: Tensor, weight: Tensor | None = None, *, condition: Tensor | None = None
) -> Tensor:
    """``mean code of cases that have it - mean code of those that have not`` (smiling - neutral): (n, d), (n,) -> (k,).

    `has` is boolean; `weight` weighs cases, so that what goes along with the attribute can be balanced.
    """
    check(
        has.dtype == torch.bool and has.shape == x.shape[:1], f"has must be {len(x)} booleans. Got {tuple(has.shape)}."
    )
    z = _encoded(model, x, condition)
    share = torch.ones(len(z), dtype=z.dtype, device=z.device) if weight is None else weight.to(z)
    means = []
    for side, name in ((has, "have"), (~has, "lack")):
        total = share[side].sum()
        check(bool(total > 0), f"some cases must {name} the attribute. Got none. Choose another attribute.")
        means.append((share[side] @ z[side]) / total)
    return means[0] - means[1]


@torch.no_grad()
def add_attribute(
    model: Coder, x: Tensor, vector: Tensor, amounts: Sequence[float], *, condition: Tensor | None = None
) -> Tensor:
    """``decode(encode(x) + amount * vector)`` for each amount: (m, d), (k,) -> (m, amounts, d)."""
    z = _encoded(model, x, condition)
    steps = torch.tensor(list(amounts), dtype=z.dtype, device=z.device)
    given = None if condition is None else condition.expand(len(x), condition.shape[-1]).unsqueeze(1)
    return _decoded(model, z.unsqueeze(1) + steps[:, None] * vector, given)


@torch.no_grad()
def analogy(model: Coder, a: Tensor, b: Tensor, c: Tensor, *, condition: Tensor | None = None) -> Tensor:
    """What is to c as b is to a: ``decode(encode(b) - encode(a) + encode(c))``, (m, d) each -> (m, d).

    All three have the same `condition`.
    """
    code_a, code_b, code_c = (_encoded(model, x, condition) for x in (a, b, c))
    return _decoded(model, code_b - code_a + code_c, condition)


@torch.no_grad()
def traverse(
    model: Coder,
    x: Tensor,
    values: Sequence[float],
    dimensions: Sequence[int] | None = None,
    *,
    condition: Tensor | None = None,
) -> Tensor:
    """One case with one number of its code set to each of `values`, for each of `dimensions` (None: all of them).

    (1, d) -> (dimensions, values, d).
    """
    check(len(x) == 1, f"x must be one case, (1, d). Got {tuple(x.shape)}. Take x[:1].")
    z = _encoded(model, x, condition)[0]  # (k,)
    chosen = list(range(len(z)) if dimensions is None else dimensions)
    for index in chosen:
        check_count("every dimension", index, low=0, high=len(z) - 1)
    codes = z.repeat(len(chosen), len(values), 1)
    for row, index in enumerate(chosen):
        codes[row, :, index] = torch.tensor(list(values), dtype=z.dtype, device=z.device)
    return _decoded(model, codes, condition)


def cross_fade(walks: Tensor, t: Tensor) -> Tensor:
    """The straight line in pixels between both ends of each walk, at `t` in [0, 1]: (m, steps, d), (n,) -> (m, n, d).

    What stands beside a traversal: one number of a code has no twin among the pixels, but its two ends have a line.

    >>> cross_fade(torch.tensor([[[0.0], [9.0], [1.0]]]), torch.tensor([0.0, 0.5])).tolist()
    [[[0.0], [0.5]]]
    """
    return straight(walks[:, 0], walks[:, -1], t).transpose(0, 1)


def beside_pixels(operation: Any, model: Coder, *arguments: Any, **options: Any) -> tuple[Tensor, Tensor]:
    """One operation of this file by the model's codes, and the same in pixel space.

    >>> walks = beside_pixels(interpolate, PixelSpace(), torch.zeros(2, 3), torch.ones(2, 3), 4)
    >>> [tuple(walk.shape) for walk in walks]
    [(2, 4, 3), (2, 4, 3)]
    """
    return operation(model, *arguments, **options), operation(PixelSpace(), *arguments, **options)


def _encoded(model: Any, x: Tensor, condition: Tensor | None) -> Tensor:
    """The codes of cases; only a model that has a condition is given one."""
    codes: Tensor = model.encode(x) if condition is None else model.encode(x, condition=condition)
    return codes


def _decoded(model: Any, z: Tensor, condition: Tensor | None = None) -> Tensor:
    """Codes in any grid, (..., k) -> (..., d), with a condition for each place of the grid, or one for all."""
    codes, given = z.flatten(0, -2), {}
    if condition is not None:
        given = {"condition": condition.expand(*z.shape[:-1], condition.shape[-1]).flatten(0, -2)}
    rows: Tensor = model.decode(codes, **given)
    return rows.unflatten(0, z.shape[:-1])
