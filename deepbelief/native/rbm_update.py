"""A whole update of an RBM of bits in one call: the chains' step, both means of h, the weights' step and the biases'.

The weights of a tile of hidden units stay in the core's cache from the first product to the last, and both products
share their tables.
"""

from __future__ import annotations

import ctypes
import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

from deepbelief.native import library, products
from deepbelief.native.products import TILE, kernels_for

SMALLEST = 1 << 17  # products of numbers; an update saves more calls than it makes
FEWEST = 8  # cases
_Phase = library.record("Phase", "v along_v along_cases mean share", "n")
_Pack = library.record("Pack", "x along_rows along_columns other", "n n_in")
_Update = library.record(
    "Update",
    "parallel phases w b c mu lambda decay_v decay_h chain next inputs words mean_v error "
    "v h right dots parts down_v down_h",
    "n_v n_h key_0 key_v key_h centred settles sixteen threads grain",
    "keep rate offset_rate",
)


@dataclass(frozen=True)
class Parts:
    """The memory of a machine of bits, which an update moves: weights, biases and the offsets of centring."""

    w: Tensor  # (n_visible, n_hidden)
    biases: tuple[Tensor, Tensor]  # of the visible and of the hidden units
    offsets: tuple[Tensor, Tensor]

    def all(self) -> list[Tensor]:
        """Each of them."""
        return [self.w, *self.biases, *self.offsets]


@dataclass(frozen=True)
class Rule:
    """How an update goes: ``w = keep w + rate dW``, with the decay's part of the biases' gradients, if there is one.

    With an `offset_rate` the biases step and the offsets move in the same call. Cases of equal
    shares may be multiplied in `sixteen` bits, where both phases have as many.
    """

    rate: float
    keep: float
    centred: bool
    decays: tuple[Tensor, Tensor] | None = None
    offset_rate: float | None = None
    sixteen: bool = False


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
class Chains:
    """Where the model's states come from, and what keys the draws: of h at the data, of v, and of h at the end.

    Persistent chains have hidden states `h` and room for the `next`; others start at the data (and have no `next`): `h`
    is then room for the draws.
    """

    h: Tensor  # (n, n_hidden)
    next: Tensor | None
    keys: tuple[int, int, int]


@dataclass(frozen=True)
class Change:
    """What an update did: the data's means of v and h, and the biases' gradients of minus the log-likelihood.

    Where the weights went along the centred dW, ``down_v`` is ``<v>_model - <v>_data + dW lambda``, and ``down_h`` is
    ``<h>_model - <h>_data + dW' mu``, less the decays; otherwise they are the differences alone.
    """

    memory: Tensor
    starts: tuple[int, int]  # of the means of h and of down_v in it; the data's means of v are first, down_h is last
    sizes: tuple[int, int]
    error: float = 0.0  # of the reconstruction, where chains started at the data

    @property
    def v_data(self) -> Tensor:
        """(n_visible,)."""
        return self.memory[: self.sizes[0]]

    @property
    def h_data(self) -> Tensor:
        """(n_hidden,)."""
        return self.memory[self.starts[0] :][: self.sizes[1]]

    @property
    def down_v(self) -> Tensor:
        """(n_visible,)."""
        return self.memory[self.starts[1] :][: self.sizes[0]]

    @property
    def down_h(self) -> Tensor:
        """(n_hidden,)."""
        return self.memory[self.starts[1] + self.sizes[0] :][: self.sizes[1]]


def serves(parts: Parts, v: Tensor, share: Tensor) -> bool:
    """Whether the kernel takes these weights, biases and offsets, and cases (if they are bits), and gains by it.

    Not where shapes do not fit: the general update then says what is wrong, which the kernel could not.
    """
    read = [*parts.all(), v, share]
    if kernels_for(*read, mixed=True) is None or not all(x.is_contiguous() for x in read):
        return False
    if v.ndim != 2 or v.shape[1] != parts.w.shape[0] or share.shape != v.shape[:1]:
        return False
    n = v.shape[0]  # `len` of a tensor takes three times as long
    return n >= FEWEST and n * parts.w.numel() >= SMALLEST


