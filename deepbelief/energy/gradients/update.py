"""One step of an optimizer on gradients that a learning rule has put in place: what every rule here ends with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from deepbelief.errors import check_choice, check_fraction, check_range
from deepbelief.protocols import StepContext
from deepbelief.training.adam import AdamW

Factor = Callable[[float], float]  # progress in [0, 1] -> factor of the learning rate


@dataclass(frozen=True)
class Step:
    """How an update in place goes: the rate, weight decay, whether the gradient is centred, and the offsets' speed.

    Without an `offset_rate` biases and offsets stay where they are, and their gradients are what the update leaves.
    """

    rate: float
    l2: float = 0.0
    centred: bool = True
    offset_rate: float | None = None


def check_decays(l2: float, l1: float, offset_rate: float) -> None:
    """Refuse weight decays and a speed of the running offsets that no rule can use."""
    check_range("l2", l2, low=0)
    check_range("l1", l1, low=0)
    check_range("offset_rate", offset_rate, low=0, high=1)


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
        check_fraction("momentum", momentum, remedy="Try 0.9.")
        check_choice("optimizer", optimizer, ["sgd", "adam"])
        self.learning_rate, self.schedule, self.momentum = learning_rate, schedule, momentum
        self.parameters = list(module.parameters())
        whole = [{"params": self.parameters, "weight_decay": 0.0}]
        self.adam = AdamW(whole, learning_rate) if optimizer == "adam" else None
        self.velocity: list[Tensor] = []  # made at the first step, where the parameters live then

    @property
    def is_plain(self) -> bool:
        """Whether a step is the gradient times the rate, and nothing is remembered."""
        return self.adam is None and not self.momentum

    def rate(self, context: StepContext) -> float:
        """The learning rate at this point of the training."""
        return self.learning_rate * (1.0 if self.schedule is None else self.schedule(context.progress))

    def apply(
        self, context: StepContext, travellers: Iterable[Tensor] = (), meanwhile: Callable[[], None] | None = None
    ) -> None:
        """One step; the ``.grad`` of `travellers` (running offsets and the like) is averaged too, and left in place.

        `meanwhile` is work to be done before the parameters move, while gradients travel between processes.
        """
        if meanwhile is not None and context.world_size == 1:
            meanwhile()
        later = {} if meanwhile is None or context.world_size == 1 else {"meanwhile": meanwhile}
        context.average([*self.parameters, *travellers], **later)
        rate = self.rate(context)
        if self.adam is None:
            self._descend(rate)
            return
        for group in self.adam.param_groups:
            group["lr"] = rate
        self.adam.step()

    @torch.no_grad()
    def _descend(self, rate: float) -> None:
        moved: list[Tensor] = [p for p in self.parameters if p.grad is not None]
        steps = [p.grad for p in self.parameters if p.grad is not None]
        if self.momentum:
            if not self.velocity:
                self.velocity = [torch.zeros_like(p, requires_grad=False) for p in self.parameters]
            velocity = [v for p, v in zip(self.parameters, self.velocity, strict=True) if p.grad is not None]
            torch._foreach_mul_(velocity, self.momentum)
            torch._foreach_add_(velocity, steps)
            steps = velocity
        torch._foreach_add_(moved, steps, alpha=-rate)

    def state_dict(self) -> dict[str, Any]:
        """What the next step depends on: momentum, or Adam's moments."""
        return {"velocity": self.velocity} if self.adam is None else self.adam.state_dict()

    def load_state_dict(self, state: Any) -> None:
        """Go on from `state`."""
        if self.adam is not None:
            self.adam.load_state_dict(dict(state))
            return
        self.velocity = [v.to(p.device, copy=True) for p, v in zip(self.parameters, state["velocity"], strict=False)]


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
