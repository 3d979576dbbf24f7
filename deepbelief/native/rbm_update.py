"""A whole update of an RBM of bits in one call: the chains' step, both means of h, the weights' step and the biases'.

The weights of a tile of hidden units stay in the core's cache from the first product to the last, and both products
share their tables.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from deepbelief.native import library
from deepbelief.native.draws import new_keys
from deepbelief.native.products import TILE, kernels_for

FEWEST, SMALL = 8, 1 << 17  # cases, unless so few products of numbers cost less than the calls that they save
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
    """The states of the visible units in one phase, and their shares, which sum to one.

    `memory` begins with their bits along v and, from `turn` on, along the cases; from `means` on it has room for the
    means of h given v, which the update fills in unless they were `given`. States that are no bits have given means and
    no memory: what they add to the weights is a dense product.
    """

    v: Tensor  # (n, n_visible)
    share: Tensor  # (n,)
    given: Tensor | None  # (n, n_hidden)
    memory: Tensor | None
    turn: int
    means: int

    @property
    def mean(self) -> Tensor:
        """(n, n_hidden)."""
        if self.given is not None:
            return self.given
        assert self.memory is not None
        return self.memory[self.means :].view(self.v.shape[0], -1)


@dataclass(frozen=True)
class Chains:
    """Where the model's states come from, and what keys the draws: of h at the data, of v, and of h at the end.

    Persistent chains have hidden states `h` and room for the `next`; others start at the data (and have no `next`): `h`
    is then room for the draws.
    """

    h: Tensor  # (n, n_hidden)
    next: Tensor | None
    keys: tuple[int, int, int]


class _Layout(NamedTuple):
    """Where in an update's memory its parts begin; all are `_Update`'s, in the order of their sizes in `_layout`."""

    v: int  # means of the data and of the model, their difference, the offsets
    h: int
    right: int
    dots: int
    parts: int
    down_v: int
    down_h: int
    inputs: int
    words: int
    mean_v: int
    end: int


@dataclass(frozen=True)
class Change:
    """What an update did: the data's means of v and h, and the biases' gradients of minus the log-likelihood.

    Where the weights went along the centred dW, ``down_v`` is ``<v>_model - <v>_data + dW lambda``, and ``down_h`` is
    ``<h>_model - <h>_data + dW' mu``, less the decays; otherwise they are the differences alone.
    """

    memory: Tensor
    at: _Layout
    error: float  # of the reconstruction, where chains started at the data

    @property
    def v_data(self) -> Tensor:
        """(n_visible,)."""
        return self.memory[self.at.v :][: self.at.down_h - self.at.down_v]

    @property
    def h_data(self) -> Tensor:
        """(n_hidden,)."""
        return self.memory[self.at.h :][: self.at.inputs - self.at.down_h]

    @property
    def down_v(self) -> Tensor:
        """(n_visible,)."""
        return self.memory[self.at.down_v : self.at.down_h]

    @property
    def down_h(self) -> Tensor:
        """(n_hidden,)."""
        return self.memory[self.at.down_h : self.at.inputs]


@dataclass(frozen=True)
class Moved:
    """What an update did with persistent chains, and where they are: states of v, and the next ones of h."""

    change: Change
    v: Tensor  # (n_chains, n_visible)
    h: Tensor  # (n_chains, n_hidden)


def serves(parts: Parts, v: Tensor, share: Tensor) -> bool:
    """Whether the kernel takes these weights, biases and offsets, and cases, and gains by it.

    Not where shapes do not fit: the general update then says what is wrong, which the kernel could not.
    """
    read = [*parts.all(), v, share]
    if kernels_for(*read, mixed=True) is None or not all(x.is_contiguous() for x in read):
        return False
    if v.ndim != 2 or v.shape[1] != parts.w.shape[0] or share.shape != v.shape[:1]:
        return False
    return pays(parts.w, v.shape[0])  # `len` of a tensor takes three times as long


def pays(w: Tensor, n: int) -> bool:
    """Whether `n` cases or chains are enough for the tables that their products are looked up in."""
    return n >= FEWEST or n * w.numel() < SMALL


def empty(*shape: int) -> Tensor:
    """Memory for the kernel: numbers of 32 bits beside the processor, whatever torch's defaults are."""
    return torch.empty(shape, dtype=torch.float32, device="cpu")


@functools.lru_cache(maxsize=16)
def equal_shares(n: int) -> Tensor:
    """``1 / n`` for each of `n` cases or chains; nobody writes into it."""
    return empty(n).fill_(1 / n)


