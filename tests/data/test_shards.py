"""Several files are one data set: cases in order, row groups decoded once, what does not fit refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from deepbelief.data import parquet
from deepbelief.data.parquet import ParquetReader
from deepbelief.data.shards import ShardSource
from deepbelief.data.source import make_source
from deepbelief.errors import DeepBeliefError

X = np.arange(60, dtype=np.float32).reshape(20, 3)


def write(path: Path, x: Any, row_group_size: int = 4) -> Path:
    if path.suffix == ".npy":
        np.save(path, x)
    else:
        frame = pd.DataFrame(x)
        frame.columns = [f"c{i}" for i in range(frame.shape[1])]
        frame.to_parquet(path, row_group_size=row_group_size)
    return path


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.uint8, np.int64, np.bool_])
def test_shards_are_their_rows_in_order(kind: Any, tmp_path: Path) -> None:
    x = (X % 2).astype(kind)
    paths = [write(tmp_path / "0.npy", x[:7]), write(tmp_path / "1.parquet", x[7:]), write(tmp_path / "2.parquet", x)]
    source = make_source(paths)
    assert isinstance(source, ShardSource)
    whole = torch.cat([batch.x for batch in source.chunks(6)])
    assert torch.equal(whole, torch.from_numpy(np.concatenate([x, x]).astype(np.float32)))
    assert isinstance(make_source(paths[1]), ShardSource)


def test_packed_shards_are_unpacked(tmp_path: Path) -> None:
    bits = np.random.default_rng(0).integers(0, 2, (20, 11)).astype(np.uint8)
    packed = np.packbits(bits, axis=1)
    paths = [write(tmp_path / "0.npy", packed[:9]), write(tmp_path / "1.parquet", packed[9:])]
    chunks = make_source(paths, packed=11).chunks(7)
    assert torch.equal(torch.cat([batch.x for batch in chunks]), torch.from_numpy(bits).float())


def test_a_row_group_is_decoded_once_a_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []
    decode = ParquetReader._decoded
    monkeypatch.setattr(ParquetReader, "_decoded", lambda self, n: decoded.append(n) or decode(self, n))
    source = ShardSource([write(tmp_path / "x.parquet", X)], batch_size=3, buffer_blocks=2)
    for rank in (0, 1):
        decoded.clear()
        list(source.batches(0, generator=torch.Generator(), rank=rank, world_size=2))
        assert 3 <= len(decoded) == len(set(decoded))


def test_one_decoded_row_group_is_in_memory(tmp_path: Path) -> None:
    source = ShardSource([write(tmp_path / f"{i}.parquet", X) for i in range(3)], batch_size=3, buffer_blocks=2)
    for _ in source.batches(0, generator=torch.Generator()):
        assert sum(shard._kept is not None for shard in source.shards) <= 1  # none while another thread decodes
    assert sum(shard._kept is not None for shard in source.shards) == 1


@pytest.mark.parametrize(
    ("shards", "says"),
    [
        ({"0.npy": X, "1.npy": X[:, :2]}, "same columns"),
        ({"0.npy": X, "1.parquet": X.astype(np.uint8)}, "same columns"),
        ({"0.parquet": pd.DataFrame({"a": ["x", "y"], "b": [1, 2]})}, "numbers only"),
        ({"0.npy": np.zeros((0, 3))}, "not empty"),
        ({"0.parquet": None}, "must exist"),
    ],
)
def test_what_does_not_fit_is_refused(shards: dict[str, Any], says: str, tmp_path: Path) -> None:
    paths = [tmp_path / name if x is None else write(tmp_path / name, x) for name, x in shards.items()]
    with pytest.raises(DeepBeliefError, match=says):
        make_source(paths)


def test_empty_entries_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", pd.DataFrame({"a": [1.0, 2.0], "b": pd.array([1, None], dtype="Int64")}))
    with pytest.raises(DeepBeliefError, match=r"no empty entries.*'c1'"):
        next(make_source(path).chunks())


def test_a_broken_file_is_no_parquet_file(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DeepBeliefError, match="whole parquet file"):
        make_source(tmp_path / "x.parquet")


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_large_row_group_is_decoded_in_pieces(shuffle: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "GROUP_BYTES", 200)  # 16 cases of 12 bytes; pieces of 2
    monkeypatch.setattr(parquet, "BLOCK", 1)
    x = np.arange(240, dtype=np.float32).reshape(80, 3)
    paths = [write(tmp_path / "0.parquet", x[:60], 25), write(tmp_path / "1.npy", x[60:])]
    source = ShardSource(paths, np.arange(80), batch_size=7, shuffle=shuffle, block_size=4, buffer_blocks=3)
    assert source.edges.diff().tolist() == [*[2] * 12, 1, *[2] * 12, 1, 10, *[4] * 5]
    opened: list[int] = []
    begin = ParquetReader._open
    monkeypatch.setattr(ParquetReader, "_open", lambda self, piece: opened.append(piece) or begin(self, piece))
    whole = list(source.batches(1, generator=torch.Generator()))
    assert len(opened) == 3  # each row group is decoded once
    assert sorted(torch.cat([batch.y for batch in whole]).tolist()) == list(range(80))
    for start in (0, 1, 4, 11):
        rest = source.batches(1, start=start, generator=torch.Generator())
        for batch, other in zip(rest, whole[start:], strict=True):
            np.testing.assert_array_equal(batch.x, x[other.y])
    assert torch.equal(torch.cat([batch.x for batch in source.chunks(9)]), torch.from_numpy(x))


def test_row_groups_that_fit_keep_their_order(tmp_path: Path) -> None:
    source = ShardSource([write(tmp_path / f"{i}.parquet", X) for i in range(3)], batch_size=3, buffer_blocks=2)
    assert len(source.edges) == len(source.runs) == 16
    order = torch.randperm(15, generator=torch.Generator().manual_seed(5))
    groups = list(source._blocks(torch.Generator().manual_seed(5)))
    assert [group.tolist() for group in groups] == [group.tolist() for group in order.split(2)]
