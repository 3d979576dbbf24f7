"""The tests of the tests: p-values are uniform where the law holds, and small where it does not."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from tests.oracle.pvalues import FALSE_ALARM, at_most_p_value, corrected, counts_p_value, means_p_value

P = torch.tensor([0.5, 0.25, 0.15, 0.1, 0.0])


def counts(p: torch.Tensor, n: int, generator: torch.Generator) -> torch.Tensor:
    return torch.bincount(torch.multinomial(p, n, replacement=True, generator=generator), minlength=len(p))


def test_p_values_of_true_laws_are_uniform(generator: torch.Generator) -> None:
    of_counts = [counts_p_value(counts(P, 2000, generator), P) for _ in range(400)]
    normal = lambda: torch.randn(50, generator=generator)
    of_means = [means_p_value(normal(), 0.0) for _ in range(400)]
    of_limits = [at_most_p_value(normal(), 0.0) for _ in range(400)]
    p_values = [stats.kstest(sample, "uniform").pvalue for sample in (of_counts, of_means, of_limits)]
    assert corrected(p_values) > FALSE_ALARM


def test_wrong_laws_are_caught(generator: torch.Generator) -> None:
    shifted = P + torch.tensor([0.02, -0.02, 0.0, 0.0, 0.0])
    assert counts_p_value(counts(shifted, 50_000, generator), P) < FALSE_ALARM
    draws = torch.randn(10_000, 3, generator=generator) + torch.tensor([0.0, 0.0, 0.1])
    assert means_p_value(draws, torch.zeros(3)) < FALSE_ALARM
    assert at_most_p_value(draws, torch.zeros(3)) < FALSE_ALARM
    assert at_most_p_value(draws, torch.ones(3)) > 0.5


def test_impossible_states_and_stuck_numbers_are_caught() -> None:
    assert counts_p_value(torch.tensor([50, 25, 15, 9, 1]), P) == 0.0
    assert means_p_value(torch.ones(10), 2.0) == 0.0
    assert means_p_value(torch.ones(10), 1.0) == 1.0


@pytest.mark.parametrize("n", [10, 60, 1000])
def test_rare_states_are_gathered(n: int, generator: torch.Generator) -> None:
    p = torch.full((200,), 1 / 200)
    assert counts_p_value(counts(p, n, generator), p) > FALSE_ALARM
