"""The cases of a comparison: a named set or a person's own file, in bits or in standardized columns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from deepbelief.data.registry import SETS
from deepbelief.data.sets import load_set
from deepbelief.estimators.pictures import CHANNELS, with_channels
from deepbelief.evaluation.measured import random_rows
from deepbelief.recipes.fit_data import Part, read_fit_data
from deepbelief.rng import make_generator

if TYPE_CHECKING:
    from deepbelief.recipes.compare import CompareSettings


@dataclass(frozen=True)
class Cases:
    """What models are measured on: cases to learn from, new ones, and the labels that only the measures use.

    With `bits` every entry is 0 or 1. ``image_shape`` is None for tables, ``y`` and ``truth`` where there are no
    classes; -1 is a case without a label.
    """

    name: str
    train: Tensor
    y: np.ndarray | None
    test: Tensor
    truth: np.ndarray | None
    image_shape: tuple[int, ...] | None
    bits: bool = True

    @property
    def channels_first(self) -> tuple[int, ...] | None:
        """The shape of a picture for a convolution, None for a table (and for an array with its colours last)."""
        if self.image_shape is None or (len(self.image_shape) == 3 and self.image_shape[0] not in CHANNELS):
            return None
        return with_channels(self.image_shape)


def read_cases(settings: CompareSettings) -> Cases:
    """Training and test cases of the named set, or of a file of which a share is held out at random.

    Pictures in [0, 1] are cut at 1/2; a table of zeros and ones stays as it is; other columns are standardized by the
    moments of the training cases.
    """
    if settings.data in SETS and not Path(settings.data).exists():
        return _of_set(settings)
    options: dict[str, Any] = {"label": settings.label, "key": settings.key, "held_out": settings.held_out}
    data = read_fit_data(settings.data, **options)
    assert data.test is not None
    (x, y), (test, truth) = _chosen(data.train, settings.most), _chosen(data.test, settings.most_test)
    labels = (y, truth) if data.how.class_names is not None else (None, None)  # values to predict are no classes
    shape = None if data.how.image_shape is None else tuple(data.how.image_shape)
    both = torch.cat([x, test])
    if is_bits(both):
        return Cases(f"{data.name}, bits", x, labels[0], test, labels[1], shape)
    if shape is not None and in_unit_interval(both):
        cut = [(part > 0.5).float() for part in (x, test)]
        return Cases(f"{data.name}, cut at 1/2", cut[0], labels[0], cut[1], labels[1], shape)
    standard = [standardized(part, x) for part in (x, test)]
    return Cases(f"{data.name}, standardized", standard[0], labels[0], standard[1], labels[1], shape, bits=False)


def _of_set(settings: CompareSettings) -> Cases:
    train, test = (
        load_set(settings.data, split=split, data_dir=settings.data_dir, progress=False) for split in ("train", "test")
    )
    sizes = ((train, settings.most), (test, settings.most_test))
    chosen = [(part, random_rows(len(part), most, make_generator(0))) for part, most in sizes]
    bits = [(part.scaled()[rows] > 0.5).float() for part, rows in chosen]
    labels = [None if part.y is None else part.y[rows].numpy() for part, rows in chosen]
    return Cases(f"{settings.data}, cut at 1/2", bits[0], labels[0], bits[1], labels[1], tuple(train.image_shape))


def _chosen(part: Part, most: int) -> tuple[Tensor, np.ndarray | None]:
    """At most so many cases at random, in the order of the file."""
    rows = random_rows(len(part), most, make_generator(0)).sort().values.numpy()
    x = torch.from_numpy(np.asarray(part.x[rows], dtype=np.float32))
    return x, None if part.y is None else part.y[rows]


def in_unit_interval(x: Tensor) -> bool:
    """Whether all of `x` lies in [0, 1], but for what 255 times 1/255 loses."""
    low, high = torch.aminmax(x)
    return bool(low >= 0 and high <= 1 + 1e-6)


def is_bits(x: Tensor) -> bool:
    """Whether all of `x` is 0 or 1.

    >>> is_bits(torch.tensor([0.0, 1.0])), is_bits(torch.tensor([0.5]))
    (True, False)
    """
    return bool(((x == 0) | (x == 1)).all())


def standardized(x: Tensor, train: Tensor) -> Tensor:
    """The columns of `x` less the means of `train`, over its standard deviations; constant columns are only moved."""
    spread = train.double().std(0, unbiased=False)
    spread = torch.where(spread > 1e-8, spread, torch.ones_like(spread))
    return ((x.double() - train.double().mean(0)) / spread).float()
