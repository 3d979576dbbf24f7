"""Rectified units keep their digits in both tails and draw what they say: against 60 digits and SciPy's law."""

from __future__ import annotations

import mpmath
import pytest
import torch
from scipy import stats
from torch import Tensor

from deepbelief.units import rectified
from deepbelief.units.rectified import Rectified, standard_mean, standard_quantile
from tests.oracle.pvalues import FALSE_ALARM

TAILS = [-1e4, -300.0, -30.0, -6.0, -5.01, -4.99, -3.0, -1.0, -1e-3, 0.0, 1e-3, 1.0, 5.0, 8.0, 30.0, 300.0, 1e4]
close = torch.testing.assert_close


def exact(function: str, z: Tensor) -> Tensor:
    """The mean or the log mass of a Gaussian of variance 1 cut off below zero, in 60 digits."""
    with mpmath.workdps(60):
        points = [mpmath.mpf(x) for x in z.double().tolist()]
        values = {
            "mean": lambda x: x + mpmath.npdf(x) / mpmath.ncdf(x),
            "log_mass": lambda x: x**2 / 2 + mpmath.log(mpmath.ncdf(x)),
        }
        return torch.tensor([float(values[function](x)) for x in points], dtype=torch.float64)


@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float32, 1e-5), (torch.float64, 1e-13)])
def test_both_tails_keep_their_digits(dtype: torch.dtype, rounding: float) -> None:
    z = torch.tensor(TAILS, dtype=dtype)
    close(standard_mean(z).double(), exact("mean", z), rtol=rounding, atol=0)
    close(rectified._log_mass(z).double(), exact("log_mass", z), rtol=rounding, atol=rounding)


def test_a_difference_of_large_numbers_would_lose_them() -> None:
    """The planted bug: the textbook's formula, which the test above must not let pass."""
    z = torch.tensor([-300.0])
    textbook = z + rectified._hazard(-z)
    assert (textbook.double() / exact("mean", z) - 1).abs() > 1e-3


@pytest.mark.parametrize("chance", [1.0, 1 - 1e-5, 0.5, 1e-3, 1e-7])
def test_the_quantile_is_exceeded_with_its_chance(chance: float) -> None:
    z = torch.tensor(TAILS, dtype=torch.float64)[1:-1]
    y = standard_quantile(z, torch.full_like(z, chance))
    with mpmath.workdps(60):
        pairs = zip(z.tolist(), y.tolist(), strict=True)
        logs = [float(mpmath.log(mpmath.ncdf(mpmath.mpf(a) - b) / mpmath.ncdf(mpmath.mpf(a)))) for a, b in pairs]
    close(torch.tensor(logs, dtype=torch.float64), torch.full_like(z, chance).log(), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("field", [-50.0, -1.0, 0.5, 40.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_draws_have_the_law(field: float, dtype: torch.dtype, generator: torch.Generator) -> None:
    units = Rectified(1).to(dtype).requires_grad_(False)
    units.log_precision.fill_(0.7)
    sd = 2.718281828459045**-0.35
    draws = units.sample(torch.full((20_000, 1), field, dtype=dtype), generator)
    law = stats.truncnorm(-field * sd, float("inf"), loc=field * sd * sd, scale=sd)
    assert stats.kstest(draws.flatten().double().numpy(), law.cdf).pvalue > FALSE_ALARM


def test_a_gaussian_with_its_negative_half_at_zero_is_not_the_law(generator: torch.Generator) -> None:
    """The planted bug: max(0, N), as noisy rectified linear units draw, where the cut-off Gaussian is meant."""
    draws = torch.randn(20_000, generator=generator).clamp_min(0)
    assert stats.kstest(draws.numpy(), stats.halfnorm.cdf).pvalue < FALSE_ALARM


@pytest.mark.parametrize(("mean", "variance"), [(1.0, 0.3), (5.0, 0.2), (0.1, 0.009), (300.0, 4.0)])
def test_match_takes_both_moments(mean: float, variance: float) -> None:
    units = Rectified(1).double()
    units.match(torch.tensor([mean]).double(), torch.tensor([variance]).double())
    zero = torch.zeros(1).double()
    first = units.mean(zero)
    second = -2 * units.expected_statistics(zero, first)["log_precision"] / units.precision
    close(first, torch.tensor([mean]).double())
    close(second - first**2, torch.tensor([variance]).double(), rtol=1e-4, atol=1e-9)


def test_match_of_a_spread_that_the_family_lacks_keeps_the_mean() -> None:
    units = Rectified(1).double()
    units.match(torch.tensor([1.0]).double(), torch.tensor([5.0]).double())  # more than an exponential law has
    close(units.mean(torch.zeros(1).double()), torch.ones(1).double())
