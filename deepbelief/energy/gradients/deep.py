"""Learning a deep Boltzmann machine, all layers at once: mean field for the data's half, chains for the model's.

The variational bound's gradient at the mean-field posterior has the form of an RBM's, layer by layer:

    dW_l = <mu_l mu_{l+1}'>_d - <x_l x_{l+1}'>_m        dB_l = <mu_l>_d - <x_l>_m

(Salakhutdinov & Hinton 2009). Centred (Montavon & Muller 2012), with running means o_l of every layer and
``D_l = <mu_l>_d - <x_l>_m``, it reads in the plain parameters

    dW_l -= D_l o_{l+1}' + o_l D_{l+1}'                 dB_l = D_l - dW_l o_{l+1} - dW_{l-1}' o_{l-1}

which is what lets all layers learn together from small random weights, without greedy pre-training.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from deepbelief.energy.dbm import DBM
from deepbelief.energy.gradients.moments import Moments
from deepbelief.energy.gradients.negative import NegativePhase, PositivePhase
from deepbelief.energy.gradients.update import Factor, Update
from deepbelief.energy.mean_field import Posterior
from deepbelief.errors import check_count, check_range
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
        check_range("l2", l2, low=0)
        check_range("l1", l1, low=0)
        check_range("offset_rate", offset_rate, low=0, high=1)
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
        positive = self._moments(posterior, batch.weight)
        self._set_gradients(positive, negative)
        for offset, mean in zip(self.dbm.offsets, self._layers(positive), strict=True):
            offset.grad = mean
        self.update.apply(context, travellers=self.dbm.offsets)
        for offset in self.dbm.offsets:
            offset.lerp_(offset.grad, self.offset_rate)  # type: ignore[arg-type]
            offset.grad = None
        return watched

    def _moments(self, posterior: Posterior, weight: Tensor | None) -> Moments:
        """The data's half: layers enter by their means, and by the means of their further statistics."""
        even, odd = self.view.join(posterior.means)
        share = even.new_full((len(even),), 1 / len(even)) if weight is None else (weight / weight.sum()).to(even)
        right = odd * share.unsqueeze(1)
        further: list[dict[str, Tensor]] = [{}, {}]
        for layer, units in enumerate(self.dbm.units):
            mean = posterior.means[layer]
            found = units.statistics(mean) if layer == 0 else units.expected_statistics(posterior.inputs[layer], mean)
            for name, rows in found.items():
                further[layer % 2][f"parts.{layer // 2}.{name}"] = share @ rows
        return Moments(share @ even, right.sum(0), even, right, further[0], further[1])

    def _layers(self, found: Moments) -> list[Tensor]:
        """The means of all layers from the data up."""
        return [row[0] for row in self.view.split(found.v.unsqueeze(0), found.h.unsqueeze(0))]

    def _set_gradients(self, positive: Moments, negative: Moments) -> None:
        """Put the gradients of *minus* the bound where the optimizer looks for them."""
        dbm, offsets = self.dbm, self.dbm.offsets
        deltas = [a - b for a, b in zip(self._layers(positive), self._layers(negative), strict=True)]
        biases = list(deltas)
        if self.sparsity_target is not None:
            for layer in range(1, len(biases)):
                biases[layer] = biases[layer] - self.sparsity_cost * (offsets[layer] - self.sparsity_target)
        for layer, (weight, ascent) in enumerate(zip(dbm.weights, self._products(positive, negative), strict=True)):
            if self.centred:
                ascent.addr_(deltas[layer], offsets[layer + 1], alpha=-1)
                ascent.addr_(offsets[layer], deltas[layer + 1], alpha=-1)
            ascent.add_(weight, alpha=-self.l2).add_(weight.sign(), alpha=-self.l1)
            if self.centred:
                biases[layer] = biases[layer] - ascent @ offsets[layer + 1]
                biases[layer + 1] = biases[layer + 1] - offsets[layer] @ ascent
            weight.grad = ascent.neg_()
        rows = self.view.join([bias.unsqueeze(0) for bias in biases])
        for units, bias, more, less in (
            (self.view.visible, rows[0][0], positive.visible, negative.visible),
            (self.view.hidden, rows[1][0], positive.hidden, negative.hidden),
        ):
            units.set_gradients(-bias, {name: less[name] - more[name] for name in more})

    def _products(self, positive: Moments, negative: Moments) -> list[Tensor]:
        """``<x_l x_{l+1}'>_d - <x_l x_{l+1}'>_m`` for each pair of neighbours."""
        data = self.view.split(positive.left, positive.right)
        model = self.view.split(negative.left, negative.right)
        products = []
        for layer in range(len(self.dbm.weights)):
            product = torch.mm(data[layer].T, data[layer + 1])
            products.append(product.addmm_(model[layer].T, model[layer + 1], alpha=-1))
        return products

    def state_dict(self) -> dict[str, Any]:
        return {"optimizer": self.update.state_dict(), "negative": self.negative.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.update.load_state_dict(state["optimizer"])
        self.negative.load_state_dict(state["negative"])
