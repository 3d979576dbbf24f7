"""How many cores this process may really use, which is not how many the machine has.

torch takes a thread for every core that it sees. In a container with a quota, under ``taskset``, or beside other
processes of the same training, some of these threads have no core: they wait for each other in every product, and a
training takes several times as long as on fewer threads.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


def fair_share(processes: int = 1) -> int:
    """Threads for each of `processes` that learn together on this machine, so that every thread has a core.

    >>> fair_share(1000)
    1
    """
    told = os.environ.get("LOCAL_WORLD_SIZE", "")  # torchrun says how many of them are on this machine
    here = int(told) if told.isdecimal() else processes
    return max(1, usable_cores() // max(1, here))


def usable_cores() -> int:
    """The cores that this process is allowed to run on, as far as the quota of its control group goes."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([allowed, *(math.ceil(quota) for quota in _quotas())]))


def _quotas() -> Iterable[float]:
    """Cores' worth of time that this process's control group and those above it grant; none where there is no limit."""
    for folder in _groups():
        try:
            if (folder / "cpu.max").exists():  # version 2: "200000 100000", or "max 100000"
                granted, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
            else:
                names = "cpu.cfs_quota_us", "cpu.cfs_period_us"
                granted, period = ((folder / name).read_text(encoding="utf-8").strip() for name in names)
            if granted not in ("max", "-1"):
                yield int(granted) / int(period)
        except (OSError, ValueError):  # no such group here, or one that says it in another way
            continue


def _groups() -> Iterable[Path]:
    try:
        lines = OWN.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = CGROUPS / controllers if controllers else CGROUPS
        own = top / path.strip("/")
        yield from (own, *(parent for parent in own.parents if parent.is_relative_to(top)))
