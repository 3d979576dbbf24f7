"""Histories of training as panels: one per metric and stage, the stages side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from deepbelief.report.blocks import Columns, Panel, Panels
from deepbelief.report.charts import curve
from deepbelief.report.numbers import format_number, readable

NOT_METRICS = ("epoch", "step", "seconds")
SIDE_NUMBERS = (".kind", ".stderr", ".low", ".high")  # what a Bound brings beside its value; no curve of their own
PARTS = {
    "train": "training",
    "training": "training",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "held_out": "held out",
    "heldout": "held out",
}
History = Sequence[Mapping[str, Any]]
Lines = dict[str, tuple[list[float], list[float]]]


def curve_panels(histories: Mapping[str, History]) -> Columns | Panels:
    """A column of panels per stage, so that a metric of several stages lies side by side; one stage alone flows."""
    columns = []
    for colour, (stage, rows) in enumerate(histories.items()):
        panels = [
            _panel(metric, stage, lines, position_name(rows), colour) for metric, lines in stage_curves(rows).items()
        ]
        if panels:
            columns.append((stage, panels))
    return Panels(columns[0][1], width=250) if len(columns) == 1 else Columns(columns)


def stage_curves(rows: History) -> dict[str, Lines]:
    """Metric -> its lines; ``loss`` and ``validation_loss`` are one metric with two lines.

    >>> stage_curves([{"epoch": 1, "loss": 2.0, "validation_loss": None}, {"epoch": 2, "loss": 1.0}])
    {'loss': {'training': ([1, 2], [2.0, 1.0])}}
    """
    position = position_name(rows)
    curves: dict[str, Lines] = {}
    for name in dict.fromkeys(
        key for row in rows for key in row if key not in NOT_METRICS and not key.endswith(SIDE_NUMBERS)
    ):
        values = [_number(row.get(name)) for row in rows]
        y = [value for value in values if value is not None]
        x = [row.get(position, i) for i, row in enumerate(rows, 1) if values[i - 1] is not None]
        if y:
            metric, part = split_part(name)
            curves.setdefault(metric, {})[part] = (x, y)
    return curves


def split_part(name: str) -> tuple[str, str]:
    """The metric and the part of the data that it was measured on.

    >>> split_part("validation_loss"), split_part("held_out_free_energy"), split_part("loss")
    (('loss', 'validation'), ('free_energy', 'held out'), ('loss', 'training'))
    """
    for prefix, part in PARTS.items():
        if name.startswith(f"{prefix}_") and len(name) > len(prefix) + 1:
            return name[len(prefix) + 1 :], part
    return name, "training"


def position_name(rows: History) -> str:
    """What runs along the horizontal axis: epochs where they tell the rows apart, else steps."""
    epochs = [row.get("epoch") for row in rows]
    if None not in epochs and len(set(epochs)) == len(epochs):
        return "epoch"
    return "step" if all(row.get("step") is not None for row in rows) else "row"


def stage_times(histories: Mapping[str, History]) -> str:
    """How long each stage took, as a sentence; nothing when no row has ``seconds``."""
    parts = []
    for stage, rows in histories.items():
        seconds = max((_number(row.get("seconds")) or 0.0 for row in rows), default=0.0)
        if seconds:
            parts.append(f"{stage} {format_duration(seconds)}")
    return f"Time: {', '.join(parts)}." if parts else ""


def format_duration(seconds: float) -> str:
    """Seconds as a person says them.

    >>> format_duration(8.25), format_duration(200), format_duration(7300)
    ('8.2 s', '3 min 20 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _panel(metric: str, stage: str, lines: Lines, position: str, colour: int) -> Panel:
    lasts = ", ".join(f"{name} {format_number(y[-1])}" for name, (_, y) in lines.items())
    only = next(iter(lines)) if len(lines) == 1 else ""
    last = lasts.removeprefix("training ") if only == "training" else lasts
    alt = f"{readable(metric)} of {stage} over training; last {lasts}"
    return Panel(curve(lines, position, alt, colour=colour), readable(metric), f"last: {last}")


def _number(value: Any) -> float | None:
    """A finite number (of Python, NumPy or torch), or None."""
    value = value.item() if hasattr(value, "item") else value
    real = isinstance(value, int | float) and not isinstance(value, bool)
    return value if real and math.isfinite(value) else None
