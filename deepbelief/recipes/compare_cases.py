"""The cases of a comparison, and what is asked of their columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from deepbelief.estimators.pictures import CHANNELS, with_channels


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
