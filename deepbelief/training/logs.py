"""Logs of a training: one row per epoch in ``log.csv``, and TensorBoard's event files."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepbelief.errors import StorageError, check, missing_extra
from deepbelief.storage import atomic_write_text
from deepbelief.training.callbacks import Callback

if TYPE_CHECKING:
    from deepbelief.training.trainer import Trainer


def observers(progress: bool | str, log_dir: str | Path | None, tensorboard: bool) -> list[Callback]:
    """The callbacks behind the trainer's own arguments; they write, so only the first process has them."""
    from deepbelief.training.progress import progress_callbacks

    check(
        not tensorboard or log_dir is not None,
        "log_dir must be given with tensorboard=True. Got log_dir=None. Say where the event files go.",
    )
    chosen: list[Callback] = progress_callbacks(progress)
    if log_dir is not None:
        chosen.append(CSVLog(Path(log_dir) / "log.csv"))
    if tensorboard and log_dir is not None:
        chosen.append(TensorBoardLog(log_dir))
    return chosen


class CSVLog(Callback):
    """The history as a CSV file that grows by a line per epoch.

    A resumed training begins with the rows up to its checkpoint, so rows of epochs that were lost are gone, and a line
    torn by a crash is mended. A new column makes the file be written anew.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.columns: list[str] = []

    def on_start(self, trainer: Trainer) -> None:
        self._rewrite(trainer.record.history)

    def on_epoch_end(self, trainer: Trainer, row: dict[str, Any]) -> None:
        if set(row) - set(self.columns):
            self._rewrite([*trainer.record.history, row])
            return
        try:
            with self.path.open("a", encoding="utf-8", newline="") as file:
                file.write(self._lines([row]))
        except OSError as error:
            raise StorageError(f"{self.path} must be writable. Got: {error.strerror}. Free some space.") from error

    def _rewrite(self, rows: list[dict[str, Any]]) -> None:
        self.columns = list(dict.fromkeys(name for row in rows for name in row))
        header = ",".join(self.columns) + "\n" if rows else ""
        atomic_write_text(self.path, header + self._lines(rows))

    def _lines(self, rows: Iterable[dict[str, Any]]) -> str:
        text = io.StringIO()
        csv.DictWriter(text, self.columns, restval="", lineterminator="\n").writerows(rows)
        return text.getvalue()


class TensorBoardLog(Callback):
    """Every number of the history as a TensorBoard scalar over steps; needs the extra ``tensorboard``."""

    def __init__(self, folder: str | Path) -> None:
        try:
            import tensorboard  # noqa: F401
        except ImportError as error:
            raise missing_extra("tensorboard", "tensorboard", "TensorBoardLog") from error
        self.folder = Path(folder)
        self._writer: Any = None

    def on_start(self, trainer: Trainer) -> None:
        from torch.utils.tensorboard import SummaryWriter

        resumed = trainer.step > 0
        self._writer = SummaryWriter(str(self.folder), purge_step=trainer.step + 1 if resumed else None)

    def on_epoch_end(self, trainer: Trainer, row: dict[str, Any]) -> None:
        for name, value in row.items():
            if name != "step" and isinstance(value, float | int):
                self._writer.add_scalar(name, value, row["step"])
        self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
