"""Mode counts know a perfect sampler from one that has lost modes, blurs them, or prefers some."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import binomtest, chi2

from deepbelief.errors import InvalidArgumentError, InvalidDataError
from deepbelief.evaluation.modes import Mixture, count_classes, count_modes, grid, mode_results, ring
from tests.oracle.pvalues import FALSE_ALARM

N = 2500
WITHIN = 1 - math.exp(-4.5)  # of a Gaussian in the plane, within 3 standard deviations


def stream() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def evenness_p_value(kl: float, n: int, modes: int) -> float:
    """2 n KL is a likelihood ratio: chi-square where the modes are even."""
    return float(chi2.sf(2 * n * kl, modes - 1))


@pytest.mark.parametrize("mixture", [ring(), grid()], ids=lambda m: m.name)
def test_perfect_sampler(mixture: Mixture) -> None:
    found = count_modes(mixture.draw(N, stream()), mixture)
    assert found.hit == found.modes == len(mixture.centres)
    assert binomtest(round(found.good * N), N, WITHIN).pvalue > FALSE_ALARM
    assert evenness_p_value(found.kl, N, found.modes) > FALSE_ALARM


def test_the_mixtures_are_those_of_the_literature() -> None:
    assert torch.allclose(ring().centres.norm(dim=1), torch.ones(8))
    apart = torch.cdist(ring().centres, ring().centres) + 9 * torch.eye(8)
    assert torch.allclose(apart.min(1).values, torch.full((8,), 2 * math.sin(math.pi / 8)))
    assert sorted(set(grid().centres.flatten().tolist())) == [-4, -2, 0, 2, 4]
    assert len(grid().centres.unique(dim=0)) == 25


def test_collapse_blur_and_preference_are_seen() -> None:
    mixture = grid()
    two = Mixture("two", mixture.centres[:2], mixture.sd)
    found = count_modes(two.draw(N, stream()), mixture)
    assert found.hit == 2
    assert found.kl == pytest.approx(math.log(25 / 2), abs=0.01)
    wide = Mixture("wide", mixture.centres, 3 * mixture.sd)
    blurred = count_modes(wide.draw(N, stream()), mixture)
    assert binomtest(round(blurred.good * N), N, 1 - math.exp(-0.5)).pvalue > FALSE_ALARM
    favourite = torch.cat([mixture.draw(N, stream()), two.draw(N, stream())])
    assert evenness_p_value(count_modes(favourite, mixture).kl, 2 * N, 25) < FALSE_ALARM


def test_a_thousand_even_classes_have_the_known_divergence() -> None:
    drawn = torch.randint(1000, (26_000,), generator=stream())
    found = count_classes(drawn, 1000)
    assert found.hit == 1000
    assert evenness_p_value(found.kl, 26_000, 1000) > FALSE_ALARM
    assert found.kl == pytest.approx(999 / 52_000, rel=0.2)


def test_no_good_sample_at_all() -> None:
    found = count_modes(torch.full((10, 2), 99.0), ring())
    assert (found.hit, found.good, found.kl) == (0, 0.0, math.inf)
    assert mode_results(found, n_samples=10, data="ring", model_name="none")[2].to_dict()["value"] is None


def test_what_does_not_fit_gets_a_sentence() -> None:
    with pytest.raises(InvalidDataError, match="must have 2 columns"):
        count_modes(torch.zeros(3, 3), ring())
    with pytest.raises(InvalidArgumentError, match="from 0 to 3"):
        count_classes(torch.tensor([4]), 4)
