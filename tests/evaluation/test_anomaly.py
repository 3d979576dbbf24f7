"""Anomaly rows against brute force."""

from __future__ import annotations

import pytest
import torch

from deepbelief.errors import InvalidDataError
from deepbelief.evaluation.anomaly import alarm_results, anomaly_results, area_error


def test_area_is_the_share_of_pairs_in_order(generator: torch.Generator) -> None:
    scores = torch.randint(6, (40,), generator=generator).double()  # with ties
    odd = torch.rand(40, generator=generator) < 0.3
    pairs = scores[odd][:, None] - scores[~odd][None]
    area, precision, chance = anomaly_results(scores, odd, data="d", model_name="m")
    assert area.value == pytest.approx(((pairs > 0).double() + 0.5 * (pairs == 0)).mean().item())
    assert chance.value == pytest.approx(odd.double().mean().item())
    assert chance.model == "random scores"
    assert precision.quantity == chance.quantity


def test_average_precision_by_hand() -> None:
    _, precision, _ = anomaly_results([5, 4, 3, 2, 1], [1, 0, 1, 0, 0], data="d", model_name="m")
    assert precision.value == pytest.approx((1 / 1 + 2 / 3) / 2)


def test_error_of_the_area_is_that_of_repeated_data(generator: torch.Generator) -> None:
    # for exponential scores Hanley & McNeil's formula is exact: P(odd above normal) = 1 / (1 + ratio of rates)
    n_sets, n_odd, n_normal = 4000, 20, 30
    odd, normal = (torch.rand(n_sets, n, generator=generator).log().neg() for n in (n_odd, n_normal))
    areas = (3 * odd[:, :, None] > normal[:, None, :]).double().mean((1, 2))
    expected = area_error(0.75, n_odd, n_normal)
    # a sample variance of near-normal numbers has relative standard deviation sqrt(2 / n); 4.9 of them: 1e-6, and the
    # kurtosis of an area is below normal
    assert abs(areas.var().item() / expected**2 - 1) < 4.9 * (2 / n_sets) ** 0.5


@pytest.mark.parametrize(
    ("scores", "odd", "words"),
    [
        ([1.0, 2.0], [False, False], "not all"),
        ([1.0, float("nan")], [True, False], "finite"),
        ([1.0], [True, False], "same number of cases"),
    ],
)
def test_bad_scores_are_refused(scores: list, odd: list, words: str) -> None:
    with pytest.raises(InvalidDataError, match=words):
        anomaly_results(scores, odd, data="d", model_name="m")


def test_alarms_are_counted_step_by_step() -> None:
    odd = [0, 0, 0, 0, 0, 1, 1, 1, 1, 0]
    alarm = [1, 0, 0, 0, 0, 0, 1, 0, 0, 0]  # one step of the stretch is found, and none of its other three
    f1, false, missed, always = alarm_results(alarm, odd, data="d", model_name="m")
    assert (false.value, missed.value) == (pytest.approx(1 / 6), 0.75)
    precision, recall = 1 / 2, 1 / 4
    assert f1.value == pytest.approx(2 * precision * recall / (precision + recall))
    assert always.value == pytest.approx(alarm_results([1] * 10, odd, data="d", model_name="m")[0].value)
    with pytest.raises(InvalidDataError, match="not all"):
        alarm_results([0, 1], [1, 1], data="d", model_name="m")
