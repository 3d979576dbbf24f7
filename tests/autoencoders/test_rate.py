"""Rate and distortion are those of quadrature, and their sum is the bound."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from deepbelief.autoencoders.diagonal import Generated
from deepbelief.autoencoders.rate import rate_distortion
from deepbelief.autoencoders.vae import VAE
from deepbelief.errors import InvalidArgumentError, InvalidDataError
from tests.oracle.pvalues import FALSE_ALARM, means_p_value
from tests.oracle.variational import GRID, STEP, all_bits, tiny_vae

Plant = Callable[[pytest.MonkeyPatch], None]


def no_bug(patch: pytest.MonkeyPatch) -> None:
    """Nothing planted: the check must be content."""


def deaf_to_the_codes(patch: pytest.MonkeyPatch) -> None:
    """Pixels given the codes' means instead of draws: a distortion that is too good."""
    inputs = VAE.visible_inputs
    patch.setattr(VAE, "visible_inputs", lambda self, z, c=None: inputs(self, 0 * z, c))


def free_lower_codes(patch: pytest.MonkeyPatch) -> None:
    """The cost of the lower codes is forgotten."""
    patch.setattr(Generated, "log_codes", lambda self, codes: torch.zeros_like(codes[0][..., 0]))


def by_quadrature(vae: VAE, x: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
    """Rate and distortion of a model with one code number."""
    z, law = GRID.reshape(-1, 1, 1), vae.posterior(0, x, c)
    q = law.log_prob(z)
    log_p = vae.prior.log_prob(z.expand(-1, len(x), 1), vae.top_posterior, c)
    log_x = vae.visible.log_prob(x, vae.visible_inputs(z.expand(-1, len(x), 1), c))
    return ((q - log_p) * q.exp()).sum(0) * STEP, -(log_x * q.exp()).sum(0) * STEP


@pytest.mark.parametrize(
    ("prior", "plant"),
    [("normal", no_bug), ("mixture", no_bug), ("conditional", no_bug), ("normal", deaf_to_the_codes)],
)
def test_both_are_those_of_quadrature(
    prior: str, plant: Plant, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    given: dict[str, Any] = {"n_condition": 2} if prior == "conditional" else {}
    vae, x = tiny_vae(prior=prior, n_components=3, scale=1.0, **given), all_bits()
    c = torch.tensor([0.5, -1.0], dtype=torch.float64).expand(8, 2) if given else None
    with torch.no_grad():
        rate, distortion = by_quadrature(vae, x, c)
    plant(monkeypatch)
    many = x.repeat(2000, 1)
    found = rate_distortion(vae, many, condition=None if c is None else c[0], n_samples=2, generator=generator)
    for part, wanted in ((found.rate, rate), (found.distortion, distortion)):
        draws = part.value.view(2000, 8)
        assert (means_p_value(draws, wanted) > FALSE_ALARM) == (plant is no_bug or part is found.rate)


@pytest.mark.parametrize("plant", [no_bug, free_lower_codes])
def test_their_sum_is_the_bound_of_two_layers(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    vae, many = tiny_vae(sizes=(1, 1), scale=1.0), all_bits().repeat(4000, 1)
    bound = vae.elbo(many, n_samples=2, generator=generator).value
    plant(monkeypatch)
    found = rate_distortion(vae, many, n_samples=2, generator=generator)
    assert torch.allclose(found.elbo.value, -found.rate.value - found.distortion.value)
    gap = (bound - found.elbo.value).view(4000, 8)
    assert (means_p_value(gap, 0.0) > FALSE_ALARM) == (plant is no_bug)


def test_the_error_is_that_of_the_average(generator: torch.Generator) -> None:
    vae, x = tiny_vae(scale=1.0), all_bits()
    found = [rate_distortion(vae, x, n_samples=20, generator=generator) for _ in range(400)]
    for name in ("rate", "distortion", "elbo"):
        parts = [getattr(each, name) for each in found]
        spread = torch.tensor([float(part) for part in parts]).std()
        said = torch.tensor([part.stderr for part in parts]).square().mean().sqrt()
        assert 0.8 < spread / said < 1.25  # 6 standard errors of a spread of 400
    assert math.isnan(rate_distortion(vae, x, n_samples=1, generator=generator).rate.stderr)


def test_wrong_use_is_told() -> None:
    vae = tiny_vae()
    with pytest.raises(InvalidArgumentError, match=r"n_samples must be at least 1\. Got n_samples=0"):
        rate_distortion(vae, all_bits(), n_samples=0)
    with pytest.raises(InvalidDataError, match=r"x must lie in \[0, 1\]"):
        rate_distortion(vae, 3 * all_bits())
    with pytest.raises(InvalidArgumentError, match="condition must be None"):
        rate_distortion(vae, all_bits(), condition=torch.ones(2))
