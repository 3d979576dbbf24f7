"""Several processes of one training, started as ``torchrun`` would, but without its own process in front of them."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from deepbelief.storage import read_state

ROOT = Path(__file__).parents[2]


def launch(words: list[str], *, processes: int = 2, killed: bool = False) -> None:
    """``python WORDS`` in several processes that find each other; all must succeed, or (`killed`) one must fail.

    Where one fails the others, which might wait for it for ever, are killed.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    shared |= {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}
    shared["TORCHELASTIC_RUN_ID"] = "test"  # by which Lightning Fabric knows that it has nobody to start
    started: list[subprocess.Popen] = []
    with contextlib.ExitStack() as open_files:
        # files: a pipe that nobody reads would fill
        said = [open_files.enter_context(tempfile.TemporaryFile("w+")) for _ in range(processes)]
        try:
            for rank, errors in enumerate(said):
                alone = os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
                streams = {"stdout": subprocess.DEVNULL, "stderr": errors}
                started.append(subprocess.Popen([sys.executable, *words], env=alone, cwd=ROOT, **streams))
            until = time.monotonic() + 600
            while (codes := [process.poll() for process in started]).count(0) < processes and not any(codes):
                assert time.monotonic() < until, "the processes wait for each other"
                time.sleep(0.05)
            errors = said[next((rank for rank, code in enumerate(codes) if code), 0)]
            errors.seek(0)
            assert any(codes) == killed, errors.read()[-3000:]
        finally:
            for process in started:
                process.kill()
                process.wait()


def outcomes(out: Path, processes: int = 2) -> list[dict]:
    """What each process wrote beside `out`."""
    return [read_state(f"{out}.{rank}") for rank in range(processes)]
