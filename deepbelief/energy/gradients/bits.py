"""The update of an RBM of bits in one call: CD-k and PCD-k of Bernoulli units, on a CPU in float32, or on a GPU.

The gradient is that of `LikelihoodLearning` in general up to rounding, and the draws are the same numbers in the same
order, but for those of few chains, which single calls leave to torch. What is saved is the way of the weights from
memory to the core and back, four times of five, and some sixty calls of a microsecond or two: in a small machine's
update they take most of the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from deepbelief.energy.gradients import bits_on_gpu
from deepbelief.energy.gradients.bits_on_gpu import GPUChange
from deepbelief.energy.gradients.cd import ContrastiveDivergence
from deepbelief.energy.gradients.moments import shares
from deepbelief.energy.gradients.negative import NegativePhase, PositivePhase
from deepbelief.energy.gradients.pcd import PersistentChains
from deepbelief.energy.gradients.update import Step
from deepbelief.energy.rbm import RBM
from deepbelief.native.draws import new_keys
from deepbelief.native.products import in_sixteen_bits
from deepbelief.native.rbm_update import (
    Chains,
    Parts,
    Room,
    Rooms,
    Rule,
    empty,
    equal_shares,
    pays,
    persistent_update,
    rbm_update,
    serves,
)
from deepbelief.protocols import Generator
from deepbelief.rng import bernoulli
from deepbelief.types import Batch
from deepbelief.units.bernoulli import Bernoulli


@dataclass(frozen=True)
class UpdateOfBits:
    """What was done, and what the chains watched."""

    change: Room | GPUChange
    watched: Mapping[str, Tensor | float]


def moves_in_place(rbm: RBM, negative: NegativePhase) -> bool:
    """Whether this update and that of other units (`dense`) are made for the model and the rule."""
    chains = type(negative) is PersistentChains and not negative.ahead
    return type(rbm) is RBM and (chains or type(negative) is ContrastiveDivergence)


def takes_bits(rbm: RBM, negative: NegativePhase) -> bool:
    """Whether this update is, whose units are Bernoulli units."""
    return moves_in_place(rbm, negative) and type(rbm.visible) is type(rbm.hidden) is Bernoulli


def update_of_bits(
    rbm: RBM,
    negative: NegativePhase,
    batch: Batch,
    generator: Generator,
    rooms: Rooms,
    step: Step,
) -> UpdateOfBits | None:
    """Draw the model's states and move the weights; None, with nothing drawn, where neither serves.

    Cases need not be bits: on a CPU grey levels have two dense products of their own. The change is kept in one of the
    `rooms`, until the next update.
    """
    if bits_on_gpu.serves(rbm, batch):
        return UpdateOfBits(*bits_on_gpu.update_on_gpu(rbm, negative, batch.x, generator, step))
    n, parts, share = batch.x.shape[0], parts_of(rbm), share_of(batch)
    if not (serves(parts, batch.x, share) and pays(parts.w, n)):
        return None
    rule = rule_of(step, parts, sixteen=in_sixteen_bits() and batch.weight is None)
    persistent = negative if isinstance(negative, PersistentChains) else None
    room = rooms.of(parts, n, n if persistent is None else persistent.h.shape[0])
    are_bits, one_step = room.data.take(batch.x, share), isinstance(negative, ContrastiveDivergence) and negative.k == 1
    if not (are_bits and (one_step or persistent is not None)):
        inputs = rbm.input_h_from_v(batch.x)
        phase = PositivePhase(batch.x, inputs, rbm.hidden.mean(inputs), batch.weight)
        if are_bits:
            room.data.give(phase.mean_h)
        else:
            room.data.hold(batch.x, share, phase.mean_h)
    if one_step:
        return UpdateOfBits(room, _from_data(parts, room, rule, generator))
    if persistent is not None:
        _with_chains(rbm, persistent, parts, room, rule, generator)
        return UpdateOfBits(room, {})
    assert isinstance(negative, ContrastiveDivergence)
    v, watched = negative.draw_v(rbm, phase, generator)
    _with_states(parts, room, rule, v, share)  # a chain weighs as much as its case
    return UpdateOfBits(room, watched)


def _with_chains(
    rbm: RBM, negative: PersistentChains, parts: Parts, room: Room, rule: Rule, generator: Generator
) -> None:
    negative.sweep(rbm, generator)
    moved = persistent_update(parts, room, rule, negative.h, generator)
    if moved is not None:
        negative.take(rbm, moved.v, moved.h, room.data.v)
        return
    v = rbm.sample_v_from_h(negative.h, generator)
    _with_states(parts, room, rule, v, equal_shares(v.shape[0]))
    negative.take(rbm, v, bernoulli(room.model.mean, generator), room.data.v)


def _from_data(parts: Parts, room: Room, rule: Rule, generator: Generator) -> dict[str, float]:
    """CD-1: the chains start at the data, and a chain weighs as much as its case. Returns what is watched."""
    n_v, n_h = parts.w.shape
    key_0, key_v = new_keys(generator, 2)
    done = rbm_update(
        parts, room, rule, Chains(empty(room.data.n, n_h), None, empty(room.data.n, n_v), (key_0, key_v, 0))
    )
    assert done  # draws are bits
    return {"reconstruction_error": room.error}


def _with_states(parts: Parts, room: Room, rule: Rule, v: Tensor, share: Tensor) -> None:
    """The update by states of the model that were drawn by single calls."""
    are_bits = room.model.take(v, share)
    assert are_bits  # Bernoulli units draw no others
    done = rbm_update(parts, room, rule)
    assert done  # there are no chains to be refused


def parts_of(rbm: RBM) -> Parts:
    """What an update in place moves; without biases that layers of several kinds have in pieces."""
    b, c = rbm.visible.bias, rbm.hidden.bias
    own = b if isinstance(b, nn.Parameter) else None, c if isinstance(c, nn.Parameter) else None
    return Parts(rbm.weight, own, (rbm.visible_offset, rbm.hidden_offset))


def share_of(batch: Batch) -> Tensor:
    """What each case counts, as the kernel reads it: (n,), of sum one."""
    return equal_shares(batch.x.shape[0]) if batch.weight is None else shares(batch.x, batch.weight)


def in_float32() -> AbstractContextManager[Any]:
    """Inside, no product is shortened: a gradient is a small difference of large sums."""
    return torch.autocast("cpu", enabled=False) if torch.is_autocast_enabled("cpu") else nullcontext()


def rule_of(step: Step, parts: Parts, *, sixteen: bool = False) -> Rule:
    """The step as the kernel takes it, before the weights move: with what their decay adds to the biases' gradients."""
    decays = None
    if step.centred and step.l2:
        with in_float32():
            of_v, of_h = parts.w.mv(parts.offsets[1]), parts.w.T.mv(parts.offsets[0])
            decays = of_v.mul_(step.l2), of_h.mul_(step.l2)
    return Rule(step.rate, 1 - step.rate * step.l2, step.centred, decays, step.offset_rate, sixteen)
