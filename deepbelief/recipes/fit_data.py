"""Cases for any estimator, from a named set or a person's own file: what to learn from, what to score by."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepbelief.data.files import Table, read_file
from deepbelief.data.order import holdout
from deepbelief.data.part import part_of
from deepbelief.data.ratings import Ratings, load_ratings, split_ratings
from deepbelief.data.registry import SETS
from deepbelief.data.sets import load_set
from deepbelief.data.text_sets import TEXT_SETS, load_counts
from deepbelief.errors import InvalidDataError, check_range
from deepbelief.recipes.run_data import Preparation, find_data

RATINGS = "movielens"


@dataclass(frozen=True)
class Part:
    """Cases and what is known of each: ``x`` an array or a sparse matrix, ``y`` class numbers, values or ratings."""

    x: Any
    y: NDArray[Any] | None = None

    def __len__(self) -> int:
        return int(self.x.shape[0])


@dataclass(frozen=True)
class FitData:
    """What to learn from, what to score by (None where nothing is held out), and how such files are read again."""

    name: str
    train: Part
    test: Part | None
    how: Preparation


def read_fit_data(
    name: str,
    *,
    label: str | None = None,
    key: str | None = None,
    target: str = "auto",
    held_out: float = 0.1,
    in_order: bool = False,
    seed: int = 0,
    data_dir: str | Path | None = None,
) -> FitData:
    """A named set with its own test cases, or a file of which the share `held_out` is kept back.

    Held out are drawn cases, or with `in_order` (a sequence) the last ones. Documents ("20news") come as counts,
    "movielens" as pairs of user and item with ratings, pictures with grey levels in [0, 1], and files as they are.
    """
    check_range("held_out", held_out, low=0, high=0.9)
    if name in SETS and not Path(name).exists():
        return _of_set(name, data_dir)
    if name in TEXT_SETS and not Path(name).exists():
        return _of_documents(name, data_dir)
    if name == RATINGS and not Path(name).exists():
        return _of_ratings(held_out, seed, data_dir)
    find_data(name)
    table = read_file(name, label=label, key=key, target=target)
    how = _described(Preparation(int(np.prod(table.x.shape[1:])), label=label, key=key), table)
    return _of_table(Path(name).name, table, how, held_out, in_order, seed)


def _of_set(name: str, data_dir: str | Path | None) -> FitData:
    train, test = (load_set(name, split=split, data_dir=data_dir) for split in ("train", "test"))
    parts = [Part(part.scaled().numpy(), None if part.y is None else part.y.numpy()) for part in (train, test)]
    how = Preparation(train.x.shape[1], train.scale, image_shape=list(train.image_shape), class_names=train.class_names)
    return FitData(name, parts[0], parts[1], how)


def _of_documents(name: str, data_dir: str | Path | None) -> FitData:
    train, test = (load_counts(name, split=split, data_dir=data_dir) for split in ("train", "test"))
    how = Preparation(train.x.shape[1], feature_names=list(train.vocabulary), class_names=train.class_names)
    return FitData(name, Part(train.x, train.y), Part(test.x, test.y), how)


def _of_ratings(held_out: float, seed: int, data_dir: str | Path | None) -> FitData:
    whole = load_ratings(data_dir=data_dir)
    train, test = split_ratings(whole, held_out, seed=seed) if held_out else (whole, None)
    return FitData(RATINGS, _rated(train), None if test is None else _rated(test), Preparation(2, label="rating"))


def _rated(ratings: Ratings) -> Part:
    return Part(ratings.pairs, ratings.values)


def _of_table(name: str, table: Table, how: Preparation, held_out: float, in_order: bool, seed: int) -> FitData:
    x = table.x if isinstance(table.x, np.memmap) else table.x.numpy()
    x = x.reshape(len(x), -1)
    if table.scale is not None:
        x = (x * np.float32(table.scale)).astype(np.float32)
    y = None if table.y is None else table.y.numpy()
    n_held = round(held_out * len(x))
    if not n_held:
        return FitData(name, Part(x, y), None, how)
    if len(x) - n_held < 2:
        raise InvalidDataError(f"{name} must have more cases to hold some out. Got {len(x)}. Use --held-out 0.")
    rows: list[Any] = [slice(0, len(x) - n_held), slice(len(x) - n_held, len(x))]
    if not in_order:
        rows = [part.numpy() for part in holdout(len(x), held_out, seed=seed)]
    train, test = (Part(part_of(x, index), None if y is None else y[index]) for index in rows)
    return FitData(name, train, test, how)


def _described(how: Preparation, table: Table) -> Preparation:
    return replace(
        how,
        scale=table.scale,
        image_shape=None if table.image_shape is None else list(table.image_shape),
        task=None if table.y is None else "class" if table.class_names else "value",
        feature_names=table.feature_names,
        class_names=table.class_names,
    )
