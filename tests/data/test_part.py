"""Some rows of a file stream as a copy of them would, in pieces that stay small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deepbelief.data import part
from deepbelief.data.memmap import MemmapSource, NpyReader, reader_of
from deepbelief.data.part import RowsBelow, RowsOf, part_of
from deepbelief.data.source import make_source
from deepbelief.errors import InvalidArgumentError

CASES = 200
INDICES = {
    "most": np.flatnonzero(np.arange(CASES) % 10),
    "few": np.arange(3, CASES, 17),
    "ends": np.array([0, CASES - 1]),
}


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.uint8])
@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
@pytest.mark.parametrize("is_file", [True, False])
def test_batches_are_those_of_a_copy(
    kind: Any, index: Any, is_file: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part, "GAP_BYTES", 100)
    monkeypatch.setattr(part, "PIECE_BYTES", 400)
    x = (np.arange(CASES * 12) % 251).reshape(CASES, 3, 4).astype(kind)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    rows = RowsOf(mapped if is_file else mapped.reshape(CASES, 12), index)
    options: dict[str, Any] = {"batch_size": 7, "block_size": 16, "buffer_blocks": 2}
    ours, theirs = (MemmapSource(one, np.arange(len(index)), **options) for one in (rows, x[index]))
    for start, rank, world_size in ((0, 0, 1), (1, 0, 1), (0, 1, 2)):
        if start >= ours.n_batches(world_size):
            continue
        where: dict[str, Any] = {"start": start, "rank": rank, "world_size": world_size}
        both = (source.batches(3, generator=generator(), **where) for source in (ours, theirs))
        for one, other in zip(*both, strict=True):
            assert torch.equal(one.x, other.x)
            assert torch.equal(one.y, other.y)
    assert torch.equal(torch.cat([batch.x for batch in ours.chunks(5)]), torch.from_numpy(x[index]).flatten(1).float())
    assert isinstance(make_source(rows), MemmapSource)


@pytest.mark.parametrize("kinds", [(np.uint8, np.uint8, np.uint8), (np.float32, np.uint8, np.float64)])
def test_arrays_one_below_the_other_stream_as_one(kinds: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = [
        (np.arange(n * 12) % 251 + n).astype(kind).reshape(n, 12) for n, kind in zip((50, 3, 90), kinds, strict=True)
    ]
    np.save(tmp_path / "x.npy", arrays[0])
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    index = np.arange(1, 90, 2)
    both = RowsBelow([mapped, arrays[1], RowsOf(arrays[2], index)])
    copy = np.concatenate([*arrays[:2], arrays[2][index]])
    assert (both.shape, both.dtype, len(both)) == (copy.shape, copy.dtype, len(copy))
    for key in (slice(None), slice(45, 60), slice(97, 200), slice(60, 10, -7), np.array([97, 0, 51, 52, 53, 0])):
        np.testing.assert_array_equal(both[key], copy[key])
    reader = reader_of(both)
    for first, stop in ((0, 98), (49, 54), (50, 53), (51, 52), (97, 98)):
        np.testing.assert_array_equal(reader.rows(first, stop), copy[first:stop])
        reader.announce(first, stop)
    options: dict[str, Any] = {"batch_size": 7, "block_size": 16, "buffer_blocks": 2}
    some = np.flatnonzero(np.arange(98) % 5)
    for ours, theirs in ((both, copy), (part_of(both, some), copy[some])):
        assert type(ours) is (RowsBelow if ours is both else RowsOf)
        sources = (MemmapSource(x, np.arange(len(x)), **options) for x in (ours, theirs))
        for one, other in zip(*(source.batches(3, generator=generator()) for source in sources), strict=True):
            assert torch.equal(one.x, other.x)
            assert torch.equal(one.y, other.y)


def test_rows_of_other_widths_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match=r"arrays must have rows of one shape\. Got \[\(2,\), \(3,\)\]"):
        RowsBelow([np.zeros((1, 2)), np.zeros((1, 3))])


def test_a_part_of_a_part_is_read_from_the_whole(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(40).reshape(20, 2))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    part = part_of(part_of(mapped, np.arange(0, 20, 3)), np.array([1, 2, 5]))
    assert part.array is mapped
    np.testing.assert_array_equal(part[:], mapped[[3, 6, 15]])
    assert part_of(part, slice(None)).array is mapped
    assert isinstance(part_of(mapped, slice(3)), np.memmap)
    assert type(part_of(np.arange(4), np.array([1]))) is np.ndarray


def test_pieces_stay_small_and_long_gaps_are_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part, "GAP_BYTES", 40)
    monkeypatch.setattr(part, "PIECE_BYTES", 80)
    np.save(tmp_path / "x.npy", np.tile(np.arange(CASES, dtype=np.uint8)[:, None], 4))  # 4 bytes a row
    index = np.concatenate([np.arange(0, 60, 2), [90, 91, 150]])
    reader, read, rows = reader_of(RowsOf(np.load(tmp_path / "x.npy", mmap_mode="r"), index)), [], NpyReader.rows
    monkeypatch.setattr(NpyReader, "rows", lambda self, *span: read.append(span) or rows(self, *span))
    np.testing.assert_array_equal(reader.rows(1, 33)[:, 0], index[1:])
    assert max(stop - first for first, stop in read) <= 20
    assert sum(stop - first for first, stop in read) < 64  # not the 148 that they span
