"""The update of an RBM of bits in one call: CD-k and PCD-k of Bernoulli units, on a CPU in float32, or on a GPU.

The gradient is that of `LikelihoodLearning` in general up to rounding, and the draws are the same numbers in the same
order, but for those of few chains, which single calls leave to torch. What is saved is the way of the weights from
memory to the core and back, four times of five, and some sixty calls of a microsecond or two: in a small machine's
update they take most of the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from deepbelief.energy.gradients import bits_on_gpu
from deepbelief.energy.gradients.bits_on_gpu import GPUChange
from deepbelief.energy.gradients.cd import ContrastiveDivergence
from deepbelief.energy.gradients.moments import shares
from deepbelief.energy.gradients.negative import NegativePhase, PositivePhase
from deepbelief.energy.gradients.pcd import PersistentChains
from deepbelief.energy.rbm import RBM
from deepbelief.native.draws import new_keys
from deepbelief.native.products import in_sixteen_bits
from deepbelief.native.rbm_update import (
    Cases,
    Chains,
    Change,
    Parts,
    Rule,
    cases,
    dense_cases,
    empty,
    equal_shares,
    persistent_update,
    rbm_update,
    room,
    serves,
)
from deepbelief.protocols import Generator
from deepbelief.rng import bernoulli
from deepbelief.types import Batch
from deepbelief.units.bernoulli import Bernoulli


@dataclass(frozen=True)
class UpdateOfBits:
    """What was done, and what the chains watched."""

    change: Change | GPUChange
    watched: Mapping[str, Tensor | float]


def takes_bits(rbm: RBM, negative: NegativePhase) -> bool:
    """Whether model and rule are those that this update is made for."""
    layers = type(rbm) is RBM and type(rbm.visible) is Bernoulli and type(rbm.hidden) is Bernoulli
    chains = type(negative) is PersistentChains and not negative.ahead
    return layers and (chains or type(negative) is ContrastiveDivergence)


def update_of_bits(
    rbm: RBM,
    negative: NegativePhase,
    batch: Batch,
    generator: Generator,
    *,
    rate: float,
    l2: float,
    centred: bool,
    offset_rate: float | None,
) -> UpdateOfBits | None:
    """Draw the model's states and move the weights; None, with nothing drawn, where neither serves.

    Cases need not be bits: on a CPU grey levels have two dense products of their own. With an `offset_rate` biases and
    offsets move too: nothing is left to do.
    """
    if bits_on_gpu.serves(rbm, batch):
        how: dict[str, Any] = {"rate": rate, "l2": l2, "centred": centred, "offset_rate": offset_rate}
        return UpdateOfBits(*bits_on_gpu.update_on_gpu(rbm, negative, batch.x, generator, **how))
    share = equal_shares(batch.x.shape[0]) if batch.weight is None else shares(batch.x, batch.weight)
    offsets = rbm.visible_offset, rbm.hidden_offset
    parts = Parts(rbm.weight, (rbm.visible.bias, rbm.hidden.bias), offsets)
    if not serves(parts, batch.x, share):
        return None
    decays = _decays(parts, l2) if centred and l2 else None  # before the weights move
    rule = Rule(rate, 1 - rate * l2, centred, decays, offset_rate, in_sixteen_bits() and batch.weight is None)
    data = cases(batch.x, share, rbm.hidden.size)
    persistent = isinstance(negative, PersistentChains)
    if data is not None and isinstance(negative, ContrastiveDivergence) and negative.k == 1:
        change = _from_data(rbm, parts, data, rule, generator)
        return UpdateOfBits(change, {"reconstruction_error": change.error})
    if data is None or not persistent:
        inputs = rbm.input_h_from_v(batch.x)
        phase = PositivePhase(batch.x, inputs, rbm.hidden.mean(inputs), batch.weight)
        dense = dense_cases(batch.x, share, phase.mean_h)
        data = dense if data is None else replace(data, given=dense.given)
    if isinstance(negative, PersistentChains):
        return UpdateOfBits(_with_chains(rbm, negative, parts, data, rule, generator), {})
    assert isinstance(negative, ContrastiveDivergence)
    v, watched = negative.draw_v(rbm, phase, generator)
    return UpdateOfBits(_moved(parts, data, _bits(v, share, rbm), rule), watched)  # a chain weighs as much as its case


def _with_chains(
    rbm: RBM, negative: PersistentChains, parts: Parts, data: Cases, rule: Rule, generator: Generator
) -> Change:
    negative.sweep(rbm, generator)
    moved = persistent_update(parts, data, rule, negative.h, generator)
    if moved is not None:
        negative.take(rbm, moved.v, moved.h, data.v)
        return moved.change
    v = rbm.sample_v_from_h(negative.h, generator)
    model = _bits(v, equal_shares(v.shape[0]), rbm)
    change = _moved(parts, data, model, rule)
    negative.take(rbm, v, bernoulli(model.mean, generator), data.v)
    return change


def _from_data(rbm: RBM, parts: Parts, data: Cases, rule: Rule, generator: Generator) -> Change:
    """CD-1: the chains start at the data, and a chain weighs as much as its case."""
    v, h = empty(*data.v.shape), empty(data.v.shape[0], rbm.hidden.size)
    key_0, key_v = new_keys(generator, 2)
    chains = Chains(h, None, (key_0, key_v, 0))
    change = rbm_update(parts, data, room(v, data.share, rbm.hidden.size), rule, chains)
    assert change is not None  # draws are bits
    return change


def _decays(parts: Parts, l2: float) -> tuple[Tensor, Tensor]:
    """What the weights' decay adds to the biases' gradients, where the weights are centred; in float32 always."""
    with torch.autocast("cpu", enabled=False) if torch.is_autocast_enabled("cpu") else nullcontext():
        return parts.w.mv(parts.offsets[1]).mul_(l2), parts.w.T.mv(parts.offsets[0]).mul_(l2)


def _bits(v: Tensor, share: Tensor, rbm: RBM) -> Cases:
    found = cases(v, share, rbm.hidden.size)
    assert found is not None  # Bernoulli units draw bits
    return found


def _moved(parts: Parts, data: Cases, model: Cases, rule: Rule) -> Change:
    found = rbm_update(parts, data, model, rule)
    assert found is not None  # there are no chains to be refused
    return found
