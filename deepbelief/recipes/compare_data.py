"""The cases of a comparison from a named set or a person's own file, in bits or in standardized columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deepbelief.data.registry import SETS
from deepbelief.data.sets import load_set
from deepbelief.errors import InvalidDataError
from deepbelief.evaluation.measured import random_rows
from deepbelief.recipes.compare_cases import Cases, in_unit_interval, is_bits, standardized
from deepbelief.recipes.compare_settings import CompareSettings
from deepbelief.recipes.fit_data import Part, read_fit_data
from deepbelief.rng import make_generator


def read_cases(settings: CompareSettings) -> Cases:
    """Training and test cases of the named set, or of a file of which a share is held out at random.

    Pictures in [0, 1] are cut at 1/2; a table of zeros and ones stays as it is; other columns are standardized by the
    moments of the training cases.
    """
    if settings.data in SETS and not Path(settings.data).exists():
        return _of_set(settings)
    options: dict[str, Any] = {"label": settings.label, "key": settings.key, "held_out": settings.held_out}
    data = read_fit_data(settings.data, **options)
    if data.test is None:
        raise InvalidDataError(f"{data.name} must have cases enough to hold some out. Got {len(data.train)}. Add more.")
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