def draws_chains(w: Tensor, n: int) -> bool:
    """Whether `n` chains are enough to be drawn in the update itself, by the numbers that single calls would draw."""
    enough = n >= products.FEWEST and n * w.numel() >= products.SMALLEST
    return enough and n * min(w.shape) >= library.SMALLEST


def cases(v: Tensor, share: Tensor, n_hidden: int) -> Cases | None:
    """The record of a phase that `serves` has agreed to; None where not all of `v` is 0 or 1."""
    found, (n, n_v), other = room(v, share, n_hidden), v.shape, ctypes.c_int32(0)
    place = found.bits.data_ptr()
    arguments = _Pack(v.data_ptr(), place, place + 4 * found.turn, ctypes.addressof(other), n, n_v)
    library.over_threads("pack", arguments, -(-n // TILE), TILE * n_v)
    return None if other.value else found


def room(v: Tensor, share: Tensor, n_hidden: int) -> Cases:
    """The record of a phase whose states are yet to be drawn into `v`."""
    n, n_v = v.shape
    turn = -(-n_v // TILE) * n
    bits = torch.empty(turn + -(-n // TILE) * n_v, dtype=torch.int32)
    return Cases(v, share, v.new_empty((n, n_hidden)), False, bits, turn)


def rbm_update(parts: Parts, data: Cases, model: Cases, rule: Rule, chains: Chains | None = None) -> Change | None:
    """``w = keep w + rate dW`` in place, with dW the difference G of the two phases, centred if asked.

    Centred, dW is G less ``(<v>_data - <v>_model) lambda' + mu (<h>_data - <h>_model)'``. With `chains` the model's
    states are drawn first, into ``model.v``, and the next hidden states of persistent ones last; None, with nothing
    changed, where these hold anything but bits.
    """
    kernels, (n_v, n_h) = library.library(), parts.w.shape
    assert kernels is not None
    n, m = data.v.shape[0] + model.v.shape[0], model.v.shape[0]
    sizes = {"v": 4 * n_v, "h": 2 * n_h, "right": 2 * n_h, "dots": 2 * n, "parts": 2 * (n_v + n_h)}
    sizes |= {"down_v": n_v, "down_h": n_h}
    if chains is not None:
        sizes |= {"inputs": m * max(n_v, n_h), "words": m * -(-n_h // TILE)}
        sizes |= {"mean_v": m * n_v if chains.next is None else 0}
    memory = parts.w.new_empty(sum(sizes.values()), requires_grad=False)
    starts = dict(zip(sizes, itertools.accumulate(sizes.values(), initial=0), strict=False))
    place = {name: memory.data_ptr() + 4 * start for name, start in starts.items()}
    phases, error = (_Phase * 2)(_phase(data), _phase(model)), ctypes.c_double(0)
    keys, drawing = (0, 0, 0), (None,) * 6
    if chains is not None:
        keys, after = chains.keys, None if chains.next is None else chains.next.data_ptr()
        started = (place["mean_v"], ctypes.addressof(error)) if after is None else (None, None)
        drawing = (chains.h.data_ptr(), after, place["inputs"], place["words"], *started)
    decays = (None, None) if rule.decays is None else [x.data_ptr() for x in rule.decays]
    moved = [x.data_ptr() for x in parts.all()]
    room_for = (*drawing, *(place[name] for name in ("v", "h", "right", "dots", "parts", "down_v", "down_h")))
    sixteen = rule.sixteen and data.v.shape[0] == m
    flags = (int(rule.centred), int(rule.offset_rate is not None), int(sixteen))
    threads = (library.usable_threads(), library.GRAIN)
    arguments = _Update(
        *(library.team(), ctypes.addressof(phases), *moved, *decays, *room_for),
        *(n_v, n_h, *keys, *flags, *threads, rule.keep, rule.rate, rule.offset_rate or 0.0),
    )
    if not kernels.rbm_update(ctypes.addressof(arguments)):
        return None
    return Change(memory, (starts["h"], starts["down_v"]), (n_v, n_h), error.value)


def _phase(of: Cases) -> ctypes.Structure:
    bits = of.bits.data_ptr()
    others = (None if of.given else bits, bits + 4 * of.turn, of.mean.data_ptr(), of.share.data_ptr())
    return _Phase(of.v.data_ptr(), *others, of.v.shape[0])
