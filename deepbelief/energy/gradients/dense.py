"""The update of an RBM of any units by CD-k and PCD-k, on a CPU in float32: all but products and draws in one call.

The gradient is that of `LikelihoodLearning` in general up to rounding, and the draws are the same. What is saved are
some sixty calls of a microsecond or two, which in a small machine's update take most of the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from deepbelief.energy.gradients.bits import in_float32, parts_of, rule_of, share_of
from deepbelief.energy.gradients.cd import ContrastiveDivergence
from deepbelief.energy.gradients.negative import NegativePhase, PositivePhase
from deepbelief.energy.gradients.pcd import PersistentChains
from deepbelief.energy.gradients.update import Step
from deepbelief.energy.rbm import RBM
from deepbelief.native.rbm_update import Room, Rooms, equal_shares, rbm_update, serves
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


def in_one_piece(rbm: RBM) -> bool:
    """Whether the biases of each layer are memory that an update can move: not where it has units of several kinds."""
    return all(bias is not None for bias in parts_of(rbm).biases)


def dense_update(
    rbm: RBM, negative: NegativePhase, batch: Batch, generator: Generator, rooms: Rooms, step: Step
) -> DenseUpdate | None:
    """Draw the model's states and move the weights; None, with nothing drawn, where the kernel cannot serve.

    Biases and offsets that a step moves must be `in_one_piece`.
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
        done = rbm_update(parts, room, rule_of(step, parts))
    assert done  # there are no chains to be refused
    if step.offset_rate is not None:
        _descend(rbm.visible, visible, step.rate)
        _descend(rbm.hidden, hidden, step.rate)
    return DenseUpdate(room, watched, visible, hidden)


def _less(model: Mapping[str, Tensor], share_m: Tensor, data: Mapping[str, Tensor], share: Tensor) -> dict[str, Tensor]:
    """The means of statistics under the model less those of the data: gradients of minus the log-likelihood."""
    return {name: share_m @ rows - share @ data[name] for name, rows in model.items()}


def _descend(units: Units, gradients: Mapping[str, Tensor], rate: float) -> None:
    for name, gradient in gradients.items():
        units.get_parameter(name).sub_(gradient, alpha=rate)
