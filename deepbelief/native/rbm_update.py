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
_Phase = record("Phase", "v along_v along_cases mean share scale h", "n")
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
    bits: Tensor  # along v, and from `turn` on along the cases
    turn: int


@dataclass(frozen=True)
class Change:
    """What an update did: means of v and h in both phases, rows for the data and for the model, and its turned halves.

    With G the difference ``<v h'>_data - <v h'>_model``, ``to_v`` is ``G lambda`` and ``to_h`` is ``G' mu``.
    """

    v: Tensor  # (2, n_visible)
    h: Tensor  # (2, n_hidden)
    to_v: Tensor  # (n_visible,)
    to_h: Tensor  # (n_hidden,)


def serves(w: Tensor, vectors: Sequence[Tensor], v: Tensor, share: Tensor) -> bool:
    """Whether the kernel takes these weights, biases and offsets, and cases (if they are bits), and gains by it.

    Not where shapes do not fit: the general update then says what is wrong, which the kernel could not.
    """
    if kernels_for(w, *vectors, v, share) is None or not all(x.is_contiguous() for x in (w, *vectors, v, share)):
        return False
    fits = v.ndim == 2 and v.shape[1] == len(w) and share.shape == v.shape[:1]
    return fits and len(v) >= FEWEST and len(v) * w.numel() >= SMALLEST


def cases(v: Tensor, share: Tensor, n_hidden: int) -> Cases | None:
    """The record of a phase that `serves` has agreed to; None where not all of `v` is 0 or 1."""
    kernels, (n, n_v) = library(), v.shape
    assert kernels is not None
    turn = -(-n_v // TILE) * n
    bits = torch.empty(turn + -(-n // TILE) * n_v, dtype=torch.int32)
    place = bits.data_ptr()
    if not kernels.deepbelief_pack(v.data_ptr(), n, n_v, place, place + 4 * turn):
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
    n = len(data.v) + len(model.v)
    made = Change(*(w.new_empty(shape, requires_grad=False) for shape in ((2, n_v), (2, n_h), (n_v,), (n_h,))))
    scales, dots = [data.share * rate, model.share * -rate], w.new_empty(2 * n, requires_grad=False)
    phases = (_Phase * 2)(*(_phase(*part) for part in zip((data, model), scales, made.h, strict=True)))
    place = ctypes.addressof(phases)
    kernels.deepbelief_means_of_v(place, n_v, mu.data_ptr(), made.v.data_ptr(), dots.data_ptr())
    left = right = dots
    if centred:
        left = torch.stack([made.v[0] - made.v[1], mu])
        right = torch.stack([lambda_ * -rate, lambda_])  # the second row is made in the kernel
    places = [w.data_ptr(), bias.data_ptr(), place, left.data_ptr(), right.data_ptr()]
    arguments = _Update(*places, n_v, n_h, 2 if centred else 0, keep, rate)
    over_threads("rbm_update", arguments, -(-n_h // TILE), 2 * n * n_v * TILE // COST)
    results = [x.data_ptr() for x in (mu, lambda_, dots, made.to_v, made.to_h)]
    kernels.deepbelief_turned(place, n_v, n_h, *results)
    return made


def _phase(of: Cases, scale: Tensor, h: Tensor) -> ctypes.Structure:
    bits = of.bits.data_ptr()
    others = [x.data_ptr() for x in (of.mean, of.share, scale, h)]
    return _Phase(of.v.data_ptr(), None if of.given else bits, bits + 4 * of.turn, *others, len(of.v))