def cases(v: Tensor, share: Tensor, n_hidden: int) -> Cases | None:
    """The record of a phase that `serves` has agreed to; None where not all of `v` is 0 or 1."""
    found, (n, n_v), other = room(v, share, n_hidden), v.shape, ctypes.c_int32(0)
    assert found.memory is not None
    place = found.memory.data_ptr()
    arguments = _Pack(v.data_ptr(), place, place + 4 * found.turn, ctypes.addressof(other), n, n_v)
    library.over_threads("pack", arguments, -(-n // TILE), TILE * n_v)
    return None if other.value else found


def dense_cases(v: Tensor, share: Tensor, mean: Tensor) -> Cases:
    """The record of a phase whose states need not be bits, with their means of h."""
    return Cases(v, share, mean.contiguous(), None, 0, 0)


def room(v: Tensor, share: Tensor, n_hidden: int) -> Cases:
    """The record of a phase whose states are yet to be drawn into `v`."""
    n, n_v = v.shape
    turn = -(-n_v // TILE) * n
    means = turn + -(-n // TILE) * n_v
    return Cases(v, share, None, empty(means + n * n_hidden), turn, means)


@functools.lru_cache(maxsize=64)
def _layout(n_v: int, n_h: int, n: int, m: int, started: bool | None) -> _Layout:
    """For `n` cases and `m` chains. `started` says whether chains start at the data; None: there are none."""
    drawing = (0, 0, 0) if started is None else (m * max(n_v, n_h), m * -(-n_h // TILE), m * n_v if started else 0)
    sizes = (4 * n_v, 2 * n_h, 2 * n_h, 2 * (n + m), 2 * (n_v + n_h), n_v, n_h, *drawing)
    return _Layout(*itertools.accumulate(sizes, initial=0))


def persistent_update(
    parts: Parts, data: Cases, rule: Rule, h: Tensor, generator: torch.Generator | None
) -> Moved | None:
    """`rbm_update` by persistent chains with hidden states `h`; None where these are few, or anything but bits.

    The keys of both draws are taken from the generator in the order of single calls; chains that are no bits are found
    out after that.
    """
    n, (n_v, n_h) = h.shape[0], parts.w.shape
    if not (pays(parts.w, n) and h.is_contiguous()):
        return None
    v, after = empty(n, n_v), empty(n, n_h)
    key_v, key_h = new_keys(generator, 2)
    chains = Chains(h, after, (0, key_v, key_h))
    change = rbm_update(parts, data, room(v, equal_shares(n), n_h), rule, chains)
    return None if change is None else Moved(change, v, after)


def rbm_update(parts: Parts, data: Cases, model: Cases, rule: Rule, chains: Chains | None = None) -> Change | None:
    """``w = keep w + rate dW`` in place, with dW the difference G of the two phases, centred if asked.

    Centred, dW is G less ``(<v>_data - <v>_model) lambda' + mu (<h>_data - <h>_model)'``. With `chains` the model's
    states are drawn first, into ``model.v``, and the next hidden states of persistent ones last; None, with nothing
    changed, where these hold anything but bits.
    """
    kernels, (n_v, n_h) = library.library(), parts.w.shape
    assert kernels is not None
    n, m, error = data.v.shape[0], model.v.shape[0], ctypes.c_double(0)
    started = None if chains is None else chains.next is None
    at = _layout(n_v, n_h, n, m, started)
    memory = empty(at.end)
    first = memory.data_ptr()
    *rest, inputs, words, mean_v = [first + 4 * start for start in at[:-1]]
    phases, keys, drawing = (_Phase * 2)(_phase(data), _phase(model)), (0, 0, 0), (None,) * 6
    if chains is not None:
        keys, after = chains.keys, None if chains.next is None else chains.next.data_ptr()
        seen = (mean_v, ctypes.addressof(error)) if started else (None, None)
        drawing = (chains.h.data_ptr(), after, inputs, words, *seen)
    decays = (None, None) if rule.decays is None else [x.data_ptr() for x in rule.decays]
    moved = [x.data_ptr() for x in parts.all()]
    flags = (rule.centred, rule.offset_rate is not None, rule.sixteen and data.memory is not None and n == m)
    threads = (library.usable_threads(), library.GRAIN)
    arguments = _Update(
        *(library.team(), ctypes.addressof(phases), *moved, *decays, *drawing, *rest),
        *(n_v, n_h, *keys, *flags, *threads, rule.keep, rule.rate, rule.offset_rate or 0.0),
    )
    if not kernels.rbm_update(ctypes.addressof(arguments)):
        return None
    if data.memory is None:
        parts.w.addmm_(data.v.T, data.mean * data.share.unsqueeze(1), alpha=rule.rate)
    return Change(memory, at, error.value)


def _phase(of: Cases) -> ctypes.Structure:
    bits = 0 if of.memory is None else of.memory.data_ptr()
    turned = bits + 4 * of.turn if bits else None
    along, mean = (bits, bits + 4 * of.means) if of.given is None else (None, of.given.data_ptr())
    return _Phase(of.v.data_ptr(), along, turned, mean, of.share.data_ptr(), of.v.shape[0])
