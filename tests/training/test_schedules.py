"""Schedules at their ends, in the middle, and composed."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from deepbelief.errors import InvalidArgumentError
from deepbelief.training.schedules import SCHEDULES, constant, cosine, make_schedule, step, warmup

POINTS = [i / 50 for i in range(51)]


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_starts_and_ends_where_it_says_and_never_rises(name: str) -> None:
    schedule = make_schedule(name, 0.5, 0.125)
    values = [schedule(point) for point in POINTS]
    assert values[0] == pytest.approx(0.5)
    assert values[-1] == pytest.approx(0.5 if name == "constant" else 0.125)
    assert all(later <= earlier for earlier, later in itertools.pairwise(values))


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_symmetric_schedules_are_halfway_in_the_middle(name: str) -> None:
    assert make_schedule(name, 1.0, 0.5)(0.5) == pytest.approx(0.75)


def test_cosine_is_slow_at_both_ends() -> None:
    schedule = cosine(1.0)
    assert 1.0 - schedule(0.1) < 0.1
    assert schedule(0.9) < 0.1


def test_exponential_falls_by_one_factor() -> None:
    schedule = make_schedule("exponential", 1.0, 0.01)
    assert [schedule(p) for p in (0.25, 0.5, 0.75)] == pytest.approx([10**-0.5, 0.1, 10**-1.5])


def test_step_falls_at_its_points_only() -> None:
    schedule = step(1.0, 0.25, at=(0.25, 0.75))
    assert [schedule(p) for p in (0.0, 0.24, 0.25, 0.74, 0.75, 1.0)] == pytest.approx([1, 1, 0.5, 0.5, 0.25, 0.25])


def test_warmup_rises_from_zero_and_then_runs_the_whole_schedule() -> None:
    schedule = warmup(cosine(2.0, 1.0), 0.2)
    assert [schedule(p) for p in (0.0, 0.1, 0.2, 0.6, 1.0)] == pytest.approx([0.0, 1.0, 2.0, 1.5, 1.0])
    assert warmup(constant(3.0), 0.0)(0.0) == 3.0


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: make_schedule("liner", 0.1), "Did you mean 'linear'"),
        (lambda: make_schedule("exponential", 0.1, 0.0), "start and end must be above 0"),
        (lambda: make_schedule("linear", 0.1, warmup_part=1.5), "warmup must be at least 0 and at most 1"),
        (lambda: step(1.0, 0.1, at=()), "step needs"),
    ],
)
def test_wrong_settings(make: Any, sentence: str) -> None:
    with pytest.raises(InvalidArgumentError, match=sentence):
        make()
