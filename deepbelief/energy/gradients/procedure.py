"""Maximum likelihood learning of an RBM: the data's half, the model's half, centring, penalties, one update.

Centring (Montavon & Muller 2012; Melchior, Fischer & Wiskott 2016) subtracts slow-moving offsets mu, lambda from v and
h. In the plain parameters that this library keeps, the centred gradient reads

    dW = <v h'>_d - <v h'>_m - (<v>_d - <v>_m) lambda' - mu (<h>_d - <h>_m)' - decay
    db = <v>_d - <v>_m - dW lambda,        dc = <h>_d - <h>_m - dW' mu

so moving an offset never changes the model. The checklist of the rest is Hinton's practical guide (2010).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from deepbelief.energy.gradients.bits import UpdateOfBits, moves_in_place, takes_bits, update_of_bits
from deepbelief.energy.gradients.dense import DenseUpdate, dense_update, in_one_piece
from deepbelief.energy.gradients.moments import Moments, moments
from deepbelief.energy.gradients.negative import Ahead, Follower, NegativePhase, PositivePhase
from deepbelief.energy.gradients.sparsity import check_groups, check_target, with_group_sparsity
from deepbelief.energy.gradients.update import Factor, Step, Update, check_decays, move_offsets
from deepbelief.energy.gradients.weights import put_gradient, take_step
from deepbelief.energy.rbm import RBM
from deepbelief.native.rbm_update import Rooms
from deepbelief.protocols import StepContext
from deepbelief.types import Batch


class LikelihoodLearning:
    """One update of an RBM per batch, for any negative phase; a `Procedure`.

    ``l2`` and ``l1`` are weight decays (per unit of learning rate, weights only). ``sparsity_target`` pulls the mean
    activation of each hidden unit, a running average, towards a target by its bias with strength ``sparsity_cost``.
    ``group_cost`` times the norms of groups of `group_size` hidden means is taken off the objective (`sparsity`).
    ``offset_rate`` is the speed of the running offsets. ``directions`` (n_visible, rank), orthonormal, hold the weights
    in their span (`deepbelief.energy.low_rank`). ``module`` is a larger model that the RBM is a part of: all of
    its parameters are then stepped, and `put_gradients` and `advance` are the two halves of a rule that it builds on.
    """

    def __init__(
        self,
        rbm: RBM,
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
        sparsity_cost: float = 0.1,
        group_size: int | None = None,
        group_cost: float = 0.0,
        directions: Tensor | None = None,
        module: torch.nn.Module | None = None,
    ) -> None:
        check_decays(l2, l1, offset_rate)
        check_target([rbm.hidden], sparsity_target, sparsity_cost)
        self.module: torch.nn.Module = rbm if module is None else module
        self.rbm, self.negative = rbm, negative
        self._follows = isinstance(negative, Follower)
        self._ahead = isinstance(negative, Ahead) and negative.ahead
        self.l2, self.l1 = l2, l1
        self.centred, self.offset_rate = centred, offset_rate
        self.sparsity_target, self.sparsity_cost = sparsity_target, sparsity_cost
        check_groups(rbm.hidden.size, group_size, group_cost)
        self.group_size, self.group_cost = group_size, group_cost
        self.directions = directions
        grouped = bool(group_size and group_cost)
        self._takes_bits = takes_bits(rbm, negative) and not grouped
        self._takes_any = moves_in_place(rbm, negative) and not (grouped or self._takes_bits)
        self._in_one_piece, self._rooms = in_one_piece(rbm), Rooms()
        self.update = Update(
            self.module, learning_rate=learning_rate, schedule=schedule, momentum=momentum, optimizer=optimizer
        )

    def start(self, first: Batch, generator: torch.Generator, *, rank: int = 0, world_size: int = 1) -> None:
        """Start the chains; the offsets are the model's own (``rbm.match_data`` sets them from data)."""
        self.negative.start(self.rbm, first.x, generator, rank=rank, world_size=world_size)

    @torch.no_grad()
    def step(self, batch: Batch, context: StepContext) -> Mapping[str, Tensor | float]:
        """One update; returns what the negative phase watches."""
        with context.autocast():
            if (self._takes_bits or self._takes_any) and self._in_one_product(context):
                taken = self._update_in_place(batch, context)
                if taken is not None:
                    return taken
            inputs = self.rbm.input_h_from_v(batch.x)
            phase = PositivePhase(batch.x, inputs, self.rbm.hidden.mean(inputs), batch.weight)
            negative, watched = self.negative.moments(self.rbm, phase, context.generator)
        positive = moments(self.rbm, phase.v, phase.inputs, phase.mean_h, batch.weight)
        ahead = self._move_ahead(batch, context) if self._ahead else None
        if self._in_one_product(context):
            if ahead is not None:
                ahead()  # before the weights move
            self.put_step(self.sparse(positive, phase), negative, context)
            self.advance(context, positive.v, positive.h)
        else:
            self.put_gradients(self.sparse(positive, phase), negative)
            self.advance(context, positive.v, positive.h, meanwhile=ahead)
        return watched

    def _move_ahead(self, batch: Batch, context: StepContext) -> Callable[[], None]:
        """The chains' steps for the next update, to be made while this one's gradient travels."""

        def move() -> None:
            with context.autocast():
                self.negative.go_ahead(self.rbm, batch.x, context.generator)  # type: ignore[attr-defined]

        return move

    def _in_one_product(self, context: StepContext) -> bool:
        """Whether nothing needs the weights' gradient itself: no other process, no momentum, no penalty but decay."""
        alone = context.world_size == 1 and not context.needs_gradients and not self._follows
        return alone and self.update.is_plain and not self.l1 and self.directions is None

    def sparse(self, positive: Moments, phase: PositivePhase) -> Moments:
        """The data's half with the pull of the groups, if there are any."""
        if self.group_size is None or not self.group_cost:
            return positive
        return with_group_sparsity(positive, phase, self.rbm.hidden, self.group_size, self.group_cost)

    def put_gradients(self, positive: Moments, negative: Moments) -> None:
        """Gradients of *minus* the log-likelihood, decay and sparsity included, where the optimizer looks for them."""
        decay: dict[str, Any] = {"l2": self.l2, "l1": self.l1, "directions": self.directions}
        shifts = put_gradient(self.rbm.weight, positive, negative, self._offsets(), **decay)
        self._put_other_gradients(positive, negative, shifts)

    def put_step(self, positive: Moments, negative: Moments, context: StepContext) -> None:
        """`put_gradients` where the weights take their step in the same product, without a gradient in between."""
        how = {"rate": self.update.rate(context), "l2": self.l2}
        shifts = take_step(self.rbm.weight, positive, negative, self._offsets(), **how)
        self._put_other_gradients(positive, negative, shifts)

    def _offsets(self) -> tuple[Tensor, Tensor] | None:
        return (self.rbm.visible_offset, self.rbm.hidden_offset) if self.centred else None

    def _update_in_place(self, batch: Batch, context: StepContext) -> Mapping[str, Tensor | float] | None:
        """The same update without a gradient of the weights, and mostly in one call."""
        alone = self.module is self.rbm and self.sparsity_target is None  # nothing else takes part in the step
        whole = alone and self._in_one_piece
        step = Step(self.update.rate(context), self.l2, self.centred, self.offset_rate if whole else None)
        update: Callable[..., UpdateOfBits | DenseUpdate | None]
        update = update_of_bits if self._takes_bits else dense_update
        found = update(self.rbm, self.negative, batch, context.generator, self._rooms, step)
        if found is None:
            return None
        self.rbm.weight.grad = None
        if whole:
            return found.watched
        change = found.change
        others = (found.visible, found.hidden) if isinstance(found, DenseUpdate) else ({}, {})
        self._put_biases(change.down_v, change.down_h, *others, None)
        self.advance(context, change.v_data, change.h_data)
        return found.watched

    def _put_other_gradients(self, positive: Moments, negative: Moments, shifts: tuple[Tensor, Tensor] | None) -> None:
        """Of the biases, which centring shifts against the weights' step, and of the units' further parameters."""
        others_v = {k: negative.visible[k] - positive.visible[k] for k in positive.visible}
        others_h = {k: negative.hidden[k] - positive.hidden[k] for k in positive.hidden}
        self._put_biases(negative.v - positive.v, negative.h - positive.h, others_v, others_h, shifts)

    def _put_biases(
        self,
        down_v: Tensor,
        down_h: Tensor,
        others_v: Mapping[str, Tensor],
        others_h: Mapping[str, Tensor],
        shifts: tuple[Tensor, Tensor] | None,
    ) -> None:
        rbm = self.rbm
        if self.sparsity_target is not None:
            down_h += self.sparsity_cost * (rbm.hidden_offset - self.sparsity_target)
        if shifts is not None:
            down_v += shifts[0]
            down_h += shifts[1]
        rbm.visible.set_gradients(down_v, others_v)
        rbm.hidden.set_gradients(down_h, others_h)

    def advance(
        self, context: StepContext, mean_v: Tensor, mean_h: Tensor, *, meanwhile: Callable[[], None] | None = None
    ) -> None:
        """Follow the gradients that are in place, and move the offsets towards the data's means of v and h."""
        self.rbm.visible_offset.grad, self.rbm.hidden_offset.grad = mean_v, mean_h
        self.update.apply(context, travellers=(self.rbm.visible_offset, self.rbm.hidden_offset), meanwhile=meanwhile)
        move_offsets(self.rbm, self.offset_rate)
        if self._follows:
            self.negative.follow(self.rbm)  # type: ignore[attr-defined]

    def state_dict(self) -> dict[str, Any]:
        return {"optimizer": self.update.state_dict(), "negative": self.negative.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.update.load_state_dict(state["optimizer"])
        self.negative.load_state_dict(state["negative"])
