"""Log-space sums and means against plain ones."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from deepbelief.maths.logspace import StreamingLogSum, log_mean_exp
from tests.oracle.pvalues import FALSE_ALARM

NUMBERS = st.lists(st.floats(-30, 30), min_size=1, max_size=20)


def streamed(chunks: list[Tensor]) -> float:
    total = StreamingLogSum()
    for chunk in chunks:
        total.add(chunk)
    return total.value


@given(numbers=NUMBERS, chunk=st.integers(1, 7))
def test_streaming_gives_the_sum(numbers: list[float], chunk: int) -> None:
    terms = torch.tensor(numbers, dtype=torch.float64)
    assert streamed(list(terms.split(chunk))) == pytest.approx(math.log(math.fsum(map(math.exp, numbers))), abs=1e-12)


@pytest.mark.parametrize("shift", [-1e4, 0.0, 1e4])
def test_nothing_overflows(shift: float) -> None:
    terms = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64) + shift
    wanted = shift + math.log(1 + math.e + math.e**2)
    assert streamed([terms[:1], terms[1:]]) == pytest.approx(wanted, abs=1e-9)
    assert log_mean_exp(terms).value == pytest.approx(wanted - math.log(3), abs=1e-9)


def test_terms_that_are_nothing_add_nothing() -> None:
    nothing = torch.tensor([-math.inf])
    assert streamed([]) == streamed([nothing]) == -math.inf
    assert streamed([nothing, torch.tensor([1.5]), nothing]) == 1.5


@given(numbers=NUMBERS)
def test_the_mean_is_the_mean_and_the_effective_size_lies_between_one_and_n(numbers: list[float]) -> None:
    mean = log_mean_exp(torch.tensor(numbers, dtype=torch.float64))
    wanted = math.log(math.fsum(map(math.exp, numbers)) / len(numbers))
    assert mean.value == pytest.approx(wanted, abs=1e-12)
    assert 1 - 1e-9 <= mean.effective_size <= len(numbers) + 1e-9


def test_equal_weights_are_all_effective_and_a_dominant_one_is_alone() -> None:
    assert log_mean_exp(torch.full((9,), -5.0)).effective_size == pytest.approx(9)
    assert log_mean_exp(torch.tensor([0.0, -60.0, -60.0])).effective_size == pytest.approx(1)


def test_the_error_is_that_of_the_logarithm(generator: torch.Generator) -> None:
    """With log-normal weights the truth is known; the gaps, in units of the error, have a chi-square law."""
    sigma, runs = 0.3, 300
    means = [log_mean_exp(sigma * torch.randn(1000, generator=generator)) for _ in range(runs)]
    square = sum(((mean.value - sigma**2 / 2) / mean.stderr) ** 2 for mean in means)
    assert min(stats.chi2.sf(square, runs), stats.chi2.cdf(square, runs)) > FALSE_ALARM


def test_one_weight_has_no_error_and_no_weight_no_mean() -> None:
    assert math.isnan(log_mean_exp(torch.zeros(1)).stderr)
    assert log_mean_exp(torch.tensor([-math.inf, -math.inf])).value == -math.inf
