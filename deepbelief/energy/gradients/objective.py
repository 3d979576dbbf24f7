"""Learning an RBM by any differentiable objective: no chains, the gradient comes from automatic differentiation.

The centred gradient is that of the same objective in the parameters of ``E = -(v - mu)' W (h - lambda) - ...``, carried
back to the plain ones (see `deepbelief.energy.gradients.procedure`); it needs the plain gradient alone:

    dW = gW - gb lambda' - mu gc',        db = gb - dW lambda,        dc = gc - dW' mu
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from deepbelief.energy.gradients.update import Factor, Update, check_decays, move_offsets
from deepbelief.energy.rbm import RBM
from deepbelief.protocols import Generator, StepContext
from deepbelief.types import Batch


class Objective(Protocol):
    """A loss of each case that falls as the model fits, and whatever lives from step to step."""

    name: str

    def start(self, rbm: RBM, first: Tensor, generator: Generator, *, rank: int, world_size: int) -> None:
        """Check that the objective fits the units, and make what lives from step to step."""

    def losses(self, rbm: RBM, v: Tensor, generator: Generator) -> Tensor:
        """(n, n_visible) -> (n,), differentiable in the parameters."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


class ObjectiveLearning:
    """One update of an RBM per batch that lowers the (weighted) mean of an objective; a `Procedure`.

    ``l2`` and ``l1`` are weight decays of the weights; ``centred`` and ``offset_rate`` as in `LikelihoodLearning`.
    """

    def __init__(
        self,
        rbm: RBM,
        objective: Objective,
        *,
        learning_rate: float = 0.01,
        schedule: Factor | None = None,
        momentum: float = 0.0,
        optimizer: Literal["sgd", "adam"] = "sgd",
        l2: float = 0.0,
        l1: float = 0.0,
        centred: bool = True,
        offset_rate: float = 0.01,
    ) -> None:
        check_decays(l2, l1, offset_rate)
        self.module: torch.nn.Module = rbm
        self.rbm, self.objective = rbm, objective
        self.l2, self.l1, self.centred, self.offset_rate = l2, l1, centred, offset_rate
        self.update = Update(
            rbm, learning_rate=learning_rate, schedule=schedule, momentum=momentum, optimizer=optimizer
        )

    def start(self, first: Batch, generator: torch.Generator, *, rank: int = 0, world_size: int = 1) -> None:
        """Start what the objective keeps."""
        self.objective.start(self.rbm, first.x, generator, rank=rank, world_size=world_size)

    def step(self, batch: Batch, context: StepContext) -> Mapping[str, Tensor | float]:
        """One update; watches the objective."""
        rbm = self.rbm
        rbm.zero_grad(set_to_none=True)
        with torch.enable_grad():
            losses = self.objective.losses(rbm, batch.x, context.generator)
            share = torch.full_like(losses, 1 / len(losses)) if batch.weight is None else batch.weight.to(losses)
            share = share / share.sum()
            loss = (losses * share).sum()
            loss.backward()
        with torch.no_grad():
            self._penalize_and_centre()
            rows = share.to(batch.x)
            rbm.visible_offset.grad = rows @ batch.x
            rbm.hidden_offset.grad = rows @ rbm.mean_h_from_v(batch.x)
            self.update.apply(context, travellers=(rbm.visible_offset, rbm.hidden_offset))
            move_offsets(rbm, self.offset_rate)
        return {self.objective.name: loss.detach()}

    def _penalize_and_centre(self) -> None:
        rbm = self.rbm
        gradient = rbm.weight.grad
        assert gradient is not None
        biases = _bias_gradients(rbm)
        if self.centred:
            gradient.addr_(biases[0], rbm.hidden_offset, alpha=-1).addr_(rbm.visible_offset, biases[1], alpha=-1)
        gradient.add_(rbm.weight, alpha=self.l2).add_(rbm.weight.sign(), alpha=self.l1)
        if self.centred:
            rbm.visible.set_gradients(biases[0] - gradient @ rbm.hidden_offset, _other_gradients(rbm.visible))
            rbm.hidden.set_gradients(biases[1] - rbm.visible_offset @ gradient, _other_gradients(rbm.hidden))

    def state_dict(self) -> dict[str, Any]:
        return {"optimizer": self.update.state_dict(), "objective": self.objective.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.update.load_state_dict(state["optimizer"])
        self.objective.load_state_dict(state["objective"])


def _bias_gradients(rbm: RBM) -> tuple[Tensor, Tensor]:
    """The gradients of both layers' biases in one row each, wherever the parts keep them."""
    rows = []
    for units in (rbm.visible, rbm.hidden):
        own = [p for name, p in units.named_parameters() if name.split(".")[-1] == "bias"]
        rows.append(torch.cat([torch.zeros_like(p) if p.grad is None else p.grad for p in own]))
    return rows[0], rows[1]


def _other_gradients(units: torch.nn.Module) -> dict[str, Tensor]:
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad
        for name, p in units.named_parameters()
        if name.split(".")[-1] != "bias"
    }
