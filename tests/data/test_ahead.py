"""Streams read ahead: nothing but the time changes, errors arrive as they are, and no thread is left."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import subprocess
import sys
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deepbelief.data.ahead import Errand
from deepbelief.data.base import Source
from deepbelief.data.blocks import BlockSource
from deepbelief.data.memmap import MemmapSource
from deepbelief.data.source import make_source
from deepbelief.energy.gradients.settings import LearningSettings, make_procedure
from deepbelief.energy.rbm import RBM
from deepbelief.errors import InvalidDataError
from deepbelief.training.trainer import Trainer

CASES = 200
X = (np.arange(CASES * 3).reshape(CASES, 3) % 7).astype(np.float32)
OPTIONS: dict[str, Any] = {"batch_size": 9, "block_size": 8, "buffer_blocks": 3}  # 9 groups of 24 cases


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "deepbelief-reads-ahead"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    np.save(tmp_path / "x.npy", X)
    return tmp_path / "x.npy"


def noisy(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return x + torch.rand(x.shape, generator=generator)


def in_turns(source: BlockSource, start: int, generator: torch.Generator, rank: int, world_size: int) -> list[Any]:
    """The batches of an epoch, each read alone from the order of the groups."""
    order = torch.cat(list(source._groups(0)))
    batches = []
    for first in range(start * 9, source.n_batches(world_size) * 9, 9):
        size = min(9, CASES - first)
        mine = order[first + size * rank // world_size : first + size * (rank + 1) // world_size]
        batches.append(Source._batch(source, mine, generator).x)
    return batches


@pytest.mark.parametrize(("start", "rank", "world_size"), [(0, 0, 1), (1, 0, 1), (7, 0, 1), (22, 0, 1), (5, 1, 3)])
def test_batches_and_random_state_are_those_of_reading_in_turns(
    start: int, rank: int, world_size: int, path: Path
) -> None:
    source, ours, theirs = MemmapSource(path, transform=noisy, **OPTIONS), generator(), generator()
    expected = in_turns(source, start, theirs, rank, world_size)
    epoch = source.batches(0, start=start, generator=ours, rank=rank, world_size=world_size)
    for batch, alone in zip(epoch, expected, strict=True):
        assert torch.equal(batch.x, alone)
    assert torch.equal(ours.get_state(), theirs.get_state())


def test_one_group_is_read_ahead_and_no_more(path: Path) -> None:
    source, read = MemmapSource(path, **OPTIONS), []
    load = source._load
    source._load = lambda rows, *more: read.append(len(rows)) or load(rows, *more)  # type: ignore[method-assign]
    used, most = 0, 0
    for number, batch in enumerate(source.batches(0, generator=generator())):
        source._settle()
        used += len(batch.x)
        groups_in_use = -(-used // 24)
        assert len(read) <= groups_in_use + (number > 0)
        most = max(most, len(read) - groups_in_use)
    assert most == 1
    assert sum(read) == CASES


def test_a_look_at_one_batch_starts_no_thread(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading.Thread, "start", lambda self: pytest.fail("a thread was started"))
    next(iter(MemmapSource(path, **OPTIONS).batches(0, generator=generator())))


@pytest.mark.parametrize("at", [0, 30, 100])
def test_an_error_reaches_the_caller_as_it_is_and_where_it_belongs(at: int, tmp_path: Path) -> None:
    x = X.copy()
    x[at, 1] = np.inf
    np.save(tmp_path / "x.npy", x)
    source = MemmapSource(tmp_path / "x.npy", shuffle=False, **OPTIONS)
    batches = source.batches(0, generator=generator())
    for _ in range(at // 24 * 24 // 9):  # all batches of the groups before
        next(batches)
    with pytest.raises(InvalidDataError, match="infinity"):
        next(batches)
    assert not threads()


@pytest.mark.parametrize("kind", [KeyboardInterrupt, MemoryError, StopIteration])
def test_errors_of_any_kind_pass(kind: type[BaseException]) -> None:
    def fail(wanted: Any) -> None:
        raise kind("as it is")

    with pytest.raises(kind, match="as it is"):
        Errand(fail).result()


def slow(source: BlockSource) -> threading.Event:
    """Have every block but those of the first group wait for the event, which is returned."""
    go_on, reads, fill = threading.Event(), [], source._rows_into

    def wait(first: int, out: Any) -> bool:
        reads.append(first)
        assert len(reads) <= 3 or go_on.wait(20)
        return fill(first, out)

    source._rows_into = wait  # type: ignore[method-assign]
    source.reads = reads  # type: ignore[attr-defined]
    return go_on


@pytest.mark.parametrize("how", ["close", "drop", "exception"])
def test_the_thread_ends_with_its_epoch(how: str, path: Path) -> None:
    source = MemmapSource(path, **OPTIONS)
    go_on = slow(source)
    batches = source.batches(0, generator=generator())
    next(batches)
    with pytest.raises(ZeroDivisionError) if how == "exception" else nullcontext():
        for _ in batches:
            (thread,) = threads()
            threading.Timer(0.05, go_on.set).start()
            assert 1 / (how != "exception")
            break
    if how == "close":
        batches.close()  # type: ignore[attr-defined]
    del batches
    gc.collect()
    assert not thread.is_alive()
    assert len(source.reads) <= 5  # the block that it was at, not the whole group


@pytest.mark.parametrize("max_steps", [2, 5, 50])
def test_no_thread_outlives_a_training(max_steps: int, path: Path) -> None:
    rbm = RBM(3, 2, generator=generator())
    rule = make_procedure(rbm, LearningSettings(n_chains=9, epochs=3, learning_rate=0.01))
    source = make_source(path, batch_size=9, scale=1 / 7)
    source.edges, source.buffer_blocks = torch.arange(0, CASES + 1, 8), 3
    Trainer(max_steps=max_steps, device="cpu", progress=False).fit(rule, source)
    assert not threads()


def test_training_resumes_in_the_middle_of_a_group(path: Path, tmp_path: Path) -> None:
    def train(steps: int, folder: Path, resume: bool) -> dict[str, torch.Tensor]:
        rbm = RBM(3, 2, generator=generator())
        rule = make_procedure(rbm, LearningSettings(n_chains=9, epochs=3, learning_rate=0.1, schedule="constant"))
        source = MemmapSource(path, scale=1 / 7, **OPTIONS)
        trainer = Trainer(max_steps=steps, device="cpu", progress=False, checkpoint_dir=folder)
        trainer.fit(rule, source, resume_from=folder if resume else None)
        return rbm.state_dict()

    whole = train(40, tmp_path / "whole", False)
    for stop in (1, 4, 22, 23, 30):
        train(stop, tmp_path / str(stop), False)
        for name, value in train(40, tmp_path / str(stop), True).items():
            assert torch.equal(value, whole[name])


def test_the_interpreter_ends_in_the_middle_of_an_epoch(path: Path) -> None:
    script = f"""
