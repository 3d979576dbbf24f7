"""What looks on while a model learns: `Callback`, and those that stop early or watch a number."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from deepbelief.errors import InvalidArgumentError, check_choice, check_count, check_range
from deepbelief.training.record import flat_numbers
from deepbelief.types import Bound

if TYPE_CHECKING:
    from deepbelief.training.trainer import Trainer


class Callback:
    """Hooks of the loop, all empty: override those you need.

    With several processes every process runs every callback; write files only where ``trainer.rank == 0``.
    """

    def on_start(self, trainer: Trainer) -> None:
        """Before the first step, and after a checkpoint was read (``trainer.step`` is then above 0)."""

    def on_step_end(self, trainer: Trainer) -> None:
        """After every step; must be quick."""

    def on_epoch_end(self, trainer: Trainer, row: dict[str, Any]) -> None:
        """After every epoch, with its row; what is added to the row is kept, shown and logged."""

    def on_end(self, trainer: Trainer) -> None:
        """After the last step, when the module holds its final weights."""

    def close(self) -> None:
        """Always at last, also after an error."""

    def state_dict(self) -> dict[str, Any]:
        """What must survive a stop."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` gave."""


class EarlyStopping(Callback):
    """Stop when `monitor` has not improved by more than `min_delta` for `patience` epochs in which it was measured.

    The callback that measures it (`Watch`) comes earlier in the list. With `restore_best` the module ends with the
    weights of the best epoch (the averaged ones under averaging).
    """

    def __init__(
        self, monitor: str, patience: int = 10, mode: str = "min", min_delta: float = 0.0, restore_best: bool = True
    ) -> None:
        check_count("patience", patience, low=1)
        check_range("min_delta", min_delta, low=0)
        check_choice("mode", mode, ["min", "max"])
        self.monitor, self.patience, self.mode = monitor, patience, mode
        self.min_delta, self.restore_best = min_delta, restore_best
        self._reset()

    def _reset(self) -> None:
        self.best = math.inf if self.mode == "min" else -math.inf
        self.best_epoch = 0
        self.bad_epochs = 0
        self._seen = False
        self._weights: dict[str, Tensor] | None = None

    def on_start(self, trainer: Trainer) -> None:
        if trainer.step == 0:
            self._reset()
        if self.bad_epochs >= self.patience:  # resumed after it had stopped
            trainer.request_stop("early stopping")

    def on_epoch_end(self, trainer: Trainer, row: dict[str, Any]) -> None:
        if self.monitor not in row:
            if not self._seen and row["epoch"] >= self.patience:
                raise self._unknown(row)
            return
        self._seen = True
        value, sign = float(row[self.monitor]), 1 if self.mode == "min" else -1
        if sign * value < sign * self.best - self.min_delta:
            self.best, self.best_epoch, self.bad_epochs = value, row["epoch"], 0
            self._keep(trainer)
            return
        self.bad_epochs += 1
        if self.bad_epochs >= self.patience:
            trainer.request_stop("early stopping")

    def on_end(self, trainer: Trainer) -> None:
        if not self._seen and trainer.record.epochs > 0:
            raise self._unknown(trainer.record.history[-1])
        if self.restore_best and self._weights is not None:
            trainer.module.load_state_dict(self._weights)

    def _unknown(self, row: dict[str, Any]) -> InvalidArgumentError:
        known = ", ".join(name for name in row if name not in ("epoch", "step", "seconds"))
        return InvalidArgumentError(
            f"monitor must be a number of the history. Got monitor={self.monitor!r}. There are: {known}."
        )

    def _keep(self, trainer: Trainer) -> None:
        if self.restore_best:
            with trainer.averaged_weights():
                self._weights = {k: v.detach().clone() for k, v in trainer.module.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        names = ("best", "best_epoch", "bad_epochs", "_seen", "_weights")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)


class Watch(Callback):
    """Call ``function(epoch)`` after every `every` epochs (and the first and last planned one) and add what it returns.

    `function` returns numbers and `Bound`s by name. It sees the averaged weights under averaging, a module in
    evaluation mode, and no gradients; with several processes the first one's numbers count. It must bring its own
    random generator, made anew from a seed and the epoch where a resumed training shall repeat it. If it has a method
    ``look_at_learning(procedure, epoch)``, that is called too, with the weights as they are and the procedure's state;
    if its looks depend on earlier ones, it has ``state_dict`` and ``load_state_dict``.
    """

    def __init__(
        self, every: int, function: Callable[[int], Mapping[str, float | Tensor | Bound]], name: str = ""
    ) -> None:
        check_count("every", every, low=1)
        self.every, self.name = every, name
        self.function: Any = function  # which may have a state, and looks at learning too

    def on_epoch_end(self, trainer: Trainer, row: dict[str, Any]) -> None:
        epoch = row["epoch"]
        if epoch % self.every and epoch not in (1, trainer.epochs):
            return
        look = getattr(self.function, "look_at_learning", None)
        with torch.no_grad():
            found = {} if look is None else look(trainer.procedure, epoch)
        with trainer.averaged_weights(), torch.no_grad():
            found = {**self.function(epoch), **found}
        values = flat_numbers(found, f"{self.name}." if self.name else "")
        row.update(trainer.processes.share(values))

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = getattr(self.function, "state_dict", dict)()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.function.load_state_dict(state)
