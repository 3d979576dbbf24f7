"""The data of a run: loaded, divided into cases to learn from and held-out ones, and brought to what the model sees."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deepbelief.data.base import Source, Transform
from deepbelief.data.binarize import Binarization, Binarizer, check_unit_interval, make_binarizer
from deepbelief.data.files import Table, read_file
from deepbelief.data.order import holdout
from deepbelief.data.registry import SETS
from deepbelief.data.sets import load_set
from deepbelief.data.source import make_source
from deepbelief.errors import (
    DataNotFoundError,
    InvalidArgumentError,
    InvalidDataError,
    StorageError,
    check,
    check_choice,
)
from deepbelief.files import atomic_write_text
from deepbelief.recipes.settings import DataSettings, RunSettings
from deepbelief.rng import make_generator

PREPARATION_FILE = "preparation.json"
ROWS_FOR_MOMENTS = 100_000
MOST_HELD_OUT_OF_A_STREAM = 10_000
LIMIT_STREAM = 100
TEST_STREAM = 101  # of the run's seed: the draw that binarizes the held-out cases


@dataclass(frozen=True)
class Preparation:
    """How raw columns become the model's: ``(x * scale - shift) / spread``, then bits. Kept beside a saved model.

    ``binarization`` is that of the cases to learn from, ``scored`` that of held-out ones: grey levels that Bernoulli
    units learned from as they are have no probability under bits, so they are scored by stochastic draws.
    """

    n_features: int
    scale: float | None = None
    shift: list[float] | None = None
    spread: list[float] | None = None
    binarization: Binarization = "none"
    scored: Binarization = "none"
    threshold: float = 0.5
    inverted: bool = False
    spin: bool = False
    image_shape: list[int] | None = None
    feature_names: list[str] | None = None
    class_names: list[str] | None = None
    label: str | None = None
    key: str | None = None
    task: str | None = None
    target_shift: float = 0.0
    target_spread: float = 1.0

    def by_name(self, x: Tensor, names: list[str] | None) -> Tensor:
        """The columns of `x` in the order that the model learned them in, where a file has the same in another."""
        known = self.feature_names
        if names is None or known is None or names == known or sorted(names) != sorted(known):
            return x
        return x[:, [names.index(name) for name in known]]

    def values(self, x: Tensor) -> Tensor:
        """The raw rows `x` in the model's range, before any bits are drawn; NaN stays NaN."""
        if x.shape[1] != self.n_features:
            raise InvalidDataError(
                f"the data must have {self.n_features} columns, as the model was trained on. Got {x.shape[1]}. "
                "Name the label column, or take out what does not belong."
            )
        x = x.to(torch.float32) if self.scale is None else x.to(torch.float32) * self.scale
        return self._standard(x)

    def bits(self, values: Tensor, generator: torch.Generator, *, seed: int = 0) -> Tensor:
        """What the model scores: `values` binarized."""
        binarizer = replace(self, binarization=self.scored).binarizer(seed)
        values = binarizer.apply(values, generator) if binarizer.name != "none" or self.inverted else values
        return 2 * values - 1 if self.spin else values

    def shown(self, values: Tensor) -> Tensor:
        """`values` as the visible units take them, with grey levels in the place of bits."""
        values = 1 - values if self.inverted else values
        return 2 * values - 1 if self.spin else values

    def unshown(self, x: Tensor) -> Tensor:
        """The inverse of `shown`."""
        x = (x + 1) / 2 if self.spin else x
        return 1 - x if self.inverted else x

    def raw(self, x: Tensor) -> Tensor:
        """What the model drew, in the range of the file (grey levels stay in [0, 1])."""
        values = self.unshown(x)
        if self.shift is None or self.spread is None:
            return values
        shift, spread = (torch.tensor(column, device=x.device) for column in (self.shift, self.spread))
        return values * spread + shift

    def binarizer(self, seed: int) -> Binarizer:
        """The binarizer of the cases to learn from."""
        return make_binarizer(self.binarization, self.threshold, inverted=self.inverted, seed=seed)

    def _standard(self, x: Tensor) -> Tensor:
        if self.shift is None or self.spread is None:
            return x
        return (x - torch.tensor(self.shift, device=x.device)) / torch.tensor(self.spread, device=x.device)

    def write(self, folder: Path) -> None:
        """Write ``preparation.json`` into a model's folder."""
        atomic_write_text(folder / PREPARATION_FILE, json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Preparation | None:
        """What `write` wrote, or None where a model was saved without."""
        path = folder / PREPARATION_FILE
        if not path.exists():
            return None
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise StorageError(f"{path} is damaged ({error}). Copy or save the model again.") from error


@dataclass(frozen=True)
class RunData:
    """``train`` holds raw rows (or a mapped file), ``test`` held-out values in the model's range, before bits."""

    name: str
    split: str
    train: Tensor | np.memmap[Any, Any]
    train_y: Tensor | None
    test: Tensor
    test_y: Tensor | None
    preparation: Preparation

    @property
    def task(self) -> str | None:
        """ "class", "value", or None without labels."""
        if self.train_y is None:
            return None
        return "value" if self.train_y.is_floating_point() else "class"

    @property
    def n_classes(self) -> int | None:
        """How many classes there are."""
        if self.train_y is None or self.task != "class":
            return None
        names = self.preparation.class_names
        return len(names) if names else int(self.train_y.max()) + 1

    def source(
        self, batch_size: int, seed: int, device: torch.device, *, binarization: Binarization | None = None
    ) -> Source:
        """The cases to learn from, batch by batch; with another binarization for back-propagation."""
        how = self.preparation if binarization is None else replace(self.preparation, binarization=binarization)
        standard: Transform | None = None
        if how.shift is not None:
            standard = lambda x, _: how._standard(x)  # noqa: E731
        elif how.spin:
            standard = lambda x, _: 2 * x - 1  # noqa: E731
        return make_source(
            self.train,
            self.train_y,
            batch_size=batch_size,
            seed=seed,
            binarizer=how.binarizer(seed),
            transform=standard,
            scale=how.scale,
            device=device,
        )

    def test_bits(self, seed: int) -> Tensor:
        """The held-out cases as the model sees them, drawn once."""
        return self.preparation.bits(self.test, make_generator(seed, stream=TEST_STREAM), seed=seed + 1_000_003)

    def train_values(self, n: int) -> Tensor:
        """The first `n` cases to learn from, in the model's range, before bits."""
        rows = self.train[:n]
        return self.preparation.values(rows if isinstance(rows, Tensor) else torch.from_numpy(np.array(rows)))

    def facts(self) -> dict[str, Any]:
        """What the report says of the data."""
        how = self.preparation
        facts: dict[str, Any] = {"name": self.name, "cases to learn from": len(self.train), "held out": len(self.test)}
        facts |= {"held-out part": self.split, "columns": how.n_features, "binarization": how.binarization}
        facts |= {"inverted": True} if how.inverted else {}
        return facts | ({"classes": self.n_classes} if self.n_classes else {})


def load_run_data(settings: RunSettings, *, progress: bool = True) -> RunData:
    """The data that `settings` name, checked against the model's visible units.

    Raises `DataNotFoundError`, `InvalidDataError` or `InvalidArgumentError` before any work starts.
    """
    plan = settings.data
    named = plan.name in SETS and not Path(plan.name).exists()
    data = _load_named(plan, progress) if named else _load_file(plan)
    data = replace(data, preparation=_prepared(data, settings))
    values = data.preparation.values(data.test)
    data = _with_target_scale(replace(data, test=values, preparation=_scored(data.preparation, values, settings)))
    if settings.model.visible in ("bernoulli", "spin", "categorical"):
        check_unit_interval(values, name=plan.name)
        if settings.data.preparation == "none" and isinstance(data.train, Tensor):
            check_unit_interval(data.train, data.preparation.scale, name=plan.name)
    return data


def find_data(name: str) -> None:
    """Refuse a name that is neither a set nor a file, with the nearest known one."""
    if name in SETS or Path(name).expanduser().exists():
        return
    if "/" not in name and "." not in name:
        check_choice("the data set", name, SETS)
    raise DataNotFoundError(f"The data file must exist. Got {name!r}. Check the path.")


def _load_named(plan: DataSettings, progress: bool) -> RunData:
    learn_from = "train" if plan.split == "test" else "fit"
    options: dict[str, Any] = {"data_dir": plan.data_dir, "download": plan.download, "progress": progress}
    train, test = (load_set(plan.name, split=split, **options) for split in (learn_from, plan.split))
    how = Preparation(train.x.shape[1], train.scale, image_shape=list(train.image_shape), class_names=train.class_names)
    kept, held = _some(len(train), plan.max_train), _some(len(test), plan.max_test)
    y = [None if part.y is None else part.y.long() for part in (train, test)]
    return RunData(
        plan.name,
        plan.split,
        train.x[kept],
        None if y[0] is None else y[0][kept],
        test.x[held],
        None if y[1] is None else y[1][held],
        how,
    )


def _load_file(plan: DataSettings) -> RunData:
    find_data(plan.name)
    table = read_file(plan.name, label=plan.label, key=plan.key, target=plan.target)
    check(len(table) >= 2, f"the data must have at least 2 cases, one to hold out. Got {len(table)}.")
    how = Preparation(
        table.x.shape[1],
        grey_scale(table),
        image_shape=None if table.image_shape is None else list(table.image_shape),
        feature_names=table.feature_names,
        class_names=table.class_names,
        label=plan.label,
        key=plan.key,
    )
    name, x, y = Path(plan.name).name, table.x, table.y
    if not isinstance(x, Tensor):
        n_held = min(max(1, round(plan.test_fraction * len(x))), plan.max_test or MOST_HELD_OUT_OF_A_STREAM)
        test = torch.from_numpy(np.array(x[len(x) - n_held :])).reshape(n_held, -1)
        first: Any = x[: len(x) - n_held][: plan.max_train]
        return RunData(name, "test", first, None, test, None, how)
    by_class = y if y is not None and not y.is_floating_point() else None
    kept, held = holdout(len(x), plan.test_fraction, seed=0, labels=by_class)
    kept, held = kept[_some(len(kept), plan.max_train)], held[_some(len(held), plan.max_test)]
    pick = lambda rows: None if y is None else y[rows]  # noqa: E731
    return RunData(name, plan.split, x[kept], pick(kept), x[held], pick(held), how)


def _some(n: int, most: int | None) -> Tensor:
    """The numbers of at most `most` of `n` cases, at random and in order: files are often sorted by class."""
    if most is None or most >= n:
        return torch.arange(n)
    return torch.randperm(n, generator=make_generator(0, stream=LIMIT_STREAM))[:most].sort().values


def grey_scale(table: Table) -> float | None:
    """What brings bytes into [0, 1]: the file's own word, or 1/255 for bytes above 1."""
    if table.scale is not None:
        return table.scale
    is_bytes = table.x.dtype in (torch.uint8, np.dtype(np.uint8))
    return 1 / 255 if is_bytes and int(table.x[:4096].max()) > 1 else None


def _prepared(data: RunData, settings: RunSettings) -> Preparation:
    """The preparation with what must be learned from the training cases alone."""
    plan, how = settings.data, data.preparation
    if plan.preparation != "none" and plan.binarization != "none":
        raise InvalidArgumentError(
            f"data.binarization must be none with preparation={plan.preparation}. Got {plan.binarization}."
        )
    how = replace(how, binarization=plan.binarization, threshold=plan.threshold, inverted=plan.inverted)
    how = replace(how, spin=settings.model.visible == "spin", task=data.task)
    if plan.preparation == "none":
        return how
    rows = data.train[:ROWS_FOR_MOMENTS]
    x = (rows if isinstance(rows, Tensor) else torch.from_numpy(np.array(rows)).flatten(1)).double() * (
        how.scale or 1.0
    )
    if plan.preparation == "standardize":
        shift, spread = x.mean(0), x.std(0, unbiased=False)
    else:
        shift, spread = x.min(0).values, x.max(0).values - x.min(0).values
    spread = torch.where(spread > 1e-8, spread, torch.ones_like(spread))
    return replace(how, shift=shift.tolist(), spread=spread.tolist())


def _scored(how: Preparation, values: Tensor, settings: RunSettings) -> Preparation:
    grey = settings.model.visible in ("bernoulli", "spin") and bool((values != values.round()).any())
    return replace(how, scored="stochastic" if grey and how.binarization == "none" else how.binarization)


def _with_target_scale(data: RunData) -> RunData:
    """Targets to mean 0 and variance 1, so that one learning rate suits them all."""
    if data.task != "value" or data.train_y is None or data.test_y is None:
        return data
    shift, spread = float(data.train_y.mean()), max(float(data.train_y.std()), 1e-8)
    how = replace(data.preparation, target_shift=shift, target_spread=spread)
    return replace(
        data, train_y=(data.train_y - shift) / spread, test_y=(data.test_y - shift) / spread, preparation=how
    )
