"""Autocorrelation times and their errors on chains whose truth is known: AR(1), two states, independent draws."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.signal import lfilter

from deepbelief.errors import InvalidDataError
from deepbelief.maths import autocorrelation as file
from deepbelief.maths.autocorrelation import (
    autocorrelation,
    effective_size,
    integrated_time,
    nested_r_hat,
    relaxation_time,
    slowest,
    split_r_hat,
)
from tests.oracle.pvalues import FALSE_ALARM, means_p_value

REPEATS = 40


def ar1(phi: float, n_chains: int, n: int, generator: torch.Generator) -> torch.Tensor:
    """``x_t = phi x_{t-1} + noise`` at equilibrium: rho(t) = phi^t, tau = (1 + phi) / (1 - phi)."""
    noise = torch.randn(n_chains, n, generator=generator, dtype=torch.float64)
    noise[:, 0] /= math.sqrt(1 - phi**2)
    return torch.from_numpy(lfilter([1.0], [1.0, -phi], noise.numpy(), axis=1))


def two_states(stay: float, n_chains: int, n: int, generator: torch.Generator) -> torch.Tensor:
    """A state of 0 or 1 that changes with probability ``1 - stay``: the second eigenvalue is ``2 stay - 1``."""
    flips = torch.rand(n_chains, n, generator=generator, dtype=torch.float64) > stay
    flips[:, 0] = torch.rand(n_chains, generator=generator) < 0.5
    return (flips.cumsum(1) % 2).double()


def check_times(traces: list[torch.Tensor], truth: float) -> float:
    """The p-value that the estimates have the mean `truth`."""
    return means_p_value(torch.tensor([[float(integrated_time(x))] for x in traces]), truth)


@pytest.mark.parametrize("phi", [0.0, 0.6, 0.9])
def test_ar1_has_its_time_and_its_error(phi: float, generator: torch.Generator) -> None:
    truth = (1 + phi) / (1 - phi)
    found = [integrated_time(ar1(phi, 10, 4000, generator)) for _ in range(REPEATS)]
    assert {bound.kind for bound in found} == {"estimate"}
    scores = torch.tensor([[(float(bound) - truth) / bound.stderr] for bound in found])
    # what the window cuts off is at most e^-6 of tau: a tenth of a standard error here
    assert means_p_value(scores - 0.1, 0.0) > FALSE_ALARM or means_p_value(scores + 0.1, 0.0) > FALSE_ALARM
    # the variance of 40 scores of variance 1 lies within (0.2, 2.5) but once in a million (chi-square, 39)
    assert 0.2 < scores.var() < 2.5


@pytest.mark.parametrize("stay", [0.7, 0.95])
def test_two_states_relax_with_the_second_eigenvalue(stay: float, generator: torch.Generator) -> None:
    truth = -1 / math.log(2 * stay - 1)
    found = [relaxation_time(two_states(stay, 20, 4000, generator)) for _ in range(REPEATS)]
    scores = torch.tensor([[(float(bound) - truth) / bound.stderr] for bound in found])
    assert means_p_value(scores - 0.1, 0.0) > FALSE_ALARM or means_p_value(scores + 0.1, 0.0) > FALSE_ALARM
    assert 0.2 < scores.var() < 2.5


def test_the_error_of_a_mean_is_that_of_the_effective_draws(generator: torch.Generator) -> None:
    chains = ar1(0.9, 400, 2000, generator)
    size = float(effective_size(chains)) / len(chains)  # of one chain
    scores = chains.mean(1).unsqueeze(1) / (chains.std() / math.sqrt(size))
    assert means_p_value(scores.square(), 1.0) > FALSE_ALARM


def test_autocorrelations_are_those_of_the_definition(generator: torch.Generator) -> None:
    x = ar1(0.5, 3, 12, generator)
    centred = x - x.mean()
    wanted = torch.stack([(centred[:, : 12 - t] * centred[:, t:]).mean() for t in range(12)])
    torch.testing.assert_close(autocorrelation(x), wanted / wanted[0])


def test_alternating_chains_are_never_called_better_than_they_are(generator: torch.Generator) -> None:
    for phi in (-0.5, -0.9):
        truth = (1 + phi) / (1 - phi)
        assert truth - 0.02 < float(integrated_time(ar1(phi, 10, 4000, generator))) <= 1


def test_a_run_too_short_for_its_window_is_a_lower_bound(generator: torch.Generator) -> None:
    slow = ar1(0.99, 20, 100, generator)  # tau = 199, twice the run
    found = relaxation_time(slow)
    assert found.kind == "lower_bound"
    assert effective_size(slow).kind == "upper_bound"
    assert float(found) < -1 / math.log(0.99)


def test_chains_in_different_places_are_not_taken_for_mixed(generator: torch.Generator) -> None:
    x = ar1(0.3, 10, 400, generator) + torch.arange(10.0).unsqueeze(1)
    assert integrated_time(x).kind == "lower_bound"
    assert split_r_hat(x) > 2


def test_r_hat_is_one_where_chains_agree_and_grows_with_a_trend(generator: torch.Generator) -> None:
    x = torch.randn(20, 1000, generator=generator, dtype=torch.float64)
    n, m = 500, 40
    # (n B / W) is an F ratio of (m - 1, m (n - 1)) degrees of freedom, which is below 3.2 but once in a million
    assert abs(split_r_hat(x) ** 2 - (n - 1) / n) < 3.2 / n
    assert m == 2 * len(x)
    # the halves' means lie 1.5 apart: B = 0.58, W = 1.19
    assert 1.15 < split_r_hat(x + torch.linspace(0, 3, 1000)) < 1.27
    assert split_r_hat(torch.zeros(3, 10)) == 1.0


def test_groups_of_short_chains_agree_where_they_mix_and_not_where_they_stay_apart(generator: torch.Generator) -> None:
    groups = [ar1(0.9, 500, 50, generator) for _ in range(2)]
    assert split_r_hat(torch.cat(groups)) > 1.1  # short chains look unlike each other though all is well
    # the squared gap of two means of 500 chains is chi-square(1) times 2 tau / 25,000: below 24 but once in a million
    assert nested_r_hat(groups) ** 2 - 1 < 24 * 19 / 25_000
    assert nested_r_hat([groups[0], groups[1] + 9]) > 1.5
    assert nested_r_hat([torch.zeros(3, 10)] * 2) == 1.0


def test_r_hat_and_effective_size_agree_with_arviz(generator: torch.Generator) -> None:
    arviz = pytest.importorskip("arviz")
    x = ar1(0.8, 8, 2000, generator)
    assert split_r_hat(x) == pytest.approx(float(arviz.rhat(x.numpy(), method="split")), rel=1e-10)
    mine = effective_size(x)
    # two estimates of one truth from the same draws: 4.9 standard errors of their difference, were they independent
    assert abs(float(arviz.ess(x.numpy(), method="mean")) - float(mine)) < 4.9 * math.sqrt(2) * mine.stderr


def test_the_slowest_number_counts_and_still_ones_do_not(generator: torch.Generator) -> None:
    both = torch.stack([ar1(0.2, 10, 2000, generator), ar1(0.9, 10, 2000, generator), torch.ones(10, 2000)], 2)
    assert float(slowest(both)) == float(relaxation_time(both[:, :, 1]))
    assert math.isinf(float(slowest(torch.ones(3, 20, 2))))


def test_traces_that_cannot_be_judged_are_refused() -> None:
    with pytest.raises(InvalidDataError, match="at least 8 steps"):
        integrated_time(torch.zeros(3, 4))
    with pytest.raises(InvalidDataError, match="finite"):
        split_r_hat(torch.full((3, 10), math.nan))


# -- planted bugs ---------------------------------------------------------------------------------------------------


def own_means(patch: pytest.MonkeyPatch) -> None:
    """Each chain centred on its own mean, which hides slow drift: tau of short chains comes out too small."""
    patch.setattr(file, "_checked", lambda x, n=2: x.double() - x.double().mean(1, keepdim=True))


def hasty_window(patch: pytest.MonkeyPatch) -> None:
    """A window of half a tau, which cuts off a third of it."""
    patch.setattr(file, "WINDOW", 0.5)
    patch.setattr(file, "SHORTEST", 1)


@pytest.mark.parametrize("plant", [None, own_means, hasty_window])
def test_planted_bugs_are_caught(plant, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator) -> None:
    traces = [ar1(0.8, 50, 100, generator) for _ in range(REPEATS)]
    if plant is not None:
        plant(monkeypatch)
    assert (check_times(traces, 9.0) > FALSE_ALARM) == (plant is None)
