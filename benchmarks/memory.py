"""Peak memory of training on a mapped file that is larger than memory, of scoring, and of annealing.

The file is sparse: 20 GB of zeros that take no disk, read as any other file is. Two peaks are printed for each stage,
beyond what the process held before it: of all resident memory (VmHWM, which counts a mapped file's pages while they are
mapped) and of the process's own (RssAnon, sampled every 5 ms).

    python benchmarks/memory.py [--gigabytes 20] [--updates 500] [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from _measure import processor

from deepbelief.data.source import make_source
from deepbelief.energy.gradients.settings import LearningSettings, make_procedure
from deepbelief.energy.partition.ais import ais
from deepbelief.energy.rbm import RBM
from deepbelief.evaluation.likelihood import chunked_log_likelihood
from deepbelief.rng import make_generator
from deepbelief.training.trainer import Trainer
from deepbelief.types import Bound

BATCH, HIDDEN = 100, 500
SHAPES = {"784 float32": (784, np.float32), "784 bytes": (784, np.uint8), "12288 float32": (12288, np.float32)}


def status(key: str) -> int:
    """A line of /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise SystemExit("benchmarks/memory.py needs Linux's /proc")


@contextmanager
def peaks(stage: str) -> Iterator[None]:
    """Print by how much the stage raised the resident memory at its highest."""
    own, before, done = status("RssAnon"), status("VmRSS"), threading.Event()
    highest = own
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # VmHWM starts again from now

    def watch() -> None:
        nonlocal highest
        while not done.wait(0.005):
            highest = max(highest, status("RssAnon"))

    watcher, start = threading.Thread(target=watch), time.perf_counter()
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
    total, seconds = status("VmHWM") - before, time.perf_counter() - start
    print(f"{stage:50}{total / 1e6:>12.0f}{(highest - own) / 1e6:>12.0f}{seconds:>10.1f}", flush=True)


def measured(path: Path, n_visible: int, updates: int, read: float) -> None:
    """All stages on one file."""
    generator = make_generator(0)
    rbm = RBM(n_visible, HIDDEN, generator=generator)
    source = make_source(path, batch_size=BATCH)
    rule = make_procedure(rbm, LearningSettings(n_chains=BATCH, epochs=1, learning_rate=0.05))
    with peaks(f"training, {updates} updates of {BATCH}"):
        Trainer(max_steps=updates, device="cpu", progress=False).fit(rule, source)
    n_batches = int(read * 1e9) // (4 * n_visible * BATCH)
    with peaks(f"reading {n_batches:,} batches of a shuffled epoch"):
        for _ in islice(source.batches(0, generator=generator), n_batches):
            pass
    with peaks("scoring 100,000 cases, read in chunks"):
        for number, batch in enumerate(source.chunks(4096)):
            chunked_log_likelihood(rbm, batch.x, generator=generator, log_z=Bound(0.0, "exact"))
            if number * 4096 > 100_000:
                break
    with peaks("annealing, 100 chains, 300 temperatures"):
        ais(rbm, n_chains=100, betas=300, generator=generator)


def main() -> None:
    """Make the file, run every stage, remove it."""
    parser = argparse.ArgumentParser(description="Peak memory beyond the model, in megabytes")
    parser.add_argument("--gigabytes", type=float, default=20.0)
    parser.add_argument("--read", type=float, default=4.0, help="gigabytes (as float32) to read beside training")
    parser.add_argument("--updates", type=int, default=500)
    parser.add_argument("--folder", default=None, help="where the sparse file is made (default: a temporary folder)")
    parser.add_argument("--shapes", nargs="*", default=["784 float32", "12288 float32"], choices=SHAPES)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(processor())
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for shape in options.shapes:
            n_visible, dtype = SHAPES[shape]
            rows = int(options.gigabytes * 1e9) // (n_visible * np.dtype(dtype).itemsize)
            path, free = Path(folder) / "large.npy", shutil.disk_usage(folder).free
            np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=(rows, n_visible))
            title = f"{rows:,} rows of {shape}, {path.stat().st_size / 1e9:.1f} GB"
            print(f"\n{title}, {(free - shutil.disk_usage(folder).free) / 1e6:.1f} MB of disk")
            print(f"{'MB beyond what was held before':50}{'resident':>12}{'own':>12}{'seconds':>10}")
            measured(path, n_visible, options.updates, options.read)


if __name__ == "__main__":
    main()
