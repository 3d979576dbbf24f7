"""What the measuring files share: arrays from tensors, and the mean of a number per case as a `Result`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from deepbelief.errors import InvalidDataError, check_count
from deepbelief.types import Result


def to_numpy(x: Any) -> np.ndarray:
    """An array from an array, a list or a tensor on any device."""
    return x.detach().cpu().numpy() if isinstance(x, torch.Tensor) else np.asarray(x)


def seed_from(generator: torch.Generator) -> int:
    """A seed for a library that knows NumPy's random numbers only, drawn from `generator`."""
    return int(torch.randint(2**31 - 1, (1,), generator=generator, device=generator.device).item())


def standard_error(values: np.ndarray) -> float:
    """The standard error of the mean of `values`; NaN for fewer than 2.

    >>> standard_error(np.array([1.0, 3.0]))
    1.0
    """
    return float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan


def mean_result(quantity: str, values: np.ndarray, *, unit: str, data: str, model: str) -> Result:
    """The mean over cases with its standard error: what another sample of cases of this size would change."""
    if len(values) == 0:
        raise InvalidDataError(f"{quantity} needs at least 1 case. Got none.")
    wide = np.asarray(values, dtype=np.float64)
    return Result(quantity, float(wide.mean()), "measured", standard_error(wide), unit, data, model)


def random_rows(n: int, most: int, generator: torch.Generator) -> torch.Tensor:
    """At most `most` of the row numbers below `n`, without repetition, in random order.

    >>> random_rows(3, 10, torch.Generator().manual_seed(0)).sort().values.tolist()
    [0, 1, 2]
    """
    check_count("most", most, low=1)
    return torch.randperm(n, generator=generator, device=generator.device)[:most].cpu()


def check_same_length(first: Any, second: Any, first_name: str, second_name: str) -> None:
    """Raise `InvalidDataError` unless both have the same number of cases, and some."""
    if len(first) != len(second) or len(first) == 0:
        raise InvalidDataError(
            f"{first_name} and {second_name} must have the same number of cases, at least 1. "
            f"Got {len(first)} and {len(second)}."
        )
