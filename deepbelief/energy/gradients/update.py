"""One step of an optimizer on gradients that a learning rule has put in place: what every rule here ends with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from deepbelief.errors import check_choice, check_range
from deepbelief.protocols import StepContext

Factor = Callable[[float], float]  # progress in [0, 1] -> factor of the learning rate


class Update:
    """Gradients in ``.grad`` are averaged over the processes and followed at the scheduled rate.

    ``sgd`` is plain gradient descent with classical `momentum`; ``adam`` is Adam (Kingma & Ba 2015).
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        learning_rate: float = 0.1,
        schedule: Factor | None = None,
        momentum: float = 0.0,
        optimizer: Literal["sgd", "adam"] = "sgd",
    ) -> None:
        check_range("learning_rate", learning_rate, low=0)
        check_range("momentum", momentum, low=0, high=1)
        check_choice("optimizer", optimizer, ["sgd", "adam"])
        self.learning_rate, self.schedule = learning_rate, schedule
        self.parameters = list(module.parameters())
        self.optimizer: torch.optim.Optimizer = (
            torch.optim.SGD(self.parameters, lr=learning_rate, momentum=momentum)
            if optimizer == "sgd"
            else torch.optim.Adam(self.parameters, lr=learning_rate)
        )

    def apply(self, context: StepContext, travellers: Iterable[Tensor] = ()) -> None:
        """One step; the ``.grad`` of `travellers` (running offsets and the like) is averaged too, and left in place."""
        context.average([*self.parameters, *travellers])
        factor = 1.0 if self.schedule is None else self.schedule(context.progress)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * factor
        self.optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        return self.optimizer.state_dict()

    def load_state_dict(self, state: Any) -> None:
        self.optimizer.load_state_dict(dict(state))


class HasOffsets(Protocol):
    """A model with running means of its two layers."""

    visible_offset: Tensor
    hidden_offset: Tensor


@torch.no_grad()
def move_offsets(model: HasOffsets, rate: float) -> None:
    """Towards the batch means, which travelled in ``.grad`` so that all processes have the same offsets."""
    for offset in (model.visible_offset, model.hidden_offset):
        if offset.grad is not None:
            offset.lerp_(offset.grad, rate)
            offset.grad = None
