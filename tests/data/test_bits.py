"""Bits in bytes give the batches that bytes and floats give, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from deepbelief.data.binarize import make_binarizer
from deepbelief.data.bits import _by_shifts, unpack
from deepbelief.data.source import make_source
from deepbelief.errors import DeepBeliefError

BITS = np.random.default_rng(0).integers(0, 2, (53, 21)).astype(np.uint8)
PACKED = np.packbits(BITS, axis=1)


@given(n=st.integers(1, 40), rows=st.integers(1, 5), seed=st.integers(0, 100))
def test_unpacking_undoes_packing(n: int, rows: int, seed: int) -> None:
    bits = np.random.default_rng(seed).integers(0, 2, (rows, n)).astype(np.uint8)
    packed = torch.from_numpy(np.packbits(bits, axis=1))
    assert np.array_equal(unpack(packed, n).numpy(), bits)
    assert np.array_equal(_by_shifts(packed, n).numpy(), bits)


@pytest.mark.parametrize("kind", ["array", "file"])
def test_batches_are_the_same(kind: str, tmp_path: Path) -> None:
    plain: Any = BITS
    packed: Any = PACKED
    if kind == "file":
        plain, packed = tmp_path / "plain.npy", tmp_path / "packed.npy"
        np.save(plain, BITS)
        np.save(packed, PACKED)
    noise = lambda x, generator: x + torch.rand(x.shape, generator=generator)
    options: dict[str, Any] = {"batch_size": 10, "seed": 3, "scale": 0.5, "transform": noise}
    one, other = make_source(plain, range(53), **options), make_source(packed, range(53), packed=21, **options)
    assert one.n_features == other.n_features == 21
    for epoch, rank in ((0, 0), (1, 1)):
        pairs = [
            source.batches(epoch, start=1, generator=torch.Generator().manual_seed(1), rank=rank, world_size=2)
            for source in (one, other)
        ]
        for a, b in zip(*pairs, strict=True):
            assert torch.equal(a.x, b.x)
            assert torch.equal(a.y, b.y)
    assert torch.equal(next(one.chunks()).x, next(other.chunks()).x)


@pytest.mark.parametrize(
    ("x", "options"),
    [
        (PACKED, {"packed": 25}),
        (PACKED, {"packed": 16}),
        (PACKED.astype(np.float32), {"packed": 21}),
        (PACKED, {"packed": 0}),
        (sparse.csr_matrix(PACKED), {"packed": 21}),
        (PACKED, {"packed": 21, "binarizer": make_binarizer("stochastic")}),
    ],
)
def test_what_cannot_be_bits_is_refused(x: Any, options: dict[str, Any]) -> None:
    with pytest.raises(DeepBeliefError, match="packed"):
        make_source(x, **options)