import torch
from deepbelief.data.memmap import MemmapSource
source = MemmapSource({str(path)!r}, batch_size=9, block_size=8, buffer_blocks=3)
batches = source.batches(0, generator=torch.Generator())
next(batches), next(batches)
print("read")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "read\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_fork_in_the_middle_of_an_epoch_reads_on(path: Path) -> None:
    expected = [batch.x for batch in MemmapSource(path, **OPTIONS).batches(0, generator=generator())]
    source = MemmapSource(path, **OPTIONS)
    go_on = slow(source)
    batches = source.batches(0, generator=generator())
    begun = [next(batches).x, next(batches).x]
    child = os.fork()
    go_on.set()
    if child == 0:
        try:
            whole = begun + [batch.x for batch in batches]
            os._exit(0 if all(map(torch.equal, whole, expected)) and len(whole) == len(expected) else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert all(map(torch.equal, begun + [batch.x for batch in batches], expected))


def test_two_epochs_and_chunks_at_once_each_see_their_own(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pandas.DataFrame(X, columns=list("abc")).to_parquet(tmp_path / "x.parquet", row_group_size=16)
    source = make_source(tmp_path / "x.parquet", batch_size=9)
    source.buffer_blocks = 2  # type: ignore[attr-defined]
    alone = [[batch.x for batch in source.batches(epoch, generator=generator())] for epoch in (0, 1)]
    both = zip(*(source.batches(epoch, generator=generator()) for epoch in (0, 1)), strict=True)
    for number, (one, other) in enumerate(both):
        assert torch.equal(one.x, alone[0][number])
        assert torch.equal(other.x, alone[1][number])
        assert torch.equal(next(source.chunks(50)).x, torch.from_numpy(X[:50]))


def test_where_no_thread_can_be_started_reading_takes_its_turn(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    expected = [batch.x for batch in MemmapSource(path, **OPTIONS).batches(0, generator=generator())]
    monkeypatch.setattr(threading.Thread, "start", refuse)
    source = MemmapSource(path, **OPTIONS)
    assert all(map(torch.equal, [batch.x for batch in source.batches(0, generator=generator())], expected))


def test_a_source_in_use_can_be_sent_elsewhere(path: Path) -> None:
    source = MemmapSource(path, **OPTIONS)
    batches = source.batches(0, generator=generator())
    next(batches), next(batches)
    assert source._errand is not None
    for twin in (pickle.loads(pickle.dumps(source)), copy.deepcopy(source)):
        assert torch.equal(next(twin.chunks()).x, torch.from_numpy(X))
