"""Everything that a training must know to go on as if it had never stopped, in one file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from deepbelief.errors import StorageError
from deepbelief.storage import fill_module, read_state, write_state

if TYPE_CHECKING:
    from deepbelief.training.callbacks import Callback
    from deepbelief.training.trainer import Trainer

LATEST, BEST = "checkpoint.safetensors", "best.safetensors"
KIND = "training checkpoint"


def of_layer(checkpoint_dir: str | Path | None, layer: int, resume: bool) -> tuple[Path | None, Path | None]:
    """Where layer number `layer` (from 1) keeps its checkpoints, and the one it goes on from; None for none."""
    if checkpoint_dir is None:
        return None, None
    folder = Path(checkpoint_dir) / f"layer-{layer}"
    return folder, folder / LATEST if resume and (folder / LATEST).exists() else None


def random_state(device: torch.device) -> dict[str, Any]:
    """The global random streams, which dropout draws from."""
    state: dict[str, Any] = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Put the global random streams back."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)


def with_state(trainer: Trainer) -> list[Callback]:
    """The callbacks that must survive a stop; the others may differ from one part of a training to the next."""
    return [callback for callback in trainer.callbacks if callback.state_dict()]


def fingerprint(trainer: Trainer) -> dict[str, Any]:
    """The settings that must be the same for a resumed training to be the same training."""
    return {
        "procedure": type(trainer.procedure).__name__,
        "module": type(trainer.module).__name__,
        "processes": trainer.processes.world_size,
        "device": trainer.processes.device.type,
        "precision": trainer.precision,
        "seed": trainer.seed,
        "averaging": trainer.averaging,
        "batches per epoch": trainer.n_batches,
        "cases": trainer.source.n_cases,
        "callbacks": [type(callback).__name__ for callback in with_state(trainer)],
    }


def capture(trainer: Trainer) -> dict[str, Any]:
    """The state of the training; each process's own part (chains, random streams, buffers) by its rank."""
    mine = {
        "procedure": trainer.procedure.state_dict(),
        "generator": trainer.generator.get_state(),
        "data_generator": trainer.data_generator.get_state(),
        "random": random_state(trainer.processes.device),
        "meter": trainer.meter.state_dict(),
        "buffers": dict(trainer.module.named_buffers()),
    }
    record = trainer.record
    return {
        "kind": KIND,
        "settings": fingerprint(trainer),
        "ranks": trainer.processes.gather(mine),
        "module": dict(trainer.module.state_dict()),
        "averaged": trainer.averaged.state_dict() if trainer.averaged is not None else None,
        "callbacks": [callback.state_dict() for callback in with_state(trainer)],
        "position": {"epoch": trainer.epoch, "batch": trainer.batch, "step": trainer.step},
        "history": record.history,
        "cases": record.cases,
        "seconds": trainer.seconds,
        "best": trainer.best,
    }


def save(trainer: Trainer, names: tuple[str, ...] = (LATEST,)) -> Path:
    """Write the checkpoint under each of `names`; every process calls this, the first one writes."""
    folder = Path(trainer.checkpoint_dir or ".")
    state = capture(trainer)
    sentence: str | None = None
    if trainer.rank == 0:
        try:
            for name in names:
                write_state(folder / name, state)
        except StorageError as error:
            sentence = str(error)
    sentence = trainer.processes.share(sentence)
    if sentence is not None:
        raise StorageError(sentence)
    return folder / names[0]


def load(trainer: Trainer, path: str | Path) -> None:
    """Put the training back where the checkpoint was written; `path` is the file or its folder."""
    path = Path(path)
    path = path / LATEST if path.is_dir() else path
    state = read_state(path, device=trainer.processes.device)
    if not isinstance(state, dict) or state.get("kind") != KIND:
        raise StorageError(f"{path} must be a training checkpoint. It is a state of another kind. Check the path.")
    try:
        _put_back(trainer, path, state)
    except KeyError as error:
        raise StorageError(
            f"{path} must hold the state that this version writes. Its {error} is missing. "
            "Resume it with the version that wrote it, or train anew."
        ) from error


def _put_back(trainer: Trainer, path: Path, state: dict[str, Any]) -> None:
    _check_settings(path, state["settings"], fingerprint(trainer))
    fill_module(trainer.module, state["module"], source=str(path))
    mine = state["ranks"][trainer.rank]
    for name, buffer in trainer.module.named_buffers():
        buffer.copy_(mine["buffers"][name])
    trainer.procedure.load_state_dict(mine["procedure"])
    trainer.generator.set_state(mine["generator"])
    trainer.data_generator.set_state(mine["data_generator"])
    trainer.meter.load_state_dict(mine["meter"])
    if trainer.averaged is not None:
        trainer.averaged.load_state_dict(state["averaged"])
    for callback, saved in zip(with_state(trainer), state["callbacks"], strict=True):
        callback.load_state_dict(saved)
    trainer.epoch, trainer.batch, trainer.step = (state["position"][k] for k in ("epoch", "batch", "step"))
    trainer.record.history, trainer.record.cases = state["history"], state["cases"]
    trainer.record.checkpoint = path
    trainer.seconds_before, trainer.best = state["seconds"], state["best"]
    set_random_state(mine["random"], trainer.processes.device)


def _check_settings(path: Path, saved: dict[str, Any], wanted: dict[str, Any]) -> None:
    for name, value in wanted.items():
        if saved.get(name) != value:
            raise StorageError(
                f"resume_from must be a checkpoint of the same training. {path} has {name} = {saved.get(name)!r}, "
                f"this training has {value!r}. Use the settings it was started with, or start anew."
            )
