"""What a training leaves behind: `TrainingRecord`; and what it counts on the way: `Meter`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deepbelief.types import Bound


@dataclass
class TrainingRecord:
    """The history of one training, one row per epoch.

    Every row has ``epoch`` (finished epochs), ``step`` and ``seconds`` (since the start, resumed trainings included),
    then the procedure's numbers averaged over the epoch's cases, then what the callbacks added. ``stop_reason`` is one
    of ``epochs``, ``max_steps``, ``max_seconds``, ``interrupted``, or a callback's word such as ``early stopping``.
    """

    history: list[dict[str, Any]] = field(default_factory=list)
    stop_reason: str = ""
    epochs: int = 0
    steps: int = 0
    cases: int = 0
    seconds: float = 0.0
    checkpoint: Path | None = None

    def column(self, name: str) -> list[float]:
        """One number through the history, where it was measured.

        >>> TrainingRecord([{"epoch": 1, "loss": 0.5}, {"epoch": 2}]).column("loss")
        [0.5]
        """
        return [float(row[name]) for row in self.history if name in row]

    def to_dict(self) -> dict[str, Any]:
        """The record as plain values, for JSON."""
        return {**asdict(self), "checkpoint": None if self.checkpoint is None else str(self.checkpoint)}


def flat_numbers(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Numbers and `Bound`s as columns of a row; a bound brings its kind, and its error and bracket where it has them.

    >>> flat_numbers({"ll": Bound(-90.0, "estimate", 0.1)})
    {'ll': -90.0, 'll.kind': 'estimate', 'll.stderr': 0.1}
    """
    row: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if not isinstance(value, Bound):
            row[name] = value.item() if isinstance(value, Tensor) else value
            continue
        row |= {name: float(value), f"{name}.kind": value.kind}
        extra = {"stderr": value.stderr or None, "low": value.low, "high": value.high}
        row |= {f"{name}.{word}": float(number) for word, number in extra.items() if number is not None}
    return row


class Meter:
    """Means over cases, summed where the numbers are, so that a step waits for no GPU."""

    def __init__(self) -> None:
        self.sums: dict[str, Any] = {}
        self.counts: dict[str, int] = {}

    def add(self, metrics: Mapping[str, Tensor | float], n: int) -> None:
        """Count `metrics`, each a mean over `n` cases."""
        for name, value in metrics.items():
            if isinstance(value, Tensor):
                wide = torch.float32 if value.device.type == "mps" else torch.float64
                value = value.detach().to(wide)
            self.sums[name] = self.sums.get(name, 0.0) + value * n
            self.counts[name] = self.counts.get(name, 0) + n

    def clear(self) -> None:
        """Start a new epoch."""
        self.sums, self.counts = {}, {}

    def totals(self) -> dict[str, tuple[float, int]]:
        """Sum and number of cases of each metric; the one place where numbers are read from the device."""
        return {name: (float(total), self.counts[name]) for name, total in self.sums.items()}

    def state_dict(self) -> dict[str, Any]:
        return {"totals": self.totals()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.sums = {name: total for name, (total, _) in state["totals"].items()}
        self.counts = {name: count for name, (_, count) in state["totals"].items()}


def combined_means(parts: list[dict[str, tuple[float, int]]]) -> dict[str, float]:
    """Means over the cases of all processes, from each process's `Meter.totals`."""
    names = dict.fromkeys(name for part in parts for name in part)
    means = {}
    for name in names:
        seen = [part[name] for part in parts if name in part]
        means[name] = sum(total for total, _ in seen) / max(sum(count for _, count in seen), 1)
    return means
