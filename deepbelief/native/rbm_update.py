"""A whole update of an RBM of bits in one call: the chains' step, both means of h, the weights' step and the biases'.

The weights of a tile of hidden units stay in the core's cache from the first product to the last, and both products
share their tables. Of states that are no bits the call takes the means of h as they are given, and leaves the two
products of the weights' step to torch.
"""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from deepbelief.native import library
from deepbelief.native.draws import new_keys
from deepbelief.native.products import TILE, kernels_for

FEWEST, SMALL = 8, 1 << 17  # cases, unless so few products of numbers cost less than the calls that they save
SHAPES = 4  # of updates that memory is kept for: whole batches, a last one, and as many again
_Phase = library.record("Phase", "v along_v along_cases mean share", "n")
_Pack = library.record("Pack", "x along_rows along_columns other", "n n_in")
_Update = library.record(
    "Update",
    "parallel phases w b c mu lambda_ decay_v decay_h chain next inputs words mean_v error "
    "v h right dots parts down_v down_h",
    "n_v n_h key_0 key_v key_h centred settles sixteen threads grain",
    "keep rate offset_rate",
)


@dataclass(frozen=True)
class Parts:
    """The memory of a machine of bits, which an update moves: weights, biases and the offsets of centring."""

    w: Tensor  # (n_visible, n_hidden)
    biases: tuple[Tensor | None, Tensor | None]  # of the visible and of the hidden units; None where in several pieces
    offsets: tuple[Tensor, Tensor]

    def all(self) -> tuple[Tensor | None, ...]:
        """Each of them."""
        return self.w, *self.biases, *self.offsets


@dataclass(frozen=True)
class Rule:
    """How an update goes: ``w = keep w + rate dW``, with the decay's part of the biases' gradients, if there is one.

    With an `offset_rate` the biases step and the offsets move in the same call: they must be there then, as they must
    where the call has units to draw. Cases of equal shares may be multiplied in `sixteen` bits, where both phases have
    as many.
    """

    rate: float
    keep: float
    centred: bool
    decays: tuple[Tensor, Tensor] | None = None
    offset_rate: float | None = None
    sixteen: bool = False


@dataclass(frozen=True)
class Chains:
    """Where the model's states come from, and what keys the draws: of h at the data, of v, and of h at the end.

    Persistent chains have hidden states `h` and room for the `next`; others start at the data (and have no `next`): `h`
    is then room for the draws. `v` is room for the visible states.
    """

    h: Tensor  # (n, n_hidden)
    next: Tensor | None
    v: Tensor  # (n, n_visible)
    keys: tuple[int, int, int]


@dataclass(frozen=True)
class Moved:
    """Where persistent chains are after an update."""

    v: Tensor  # (n_chains, n_visible)
    h: Tensor  # (n_chains, n_hidden)


