"""A whole update of an RBM of bits: both means of h and the weights' step, tile by tile of hidden units.

The weights of a tile stay in the core's cache from the first product to the last, and both products share their tables.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from deepbelief.native.library import library, over_threads, record
from deepbelief.native.products import COST, TILE, kernels_for

SMALLEST = 1 << 17  # products of numbers; an update saves more calls than it makes
FEWEST = 8  # cases
_Phase = record("Phase", "v along_v along_cases mean share", "n")
_Update = record("Update", "w bias phases left lambda right h", "n_v n_h n_dense", "keep rate")


@dataclass(frozen=True)
class Cases:
    """The states of the visible units in one phase, their bits in both directions, and their shares, which sum to one.

    ``mean`` are the means of h given v, which the update fills in unless they were `given`.
    """

    v: Tensor  # (n, n_visible)
    share: Tensor  # (n,)
    mean: Tensor  # (n, n_hidden)
    given: bool
    bits: Tensor  # along v, and from `turn` on along the cases
    turn: int


@dataclass(frozen=True)
class Change:
    """What an update did: the data's means of v and h, and the biases' gradients of minus the log-likelihood.

    Where the weights went along the centred dW, ``down_v`` is ``<v>_model - <v>_data + dW lambda``, and ``down_h`` is
    ``<h>_model - <h>_data + dW' mu``; otherwise they are the differences alone.
    """

    v_data: Tensor  # (n_visible,)
    h_data: Tensor  # (n_hidden,)
    down_v: Tensor  # (n_visible,)
    down_h: Tensor  # (n_hidden,)


def serves(w: Tensor, vectors: Sequence[Tensor], v: Tensor, share: Tensor) -> bool:
    """Whether the kernel takes these weights, biases and offsets, and cases (if they are bits), and gains by it.

    Not where shapes do not fit: the general update then says what is wrong, which the kernel could not.
    """
    if kernels_for(w, *vectors, v, share) is None or not all(x.is_contiguous() for x in (w, *vectors, v, share)):
        return False
    if v.ndim != 2 or v.shape[1] != w.shape[0] or share.shape != v.shape[:1]:
        return False
    n = v.shape[0]  # `len` of a tensor takes three times as long
    return n >= FEWEST and n * w.numel() >= SMALLEST


def cases(v: Tensor, share: Tensor, n_hidden: int) -> Cases | None:
    """The record of a phase that `serves` has agreed to; None where not all of `v` is 0 or 1."""
    kernels, (n, n_v) = library(), v.shape
    assert kernels is not None
    turn = -(-n_v // TILE) * n
    bits = torch.empty(turn + -(-n // TILE) * n_v, dtype=torch.int32)
    place = bits.data_ptr()
    if not kernels.pack(v.data_ptr(), n, n_v, place, place + 4 * turn):
        return None
    return Cases(v, share, v.new_empty((n, n_hidden)), False, bits, turn)


def rbm_update(
    w: Tensor,
    bias: Tensor,
    data: Cases,
    model: Cases,
    *,
    rate: float,
    keep: float,
    offsets: tuple[Tensor, Tensor],
    centred: bool,
) -> Change:
    """``w = keep w + rate dW`` in place, with dW the difference G of the two phases, centred on `offsets` if asked.

    Centred, dW is G less ``(<v>_data - <v>_model) lambda' + mu (<h>_data - <h>_model)'``.
    """
    kernels, (n_v, n_h), (mu, lambda_) = library(), w.shape, offsets
    assert kernels is not None
    n = data.v.shape[0] + model.v.shape[0]
    v, h, right, down_v, down_h, dots = (
        w.new_empty(shape, requires_grad=False) for shape in ((4, n_v), (2, n_h), (2, n_h), (n_v,), (n_h,), (2 * n,))
    )
    phases = (_Phase * 2)(_phase(data), _phase(model))
    place, means = ctypes.addressof(phases), v.data_ptr()
    kernels.means_of_v(place, n_v, mu.data_ptr(), means, dots.data_ptr())
    left = means + 8 * n_v  # <v>_data - <v>_model, and mu
    others = [x.data_ptr() for x in (lambda_, right, h)]
    arguments = _Update(w.data_ptr(), bias.data_ptr(), place, left, *others, n_v, n_h, 2 if centred else 0, keep, rate)
    over_threads("rbm_update", arguments, -(-n_h // TILE), 2 * n * n_v * TILE // COST)
    if not centred:
        return Change(v[0], h[0], v[1] - v[0], h[1] - h[0])
    kernels.biases(place, n_v, n_h, *[x.data_ptr() for x in (mu, lambda_, v, h, dots, down_v, down_h)])
    return Change(v[0], h[0], down_v, down_h)


def _phase(of: Cases) -> ctypes.Structure:
    bits = of.bits.data_ptr()
    others = (None if of.given else bits, bits + 4 * of.turn, of.mean.data_ptr(), of.share.data_ptr())
    return _Phase(of.v.data_ptr(), *others, of.v.shape[0])
