"""What a run says while it works, on standard error: a line per stage, and a bar where a stage takes its time."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any


class Narrator:
    """Says what happens. ``progress`` False is silent; True has bars on a terminal; "plain" lines only."""

    def __init__(self, progress: bool | str = True) -> None:
        self.progress = progress
        self._bar: Any = None

    def say(self, text: str) -> None:
        """One line, markup allowed."""
        self.close()
        if self.progress:
            self._console().print(text, highlight=False, soft_wrap=True)

    def piece(self, name: str) -> Callable[[int, int], None]:
        """A function of (done, in all) that moves a bar called `name`; annealing both ways runs it twice."""
        if not (self.progress is True and sys.stderr.isatty()):
            return lambda _done, _total: None
        self.close()
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        bar = Progress(TextColumn(f"  {name}"), BarColumn(), TimeRemainingColumn(), console=self._console())
        bar.start()
        self._bar, task, drawn = bar, bar.add_task(name, total=None), [0.0]

        def move(done: int, total: int) -> None:
            if done == total or time.perf_counter() - drawn[0] > 0.1:
                drawn[0] = time.perf_counter()
                bar.update(task, completed=done, total=total)

        return move

    def close(self) -> None:
        """End the bar that is shown, if any."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    @staticmethod
    def _console() -> Any:
        from rich.console import Console

        return Console(stderr=True)
