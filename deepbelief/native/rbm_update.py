"""A whole update of an RBM of bits: both means of h and the weights' step, tile by tile of hidden units.

The weights of a tile stay in the core's cache from the first product to the last, and both products share their tables.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import torch
from torch import Tensor

from deepbelief.native.library import library, over_threads, record
from deepbelief.native.products import COST, FEWEST, SMALLEST, TILE, kernels_for

_Phase = record("Phase", "along_v along_cases mean share scale h", "n")
_Update = record("Update", "w bias phases left right", "n_v n_h n_dense", "keep rate")


@dataclass(frozen=True)
class Cases:
    """The states of the visible units in one phase, their bits in both directions, and their shares, which sum to one.

    ``mean`` are the means of h given v, which the update fills in unless they were `given`.
    """

    v: Tensor  # (n, n_visible)
    share: Tensor  # (n,)
    mean: Tensor  # (n, n_hidden)
    given: bool
    along_v: Tensor
    along_cases: Tensor


def serves(w: Tensor, bias: Tensor, v: Tensor, share: Tensor) -> bool:
    """Whether the kernel takes these weights, biases of h and cases (if they are bits), and gains by it."""
    kernels, layout = kernels_for(w, bias, v, share), all(x.is_contiguous() for x in (w, bias, v))
    return kernels is not None and layout and len(v) >= FEWEST and len(v) * w.numel() >= SMALLEST


def cases(v: Tensor, share: Tensor, n_hidden: int, mean: Tensor | None = None) -> Cases | None:
    """The record of a phase that `serves` has agreed to; None where not all of `v` is 0 or 1."""
    kernels, (n, n_v) = library(), v.shape
    assert kernels is not None
    along_v = torch.empty((-(-n_v // TILE), n), dtype=torch.int32)
    along_cases = torch.empty((-(-n // TILE), n_v), dtype=torch.int32)
    if not kernels.deepbelief_pack_rows(v.data_ptr(), n, n_v, n_v, along_v.data_ptr()):
        return None
    kernels.deepbelief_pack_columns(v.data_ptr(), n, n_v, n_v, along_cases.data_ptr())
    place = v.new_empty((n, n_hidden)) if mean is None else mean.contiguous()
    return Cases(v, share, place, mean is not None, along_v, along_cases)


def rbm_update(
    w: Tensor, bias: Tensor, data: Cases, model: Cases, *, rate: float, keep: float, dense: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, Tensor]:
    """``w = keep w + rate dW`` in place; returns the means of h over the data and over the model's states.

    dW is ``<v h'>_data - <v h'>_model``, and with `dense`, which holds ``<v>_data - <v>_model`` and the offsets mu as
    (2, n_visible) and lambda as (n_hidden,), less ``(<v>_data - <v>_model) lambda' + mu (<h>_data - <h>_model)'``.
    """
    kernels, (n_v, n_h) = library(), w.shape
    assert kernels is not None
    h = w.new_empty((2, n_h), requires_grad=False)
    scales = [data.share * rate, model.share * -rate]
    phases = (_Phase * 2)(*(_phase(*part) for part in zip((data, model), scales, h, strict=True)))
    left = right = w.new_empty(0)
    if dense is not None:
        left, right = dense[0], torch.stack([dense[1] * -rate, dense[1]])  # the second row is made in the kernel
    places = [w.data_ptr(), bias.data_ptr(), ctypes.addressof(phases), left.data_ptr(), right.data_ptr()]
    arguments = _Update(*places, n_v, n_h, 0 if dense is None else 2, keep, rate)
    n = len(data.v) + len(model.v)
    over_threads("rbm_update", arguments, -(-n_h // TILE), 2 * n * n_v * TILE // COST)
    return h[0], h[1]


def fold(x: Tensor, weight: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """``weight @ x`` and ``x @ direction`` in one pass: (n, m), (n,), (m,) -> (m,), (n,)."""
    kernels, (n, m) = library(), x.shape
    assert kernels is not None
    total, dots = x.new_empty(m), x.new_empty(n)
    tensors = weight, direction, total, dots
    kernels.deepbelief_fold(x.data_ptr(), n, m, *(tensor.data_ptr() for tensor in tensors))
    return total, dots


def _phase(of: Cases, scale: Tensor, h: Tensor) -> ctypes.Structure:
    along_v = None if of.given else of.along_v.data_ptr()
    others = (of.along_cases, of.mean, of.share, scale, h)
    return _Phase(along_v, *(tensor.data_ptr() for tensor in others), len(of.v))
