"""The update of an RBM of any units by CD-k and PCD-k, on a CPU in float32: all but products and draws in one call.

The gradient is that of `LikelihoodLearning` in general up to rounding, and the draws are the same. What is saved are
some sixty calls of a microsecond or two, which in a small machine's update take most of the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from deepbelief.energy.gradients.bits import decays_of, in_float32, parts_of, share_of
from deepbelief.energy.gradients.cd import ContrastiveDivergence
from deepbelief.energy.gradients.negative import NegativePhase, PositivePhase
from deepbelief.energy.gradients.pcd import PersistentChains
from deepbelief.energy.rbm import RBM
from deepbelief.native.rbm_update import Room, Rooms, Rule, equal_shares, rbm_update, serves
from deepbelief.protocols import Generator
from deepbelief.types import Batch
from deepbelief.units.base import Units


@dataclass(frozen=True)
class DenseUpdate:
    """What was done, what the chains watched, and the gradients of the units' further parameters, up to now unmoved."""

    change: Room
    watched: Mapping[str, Tensor | float]
    visible: Mapping[str, Tensor]
    hidden: Mapping[str, Tensor]


def takes_any_units(rbm: RBM, negative: NegativePhase) -> bool:
    """Whether model and rule are those that this update is made for."""
    chains = type(negative) is PersistentChains and not negative.ahead
    return type(rbm) is RBM and (chains or type(negative) is ContrastiveDivergence)


def in_one_piece(rbm: RBM) -> bool:
    """Whether the biases of each layer are memory that an update can move: not where it has units of several kinds."""
    return all(isinstance(units.bias, nn.Parameter) for units in (rbm.visible, rbm.hidden))


def dense_update(
    rbm: RBM,
    negative: NegativePhase,
    batch: Batch,
    generator: Generator,
    rooms: Rooms,
    *,
    rate: float,
    l2: float,
    centred: bool,
    offset_rate: float | None,
) -> DenseUpdate | None:
    """Draw the model's states and move the weights; None, with nothing drawn, where the kernel cannot serve.

    With an `offset_rate` biases and offsets move too, which must be `in_one_piece`.
    """
    n, parts, share = batch.x.shape[0], parts_of(rbm), share_of(batch)
    if not serves(parts, batch.x, share):
        return None
    inputs = rbm.input_h_from_v(batch.x)
    phase = PositivePhase(batch.x, inputs, rbm.hidden.mean(inputs), batch.weight)
    watched: Mapping[str, Tensor | float] = {}
    if isinstance(negative, PersistentChains):
        inputs_m, mean_m = negative.advance(rbm, batch.x, generator)
        v, share_m = negative.v, equal_shares(negative.v.shape[0])
    else:
        assert isinstance(negative, ContrastiveDivergence)
        v, watched = negative.draw_v(rbm, phase, generator)
        inputs_m = rbm.input_h_from_v(v)
        mean_m, share_m = rbm.hidden.mean(inputs_m), share  # a chain weighs as much as its case
    room = rooms.of(parts, n, v.shape[0])
    room.data.hold(batch.x, share, phase.mean_h)
    room.model.hold(v, share_m, mean_m)
    with in_float32():
        visible = _less(rbm.visible.statistics(v), share_m, rbm.visible.statistics(batch.x), share)
        of_h = rbm.hidden.expected_statistics
        hidden = _less(of_h(inputs_m, mean_m), share_m, of_h(inputs, phase.mean_h), share)
        rule = Rule(rate, 1 - rate * l2, centred, decays_of(parts, l2) if centred else None, offset_rate)
        done = rbm_update(parts, room, rule)
    assert done  # there are no chains to be refused
    if offset_rate is not None:
        _descend(rbm.visible, visible, rate)
        _descend(rbm.hidden, hidden, rate)
    return DenseUpdate(room, watched, visible, hidden)


def _less(model: Mapping[str, Tensor], share_m: Tensor, data: Mapping[str, Tensor], share: Tensor) -> dict[str, Tensor]:
    """The means of statistics under the model less those of the data: gradients of minus the log-likelihood."""
    return {name: share_m @ rows - share @ data[name] for name, rows in model.items()}


def _descend(units: Units, gradients: Mapping[str, Tensor], rate: float) -> None:
    for name, gradient in gradients.items():
        with torch.no_grad():
            units.get_parameter(name).sub_(gradient, alpha=rate)
