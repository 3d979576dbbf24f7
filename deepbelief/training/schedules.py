"""Schedules: a setting as a function of progress, from 0 at the start of training to 1 at its end."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from deepbelief.errors import check, check_choice, check_range

Schedule = Callable[[float], float]


def constant(start: float) -> Schedule:
    """The same value always."""
    return lambda progress: start


def linear(start: float, end: float = 0.0) -> Schedule:
    """From `start` to `end` along a line.

    >>> linear(1.0, 0.0)(0.25)
    0.75
    """
    return lambda progress: start + (end - start) * progress


def cosine(start: float, end: float = 0.0) -> Schedule:
    """From `start` to `end` along half a cosine wave (Loshchilov & Hutter 2017)."""
    return lambda progress: end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * progress))


def exponential(start: float, end: float) -> Schedule:
    """From `start` to `end` by a constant factor per step; both must be above 0.

    >>> round(exponential(0.1, 0.001)(0.5), 10)
    0.01
    """
    check(start > 0 and end > 0, f"start and end must be above 0. Got start={start}, end={end}. Use linear instead.")
    return lambda progress: start * (end / start) ** progress


def step(start: float, end: float, at: Sequence[float] = (0.5,)) -> Schedule:
    """From `start` to `end` by one equal factor at each point of progress in `at`.

    >>> [round(step(1.0, 0.01, at=(0.5, 0.75))(p), 10) for p in (0.4, 0.5, 0.8)]
    [1.0, 0.1, 0.01]
    """
    check(len(at) > 0 and start > 0 and end > 0, f"step needs start, end above 0 and points. Got {start}, {end}, {at}.")
    factor = (end / start) ** (1 / len(at))
    return lambda progress: start * factor ** sum(progress >= point for point in at)


def warmup(schedule: Schedule, part: float) -> Schedule:
    """Rise along a line from 0 during the first `part` of training, then follow `schedule` over the rest.

    >>> warmup(constant(0.5), 0.5)(0.25)
    0.25
    """
    check_range("warmup", part, low=0, high=1)
    if part == 0:
        return schedule
    first = schedule(0.0)

    def rising(progress: float) -> float:
        return first * progress / part if progress < part else schedule((progress - part) / max(1.0 - part, 1e-12))

    return rising


SCHEDULES = ("constant", "linear", "cosine", "exponential", "step")


def make_schedule(name: str, start: float, end: float | None = None, *, warmup_part: float = 0.0) -> Schedule:
    """A schedule by name: ``constant, linear, cosine, exponential, step``.

    `end` defaults to 0 for linear and cosine and to ``start / 100`` for exponential and step.

    >>> make_schedule("linear", 0.1)(1.0)
    0.0
    """
    check_choice("schedule", name, SCHEDULES)
    makers: dict[str, Callable[[], Schedule]] = {
        "constant": lambda: constant(start),
        "linear": lambda: linear(start, 0.0 if end is None else end),
        "cosine": lambda: cosine(start, 0.0 if end is None else end),
        "exponential": lambda: exponential(start, start / 100 if end is None else end),
        "step": lambda: step(start, start / 100 if end is None else end),
    }
    return warmup(makers[name](), warmup_part)
