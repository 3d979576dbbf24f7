"""Distances between samples and data: closed forms, brute force, and the law of the two-sample test."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import binom

from deepbelief.errors import InvalidDataError
from deepbelief.evaluation.samples import (
    COPIES,
    HELD_OUT,
    moment_errors,
    nearest_distances,
    sample_results,
    two_sample_test,
)


def test_moment_errors_by_hand() -> None:
    a = torch.tensor([[0.0, 0.0], [2.0, 4.0]])
    b = torch.tensor([[1.0, 2.0], [1.0, 2.0]])
    mean, covariance = moment_errors(a, b)
    assert mean == 0.0
    assert covariance == pytest.approx(((2.0**2 + 4**2 + 4**2 + 8**2) / 4) ** 0.5)
    assert moment_errors(a + 3, a)[0] == pytest.approx(3.0)


def test_nearest_distances_are_those_of_brute_force(generator: torch.Generator) -> None:
    queries, cases = (torch.randn(n, 7, generator=generator) for n in (20, 60))
    expected = (queries[:, None] - cases[None]).norm(dim=2).min(1).values
    torch.testing.assert_close(nearest_distances(queries, cases, chunk=6), expected)


def test_copies_are_at_distance_zero_however_far_from_the_origin(generator: torch.Generator) -> None:
    cases = 1000 + torch.randn(60, 7, generator=generator)
    assert (nearest_distances(cases[:10], cases) == 0).all()


@pytest.mark.parametrize("classifier", ["logistic", "knn"])
def test_sets_that_differ_are_told_apart(classifier: str, generator: torch.Generator) -> None:
    first, second = torch.randn(100, 3, generator=generator), 2 + torch.randn(100, 3, generator=generator)
    test = two_sample_test(first, second, generator=generator, classifier=classifier)  # type: ignore[arg-type]
    assert test.accuracy > 0.9
    assert test.p_value < 1e-6


@pytest.mark.parametrize("classifier", ["logistic", "knn"])
def test_sets_that_are_alike_seldom_get_a_small_p_value(classifier: str, generator: torch.Generator) -> None:
    n_tests, level = 60, 0.1
    found = 0
    for _ in range(n_tests):
        first, second = (torch.randn(30, 2, generator=generator) for _ in range(2))
        test = two_sample_test(first, second, generator=generator, classifier=classifier, folds=3)  # type: ignore[arg-type]
        found += test.p_value <= level
    assert binom.sf(found - 1, n_tests, level) > 1e-6  # false alarms at most as often as the level allows


def test_reference_rows_bracket_the_samples(generator: torch.Generator) -> None:
    train, held_out = (torch.randn(n, 4, generator=generator) for n in (200, 300))
    samples = 3 + torch.randn(150, 4, generator=generator)
    rows = {
        (row.model, row.quantity): row.value
        for row in sample_results(samples, train, held_out, data="d", model_name="m", generator=generator)
    }
    nearest = "distance to the nearest training case"
    assert rows[COPIES, nearest] == 0.0
    assert 0.0 < rows[HELD_OUT, nearest] < rows["m", nearest]  # type: ignore[operator]
    means = "error of the samples' means (root mean square)"
    assert rows["m", means] > 2 > max(rows[HELD_OUT, means], rows[COPIES, means])  # type: ignore[operator,type-var]
    for name in ("logistic regression", "nearest neighbours"):
        p_value = f"two-sample accuracy, {name}: p-value"
        assert rows["m", p_value] < 1e-6 < rows[HELD_OUT, p_value]  # type: ignore[operator]
        assert rows[COPIES, p_value] > 1e-6  # type: ignore[operator]


def test_too_few_cases_are_refused(generator: torch.Generator) -> None:
    few, many = torch.zeros(5, 2), torch.zeros(100, 2)
    with pytest.raises(InvalidDataError, match="at least 20 samples"):
        sample_results(few, many, many, data="d", model_name="m", generator=generator)
