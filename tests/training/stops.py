"""Callbacks that end a training before its time: by request, or as Ctrl-C does."""

from __future__ import annotations

from deepbelief.training.callbacks import Callback
from deepbelief.training.trainer import Trainer


class StopAt(Callback):
    """Asks the trainer to stop after one step, of any training or of one procedure's; "interrupted" is Ctrl-C."""

    def __init__(self, step: int, procedure: str | None = None, reason: str = "interrupted") -> None:
        self.step, self.procedure, self.reason = step, procedure, reason

    def on_step_end(self, trainer: Trainer) -> None:
        if trainer.step == self.step and self.procedure in (None, type(trainer.procedure).__name__):
            trainer.request_stop(self.reason)


class InterruptAt(Callback):
    """Raises what Ctrl-C raises after one step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, trainer: Trainer) -> None:
        if trainer.step == self.step:
            raise KeyboardInterrupt
