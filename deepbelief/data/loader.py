"""Batches from a torch ``Dataset`` or ``DataLoader``, in an order that training can resume in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, RandomSampler, SequentialSampler, default_collate

from deepbelief.data.arrays import as_matrix, as_target, image_shape_of
from deepbelief.data.base import Source, Transform
from deepbelief.data.order import epoch_order, order_generator, share
from deepbelief.errors import InvalidArgumentError, InvalidDataError, check_count, check_range
from deepbelief.types import Batch


class LoaderSource(Source):
    """Reads items ``x``, ``(x,)``, ``(x, y)`` or ``(x, y, weight)`` (or a mapping with these keys) from a Dataset.

    A ``DataLoader`` lends its dataset, batch size, workers, collate function and whether it shuffles; the order itself
    is drawn here from ``seed`` and the epoch, so that ranks and resumed runs agree, and a ragged last batch is kept. A
    sampler of one's own is refused for that reason. An ``IterableDataset`` has its own order: it needs a length (its
    ``__len__`` or ``n_cases``), is not shuffled, and resumes by reading and dropping what came before; every rank reads
    all of it. Images are flattened to (n, d). Other arguments are those of `Source`.
    """

    def __init__(
        self,
        data: Dataset[Any] | DataLoader[Any],
        *,
        batch_size: int | None = None,
        seed: int = 0,
        shuffle: bool = True,
        transform: Transform | None = None,
        scale: float | None = None,
        device: torch.device | str = "cpu",
        n_cases: int | None = None,
    ) -> None:
        self._loader = data if isinstance(data, DataLoader) else None
        self.dataset: Dataset[Any] = data.dataset if isinstance(data, DataLoader) else data
        self._collate = partial(_collate, self._loader.collate_fn if self._loader else default_collate)
        self._iterable = isinstance(self.dataset, IterableDataset)
        n_cases = _count(self.dataset) if n_cases is None else n_cases
        check_range("the number of items of the Dataset", n_cases, low=1)
        first = _parse(self._collate([self._first_item()]))
        self.image_shape = first.image_shape
        super().__init__(
            n_cases,
            first.x.shape[1],
            batch_size=batch_size or getattr(self._loader, "batch_size", None) or 100,
            seed=seed,
            shuffle=shuffle and not self._iterable and _shuffles(self._loader),
            transform=transform,
            scale=scale,
            device=device,
        )

    def chunks(self, size: int = 4096, *, generator: torch.Generator | None = None) -> Iterator[Batch]:
        """All cases in their original order, `size` at a time; transformed only where a `generator` is given."""
        check_count("size", size, low=1)
        spans = [(first, min(first + size, self.n_cases)) for first in range(0, self.n_cases, size)]
        for raw in self._collated(spans, torch.arange(self.n_cases), order_generator(self.seed, 0)):
            yield self._to_batch(raw, generator)

    def _epoch(self, epoch: int, start: int, generator: torch.Generator, rank: int, world_size: int) -> Iterator[Batch]:
        order = epoch_order(self.n_cases, self.seed, epoch, shuffle=self.shuffle)
        numbers = range(start, self.n_batches(world_size))
        spans = [share(number, self.n_cases, self.batch_size, rank, world_size) for number in numbers]
        for raw in self._collated(spans, order, order_generator(self.seed, epoch)):
            yield self._to_batch(raw, generator)

    def _read(self, index: Tensor) -> Tensor:
        return _parse(self._collate([self.dataset[int(i)] for i in index])).x

    def _collated(self, spans: Sequence[tuple[int, int]], order: Tensor, workers: torch.Generator) -> Iterator[Any]:
        if self._iterable:
            return self._collated_in_passing(spans)
        index = order.tolist()
        return iter(
            DataLoader(
                self.dataset,
                batch_sampler=[index[first:stop] for first, stop in spans],
                num_workers=self._loader.num_workers if self._loader else 0,
                collate_fn=self._collate,
                generator=workers,  # seeds the workers; without it torch's global stream would move
            )
        )

    def _collated_in_passing(self, spans: Iterable[tuple[int, int]]) -> Iterator[Any]:
        items, position = iter(cast(Iterable[Any], self.dataset)), 0
        for first, stop in spans:
            wanted = []
            while position < stop:
                try:
                    item = next(items)
                except StopIteration:
                    raise InvalidDataError(
                        f"The IterableDataset must give the {self.n_cases} items that it announces. Got {position}."
                    ) from None
                if position >= first:
                    wanted.append(item)
                position += 1
            yield self._collate(wanted)

    def _first_item(self) -> Any:
        if not self._iterable:
            return self.dataset[0]
        item = next(iter(cast(Iterable[Any], self.dataset)), None)
        if item is None:
            raise InvalidDataError("The IterableDataset must give at least one item. Got none.")
        return item

    def _to_batch(self, raw: Any, generator: torch.Generator | None) -> Batch:
        parsed = _parse(raw)
        y = None if parsed.y is None else parsed.y.to(self.device)
        weight = None if parsed.weight is None else parsed.weight.to(self.device)
        return Batch(self._prepare(parsed.x, generator), y, weight)


class _Parsed:
    """A collated batch, checked and flattened."""

    def __init__(self, x: Any, y: Any = None, weight: Any = None) -> None:
        self.image_shape = image_shape_of(x)
        self.x = as_matrix(x, name="the Dataset's x", dtype=None)
        self.y = None if y is None else as_target(y, len(self.x), name="the Dataset's y")
        self.weight = None if weight is None else as_target(weight, len(self.x), name="the Dataset's weight").float()


def _collate(collate: Callable[[list[Any]], Any], items: list[Any]) -> Any:
    """A function of the module, so that workers can be sent it."""
    try:
        return collate(items)
    except TypeError as error:
        raise InvalidDataError(
            f"The Dataset's items must be tensors, arrays or numbers. Got {type(items[0]).__name__}: {error} "
            "Convert them in the Dataset, or pass a DataLoader with its collate_fn."
        ) from error


def _parse(raw: Any) -> _Parsed:
    if isinstance(raw, Mapping):
        if "x" not in raw:
            raise InvalidDataError(f"A Dataset's mapping must have the key 'x'. Got {sorted(map(str, raw))}.")
        return _Parsed(raw["x"], raw.get("y"), raw.get("weight"))
    if isinstance(raw, (tuple, list)):
        if not 1 <= len(raw) <= 3:
            raise InvalidDataError(f"A Dataset's item must be (x,), (x, y) or (x, y, weight). Got {len(raw)} parts.")
        return _Parsed(*raw)
    return _Parsed(raw)


def _count(dataset: Any) -> int:
    try:
        return len(dataset)
    except TypeError as error:
        raise InvalidArgumentError(
            "The Dataset must have a length, since epochs, ranks and resuming count cases. "
            f"Got {type(dataset).__name__} without __len__. Give it one, or pass LoaderSource(..., n_cases=)."
        ) from error


def _shuffles(loader: DataLoader[Any] | None) -> bool:
    if loader is None or type(loader.sampler) is RandomSampler:
        return True
    if type(loader.sampler) is SequentialSampler:
        return False
    raise InvalidArgumentError(
        "A DataLoader's sampler must be torch's own random or sequential one, so that training can resume. "
        f"Got {type(loader.sampler).__name__}. Pass the Dataset itself, with weights as (x, y, weight) if need be."
    )
