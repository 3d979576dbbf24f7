"""The update of an RBM of bits in one pass over its weights: CD-k and PCD-k of Bernoulli units, on a CPU in float32.

The same numbers are drawn in the same order as by `LikelihoodLearning` in general, and the gradient is the same up to
rounding; what is saved is the way of the weights from memory to the core and back, four times of five.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from deepbelief.energy.gradients.cd import ContrastiveDivergence
from deepbelief.energy.gradients.moments import shares
from deepbelief.energy.gradients.negative import NegativePhase, PositivePhase
from deepbelief.energy.gradients.pcd import PersistentChains
from deepbelief.energy.rbm import RBM
from deepbelief.native.rbm_update import Cases, Change, cases, rbm_update, serves
from deepbelief.protocols import Generator
from deepbelief.rng import bernoulli
from deepbelief.types import Batch
from deepbelief.units.bernoulli import Bernoulli


@dataclass(frozen=True)
class UpdateOfBits:
    """What is left to do after the weights' step (the biases' gradients, the offsets), and what the chains watched."""

    change: Change
    watched: Mapping[str, Tensor]


def takes_bits(rbm: RBM, negative: NegativePhase) -> bool:
    """Whether model and rule are those that this update is made for."""
    layers = type(rbm) is RBM and type(rbm.visible) is Bernoulli and type(rbm.hidden) is Bernoulli
    chains = type(negative) is PersistentChains and not negative.ahead
    return layers and (chains or type(negative) is ContrastiveDivergence)


def update_of_bits(
    rbm: RBM, negative: NegativePhase, batch: Batch, generator: Generator, *, rate: float, l2: float, centred: bool
) -> UpdateOfBits | None:
    """Draw the model's states and move the weights; None, with nothing drawn, where the batch is not of bits."""
    share = shares(batch.x, batch.weight)
    if not serves(rbm.weight, (rbm.hidden.bias, rbm.visible_offset, rbm.hidden_offset), batch.x, share):
        return None
    data = cases(batch.x, share, rbm.hidden.size)
    if data is None:
        return None
    watched: Mapping[str, Tensor] = {}
    if isinstance(negative, ContrastiveDivergence):
        inputs = rbm.input_h_from_v(batch.x)
        phase = PositivePhase(batch.x, inputs, rbm.hidden.mean(inputs), batch.weight)
        data = replace(data, mean=phase.mean_h.contiguous(), given=True)
        v, watched = negative.draw_v(rbm, phase, generator)
        model = cases(v, share, rbm.hidden.size)  # a chain weighs as much as its case
    else:
        assert isinstance(negative, PersistentChains)
        v = negative.draw_v(rbm, generator)
        model = cases(v, shares(v), rbm.hidden.size)
    assert model is not None  # Bernoulli units draw bits
    change = _step(rbm, data, model, rate, l2, centred)
    if isinstance(negative, PersistentChains):
        negative.take_h(rbm, bernoulli(model.mean, generator), batch.x)
    return UpdateOfBits(change, watched)


def _step(rbm: RBM, data: Cases, model: Cases, rate: float, l2: float, centred: bool) -> Change:
    mu, offset = offsets = rbm.visible_offset, rbm.hidden_offset
    # before the weights move
    decays = (rbm.weight.mv(offset), rbm.weight.T.mv(mu)) if centred and l2 else None
    settings: dict[str, Any] = {"rate": rate, "keep": 1 - rate * l2, "offsets": offsets, "centred": centred}
    change = rbm_update(rbm.weight, rbm.hidden.bias, data, model, **settings)
    if decays is not None:
        change.down_v.sub_(decays[0], alpha=l2)
        change.down_h.sub_(decays[1], alpha=l2)
    return change
