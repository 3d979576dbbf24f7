"""What a person sees while a model learns: a bar with the rate and the watched numbers, or plain lines."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from deepbelief.errors import InvalidArgumentError
from deepbelief.training.callbacks import Callback

if TYPE_CHECKING:
    from deepbelief.training.trainer import Trainer


def progress_callbacks(progress: bool | str) -> list[Callback]:
    """True: a bar on a terminal, nothing elsewhere. ``"plain"``: a line per epoch anywhere. False: nothing."""
    if progress == "plain":
        return [PlainProgress()]
    if not isinstance(progress, bool):
        raise InvalidArgumentError(f"progress must be True, False or 'plain'. Got progress={progress!r}.")
    return [ProgressBar()] if progress and sys.stderr.isatty() else []


def describe_row(row: dict[str, Any]) -> str:
    """The numbers of a row in one short line.

    >>> describe_row({"epoch": 2, "step": 20, "seconds": 1.5, "loss": 0.123456, "ll": -90.0, "ll.kind": "estimate"})
    'loss 0.1235  ll -90'
    """
    hidden = ("epoch", "step", "seconds")
    numbers = {k: v for k, v in row.items() if k not in hidden and "." not in k and isinstance(v, float | int)}
    return "  ".join(f"{name} {value:.4g}" for name, value in numbers.items())


class PlainProgress(Callback):
    """One line per epoch on standard error."""

    def on_start(self, trainer: Trainer) -> None:
        self._cases, self._began = trainer.record.cases, time.perf_counter()

    def on_epoch_end(self, trainer: Trainer, row: dict[str, Any]) -> None:
        rate = (trainer.record.cases - self._cases) / max(time.perf_counter() - self._began, 1e-9)
        planned = f"/{trainer.epochs}" if trainer.epochs is not None else ""
        print(f"epoch {row['epoch']}{planned}  {describe_row(row)}  {rate:,.0f} cases/s", file=sys.stderr, flush=True)


class ProgressBar(Callback):
    """A rich progress bar on standard error, drawn at most ten times a second."""

    def __init__(self) -> None:
        self._bar: Any = None

    def on_start(self, trainer: Trainer) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[rate]:,.0f} cases/s  {task.fields[numbers]}"),
        )
        self._bar = Progress(*columns, console=Console(stderr=True), transient=False)
        self._bar.start()
        numbers = describe_row(trainer.record.history[-1]) if trainer.record.history else ""
        self._task = self._bar.add_task("training", total=1.0, rate=0.0, numbers=numbers)
        self._cases, self._began, self._drawn = trainer.record.cases, time.perf_counter(), 0.0

    def on_step_end(self, trainer: Trainer) -> None:
        now = time.perf_counter()
        if now - self._drawn < 0.1:
            return
        self._drawn = now
        self._show(trainer, (trainer.record.cases - self._cases) / max(now - self._began, 1e-9))

    def on_epoch_end(self, trainer: Trainer, row: dict[str, Any]) -> None:
        self._bar.update(self._task, numbers=describe_row(row))

    def on_end(self, trainer: Trainer) -> None:
        self._show(trainer, (trainer.record.cases - self._cases) / max(time.perf_counter() - self._began, 1e-9))

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _show(self, trainer: Trainer, rate: float) -> None:
        planned = f"/{trainer.epochs}" if trainer.epochs is not None else ""
        epoch = min(trainer.epoch + 1, trainer.epochs or trainer.epoch + 1)
        self._bar.update(self._task, completed=trainer.fraction, rate=rate, description=f"epoch {epoch}{planned}")
