"""Classification and regression rows against counts done by hand and scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn import metrics

from deepbelief.errors import InvalidDataError
from deepbelief.evaluation.classification import (
    calibration_error,
    classification_results,
    confusion_matrix,
    hardest_cases,
    regression_results,
)


def cases(generator: torch.Generator, n: int = 200, k: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    p = torch.softmax(2 * torch.randn(n, k, generator=generator), 1)
    return p, torch.multinomial(p, 1, generator=generator)[:, 0]


def test_rows_agree_with_scikit_learn(generator: torch.Generator) -> None:
    p, y = cases(generator)
    error, log_loss, calibration = classification_results(p, y, data="d", model_name="m")
    wrong = 1 - metrics.accuracy_score(y, p.argmax(1))
    assert error.value == pytest.approx(100 * wrong)
    assert error.stderr == pytest.approx(100 * math.sqrt(wrong * (1 - wrong) / 200))
    assert log_loss.value == pytest.approx(metrics.log_loss(y, p.double() / p.double().sum(1, keepdim=True)), rel=1e-5)
    assert {row.kind for row in (error, log_loss, calibration)} == {"measured"}


def test_confusion_agrees_with_scikit_learn(generator: torch.Generator) -> None:
    p, y = cases(generator)
    expected = metrics.confusion_matrix(y, p.argmax(1), labels=range(4))
    assert (confusion_matrix(p, y) == expected).all()


def test_a_certain_and_wrong_case_has_a_finite_loss() -> None:
    _, log_loss, _ = classification_results([[1.0, 0.0]], [1], data="d", model_name="m")
    assert log_loss.value == pytest.approx(-math.log(1e-12))


def test_calibration_by_hand() -> None:
    p = [[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.35, 0.65]]
    # bins of the sureness: 0.9 twice (one right: gap 0.4), 0.6 (right) and 0.65 (wrong) apart in 15 bins, with 9 of 15
    assert int(0.6 * 15) == int(0.65 * 15) == 9
    expected = 0.5 * abs(0.9 - 0.5) + 0.5 * abs(0.625 - 0.5)
    assert calibration_error(p, [0, 1, 1, 0]) == pytest.approx(expected)


def test_a_calibrated_classifier_has_less_error_than_an_overconfident_one(generator: torch.Generator) -> None:
    p, y = cases(generator, n=20_000)
    sharper = p**4 / (p**4).sum(1, keepdim=True)
    # each bin's gap has a standard deviation of at most 0.5 / sqrt(n_bin), so the mean gap is at most
    # 15 bins * 0.5 / sqrt(15 n) on average; 10 standard deviations more would be a chance far below 1e-6
    limit = 0.5 * math.sqrt(15 / 20_000) + 5 / math.sqrt(20_000)
    assert calibration_error(p, y) < limit < calibration_error(sharper, y)


def test_hardest_cases_come_in_order() -> None:
    p = np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5], [0.99, 0.01]])
    assert hardest_cases(p, [0, 0, 0, 1], 3).tolist() == [3, 1, 2]


@pytest.mark.parametrize(
    ("p", "y", "words"),
    [
        ([[2.0, -1.0]], [0], "sum to 1"),
        ([[3.0, 4.0]], [0], "softmax"),
        ([[0.5, math.nan]], [0], "missing"),
        ([[0.5, 0.5]], [2], "0 to 1"),
        ([[0.5, 0.5]], [0, 1], "same number of cases"),
        ([0.5, 0.5], [0, 1], "shape"),
    ],
)
def test_what_is_no_probability_is_refused(p: list, y: list, words: str) -> None:
    with pytest.raises(InvalidDataError, match=words):
        classification_results(p, y, data="d", model_name="m")


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_regression_agrees_with_scikit_learn(n_outputs: int, generator: torch.Generator) -> None:
    truth = torch.randn(50, n_outputs, generator=generator)
    guess = truth + 0.5 * torch.randn(50, n_outputs, generator=generator)
    rows = {row.quantity: row for row in regression_results(guess, truth, data="d", model_name="m")}
    mse = metrics.mean_squared_error(truth, guess)
    assert rows["test mean squared error"].value == pytest.approx(mse, rel=1e-5)
    assert rows["test root mean squared error"].value == pytest.approx(math.sqrt(mse), rel=1e-5)
    assert rows["test mean absolute error"].value == pytest.approx(metrics.mean_absolute_error(truth, guess), rel=1e-5)
    r2 = metrics.r2_score(truth, guess, multioutput="variance_weighted")
    assert rows["test R squared"].value == pytest.approx(r2, rel=1e-5)


def test_regression_shapes_must_agree() -> None:
    with pytest.raises(InvalidDataError, match="one shape"):
        regression_results(torch.zeros(3, 2), torch.zeros(3), data="d", model_name="m")
