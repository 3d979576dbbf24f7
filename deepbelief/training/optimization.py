"""One optimizer over some parameters, as every procedure that follows a loss's gradient uses it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from deepbelief.errors import check, check_choice, check_fraction, check_positive, check_range, check_sequence
from deepbelief.protocols import StepContext
from deepbelief.training.adam import AdamW
from deepbelief.training.schedules import Schedule, make_schedule

FIRST_ORDER = ("adam", "sgd", "rmsprop")


def make_optimizer(
    parameters: Iterable[nn.Parameter],
    name: str = "adam",
    learning_rate: float = 1e-3,
    *,
    weight_decay: float = 0.0,
    momentum: float = 0.9,
    betas: tuple[float, float] = (0.9, 0.999),
) -> AdamW | torch.optim.Optimizer:
    """Adam with decoupled weight decay, SGD with Nesterov momentum, or RMSprop; vectors (biases) never decay."""
    check_choice("optimizer", name, FIRST_ORDER)
    check_rates(learning_rate, weight_decay, momentum)
    check_sequence("betas", betas, "numbers", 2)
    for beta in betas:
        check_fraction("betas", beta)
    trained = [p for p in parameters if p.requires_grad]
    check(bool(trained), "module must have parameters that require gradients. Got none.")
    groups: list[dict[str, Any]] = [{"params": trained, "weight_decay": 0.0}]
    if weight_decay:
        groups = [{"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay}]
        groups += [{"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0}]
        groups = [group for group in groups if group["params"]]
    if name == "adam":
        return AdamW(groups, learning_rate, betas=betas)
    if name == "rmsprop":
        return torch.optim.RMSprop(groups, lr=learning_rate)
    return torch.optim.SGD(groups, lr=learning_rate, momentum=momentum, nesterov=momentum > 0)


def check_rates(learning_rate: float, weight_decay: float, momentum: float) -> None:
    """Refuse rates that no optimizer can use."""
    check_positive("learning_rate", learning_rate)
    check_range("weight_decay", weight_decay, low=0)
    check_fraction("momentum", momentum, remedy="Try 0.9.")


def joint_mean(own: Tensor, context: StepContext) -> Tensor:
    """The mean of `own`, a mean over this process's cases, over all processes, with the gradient of `own`.

    What is not linear in the mean of a batch (a rate's divergence from its target) must see that of the whole batch;
    the gradients of the shares then average to the whole one's. In one process this is `own` itself.
    """
    if context.world_size == 1:
        return own
    carrier = torch.zeros_like(own, requires_grad=False)
    carrier.grad = own.detach().clone()
    context.average([carrier])
    assert carrier.grad is not None
    return own + (carrier.grad - own.detach())


class Descent:
    """Steps down the gradient of a loss: zero, backward, mean over the processes, clip, step at the schedule's rate.

    Parameters
    ----------
    parameters
        What is trained; several `Descent`s of one procedure (a generator's and a critic's) share none.
    schedule
        A name for `make_schedule`, or a function from the training's progress (0 to 1) to a rate.
    max_gradient_norm
        Longest allowed gradient, all parameters together; None for no limit.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        optimizer: str = "adam",
        learning_rate: float = 1e-3,
        schedule: str | Schedule = "constant",
        weight_decay: float = 0.0,
        momentum: float = 0.9,
        betas: tuple[float, float] = (0.9, 0.999),
        max_gradient_norm: float | None = None,
    ) -> None:
        if max_gradient_norm is not None:
            check_positive("max_gradient_norm", max_gradient_norm, remedy="Or use None.")
        self.parameters = [p for p in parameters if p.requires_grad]
        self.optimizer = make_optimizer(
            self.parameters, optimizer, learning_rate, weight_decay=weight_decay, momentum=momentum, betas=betas
        )
        self.max_gradient_norm = max_gradient_norm
        self._schedule = schedule if callable(schedule) else make_schedule(schedule, learning_rate)

    def step(self, loss: Tensor, context: StepContext, travellers: Sequence[Tensor] = ()) -> None:
        """One step that lowers `loss`, a mean over this process's cases.

        The ``.grad`` of `travellers` (what running offsets move to, and the like) is averaged over the processes too,
        and left in place.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = self._schedule(context.progress)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward(inputs=self.parameters)
        context.average([*self.parameters, *travellers])
        if self.max_gradient_norm is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.max_gradient_norm)
        self.optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's moments and counters."""
        return self.optimizer.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`."""
        self.optimizer.load_state_dict(dict(state))
