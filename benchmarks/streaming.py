"""Rows per second that a source gives, beside those that a PCD-1 update of 784-500 takes, from one interleaved run.

Sources: floats, bytes and bits in memory, the same in ``.npy`` files, and floats and bytes in four parquet shards. The
files are small enough to stay in the system's cache, so this is what reading costs the processor, not the disk.

    python benchmarks/streaming.py [--rounds 5] [--rows 65536]
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from _measure import interleaved, parser, print_table, ratio, set_up
from rbm_step import BATCHES, ours

from deepbelief.data.source import make_source
from deepbelief.rng import make_generator

VISIBLE, HIDDEN, BATCH = 784, 500, 100
UPDATE = "PCD-1 update, 784-500"


def files(folder: Path, bits: np.ndarray) -> dict[str, Any]:
    """What each source is made of, with the options of `make_source`."""
    packed, floats = np.packbits(bits, axis=1), bits.astype(np.float32)
    for name, array in (("floats", floats), ("bytes", bits), ("bits", packed)):
        np.save(folder / f"{name}.npy", array)
    return {
        "floats in memory": (floats, {}),
        "bytes in memory": (bits, {}),
        "bits in memory": (packed, {"packed": VISIBLE}),
        "floats, .npy": (folder / "floats.npy", {}),
        "bytes, .npy": (folder / "bytes.npy", {}),
        "bits, .npy": (folder / "bits.npy", {"packed": VISIBLE}),
        "floats, 4 parquet shards": (shards(folder, "floats", floats), {}),
        "bytes, 4 parquet shards": (shards(folder, "bytes", bits), {}),
        "bits, 4 parquet shards": (shards(folder, "bits", packed), {"packed": VISIBLE}),
    }


def shards(folder: Path, name: str, array: np.ndarray) -> list[Path]:
    """Four parquet files with row groups of 4096."""
    import pyarrow as pa
    from pyarrow import parquet

    paths = []
    for number, part in enumerate(np.array_split(array, 4)):
        paths.append(folder / f"{name}{number}.parquet")
        table = pa.table({f"c{i}": np.ascontiguousarray(column) for i, column in enumerate(part.T)})
        parquet.write_table(table, paths[-1], row_group_size=4096)
    return paths


def reading(x: Any, options: dict[str, Any], batches: int) -> Callable[[], object]:
    """The first batches of a shuffled epoch."""
    source, generator = make_source(x, batch_size=BATCH, **options), make_generator(0)
    return lambda: sum(len(batch) for batch in islice(source.batches(0, generator=generator), batches))


def main() -> None:
    """Measure and print rows per second."""
    arguments = parser("Rows per second of the sources, and of the updates that eat them", 5)
    arguments.add_argument("--rows", type=int, default=65_536)
    options = arguments.parse_args()
    set_up(options.threads)
    bits = (np.random.default_rng(0).random((options.rows, VISIBLE)) < 0.2).astype(np.uint8)
    batches = options.rows // BATCH
    with tempfile.TemporaryDirectory() as folder:
        made = files(Path(folder), bits)
        update, turns = ours("pcd", VISIBLE, HIDDEN, BATCH), max(1, batches // BATCHES)
        ways: dict[str, Callable[[], object]] = {UPDATE: lambda: [update() for _ in range(turns)]}
        ways |= {name: reading(x, more, turns * BATCHES) for name, (x, more) in made.items()}
        seconds = interleaved(ways, options.rounds)
    print_table("one batch of 100 rows", seconds, limit=UPDATE, per=turns * BATCHES)
    print(f"\n{'':44}{'rows a second':>14}{'times what training takes':>28}")
    for name, times in seconds.items():
        rate = turns * BATCHES * BATCH / sorted(times)[len(times) // 2]
        print(f"{name:44}{rate:>14,.0f}{ratio(seconds, UPDATE, name):>28.1f}")


if __name__ == "__main__":
    main()
