"""Walks and arithmetic in the space of codes: between two cases, along an attribute, along one number at a time.

Every function takes a `Coder`; `PixelSpace` is the coder whose codes are the cases themselves, so that the same
operation without a model can stand beside it. A walk in codes that looks no better than one in pixels shows nothing.

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

    def encode(self, x: Tensor) -> Tensor:
        """`x` itself."""
        return x

    def decode(self, z: Tensor) -> Tensor:
        """`z` itself."""
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
def interpolate(model: Coder, first: Tensor, last: Tensor, n: int = 8, *, path: str = "straight") -> Tensor:
    """What the model decodes on the way from each of `first` to its `last`: (m, d), (m, d) -> (m, n, d).

    Both ends are reconstructions, not the cases themselves. `path` is "straight" or "spherical".
    """
    check_choice("path", path, PATHS)
    check_count("n", n, low=2)
    a, b = model.encode(first), model.encode(last)
    walk = straight if path == "straight" else spherical
    return _decoded(model, walk(a, b, torch.linspace(0, 1, n, dtype=a.dtype, device=a.device)).transpose(0, 1))


@torch.no_grad()
def attribute_vector(model: Coder, x: Tensor, has: Tensor, weight: Tensor | None = None) -> Tensor:
    """``mean code of cases that have it - mean code of those that have not`` (smiling - neutral): (n, d), (n,) -> (k,).

    `has` is boolean; `weight` weighs cases, so that what goes along with the attribute can be balanced.
    """
    check(
        has.dtype == torch.bool and has.shape == x.shape[:1], f"has must be {len(x)} booleans. Got {tuple(has.shape)}."
    )
    z = model.encode(x)
    share = torch.ones(len(z), dtype=z.dtype, device=z.device) if weight is None else weight.to(z)
    means = []
    for side, name in ((has, "have"), (~has, "lack")):
        total = share[side].sum()
        check(bool(total > 0), f"some cases must {name} the attribute. Got none. Choose another attribute.")
        means.append((share[side] @ z[side]) / total)
    return means[0] - means[1]


@torch.no_grad()
def add_attribute(model: Coder, x: Tensor, vector: Tensor, amounts: Sequence[float]) -> Tensor:
    """``decode(encode(x) + amount * vector)`` for each amount: (m, d), (k,) -> (m, amounts, d)."""
    z = model.encode(x)
    steps = torch.tensor(list(amounts), dtype=z.dtype, device=z.device)
    return _decoded(model, z.unsqueeze(1) + steps[:, None] * vector)


@torch.no_grad()
def analogy(model: Coder, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """What is to c as b is to a: ``decode(encode(b) - encode(a) + encode(c))``, (m, d) each -> (m, d)."""
    return model.decode(model.encode(b) - model.encode(a) + model.encode(c))


@torch.no_grad()
def traverse(model: Coder, x: Tensor, values: Sequence[float], dimensions: Sequence[int] | None = None) -> Tensor:
    """One case with one number of its code set to each of `values`, for each of `dimensions` (None: all of them).

    (1, d) -> (dimensions, values, d).
    """
    check(len(x) == 1, f"x must be one case, (1, d). Got {tuple(x.shape)}. Take x[:1].")
    z = model.encode(x)[0]  # (k,)
    chosen = list(range(len(z)) if dimensions is None else dimensions)
    for index in chosen:
        check_count("every dimension", index, low=0, high=len(z) - 1)
    codes = z.repeat(len(chosen), len(values), 1)
    for row, index in enumerate(chosen):
        codes[row, :, index] = torch.tensor(list(values), dtype=z.dtype, device=z.device)
    return _decoded(model, codes)


def beside_pixels(operation: Any, model: Coder, *arguments: Any, **options: Any) -> tuple[Tensor, Tensor]:
    """One operation of this file by the model's codes, and the same in pixel space.

    >>> walks = beside_pixels(interpolate, PixelSpace(), torch.zeros(2, 3), torch.ones(2, 3), 4)
    >>> [tuple(walk.shape) for walk in walks]
    [(2, 4, 3), (2, 4, 3)]
    """
    return operation(model, *arguments, **options), operation(PixelSpace(), *arguments, **options)


def _decoded(model: Coder, z: Tensor) -> Tensor:
    """Codes in any grid, (..., k) -> (..., d)."""
    return model.decode(z.flatten(0, -2)).unflatten(0, z.shape[:-1])
