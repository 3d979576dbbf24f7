"""Streams from mapped files: how much is read at once, what is skipped, and which pages stay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from deepbelief.data.memmap import MemmapSource
from deepbelief.errors import InvalidDataError

X = np.arange(159, dtype=np.float32).reshape(53, 3)


def generator():
    return torch.Generator().manual_seed(0)


def labels(source):
    return [batch.y.tolist() for batch in source.batches(0, generator=generator())]


def test_memmap_reads_no_more_than_its_buffer_at_once(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.arange(1000, dtype=np.uint8)[:, None] % 100)
    source = MemmapSource(path, np.arange(1000), batch_size=30, block_size=16, buffer_blocks=4)
    sizes, read, load = [], [], source._load
    source._load = lambda rows, *more: sizes.append(len(rows)) or load(rows, *more)
    fill = source._rows_into
    source._rows_into = lambda first, out: read.append(len(out)) or fill(first, out)
    y = [case for batch in labels(source) for case in batch]
    assert sorted(y) == list(range(1000))
    assert sum(sizes) == sum(read) == 1000
    assert max(sizes) <= 16 * 4
    assert max(read) <= 16


def test_blocks_of_wide_cases_are_smaller(tmp_path):
    np.lib.format.open_memmap(tmp_path / "x.npy", mode="w+", dtype=np.float32, shape=(3000, 12288))  # sparse: no disk
    source = MemmapSource(tmp_path / "x.npy")
    assert source.block_size * source.buffer_blocks * 4 * 12288 <= 1 << 27
    assert MemmapSource(X).block_size == 4096


def test_a_rank_skips_long_stretches_of_others(tmp_path):
    x = np.arange(40, dtype=np.float32)[:, None].repeat(1 << 15, axis=1)  # one case fills the gap that is read along
    np.save(tmp_path / "x.npy", x)
    source = MemmapSource(tmp_path / "x.npy", batch_size=8, shuffle=False)
    read, fill = [], source._rows_into
    source._rows_into = lambda first, out: read.append((first, first + len(out))) or fill(first, out)
    batches = list(source.batches(0, generator=generator(), rank=1, world_size=2))
    assert [batch.x[:, 0].tolist() for batch in batches] == [
        [first + i for i in (4, 5, 6, 7)] for first in range(0, 40, 8)
    ]
    assert read == [(first + 4, first + 8) for first in range(0, 40, 8)]


def test_a_file_that_shrinks_is_an_error(tmp_path):
    np.save(tmp_path / "x.npy", X)
    source = MemmapSource(tmp_path / "x.npy")
    with (tmp_path / "x.npy").open("r+b") as file:
        file.truncate(200)
    with pytest.raises(InvalidDataError, match="must stay whole"):
        next(source.chunks())


def test_pages_of_a_mapped_array_are_given_back(tmp_path):
    """Reading all of a part of a mapped file leaves less than a tenth of it in this process's resident memory."""
    np.lib.format.open_memmap(tmp_path / "x.npy", mode="w+", dtype=np.uint8, shape=(1 << 15, 1 << 10))
    part = np.load(tmp_path / "x.npy", mmap_mode="r")[1:]
    before = resident_pages_of_files()
    assert sum(len(batch) for batch in MemmapSource(part).batches(0, generator=generator())) == len(part)
    assert resident_pages_of_files() - before < part.nbytes / 10
    part.sum()
    assert resident_pages_of_files() - before > part.nbytes / 10  # so the measure does see pages


def resident_pages_of_files():
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("needs Linux's /proc")
    return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("RssFile"))


def test_what_is_changed_in_a_private_mapping_is_what_is_read(tmp_path):
    np.save(tmp_path / "x.npy", X)
    private = np.load(tmp_path / "x.npy", mmap_mode="c")
    private[3] = 7.0
    for x in (private, private[1:]):
        source = MemmapSource(x, block_size=5)
        for _ in range(2):  # the second reading would find the pages given back
            torch.testing.assert_close(next(source.chunks()).x, torch.from_numpy(np.array(x)))
