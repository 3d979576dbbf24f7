"""Denoising: the posterior is Bayes' rule, its answers are the best ones, the noise can be learned."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from deepbelief.applications.denoising import Denoiser, flip, median_filter
from deepbelief.energy.boltzmann import BoltzmannMachine
from deepbelief.energy.graph import Graph
from deepbelief.energy.ising import ising_grid, potts_grid
from deepbelief.errors import InvalidArgumentError, InvalidDataError
from deepbelief.units.side_by_side import SideBySide
from deepbelief.units.spin import Spin
from tests.oracle.joint import Joint
from tests.oracle.pairwise import columns_by_site, law_of
from tests.oracle.pvalues import FALSE_ALARM, means_p_value

NOISE = 0.2
close = torch.testing.assert_close


def prior_of(kind: str) -> BoltzmannMachine:
    if kind == "spin":
        return ising_grid((2, 3), 0.4, 0.2).double()
    if kind == "categorical":
        return potts_grid((2, 2), 3, 0.7, torch.tensor([0.3, 0.0, -0.2])).double()
    return BoltzmannMachine(
        6, graph=Graph.grid((2, 3)), coupling_std=1.0, generator=torch.Generator().manual_seed(1)
    ).double()


def posterior_of(prior: BoltzmannMachine, noisy: Tensor) -> tuple[Joint, Tensor]:
    """Bayes' rule, state by state: the law of the prior, and the probability of each state given one noisy row."""
    law, sites = law_of(prior), columns_by_site(prior)
    same = torch.stack([(law.states[:, columns] == noisy[columns]).all(1) for columns in sites], 1)
    values = len(sites[0]) if len(sites[0]) > 1 else 2
    likelihood = torch.where(same, 1 - NOISE, NOISE / (values - 1)).log().sum(1)
    return law, torch.softmax(law.log_weights + likelihood, 0).detach()


@pytest.mark.parametrize("kind", ["spin", "bernoulli", "categorical"])
def test_the_posterior_mean_is_that_of_bayes(kind: str, generator: torch.Generator) -> None:
    prior = prior_of(kind)
    noisy = law_of(prior).draw(1, generator)[0]
    law, p = posterior_of(prior, noisy)
    found = Denoiser(prior, NOISE).posterior_mean(noisy.expand(300, -1), n_steps=60, burn_in=20, generator=generator)
    assert means_p_value(found, p @ law.states) > FALSE_ALARM


@pytest.mark.parametrize("kind", ["spin", "categorical"])
def test_the_most_probable_picture_is_that_of_bayes(kind: str, generator: torch.Generator) -> None:
    prior = prior_of(kind)
    noisy = law_of(prior).draw(8, generator)
    method = "cut" if kind == "spin" else "annealing"
    found = Denoiser(prior, NOISE).most_probable(noisy, method=method, generator=generator)
    for row, picture in zip(noisy, found, strict=True):
        law, p = posterior_of(prior, row)
        at = (law.states == picture).all(1)
        close(p[at].sum(), p.max())


@pytest.mark.parametrize("kind", ["spin", "bernoulli", "categorical"])
def test_expected_changes_are_those_of_bayes(kind: str, generator: torch.Generator) -> None:
    prior = prior_of(kind)
    noisy = law_of(prior).draw(1, generator)
    law, p = posterior_of(prior, noisy[0])
    changed = sum((law.states[:, c] != noisy[0, c]).any(1).double() for c in columns_by_site(prior))
    wanted = p @ changed / prior.graph.n_sites
    close(Denoiser(prior, NOISE).expected_change(noisy, (p @ law.states).unsqueeze(0)), wanted)


def test_pixels_take_their_most_probable_value() -> None:
    rows = {
        "spin": ([0.2, -0.1], [1.0, -1.0]),
        "bernoulli": ([0.6, 0.4], [1.0, 0.0]),
        "categorical": ([0.2, 0.5, 0.3, 0.4, 0.3, 0.3], [0.0, 1.0, 0.0, 1.0, 0.0, 0.0]),
    }
    for kind, (mean, wanted) in rows.items():
        found = Denoiser(prior_of(kind), NOISE)
        units = found.prior.visible
        full = torch.tensor(mean).repeat(units.size // len(mean)).unsqueeze(0)
        assert found.most_probable_pixels(full)[0, : len(mean)].tolist() == wanted


def test_denoising_beats_the_noise_and_learns_how_much_there_is(generator: torch.Generator) -> None:
    prior = ising_grid((20, 20), 0.6)
    clean = prior.sample(30, n_steps=200, generator=generator)
    noisy = flip(clean, 0.15, prior, generator)
    learned = Denoiser(prior, 0.4).learn_noise(noisy, n_rounds=6, n_steps=40, generator=generator)
    share = (noisy != clean).float().mean(1)
    assert means_p_value(share, learned.noise) > FALSE_ALARM
    pixels = learned.most_probable_pixels(learned.posterior_mean(noisy, generator=generator))
    better = (noisy != clean).float().mean(1) - (pixels != clean).float().mean(1)
    assert means_p_value(better, 0.0) < FALSE_ALARM
    assert better.mean() > 0


def test_the_median_filter_takes_lonely_pixels_away() -> None:
    picture = torch.zeros(2, 5, 5)
    picture[0, 2, 2] = 1.0
    picture[1, 1:4, 1:4] = 1.0
    found = median_filter(picture)
    assert not found[0].any()
    assert found[1, 2, 2] == 1


def test_wrong_arguments_get_a_sentence() -> None:
    mixed = BoltzmannMachine(SideBySide([Spin(2), Spin(2)]))
    for call, sentence in [
        (lambda: Denoiser(ising_grid((2, 2)), 0.0), "noise must be above 0 and below 1"),
        (lambda: Denoiser(BoltzmannMachine(2, 2), 0.1), "needs a machine without hidden units"),
        (lambda: Denoiser(mixed, 0.1), "the kind of the prior's units must be one of"),
        (
            lambda: Denoiser(ising_grid((2, 2)), 0.1).most_probable(torch.ones(1, 4), method="cuts"),
            "Did you mean 'cut'",
        ),
    ]:
        with pytest.raises(InvalidArgumentError, match=sentence):
            call()


def test_pictures_that_are_no_states_of_the_prior_are_refused() -> None:
    denoiser = Denoiser(ising_grid((2, 2), 0.5), 0.1)
    with pytest.raises(InvalidDataError, match="noisy must hold -1 and 1 for spin units"):
        denoiser.posterior_mean(torch.zeros(1, 4))
    with pytest.raises(InvalidDataError, match=r"noisy must have shape \(cases, 4\)"):
        denoiser.posterior_mean(torch.ones(1, 5))
    with pytest.raises(InvalidArgumentError, match="noise must be at least 0 and at most 1"):
        flip(torch.ones(1, 4), 1.5, "spin", torch.Generator())
