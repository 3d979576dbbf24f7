"""Interleaved timing: every way takes its turn in every round, so that a busy neighbour slows all alike."""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits


def interleaved(
    ways: Mapping[str, Callable[[], object]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of each way in each round, after one round that is not counted; by `clock`, wall time unless told."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for done in range(rounds + 1):
        for name, run in ways.items():
            start = clock()
            run()
            if done:
                seconds[name].append(clock() - start)
    return seconds


def ratio(seconds: Mapping[str, list[float]], name: str, to: str) -> float:
    """The median over rounds of one way's time by another's in the same round."""
    return statistics.median(a / b for a, b in zip(seconds[name], seconds[to], strict=True))


def by_onednn(way: Callable[[], object], rows: int, shape: tuple[int, int]) -> Callable[[], None]:
    """The same with the float32 products that trainings take of so many rows and weights of this shape."""
    from deepbelief.maths.float32 import quick_float32

    weights = torch.nn.Linear(*shape)

    def run() -> None:
        with quick_float32(weights, rows):
            way()

    return run


def print_table(
    title: str, seconds: Mapping[str, list[float]], *, limit: str, per: int = 1, unit: str = "ms", scale: float = 1e3
) -> None:
    """Medians and fastest times of every way, divided by `per`, and the ratio of each to the limit."""
    print(f"\n{title}\n{'':44}{'median ' + unit:>12}{'fastest':>10}{'to limit':>10}")
    for name, times in seconds.items():
        median, best = (scale * value / per for value in (statistics.median(times), min(times)))
        print(f"{name:44}{median:>12.3f}{best:>10.3f}{ratio(seconds, name, limit):>10.2f}")


def parser(description: str, rounds: int) -> argparse.ArgumentParser:
    """The arguments that every script has."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--rounds", type=count, default=rounds, help=f"rounds of all ways (default {rounds})")
    made.add_argument("--threads", type=count, default=1, help="threads of torch (default 1)")
    return made


def count(text: str) -> int:
    """An integer of at least 1, as an argument of a script."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1. Got {text!r}. Leave it out.")
    return int(text)


def set_up(threads: int) -> None:
    """Set the threads, and say what machine this is."""
    from deepbelief.native.library import library

    torch.set_num_threads(threads)
    threadpool_limits(threads)  # NumPy's own threads too, which would go on turning while the next way is timed
    found = library()
    kernels = f"C kernels of {found.lanes or 4} lanes" if found else "WITHOUT the C kernels"
    print(f"{processor()}, {os.cpu_count()} cores, {threads} threads, torch {torch.__version__}, {kernels}")
    print(f"load when started: {os.getloadavg()[0]:.1f}")


def processor() -> str:
    """The processor's name and the widest vectors that it has."""
    text = _cpu_info()
    if not text:
        return platform.processor() or platform.machine()
    name = next((line.split(":")[1].strip() for line in text.splitlines() if line.startswith("model name")), "?")
    flags = [flag for flag in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if flag in text]
    return f"{name} ({', '.join(flags)})"


def _cpu_info() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""
