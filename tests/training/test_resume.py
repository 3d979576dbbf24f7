"""Resumed = never stopped, bit for bit."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from deepbelief.errors import StorageError
from deepbelief.storage import read_state, state_to_bytes, write_state
from deepbelief.training.callbacks import Callback


def same(a: Any, b: Any) -> bool:
    """Equality of every bit, of tensors and of numbers."""
    return state_to_bytes(a) == state_to_bytes(b)


@pytest.fixture(scope="module")
def unbroken(small: ModuleType) -> dict[str, Any]:
    return small.train(epochs=5)


def test_two_runs_of_one_seed_are_equal_and_of_two_seeds_are_not(small: ModuleType, unbroken: dict[str, Any]) -> None:
    assert same(small.train(epochs=5), unbroken)
    assert not same(small.train(epochs=5, seed=1)["module"], unbroken["module"])


def test_the_callers_global_stream_is_untouched(small: ModuleType) -> None:
    before = torch.get_rng_state()
    small.train(epochs=1)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("killed_at", "every"), [(17, 4), (15, 14), (21, 7), (3, 2)])
def test_resume_after_kill_9(
    small: ModuleType, unbroken: dict[str, Any], tmp_path: Path, killed_at: int, every: int
) -> None:
    script = [sys.executable, small.__file__, str(tmp_path / "out"), "epochs=5", f"checkpoint_dir={tmp_path}"]
    done = subprocess.run([*script, f"checkpoint_every={every}", f"kill_at={killed_at}"], check=False)
    assert done.returncode == -signal.SIGKILL
    saved = read_state(tmp_path / "checkpoint.safetensors")
    assert saved["position"]["step"] == (killed_at - 1) // every * every
    assert same(small.train(epochs=5, resume_from=tmp_path), unbroken)


@pytest.mark.parametrize("optimizer", ["sgd", "lbfgs"])
def test_resume_in_the_middle_of_an_epoch_with_other_optimizers(
    small: ModuleType, tmp_path: Path, optimizer: str
) -> None:
    never_stopped = small.train(epochs=3, optimizer=optimizer)
    with pytest.raises(KeyboardInterrupt):
        small.train(
            epochs=3, optimizer=optimizer, checkpoint_dir=tmp_path, callbacks=[small.SignalAt(10, signal.SIGINT)]
        )
    assert same(small.train(epochs=3, optimizer=optimizer, resume_from=tmp_path), never_stopped)


def test_ctrl_c_stops_at_the_next_step_and_keeps_a_checkpoint(
    small: ModuleType, unbroken: dict[str, Any], tmp_path: Path
) -> None:
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="after step 9"):
        small.train(epochs=5, checkpoint_dir=tmp_path, callbacks=[small.SignalAt(9, signal.SIGINT)])
    assert signal.getsignal(signal.SIGINT) is handler
    assert same(small.train(epochs=5, resume_from=tmp_path / "checkpoint.safetensors"), unbroken)


def test_ctrl_c_in_the_last_step_is_not_lost(small: ModuleType) -> None:
    with pytest.raises(KeyboardInterrupt):
        small.train(epochs=1, callbacks=[small.SignalAt(7, signal.SIGINT)])


def test_second_ctrl_c_stops_at_once(small: ModuleType) -> None:
    class Twice(Callback):
        steps = 0

        def on_step_end(self, trainer: Any) -> None:
            Twice.steps += 1
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        small.train(epochs=5, callbacks=[Twice()])
    assert Twice.steps == 1


def test_training_in_a_thread_leaves_signals_alone(small: ModuleType, unbroken: dict[str, Any]) -> None:
    outcome: list[Any] = []
    thread = threading.Thread(target=lambda: outcome.append(small.train(epochs=5)))
    thread.start()
    thread.join()
    assert same(outcome[0], unbroken)


def test_finished_training_resumes_to_itself(small: ModuleType, unbroken: dict[str, Any], tmp_path: Path) -> None:
    small.train(epochs=5, checkpoint_dir=tmp_path)
    assert same(small.train(epochs=5, resume_from=tmp_path), unbroken)


def test_full_disk_leaves_the_older_checkpoint(
    small: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.train(epochs=1, checkpoint_dir=tmp_path)
    older = (tmp_path / "checkpoint.safetensors").read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("deepbelief.files.os.fsync", full)
    with pytest.raises(StorageError, match="MB of disk space"):
        small.train(epochs=2, checkpoint_dir=tmp_path, resume_from=tmp_path)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == older
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.safetensors"]


@pytest.mark.parametrize(
    ("setting", "sentence"), [({"seed": 5}, "seed = 0, this training has 5"), ({"precision": "bf16"}, "precision")]
)
def test_resume_with_other_settings_is_refused(
    small: ModuleType, tmp_path: Path, setting: dict[str, Any], sentence: str
) -> None:
    small.train(epochs=1, checkpoint_dir=tmp_path)
    with pytest.raises(StorageError, match=sentence):
        small.train(epochs=2, resume_from=tmp_path, **setting)


def test_resume_with_another_number_of_processes_is_refused(small: ModuleType, tmp_path: Path) -> None:
    small.train(epochs=1, checkpoint_dir=tmp_path)
    path = tmp_path / "checkpoint.safetensors"
    state = read_state(path)
    state["settings"]["processes"] = 4
    write_state(path, state)
    with pytest.raises(StorageError, match="processes = 4, this training has 1"):
        small.train(epochs=2, resume_from=tmp_path)


def test_resume_from_something_else_is_refused(small: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="readable"):
        small.train(epochs=2, resume_from=tmp_path)
    write_state(tmp_path / "checkpoint.safetensors", {"kind": "soup"})
    with pytest.raises(StorageError, match="must be a training checkpoint"):
        small.train(epochs=2, resume_from=tmp_path)


def test_a_checkpoint_that_another_version_wrote_is_refused_with_a_remedy(small: ModuleType, tmp_path: Path) -> None:
    small.train(epochs=1, checkpoint_dir=tmp_path)
    path = tmp_path / "checkpoint.safetensors"
    state = read_state(path)
    del state["ranks"][0]["meter"]
    write_state(path, state)
    with pytest.raises(StorageError, match="Its 'meter' is missing"):
        small.train(epochs=2, resume_from=path)
