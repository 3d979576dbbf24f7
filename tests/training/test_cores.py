"""The cores that a process may use: those it is let run on, the quotas above it, and its share among processes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deepbelief.training import cores
from deepbelief.training.cores import fair_share, usable_cores


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of 16 cores, and a control group two levels deep."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(16)), raising=False)
    monkeypatch.setattr(cores, "CGROUPS", tmp_path)
    monkeypatch.setattr(cores, "OWN", tmp_path / "own")
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    (tmp_path / "own").write_text("0::/pod/box\n")
    (tmp_path / "pod" / "box").mkdir(parents=True)
    return tmp_path


@pytest.mark.usefixtures("groups")
def test_without_a_quota_all_that_it_may_run_on() -> None:
    assert usable_cores() == 16


@pytest.mark.parametrize(
    ("box", "pod", "expected"),
    [
        ("max 100000", None, 16),
        ("200000 100000", None, 2),
        ("250000 100000", None, 3),
        ("50000 100000", None, 1),
        ("800000 100000", "400000 100000", 4),
        ("max 100000", "400000 100000", 4),
        ("nonsense", "400000 100000", 4),
        ("6400000 100000", None, 16),
    ],
)
def test_the_smallest_quota_on_the_way_up_counts(groups: Path, box: str, pod: str | None, expected: int) -> None:
    (groups / "pod" / "box" / "cpu.max").write_text(box + "\n")
    if pod is not None:
        (groups / "pod" / "cpu.max").write_text(pod + "\n")
    assert usable_cores() == expected


@pytest.mark.parametrize(("quota", "expected"), [("-1", 16), ("300000", 3)])
def test_quotas_of_the_first_version(groups: Path, quota: str, expected: int) -> None:
    (groups / "own").write_text("5:memory:/box\n4:cpu,cpuacct:/box\n")
    folder = groups / "cpu,cpuacct" / "box"
    folder.mkdir(parents=True)
    (folder / "cpu.cfs_quota_us").write_text(quota + "\n")
    (folder / "cpu.cfs_period_us").write_text("100000\n")
    assert usable_cores() == expected


def test_a_machine_without_control_groups(groups: Path) -> None:
    (groups / "own").unlink()
    assert usable_cores() == 16


@pytest.mark.usefixtures("groups")
@pytest.mark.parametrize(
    ("processes", "local", "expected"),
    [(1, None, 16), (4, None, 4), (32, None, 1), (32, "4", 4), (4, "", 4), (4, "four", 4)],
)
def test_processes_share_the_cores(
    processes: int, local: str | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if local is not None:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", local)
    assert fair_share(processes) == expected


def test_here_there_is_at_least_one() -> None:
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