class Phase:
    """The states of the visible units in one phase, (n, n_visible), and their shares, which sum to one.

    Bits lie in the phase's own memory, along v and along the cases; and there is room for the means of h given v, which
    an update fills in unless they were given. States that are no bits have given means and no words: what they add to
    the weights is a dense product.
    """

    def __init__(self, record: ctypes.Structure, n: int, n_v: int, n_h: int) -> None:
        turn = -(-n_v // TILE) * n
        means = turn + -(-n // TILE) * n_v
        self._record, self._memory, self._other = record, empty(means + n * n_h), ctypes.c_int32(0)
        place = self._memory.data_ptr()
        self._along_v, self._along_cases, self._means = place, place + 4 * turn, place + 4 * means
        self._pack = _Pack(None, self._along_v, self._along_cases, ctypes.addressof(self._other), n, n_v)
        self._pieces, self._piece = -(-n // TILE), TILE * n_v
        self._own_mean = self._memory[means:].view(n, n_h)
        self.n, self.are_bits, self.mean = n, True, self._own_mean  # (n, n_hidden)
        self.v, self.share = empty(0), empty(0)

    def take(self, v: Tensor, share: Tensor) -> bool:
        """Hold these states and pack their words; False where not all of them are 0 or 1."""
        self._other.value, self._pack.x = 0, v.data_ptr()
        library.over_threads("pack", self._pack, self._pieces, self._piece)
        self.expect(v, share)
        return not self._other.value

    def expect(self, v: Tensor, share: Tensor) -> None:
        """Hold states that an update is going to draw into `v`, words and all."""
        record, self.v, self.share, self.mean, self.are_bits = self._record, v, share, self._own_mean, True
        record.v, record.share, record.n = v.data_ptr(), share.data_ptr(), self.n
        record.along_v, record.along_cases, record.mean = self._along_v, self._along_cases, self._means

    def give(self, mean: Tensor) -> None:
        """The means of h at the states that are held, for an update that need not find them."""
        self.mean = mean.float().contiguous()
        self._record.along_v, self._record.mean = None, self.mean.data_ptr()

    def hold(self, v: Tensor, share: Tensor, mean: Tensor) -> None:
        """States that need not be bits, with their means of h."""
        self.expect(v.float().contiguous(), share)
        self.give(mean)
        self._record.along_cases, self.are_bits = None, False

    def add_to(self, w: Tensor, rate: float) -> None:
        """``w += rate <v h'>``, for states that are no bits."""
        if self.share is equal_shares(self.n):
            w.addmm_(self.v.T, self.mean, alpha=rate / self.n)
        else:
            w.addmm_(self.v.T, self.mean * self.share.unsqueeze(1), alpha=rate)


class Room:
    """Memory and records for the updates of one machine by `n` cases and `m` chains: made once, used each time.

    An update leaves in it what its rule needs next, until another one: ``v_data`` and ``h_data``, the data's means;
    ``down_v`` and ``down_h``, the biases' gradients of minus the log-likelihood; and the ``error`` of the
    reconstruction, where chains started at the data. Where the weights went along the centred dW, ``down_v`` is
    ``<v>_model - <v>_data + dW lambda``, and ``down_h`` is ``<h>_model - <h>_data + dW' mu``, less the decays;
    otherwise they are the differences alone.
    """

    def __init__(self, parts: Parts, n: int, m: int) -> None:
        n_v, n_h = parts.w.shape
        sizes = {"v": 4 * n_v, "h": 2 * n_h, "right": 2 * n_h, "dots": 2 * (n + m), "parts": 2 * (n_v + n_h)}
        sizes |= {"down_v": n_v, "down_h": n_h}
        sizes |= {"inputs": m * max(n_v, n_h), "words": m * -(-n_h // TILE), "mean_v": m * n_v}  # for the draws
        self._memory = empty(sum(sizes.values()))
        part = dict(zip(sizes, self._memory.split(list(sizes.values())), strict=True))
        self.v_data, self.h_data = part["v"][:n_v], part["h"][:n_h]
        self.down_v, self.down_h = part["down_v"], part["down_h"]
        self._held = [None if x is None else x.detach() for x in parts.all()]  # so their memory is nobody else's
        self._shape, self._moved = parts.w.shape, _places(parts)
        self._error, self._mean_v = ctypes.c_double(0), part.pop("mean_v").data_ptr()
        phases = (_Phase * 2)()
        self.data, self.model = (Phase(of, size, n_v, n_h) for of, size in zip(phases, (n, m), strict=True))
        self._record = _Update(library.team(), ctypes.addressof(phases), *self._moved, n_v=n_v, n_h=n_h)
        self._phases = phases
        for name, memory in part.items():
            setattr(self._record, name, memory.data_ptr())

    @property
    def error(self) -> float:
        """The squared error of the reconstruction, summed over units, in the mean over cases."""
        return self._error.value

    def fits(self, parts: Parts) -> bool:
        """Whether these are still the parts that the room was made for."""
        return _places(parts) == self._moved and parts.w.shape == self._shape

    def run(self, rule: Rule, chains: Chains | None) -> bool:
        """The call, with all that it needs in the record; False where chains were refused."""
        kernels, record = library.library(), self._record
        assert kernels is not None
        assert None not in self._moved or (chains is None and rule.offset_rate is None)  # nothing needs the biases
        record.decay_v, record.decay_h = (None, None) if rule.decays is None else [x.data_ptr() for x in rule.decays]
        record.chain = record.next = record.mean_v = record.error = None
        if chains is not None:
            record.chain, (record.key_0, record.key_v, record.key_h) = chains.h.data_ptr(), chains.keys
            if chains.next is None:
                record.mean_v, record.error = self._mean_v, ctypes.addressof(self._error)
            else:
                record.next = chains.next.data_ptr()
        record.centred, record.settles = rule.centred, rule.offset_rate is not None
        record.sixteen = rule.sixteen and self.data.are_bits and self.model.are_bits and self.data.n == self.model.n
        record.threads, record.grain = library.usable_threads(), library.GRAIN
        record.keep, record.rate, record.offset_rate = rule.keep, rule.rate, rule.offset_rate or 0.0
        return bool(kernels.rbm_update(ctypes.addressof(record)))


def _places(parts: Parts) -> list[int | None]:
    return [None if x is None else x.data_ptr() for x in parts.all()]


class Rooms:
    """The rooms for the last shapes of a machine's updates; a copy of them is empty, for a copied machine."""

    def __init__(self) -> None:
        self._of: dict[tuple[int, int], Room] = {}

    def of(self, parts: Parts, n: int, m: int) -> Room:
        """The room for `n` cases and `m` chains."""
        room = self._of.get((n, m))
        if room is None or not room.fits(parts):
            if len(self._of) >= SHAPES:
                self._of.clear()
            room = self._of[n, m] = Room(parts, n, m)
        return room

    def __reduce__(self) -> tuple[type[Rooms], tuple[()]]:
        return Rooms, ()


def serves(parts: Parts, v: Tensor, share: Tensor) -> bool:
    """Whether the kernel can read these weights, biases and offsets, and cases.

    Not where shapes do not fit: the general update then says what is wrong, which the kernel could not.
    """
    read = [x for x in (*parts.all(), v, share) if x is not None]
    if kernels_for(*read, mixed=True) is None or not all(x.is_contiguous() for x in read):
        return False
    return v.ndim == 2 and v.shape[1] == parts.w.shape[0] and share.shape == v.shape[:1]


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


def rbm_update(parts: Parts, room: Room, rule: Rule, chains: Chains | None = None) -> bool:
    """``w = keep w + rate dW`` in place, with dW the difference G of the two phases, centred if asked.

    Centred, dW is G less ``(<v>_data - <v>_model) lambda' + mu (<h>_data - <h>_model)'``. With `chains` the model's
    states are drawn first, and the next hidden states of persistent ones last; False, with nothing changed, where these
    hold anything but bits.
    """
    if chains is not None:
        room.model.expect(chains.v, equal_shares(chains.v.shape[0]) if chains.next is not None else room.data.share)
    if not room.run(rule, chains):
        return False
    if not room.data.are_bits:
        room.data.add_to(parts.w, rule.rate)
    if not room.model.are_bits:
        room.model.add_to(parts.w, -rule.rate)
    return True


def persistent_update(
    parts: Parts, room: Room, rule: Rule, h: Tensor, generator: torch.Generator | None
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
    return Moved(v, after) if rbm_update(parts, room, rule, Chains(h, after, v, (0, key_v, key_h))) else None
