"""The cases that samples are judged by: those that the model learned from, and new ones.

A named set brings both, a second file names the new ones, and a run knows which cases of its file it kept back.
Otherwise the file is halved at random, which is told, for a model may have learned from both halves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deepbelief.data.binarize import Binarization, make_binarizer
from deepbelief.data.files import Table, read_file
from deepbelief.data.order import holdout
from deepbelief.data.registry import SETS
from deepbelief.data.sets import load_set
from deepbelief.errors import InvalidArgumentError, InvalidDataError, check
from deepbelief.recipes.compare_cases import Cases, in_unit_interval, is_bits, standardized
from deepbelief.recipes.fit_data import read_fit_data
from deepbelief.recipes.fit_model import FitSettings
from deepbelief.recipes.run_data import Preparation, find_data, grey_scale, load_run_data
from deepbelief.recipes.run_folder import FIT_SETTINGS, SETTINGS
from deepbelief.recipes.settings import read_settings
from deepbelief.rng import make_generator

LIMIT_STREAM, MOST_READ = 105, 60_000
HALVED = (
    "The file was halved at random into cases to learn from and new ones: a model that learned from all of it looks "
    "better than it is, and C_T sees half of its copies. Name new cases with --held-out FILE."
)


@dataclass(frozen=True)
class Given:
    """Cases as the model takes them (grey levels, real columns, bits), their labels, and how they were divided."""

    name: str
    train: Tensor
    y: np.ndarray | None
    test: Tensor
    truth: np.ndarray | None
    image_shape: tuple[int, ...] | None = None
    class_names: list[str] | None = None
    division: str = ""

    @property
    def has_classes(self) -> bool:
        """Whether the labels are classes, rather than values or none."""
        return self.y is not None and self.y.dtype.kind in "iu"


def read_given(
    name: str,
    how: Preparation | None = None,
    *,
    run: Path | None = None,
    label: str | None = None,
    held_out: str | None = None,
    data_dir: str | Path | None = None,
    most: int = MOST_READ,
) -> Given:
    """The cases of the set or file `name`, at most `most` of either part.

    `how` is what was kept beside the model, which was saved in `run`; None for samples alone, whose data are read by
    what the file says.
    """
    find_data(name)
    if name in SETS and not Path(name).exists():
        check(held_out is None, f"--held-out must be left out for {name}, which has test cases of its own.")
        return _limited(_of_set(name, how, data_dir), most)
    own = None if held_out is not None or run is None else _of_run(name, run)
    return _limited(own or _of_files(name, how, label, held_out), most)


def read_samples(path: str, width: int, label: str | None = None) -> Tensor:
    """The draws in a file, (n, width), without the column `label` if they have it; grey bytes become [0, 1]."""
    table = _read(path, None, Preparation(width, label=label))
    x, _ = _rows(table, None)
    _check_width("the samples", x, width)
    return x


def one_kind(
    samples: Tensor,
    given: Given,
    *,
    binarization: Binarization | None = None,
    threshold: float = 0.5,
    generator: torch.Generator,
) -> tuple[Tensor, Cases]:
    """Samples and cases on one scale: bits beside bits, grey levels beside grey levels, or standardized columns.

    Where either the samples or the data are bits, the others become bits as well: grey levels of data by `binarization`
    (None: drawn), and means among the samples by draws. A network would tell a grey level from a bit at once.
    """
    _check_width("the samples", samples, given.train.shape[1])
    unit = in_unit_interval(given.train) and in_unit_interval(given.test)
    wanted = binarization not in (None, "none")
    if unit and (wanted or is_bits(given.train) or (binarization is None and is_bits(samples))):
        cut = make_binarizer(binarization if wanted and binarization else "stochastic", threshold)
        parts = [part if is_bits(part) else cut.apply(part, generator) for part in (given.train, given.test)]
        drawn = samples if is_bits(samples) else torch.bernoulli(samples.clamp(0, 1), generator=generator)
        how = "bits" if is_bits(given.train) else f"bits ({cut.name})"
    elif unit:
        parts, drawn, how = [given.train, given.test], samples, "grey levels" if given.image_shape else "as given"
    else:
        check(not wanted, "binarization must be left out for data beyond [0, 1]. Got it. Scale the data.")
        parts = [standardized(part, given.train) for part in (given.train, given.test)]
        drawn, how = standardized(samples, given.train), "standardized"
    y, truth = (given.y, given.truth) if given.has_classes else (None, None)
    shape, bits = given.image_shape, how.startswith("bits")
    return drawn, Cases(f"{given.name}, {how}", parts[0], y, parts[1], truth, shape, bits)


def _of_set(name: str, how: Preparation | None, data_dir: str | Path | None) -> Given:
    train, test = (load_set(name, split=split, data_dir=data_dir) for split in ("train", "test"))
    scaled = how if how is not None and how.scale is not None else _scaled_like(how, train.x.shape[1], train.scale)
    labels = [None if part.y is None else part.y.numpy() for part in (train, test)]
    x = [scaled.values(part.x) for part in (train, test)]
    return Given(name, x[0], labels[0], x[1], labels[1], tuple(train.image_shape), train.class_names)


def _of_run(name: str, run: Path) -> Given | None:
    """The division that the run in `run` (or whose model lies in it) made of its file; None for another file."""
    for folder in (run, run.parent):
        if (folder / FIT_SETTINGS).is_file():
            return _of_fit(name, FitSettings.from_file(folder / FIT_SETTINGS))
        if (folder / SETTINGS).is_file():
            plan = read_settings(folder / SETTINGS)
            if not _same_file(plan.data.name, name):
                return None
            data = load_run_data(plan, progress=False)
            how, rows = data.preparation, min(len(data.train), MOST_READ)
            labels = [None if y is None or data.task != "class" else y.numpy() for y in (data.train_y, data.test_y)]
            y = None if labels[0] is None else labels[0][:rows]
            shape = None if how.image_shape is None else tuple(how.image_shape)
            x = data.train_values(rows)
            return Given(data.name, x, y, data.test, labels[1], shape, how.class_names, _kept_back(len(data.test)))
    return None


def _of_fit(name: str, plan: FitSettings) -> Given | None:
    if not _same_file(plan.data, name) or not plan.held_out:
        return None
    options: dict[str, Any] = {"label": plan.label, "key": plan.key, "target": plan.target, "seed": plan.seed}
    data = read_fit_data(plan.data, held_out=plan.held_out, **options)
    assert data.test is not None
    how = data.how
    x = [torch.from_numpy(np.asarray(part.x[:MOST_READ], dtype=np.float32)) for part in (data.train, data.test)]
    labels = [None if part.y is None else part.y[:MOST_READ] for part in (data.train, data.test)]
    shape = None if how.image_shape is None else tuple(how.image_shape)
    division = _kept_back(len(data.test))
    return Given(data.name, x[0], labels[0], x[1], labels[1], shape, how.class_names, division)


def _of_files(name: str, how: Preparation | None, label: str | None, held_out: str | None) -> Given:
    table = _read(name, label, how)
    x, y = _rows(table, how)
    shape = table.image_shape
    common: dict[str, Any] = {"image_shape": None if shape is None else tuple(shape), "class_names": table.class_names}
    if held_out is None:
        kept, held = holdout(len(x), 0.5, seed=0)
        labels = (None, None) if y is None else (y[kept.numpy()], y[held.numpy()])
        return Given(Path(name).name, x[kept], labels[0], x[held], labels[1], division=HALVED, **common)
    find_data(held_out)
    other = _read(held_out, label, how)
    new, truth = _rows(other, how)
    _check_width(f"{Path(held_out).name}", new, x.shape[1])
    if y is None or truth is None or table.class_names != other.class_names:
        y = truth = None  # classes that are not the same in both files have no common numbers
    return Given(Path(name).name, x, y, new, truth, division=f"New cases: {Path(held_out).name}.", **common)


def _read(name: str, label: str | None, how: Preparation | None) -> Table:
    """The file with its label column, which it may lack where the column is only what the model was trained with."""
    column = label or (None if how is None else how.label)
    options: dict[str, Any] = {"key": None if how is None else how.key}
    try:
        return read_file(name, label=column, target=(how.task if how is not None else None) or "auto", **options)
    except InvalidArgumentError:
        if label is not None or column is None:
            raise
        return read_file(name, **options)


def _rows(table: Table, how: Preparation | None) -> tuple[Tensor, np.ndarray | None]:
    """Cases as the model takes them and their labels, of a file larger than memory a random part."""
    x, y = table.x, None if table.y is None else table.y.numpy()
    if not isinstance(x, Tensor):
        rows = _some(len(x), MOST_READ).sort().values.numpy()
        x, y = torch.from_numpy(np.array(x[rows])).flatten(1), None if y is None else y[rows]
    reader = Preparation(int(np.prod(x.shape[1:])), grey_scale(table)) if how is None else how
    return reader.values(reader.by_name(x.reshape(len(x), -1), table.feature_names)), y


def _scaled_like(how: Preparation | None, width: int, scale: float | None) -> Preparation:
    """A model saved from Python says no scale: the set's own is what `load_set` and `scaled` gave."""
    return replace(how or Preparation(width), scale=scale)


def _limited(given: Given, most: int) -> Given:
    parts: list[Any] = []
    for x, y in ((given.train, given.y), (given.test, given.truth)):
        rows = _some(len(x), most).sort().values
        parts += [x[rows], None if y is None else y[rows.numpy()]]
    return replace(given, train=parts[0], y=parts[1], test=parts[2], truth=parts[3])


def _some(n: int, most: int) -> Tensor:
    return torch.randperm(n, generator=make_generator(0, stream=LIMIT_STREAM))[:most]


def _same_file(one: str, other: str) -> bool:
    return Path(one).expanduser().resolve() == Path(other).expanduser().resolve()


def _kept_back(n: int) -> str:
    return f"New cases: the {n:,} that the run kept back."


def _check_width(what: str, x: Tensor, width: int) -> None:
    if x.shape[1] != width:
        raise InvalidDataError(
            f"{what} must have {width} columns, as the data have. Got {x.shape[1]}. Name the label column, or take out "
            "what does not belong."
        )
