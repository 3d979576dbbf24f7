"""Learning a convolutional RBM: the gradient of the likelihood in filters that all places share.

    dF = [v * h]_data - [v * h]_model,    db = <v>_data - <v>_model,    dc_k = sum_ij <h_kij>_data - <h_kij>_model

where * sums over cases and places. Weights that P places share get the mean over the places instead of the sum, 1/P of
the gradient: with the sum, a rate that suits the pixels' biases diverges. Centred (Montavon & Muller 2012), the offsets
are means of whole channels and maps, mu and lambda, since a map has one bias; in the plain parameters

    dF -= [delta_v * lambda] + [mu * delta_h],      db = delta_v - lambda * dF,      dc_k = delta_c_k - mu * dF_k
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from deepbelief.energy.convolutional_rbm import ConvolutionalRBM
from deepbelief.energy.gradients.moments import Moments, moments
from deepbelief.energy.gradients.negative import NegativePhase, PositivePhase
from deepbelief.energy.gradients.update import Factor, Update, check_decays, move_offsets
from deepbelief.errors import check_range
from deepbelief.protocols import StepContext
from deepbelief.types import Batch


class ConvolutionalLearning:
    """One update of a convolutional RBM per batch, with any way to the model's half; a `Procedure`.

    ``l2`` and ``l1`` decay the filters. ``sparsity_target`` pulls the mean activation of each map's detection units, a
    running average, towards a target by the map's bias with strength ``sparsity_cost``: overcomplete maps need it (Lee
    et al. 2009). ``offset_rate`` is the speed of the running offsets.
    """

    def __init__(
        self,
        rbm: ConvolutionalRBM,
        negative: NegativePhase,
        *,
        learning_rate: float = 0.1,
        schedule: Factor | None = None,
        momentum: float = 0.0,
        optimizer: Literal["sgd", "adam"] = "sgd",
        l2: float = 0.0,
        l1: float = 0.0,
        centred: bool = True,
        offset_rate: float = 0.01,
        sparsity_target: float | None = None,
        sparsity_cost: float = 1.0,
    ) -> None:
        check_decays(l2, l1, offset_rate)
        if sparsity_target is not None:
            check_range("sparsity_target", sparsity_target, low=0, high=1 / rbm.hidden.group_size)
        self.module: torch.nn.Module = rbm
        self.rbm, self.negative = rbm, negative
        self.l2, self.l1, self.centred, self.offset_rate = l2, l1, centred, offset_rate
        self.sparsity_target, self.sparsity_cost = sparsity_target, sparsity_cost
        self.update = Update(
            rbm, learning_rate=learning_rate, schedule=schedule, momentum=momentum, optimizer=optimizer
        )

    def start(self, first: Batch, generator: torch.Generator, *, rank: int = 0, world_size: int = 1) -> None:
        """Start the chains; the offsets are the model's own (``rbm.match_data`` sets them from data)."""
        self.negative.start(self.rbm, first.x, generator, rank=rank, world_size=world_size)

    @torch.no_grad()
    def step(self, batch: Batch, context: StepContext) -> Mapping[str, Tensor | float]:
        """One update; returns what the negative phase watches."""
        rbm = self.rbm
        with context.autocast():
            inputs = rbm.input_h_from_v(batch.x)
            phase = PositivePhase(batch.x, inputs, rbm.hidden.mean(inputs), batch.weight)
            negative, watched = self.negative.moments(rbm, phase, context.generator)
        positive = moments(rbm, phase.v, phase.inputs, phase.mean_h, batch.weight)
        self.put_gradients(positive, negative)
        rbm.visible_offset.grad, rbm.hidden_offset.grad = positive.v, positive.h
        self.update.apply(context, travellers=(rbm.visible_offset, rbm.hidden_offset))
        move_offsets(rbm, self.offset_rate)
        return watched

    def put_gradients(self, positive: Moments, negative: Moments) -> None:
        """Gradients of *minus* the log-likelihood (per place where weights are shared) where the optimizer looks."""
        rbm = self.rbm
        places = rbm.maps_shape[1] * rbm.maps_shape[2]
        delta_v, delta_h = positive.v - negative.v, positive.h - negative.h
        ascent = rbm.filter_products(positive.left, positive.right)
        ascent -= rbm.filter_products(negative.left, negative.right)
        mu, lambda_ = self._offsets()
        if self.centred:
            ascent -= rbm.filter_products(delta_v.unsqueeze(0), lambda_)
            ascent -= rbm.filter_products(mu, delta_h.unsqueeze(0))
        ascent = ascent / places - self.l2 * rbm.filters - self.l1 * rbm.filters.sign()
        delta_c = self._map_means(delta_h)
        if self.sparsity_target is not None:
            delta_c = delta_c - self.sparsity_cost * (self._map_means(rbm.hidden_offset) - self.sparsity_target)
        if self.centred:
            delta_v = delta_v - F.conv_transpose2d(rbm.maps(lambda_), ascent).flatten()
            delta_c = delta_c - rbm.rows(F.conv2d(rbm.pictures(mu), ascent))[0]
        rbm.filters.grad = -ascent
        others = {name: negative.visible[name] - positive.visible[name] for name in positive.visible}
        rbm.visible.set_gradients(-delta_v, others)
        rbm.hidden.set_gradients(-delta_c, {})

    def _offsets(self) -> tuple[Tensor, Tensor]:
        """The means of whole channels and of whole maps, in rows: (1, n_visible), (1, n_hidden)."""
        pictures = self.rbm.pictures(self.rbm.visible_offset.unsqueeze(0))
        mu = pictures.mean((2, 3), keepdim=True).expand_as(pictures).flatten(1)
        return mu, self._map_means(self.rbm.hidden_offset).unsqueeze(0)

    def _map_means(self, h: Tensor) -> Tensor:
        """Every unit's number replaced by the mean over its map: (n_hidden,) -> (n_hidden,)."""
        by_map = h.unflatten(0, (self.rbm.maps_shape[0], -1))
        return by_map.mean(1, keepdim=True).expand_as(by_map).flatten()

    def state_dict(self) -> dict[str, Any]:
        return {"optimizer": self.update.state_dict(), "negative": self.negative.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.update.load_state_dict(state["optimizer"])
        self.negative.load_state_dict(state["negative"])
