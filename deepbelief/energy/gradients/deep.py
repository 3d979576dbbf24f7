"""Learning a deep Boltzmann machine, all layers at once: mean field for the data's half, chains for the model's.

The variational bound's gradient at the mean-field posterior has the form of an RBM's, layer by layer:

    dW_l = <mu_l mu_{l+1}'>_d - <x_l x_{l+1}'>_m        dB_l = <mu_l>_d - <x_l>_m

(Salakhutdinov & Hinton 2009). Centred (Montavon & Muller 2012), with running means o_l of every layer and
``D_l = <mu_l>_d - <x_l>_m``, it reads in the plain parameters

    dW_l -= D_l o_{l+1}' + o_l D_{l+1}'                 dB_l = D_l - dW_l o_{l+1} - dW_{l-1}' o_{l-1}

which is what lets all layers learn together from small random weights, without greedy pre-training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor

from deepbelief.energy.dbm import DBM
from deepbelief.energy.gradients.moments import Moments, shares
from deepbelief.energy.gradients.negative import NegativePhase, PositivePhase
from deepbelief.energy.gradients.sparsity import check_target
from deepbelief.energy.gradients.update import Factor, Update, check_decays
from deepbelief.energy.gradients.weights import put_gradient, take_step
from deepbelief.energy.mean_field import Posterior
from deepbelief.errors import check_count
from deepbelief.protocols import StepContext
from deepbelief.types import Batch


class DBMLearning:
    """One update of a DBM per batch, with any negative phase (on its ``even_odd()`` view); a `Procedure`.

    `mean_field_steps` is the most rounds of inference per batch. ``l2`` and ``l1`` are weight decays of the couplings.
    ``sparsity_target`` pulls the mean activation of every hidden unit, a running average, towards a target by its bias
    with strength ``sparsity_cost``. ``offset_rate`` is the speed of the running offsets.
    """

    def __init__(
        self,
        dbm: DBM,
        negative: NegativePhase,
        *,
        mean_field_steps: int = 10,
        learning_rate: float = 0.05,
        schedule: Factor | None = None,
        momentum: float = 0.0,
        optimizer: Literal["sgd", "adam"] = "sgd",
        l2: float = 0.0,
        l1: float = 0.0,
        centred: bool = True,
        offset_rate: float = 0.01,
        sparsity_target: float | None = None,
        sparsity_cost: float = 0.1,
    ) -> None:
        check_count("mean_field_steps", mean_field_steps, low=1)
        check_decays(l2, l1, offset_rate)
        check_target(dbm.units[1:], sparsity_target, sparsity_cost)
        self.module: torch.nn.Module = dbm
        self.dbm, self.view, self.negative = dbm, dbm.even_odd(), negative
        self.mean_field_steps = mean_field_steps
        self.l2, self.l1, self.centred, self.offset_rate = l2, l1, centred, offset_rate
        self.sparsity_target, self.sparsity_cost = sparsity_target, sparsity_cost
        self.update = Update(
            dbm, learning_rate=learning_rate, schedule=schedule, momentum=momentum, optimizer=optimizer
        )

    @torch.no_grad()
    def start(self, first: Batch, generator: torch.Generator, *, rank: int = 0, world_size: int = 1) -> None:
        """Start the chains; the offsets are the model's own (``dbm.match_data`` sets them from data)."""
        even, _ = self.view.join(self.dbm.infer(first.x).means)
        self.negative.start(self.view, even, generator, rank=rank, world_size=world_size)

    @torch.no_grad()
    def step(self, batch: Batch, context: StepContext) -> Mapping[str, Tensor | float]:
        """One update; watches what the negative phase does."""
        with context.autocast():
            posterior = self.dbm.infer(batch.x, n_steps=self.mean_field_steps)
            even, odd = self.view.join(posterior.means)
            phase = PositivePhase(even, self.view.join([batch.x, *posterior.inputs[1:]])[1], odd, batch.weight)
            negative, watched = self.negative.moments(self.view, phase, context.generator)
        positive = self._moments(phase, posterior)
        means = self._put_gradients(positive, negative, context)
        for offset, mean in zip(self.dbm.offsets, means, strict=True):
            offset.grad = mean
        self.update.apply(context, travellers=self.dbm.offsets)
        for offset in self.dbm.offsets:
            offset.lerp_(offset.grad, self.offset_rate)  # type: ignore[arg-type]
            offset.grad = None
        return watched

    def _moments(self, phase: PositivePhase, posterior: Posterior) -> Moments:
        """The data's half: layers enter by their means, and by the means of their further statistics."""
        share = shares(phase.v, phase.weight)
        right = phase.mean_h * share.unsqueeze(1)
        further: list[dict[str, Tensor]] = [{}, {}]
        for layer, units in enumerate(self.dbm.units):
            mean = posterior.means[layer]
            found = units.statistics(mean) if layer == 0 else units.expected_statistics(posterior.inputs[layer], mean)
            for name, rows in found.items():
                further[layer % 2][f"parts.{layer // 2}.{name}"] = share @ rows
        return Moments(share @ phase.v, right.sum(0), phase.v, right, further[0], further[1])

    def _put_gradients(self, positive: Moments, negative: Moments, context: StepContext) -> list[Tensor]:
        """Put the gradients of *minus* the bound in place; the means of all layers under the data, from the data up.

        Weights whose gradient nobody needs take their step at once.
        """
        data, model = self._means(positive), self._means(negative)
        downs = [b - a for a, b in zip(data, model, strict=True)]
        if self.sparsity_target is not None:
            for down, offset in zip(downs[1:], self.dbm.offsets[1:], strict=True):
                down += self.sparsity_cost * (offset - self.sparsity_target)
        for layer, shifts in enumerate(self._move_weights(self._pairs(positive), self._pairs(negative), context)):
            if shifts is not None:
                downs[layer] += shifts[0]
                downs[layer + 1] += shifts[1]
        even, odd = self.view.join([down.unsqueeze(0) for down in downs])
        for units, down, more, less in (
            (self.view.visible, even[0], positive.visible, negative.visible),
            (self.view.hidden, odd[0], positive.hidden, negative.hidden),
        ):
            units.set_gradients(down, {name: less[name] - more[name] for name in more})
        return data

    def _move_weights(
        self, data: Sequence[Moments], model: Sequence[Moments], context: StepContext
    ) -> Iterator[tuple[Tensor, Tensor] | None]:
        """The gradient of each pair of neighbours in place, or their step done; what centring shifts the biases by."""
        alone = context.world_size == 1 and not context.needs_gradients
        at_once, rate = alone and self.update.is_plain and not self.l1, self.update.rate(context)
        for layer, (weight, more, less) in enumerate(zip(self.dbm.weights, data, model, strict=True)):
            offsets = (self.dbm.offsets[layer], self.dbm.offsets[layer + 1]) if self.centred else None
            if at_once:
                yield take_step(weight, more, less, offsets, rate=rate, l2=self.l2)
            else:
                yield put_gradient(weight, more, less, offsets, l2=self.l2, l1=self.l1)

    def _means(self, found: Moments) -> list[Tensor]:
        """The means of all layers from the data up."""
        return [row[0] for row in self.view.split(found.v.unsqueeze(0), found.h.unsqueeze(0))]

    def _pairs(self, found: Moments) -> list[Moments]:
        """The moments of each pair of neighbours; the rows of one of the two are weighted to sum to one."""
        means, rows = self._means(found), [x.contiguous() for x in self.view.split(found.left, found.right)]
        layers = list(zip(means, rows, strict=True))
        return [Moments(v, h, left, right, {}, {}) for (v, left), (h, right) in pairwise(layers)]

    def state_dict(self) -> dict[str, Any]:
        return {"optimizer": self.update.state_dict(), "negative": self.negative.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.update.load_state_dict(state["optimizer"])
        self.negative.load_state_dict(state["negative"])
