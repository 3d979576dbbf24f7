"""Adam with decoupled weight decay (Kingma & Ba 2015; Loshchilov & Hutter 2019), by torch's fused kernel.

The arithmetic and the kernel are those of ``torch.optim.AdamW(fused=True)``, bit for bit. What is left out is the way
to them: the hooks, records and checks of torch's optimizers take a sixth of a small network's step, and the first of
them in a process imports a compiler for two seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

EPSILON = 1e-8  # beside the root of the mean square
MOMENTS = ("steps", "means", "squares")


class AdamW:
    """``p -= rate (m^ / (sqrt(s^) + eps) + decay p)``, with the bias-corrected running means m^ of g and s^ of g^2.

    ``param_groups`` are as torch's: dictionaries of ``params``, ``weight_decay`` and ``lr``, of which the rate may be
    changed between steps. Parameters without a gradient stay as they are.

    >>> x = nn.Parameter(torch.tensor([1.0, -2.0]))
    >>> adam = AdamW([{"params": [x], "weight_decay": 0.0}], learning_rate=0.5)
    >>> x.grad = torch.tensor([3.0, -0.1])
    >>> adam.step()
    >>> x.tolist()
    [0.5, -1.5]
    """

    def __init__(
        self,
        groups: Iterable[Mapping[str, Any]],
        learning_rate: float,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
    ) -> None:
        self.param_groups = [{**group, "lr": learning_rate} for group in groups]
        self.betas = betas
        self.moments: dict[nn.Parameter, tuple[Tensor, Tensor, Tensor]] = {}  # made where the parameters live by then

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, or write zeros over them."""
        for p in self._parameters():
            if set_to_none:
                p.grad = None
            elif p.grad is not None:
                p.grad.zero_()

    @torch.no_grad()
    def step(self) -> None:
        """One step along the gradients that are there."""
        for group in self.param_groups:
            moved = [p for p in group["params"] if p.grad is not None]
            if not moved:
                continue
            steps, means, squares = (list(row) for row in zip(*(self._moments(p) for p in moved), strict=True))
            adamw(
                moved,
                [p.grad for p in moved],
                means,
                squares,
                [],
                steps,
                fused=True,
                amsgrad=False,
                maximize=False,
                lr=group["lr"],
                beta1=self.betas[0],
                beta2=self.betas[1],
                weight_decay=group["weight_decay"],
                eps=EPSILON,
            )

    def _moments(self, p: nn.Parameter) -> tuple[Tensor, Tensor, Tensor]:
        found = self.moments.get(p)
        if found is None:
            none = torch.zeros((), dtype=torch.float32, device=p.device)
            found = none, torch.zeros_like(p, requires_grad=False), torch.zeros_like(p, requires_grad=False)
            self.moments[p] = found
        return found

    def _parameters(self) -> list[nn.Parameter]:
        return [p for group in self.param_groups for p in group["params"]]

    def state_dict(self) -> dict[str, Any]:
        """The moments of every parameter that took a step, by its place among all."""
        places = {p: str(place) for place, p in enumerate(self._parameters())}
        own = {places[p]: dict(zip(MOMENTS, moments, strict=True)) for p, moments in self.moments.items()}
        return {"moments": own}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`."""
        parameters = self._parameters()
        self.moments = {}
        for place, moments in state["moments"].items():
            p = parameters[int(place)]
            steps, means, squares = (moments[name].to(p.device, copy=True) for name in MOMENTS)
            self.moments[p] = steps, means, squares
