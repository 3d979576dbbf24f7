"""Divergence: find it cheaply, put the last good weights back, and say what to lower."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor, nn

from deepbelief.errors import DivergenceError


class Guard:
    """Keeps the module's last good state in memory, for the day that learning leaves the road."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.step = 0
        self._good: dict[str, Tensor] = {}

    def keep(self, step: int) -> None:
        """The module is good now, after `step` steps."""
        self.step = step
        self._good = {name: value.detach().clone() for name, value in self.module.state_dict().items()}

    def restore(self) -> None:
        """Put the last good state back."""
        self.module.load_state_dict(self._good)

    def fault(self, means: dict[str, float]) -> str:
        """What is not finite now, or nothing."""
        for name, value in means.items():
            if not math.isfinite(value):
                return f"{name} is {value}"
        for name, parameter in self.module.named_parameters():
            if not bool(torch.isfinite(parameter.detach()).all()):
                return f"{name} holds values that are not finite"
        return ""

    def error(self, fault: str, step: int, procedure: object, checkpoint: Path | None) -> DivergenceError:
        """The sentence: what happened, where the good weights are, what to lower."""
        rate = getattr(procedure, "learning_rate", None)
        lower = f"Lower learning_rate (now {rate:g})" if isinstance(rate, float | int) else "Lower the learning rate"
        return DivergenceError(
            f"Learning must stay finite. At step {step} {fault}. {self.aftermath(checkpoint)} "
            f"{lower}, use larger batches, or scale the data."
        )

    def aftermath(self, checkpoint: Path | None) -> str:
        """Where the good weights are now."""
        kept = f" The checkpoint {checkpoint} is from before." if checkpoint is not None else ""
        return f"The model holds its weights of step {self.step} again.{kept}"
