"""Two processes learn what one does, and resume exactly."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from deepbelief.storage import read_state, state_to_bytes
from deepbelief.training.processes import Processes, connect, joined
from tests.oracle.launch import launch, outcomes

pytestmark = pytest.mark.distributed

Outcomes = list[dict[str, Any]]


def run_two(script: str, out: Path, *settings: str, killed: bool = False) -> Outcomes:
    """Run the small training in two processes and return both outcomes."""
    launch([script, str(out), "device=cpu", "epochs=3", *settings], killed=killed)
    return [] if killed else outcomes(out)


@pytest.fixture(scope="module")
def whole(small: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """Both outcomes of two processes that were never stopped."""
    return run_two(small.__file__, tmp_path_factory.mktemp("whole") / "out", "regressions=yes")


def check_against_one_process(small: ModuleType, two: Outcomes) -> None:
    for kind, first, second in zip(small.REGRESSIONS, *(outcome["regressions"] for outcome in two), strict=True):
        one = small.regress(*kind)
        for name, value in one["module"].items():
            assert torch.equal(first["module"][name], second["module"][name])
            # float64 sums in another order: rounding at 1e-16 a step, far below any slip in the averaging
            torch.testing.assert_close(first["module"][name], value, rtol=1e-9, atol=1e-11)


def test_two_processes_take_the_steps_of_one(small: ModuleType, whole: Outcomes) -> None:
    check_against_one_process(small, whole)


def test_both_processes_hold_one_model_and_one_history(whole: Outcomes) -> None:
    assert [outcome["rank"] for outcome in whole] == [0, 1]
    for name in ("module", "history", "procedure"):
        assert state_to_bytes(whole[0][name]) == state_to_bytes(whole[1][name])


def test_resume_in_two_processes_is_exact(small: ModuleType, tmp_path: Path, whole: Outcomes) -> None:
    run_two(
        small.__file__, tmp_path / "out", "kill_at=10", "checkpoint_every=4", f"checkpoint_dir={tmp_path}", killed=True
    )
    assert read_state(tmp_path / "checkpoint.safetensors")["position"] == {"epoch": 1, "batch": 2, "step": 8}
    resumed = run_two(small.__file__, tmp_path / "out", f"resume_from={tmp_path}")
    for mine, expected in zip(resumed, whole, strict=True):
        wanted = {name: value for name, value in expected.items() if name != "regressions"}
        assert state_to_bytes(mine) == state_to_bytes(wanted)


def test_fabric_starts_the_second_process(small: ModuleType, tmp_path: Path) -> None:
    clean = {k: v for k, v in os.environ.items() if k not in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT")}
    settings = ["device=cpu", "epochs=3", "regressions=yes", "devices=2"]
    command = [sys.executable, small.__file__, str(tmp_path / "out"), *settings]
    done = subprocess.run(command, env=clean | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    check_against_one_process(small, outcomes(tmp_path / "out"))


def test_alone_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert connect("cpu") == Processes(torch.device("cpu"))
    assert joined() == Processes(torch.device("cpu"))
    assert connect("cpu").gather({"a": 1}) == [{"a": 1}]
