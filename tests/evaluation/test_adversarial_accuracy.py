"""Adversarial accuracy on samples whose answer is known: the same law, copies, a shifted law."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deepbelief.errors import InvalidDataError
from deepbelief.evaluation import adversarial_accuracy as file
from deepbelief.evaluation.adversarial_accuracy import adversarial_accuracy, adversarial_rows
from tests.oracle.pvalues import FALSE_ALARM, means_p_value

REPEATS = 30


def draws(n: int, generator: torch.Generator, *, bits: bool = False) -> torch.Tensor:
    x = torch.randn(n, 6, generator=generator)
    return (x > 0.3).float() if bits else x


def brute_force(cases: torch.Tensor, samples: torch.Tensor) -> tuple[float, float]:
    """The definition, one case after another."""

    def one(mine: torch.Tensor, theirs: torch.Tensor) -> float:
        total = 0.0
        for i, x in enumerate(mine):
            others = torch.cat([mine[:i], mine[i + 1 :]])
            gap = (theirs - x).norm(dim=1).min() - (others - x).norm(dim=1).min()
            total += 0.5 if abs(gap) < 1e-6 else float(gap > 0)
        return total / len(mine)

    return one(cases, samples), one(samples, cases)


@pytest.mark.parametrize("bits", [False, True])
def test_it_is_the_definition(bits: bool, generator: torch.Generator) -> None:
    cases, samples = draws(60, generator, bits=bits), draws(60, generator, bits=bits)
    found = adversarial_accuracy(cases, samples, generator=generator)
    assert (found.truth, found.synthetic) == pytest.approx(brute_force(cases, samples))


def same_law_p_value(generator: torch.Generator, *, bits: bool) -> tuple[float, float]:
    """The p-value that scores have the ideal mean, and the variance of the scores in units of the stated error."""
    found = [
        adversarial_accuracy(*(draws(80, generator, bits=bits) for _ in range(2)), generator=generator)
        for _ in range(REPEATS)
    ]
    ideal = 0.5 - 0.25 / 80  # a case has 79 others of its own and 80 of the other set
    scores = torch.tensor([[(one.truth - ideal) / one.stderr, (one.synthetic - ideal) / one.stderr] for one in found])
    return means_p_value(scores, 0.0), scores.var(0).mean().item()


@pytest.mark.parametrize("bits", [False, True])
def test_one_law_gives_a_half_within_its_error(bits: bool, generator: torch.Generator) -> None:
    p_value, variance = same_law_p_value(generator, bits=bits)
    assert p_value > FALSE_ALARM
    assert 0.15 < variance < 2.9  # chi-square with 29 degrees of freedom, once in a million


def test_copies_are_near_zero_and_another_law_near_one(generator: torch.Generator) -> None:
    cases = draws(100, generator)
    copies = adversarial_accuracy(cases, cases[torch.randperm(100, generator=generator)], generator=generator)
    assert copies.truth == copies.synthetic == 0.0
    apart = adversarial_accuracy(cases, 9 + draws(100, generator), generator=generator)
    assert apart.truth == apart.synthetic == 1.0
    assert max(copies.p_value, apart.p_value) < FALSE_ALARM


def test_a_narrow_law_inside_a_wide_one_is_told_by_both(generator: torch.Generator) -> None:
    wide, narrow = (scale * torch.randn(200, 100, generator=generator) for scale in (1, 0.1))
    found = adversarial_accuracy(wide, narrow, generator=generator)
    assert found.synthetic > 0.9  # samples huddle together
    assert found.truth < 0.1  # and the centre is nearer to every case (10) than other cases are (14)


def test_identical_rows_are_ties_however_many(generator: torch.Generator) -> None:
    found = adversarial_accuracy(torch.zeros(50, 3), torch.zeros(50, 3), generator=generator)
    assert found.truth == found.synthetic == 0.5


def test_rows_say_what_they_are_and_too_few_cases_are_refused(generator: torch.Generator) -> None:
    cases = draws(30, generator)
    rows = adversarial_rows(cases, draws(40, generator), "training", data="d", model_name="m", generator=generator)
    assert [row.quantity for row in rows] == ["AA_truth, training cases", "AA_syn, training cases"]
    assert all(row.unit == "%" and row.kind == "measured" and row.stderr for row in rows)
    with pytest.raises(InvalidDataError, match="at least 10"):
        adversarial_accuracy(cases[:5], cases, generator=generator)


def test_a_row_that_is_its_own_neighbour_is_caught(monkeypatch: pytest.MonkeyPatch, generator: torch.Generator) -> None:
    neighbours = file._neighbours

    def with_itself(pooled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        distances, rows = neighbours(pooled)
        distances[:, 0], rows[:, 0] = 0.0, np.arange(len(pooled))
        return distances, rows

    monkeypatch.setattr(file, "_neighbours", with_itself)
    cases, samples = draws(60, generator), draws(60, generator)
    found = adversarial_accuracy(cases, samples, generator=generator)
    assert (found.truth, found.synthetic) != pytest.approx(brute_force(cases, samples))
