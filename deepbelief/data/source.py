"""Sources for data in memory, and `make_source`, which picks the right source for what it is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset

from deepbelief.data.arrays import as_matrix
from deepbelief.data.base import Source, Transform
from deepbelief.data.binarize import Binarizer
from deepbelief.data.bits import check_packed
from deepbelief.data.loader import LoaderSource
from deepbelief.data.memmap import MemmapSource
from deepbelief.data.part import is_mapped
from deepbelief.data.shards import ShardSource
from deepbelief.errors import InvalidArgumentError, InvalidDataError


class ArraySource(Source):
    """Cases held in one tensor, on ``device``; bytes stay bytes there and become float32 batch by batch.

    ``x`` is anything `as_matrix` takes, ``scale`` (1/255 for grey levels) is applied when a batch is made, and the
    other arguments are those of `Source`.

    >>> source = ArraySource(np.arange(6, dtype=np.uint8).reshape(3, 2), batch_size=2, scale=0.5, shuffle=False)
    >>> [batch.x.tolist() for batch in source.batches(0, generator=torch.Generator())]
    [[[0.0, 0.5], [1.0, 1.5]], [[2.0, 2.5]]]
    """

    def __init__(
        self,
        x: Any,
        y: Any = None,
        weight: Any = None,
        *,
        batch_size: int = 100,
        seed: int = 0,
        shuffle: bool = True,
        transform: Transform | None = None,
        scale: float | None = None,
        device: torch.device | str = "cpu",
        packed: int | None = None,
    ) -> None:
        data = as_matrix(x, dtype=None)
        if packed is not None:
            check_packed(packed, data.shape[1], data.dtype == torch.uint8)
        super().__init__(
            data.shape[0],
            data.shape[1],
            y,
            weight,
            batch_size=batch_size,
            seed=seed,
            shuffle=shuffle,
            transform=transform,
            scale=scale,
            packed=packed,
        )
        self.data = data
        self.to(device)

    def to(self, device: torch.device | str) -> ArraySource:
        """This source, with its data on another device."""
        super().to(device)
        self.data = self.data.to(self.device)
        self.y = None if self.y is None else self.y.to(self.device)
        self.weight = None if self.weight is None else self.weight.to(self.device)
        return self

    @property
    def x(self) -> Tensor:
        """All cases as one scaled float32 matrix (four times the memory of bytes; `chunks` needs less)."""
        return self._prepare(self.data, None)

    @property
    def _index_device(self) -> torch.device:
        return self.device

    def _read(self, index: Tensor) -> Tensor:
        return self.data.index_select(0, index.to(self.device))


class SparseSource(Source):
    """A scipy sparse matrix that stays sparse; each batch alone is made dense."""

    def __init__(
        self,
        x: Any,
        y: Any = None,
        weight: Any = None,
        *,
        batch_size: int = 100,
        seed: int = 0,
        shuffle: bool = True,
        transform: Transform | None = None,
        scale: float | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        data = sparse.csr_array(x)
        if 0 in data.shape:
            raise InvalidDataError(f"X must have at least one case and one column. Got shape {data.shape}.")
        if data.nnz:  # the stored entries are checked once here; a batch is dense and need not be checked again
            as_matrix(data.data.reshape(-1, 1), name="X (its stored entries)")
        super().__init__(
            data.shape[0],
            data.shape[1],
            y,
            weight,
            batch_size=batch_size,
            seed=seed,
            shuffle=shuffle,
            transform=transform,
            scale=scale,
        )
        self.data = data
        self.to(device)

    def _read(self, index: Tensor) -> Tensor:
        return torch.from_numpy(self.data[index.numpy()].astype(np.float32).toarray())


def make_source(
    x: Any,
    y: Any = None,
    weight: Any = None,
    *,
    batch_size: int | None = None,
    seed: int = 0,
    shuffle: bool = True,
    binarizer: Binarizer | None = None,
    transform: Transform | None = None,
    scale: float | None = None,
    device: torch.device | str = "cpu",
    packed: int | None = None,
) -> Source:
    """The source that fits `x`.

    A path to a ``.npy`` file, a memory-mapped array or rows of one (`RowsOf`, `RowsBelow`) streams (`MemmapSource`),
    and so do a list of ``.npy`` and ``.parquet`` files and one parquet file (`ShardSource`); a scipy sparse matrix
    stays sparse (`SparseSource`), a torch ``Dataset`` or ``DataLoader`` is read item by item (`LoaderSource`; a
    ``TensorDataset`` is kept as tensors), and all else becomes one tensor (`ArraySource`). ``batch_size=None`` means
    the loader's own, or 100. A `binarizer` acts on the scaled values, before `transform`. A source is returned as it
    is. ``packed`` says that `x` (an array or a ``.npy`` file) is ``np.packbits(bits, axis=1)`` of that many columns:
    the same batches from an eighth of the bytes.
    """
    if isinstance(x, Source):
        return x
    if packed is not None:
        _check_can_be_packed(x, binarizer)
    if isinstance(x, (DataLoader, Dataset)) and not isinstance(x, TensorDataset):
        _check_no_extras(y, weight)
        steps = _per_batch(binarizer, transform)
        return LoaderSource(
            x, batch_size=batch_size, seed=seed, shuffle=shuffle, transform=steps, scale=scale, device=device
        )
    options: dict[str, Any] = {"batch_size": batch_size or 100, "seed": seed, "shuffle": shuffle, "device": device}
    bits: dict[str, Any] = {} if packed is None else {"packed": packed}
    if isinstance(x, TensorDataset):
        _check_no_extras(y, weight)
        x, y, weight = _unpack(x)
    paths = _shards(x)
    if paths:
        return ShardSource(paths, y, weight, transform=_per_batch(binarizer, transform), scale=scale, **options, **bits)
    if isinstance(x, (str, Path)) or is_mapped(x):
        return MemmapSource(x, y, weight, transform=_per_batch(binarizer, transform), scale=scale, **options, **bits)
    if sparse.issparse(x):
        return SparseSource(x, y, weight, transform=_per_batch(binarizer, transform), scale=scale, **options)
    if binarizer is not None:
        x, scale = binarizer.prepare(as_matrix(x, dtype=None), scale)
        transform = _chain(binarizer.transform, transform)
    return ArraySource(x, y, weight, transform=transform, scale=scale, **options, **bits)


def _shards(x: Any) -> list[str | Path]:
    """The files of a list of paths, or of the path of a parquet file; else none."""
    if isinstance(x, (list, tuple)) and x and all(isinstance(path, (str, Path)) for path in x):
        return list(x)
    return [x] if isinstance(x, (str, Path)) and Path(x).suffix.lower() == ".parquet" else []


def _check_can_be_packed(x: Any, binarizer: Binarizer | None) -> None:
    if sparse.issparse(x) or isinstance(x, (DataLoader, Dataset)):
        raise InvalidArgumentError(f"packed must be left out for {type(x).__name__}. Pack an array or a .npy file.")
    if binarizer is not None:
        raise InvalidArgumentError("packed must be left out with a binarizer: packed data are bits already. Got both.")


def _per_batch(binarizer: Binarizer | None, transform: Transform | None) -> Transform | None:
    return transform if binarizer is None else _chain(binarizer.streaming_transform, transform)


def _chain(first: Transform | None, second: Transform | None) -> Transform | None:
    if first is None or second is None:
        return first or second
    return lambda x, generator: second(first(x, generator), generator)


def _check_no_extras(y: Any, weight: Any) -> None:
    if y is not None or weight is not None:
        raise InvalidArgumentError("y and weight must come from the Dataset's own items. Got them beside a Dataset.")


def _unpack(dataset: TensorDataset) -> tuple[Tensor, Tensor | None, Tensor | None]:
    tensors = dataset.tensors
    if not 1 <= len(tensors) <= 3:
        raise InvalidDataError(f"A TensorDataset must hold (x,), (x, y) or (x, y, weight). Got {len(tensors)} tensors.")
    return tensors[0], *[tensors[i] if len(tensors) > i else None for i in (1, 2)]  # type: ignore[return-value]
