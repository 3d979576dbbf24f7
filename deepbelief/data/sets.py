"""Load a named data set, found in a data folder or downloaded once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepbelief.data.download import fetch_files, find_files
from deepbelief.data.order import holdout
from deepbelief.data.registry import SETS, SetSpec
from deepbelief.errors import InvalidDataError, check_choice

SPLITS = ("train", "fit", "valid", "test", "all")
TEST_FRACTION = 0.2
SPLIT_SEED = 0
VALID_OF_60_000 = 10_000


@dataclass(frozen=True)
class DataSet:
    """One split of a named set: ``x`` (n, d) in bytes, to be multiplied by ``scale`` to lie in [0, 1]."""

    name: str
    split: str
    x: Tensor
    y: Tensor | None
    image_shape: tuple[int, ...]
    scale: float
    class_names: list[str] | None
    description: str
    source: str
    licence: str

    def __len__(self) -> int:
        return len(self.x)

    def scaled(self) -> Tensor:
        """``x`` as float32 in [0, 1]."""
        return self.x.to(torch.float32) * self.scale


@dataclass(frozen=True)
class SetListing:
    """One line of `list_sets`.

    ``where`` is "built in", a folder, or None where the set has yet to be fetched; ``problem`` says what is wrong with
    files that are there but damaged.
    """

    name: str
    description: str
    cases: int
    n_features: int
    image_shape: tuple[int, ...]
    n_bytes: int
    where: str | None
    source: str
    licence: str
    problem: str | None = None


def load_set(
    name: str,
    *,
    split: str = "train",
    data_dir: str | Path | None = None,
    download: bool = True,
    progress: bool = True,
) -> DataSet:
    """One split of a named set.

    "train" and "test" are the publishers' own, or where they made none a fixed draw of 80% and 20% (by class, seed 0;
    for frames of a video the first 80%). "fit" and "valid" divide train: the last 10,000 of 60,000 are for validation,
    the publishers' own validation set where there is one, else again a fifth. "all" is everything.

    Files are looked for in `data_dir`, in the folder that ``DEEPBELIEF_DATA`` names, and in the user's cache, and
    downloaded with a checksum otherwise. Raises `DataNotFoundError` with the files to put there where that fails.

    >>> digits = load_set("digits", split="test")
    >>> digits.x.shape, digits.scale
    (torch.Size([359, 64]), 0.0625)
    """
    check_choice("name", name, SETS)
    check_choice("split", split, SPLITS)
    spec = SETS[name]
    parts = {
        part: _read(spec, part, fetch_files(spec, part, data_dir, download=download, progress=progress))
        for part in _parts_needed(spec, split)
    }
    x, y = _select(spec, split, parts)
    classes = None if spec.class_names is None else list(spec.class_names)
    return DataSet(
        spec.name,
        split,
        x,
        y,
        spec.image_shape,
        spec.scale,
        classes,
        spec.description,
        spec.source,
        spec.licence,
    )


def list_sets(data_dir: str | Path | None = None) -> list[SetListing]:
    """All named sets, and where each of them was found."""
    return [_listing(spec, data_dir) for spec in SETS.values()]


Pair = tuple[Tensor, Tensor | None]


def _parts_needed(spec: SetSpec, split: str) -> list[str]:
    if "all" in spec.parts or split == "all":
        return list(spec.parts)
    if split in spec.parts:
        return [split]
    return ["train"]


def _read(spec: SetSpec, part: str, paths: list[Path]) -> Pair:
    images, labels = spec.read(part, paths)
    if images.ndim != 2 or images.shape[1] != spec.n_features or (labels is not None and len(labels) != len(images)):
        raise InvalidDataError(
            f"The files of {spec.name!r} must hold cases of {spec.n_features} columns. Got shape {images.shape}."
        )
    return _tensor(images), None if labels is None else _tensor(labels)


def _tensor(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.array(array))


def _select(spec: SetSpec, split: str, parts: dict[str, Pair]) -> Pair:
    if split in parts:
        return parts[split]
    if split == "all":
        return _concatenate(list(parts.values()))
    if "all" in parts:
        train, test = _divide(spec, parts["all"])
        if split == "test":
            return test
    else:
        train = parts["train"]
    if split == "train" or "valid" in spec.parts:
        return train
    fit, valid = _divide(spec, train)
    return fit if split == "fit" else valid


def _divide(spec: SetSpec, pair: Pair) -> tuple[Pair, Pair]:
    """(kept, held out): by class where the set is stratified, else the last ones are held out."""
    x, y = pair
    if spec.stratified:
        kept, held = holdout(len(x), TEST_FRACTION, seed=SPLIT_SEED, labels=y)
    else:
        n_held = VALID_OF_60_000 if "all" not in spec.parts else round(TEST_FRACTION * len(x))
        kept, held = torch.arange(len(x)).tensor_split([len(x) - n_held])
    return _take(pair, kept), _take(pair, held)


def _take(pair: Pair, index: Tensor) -> Pair:
    x, y = pair
    return x[index], None if y is None else y[index]


def _concatenate(pairs: list[Pair]) -> Pair:
    labels = [y for _, y in pairs if y is not None]
    return torch.cat([x for x, _ in pairs]), torch.cat(labels) if labels else None


def _listing(spec: SetSpec, data_dir: str | Path | None) -> SetListing:
    where, problem = None, None
    try:
        where = _where(spec, data_dir)
    except InvalidDataError as error:  # one damaged file must not hide the other sets: it is told in the listing
        problem = str(error)
    return SetListing(
        name=spec.name,
        description=spec.description,
        cases=spec.cases,
        n_features=spec.n_features,
        image_shape=spec.image_shape,
        n_bytes=spec.cases * spec.n_features,
        where=where,
        source=spec.source,
        licence=spec.licence,
        problem=problem,
    )


def _where(spec: SetSpec, data_dir: str | Path | None) -> str | None:
    found = [find_files(spec, part, data_dir) for part in spec.parts]
    if any(paths is None for paths in found):
        return None
    folders = [str(path.parent) for paths in found for path in paths or []]
    return folders[0] if folders else "built in"
