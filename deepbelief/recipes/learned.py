"""A recipe's module after its training: learned now, learned on from its checkpoint, or read back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from deepbelief.protocols import BatchSource, Procedure
from deepbelief.recipes.recipe import Options
from deepbelief.storage import load_model, save_model
from deepbelief.training.trainer import Trainer

Start = Callable[[], tuple[nn.Module, Procedure, BatchSource]]


def learned(start: Start, folder: Path, epochs: int, options: Options, **trainer: Any) -> Any:
    """The module of `start` (made with its procedure and its data only if it must learn), ready for use.

    It is kept in ``folder/model``, and its training in ``folder/checkpoint`` and ``folder/log``. With ``--resume`` a
    whole one is read back, and an unfinished one goes on. `trainer` goes to the `Trainer`.
    """
    if options.resume and (folder / "model").exists():
        return load_model(folder / "model").eval()
    module, procedure, source = start()
    checkpoint = folder / "checkpoint"
    how: dict[str, Any] = {"checkpoint_dir": checkpoint, "log_dir": folder / "log", **options.trainer(**trainer)}
    resume = checkpoint if options.resume and checkpoint.exists() else None
    Trainer(epochs=options.epochs(epochs), seed=options.seed, **how).fit(procedure, source, resume_from=resume)
    save_model(module, folder / "model")
    return module.eval()
