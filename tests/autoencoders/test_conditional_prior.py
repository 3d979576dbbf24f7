"""A prior that hangs on the condition: its law, the model's bound by quadrature, its gradient, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from deepbelief.autoencoders import elbo
from deepbelief.autoencoders.diagonal import Diagonal
from deepbelief.autoencoders.elbo import ELBO
from deepbelief.autoencoders.priors import ConditionalNormal, Prior, StandardNormal
from deepbelief.autoencoders.vae import VAE
from deepbelief.autoencoders.vae_builders import dense_vae
from deepbelief.errors import InvalidArgumentError
from deepbelief.units.bernoulli import Bernoulli
from tests.oracle.checks import make_context
from tests.oracle.pvalues import FALSE_ALARM, counts_p_value, means_p_value
from tests.oracle.variational import (
    GRID,
    STEP,
    all_bits,
    flat_gradient,
    gradient_by_quadrature,
    log_p_by_quadrature,
    tiny_vae,
)

Plant = Callable[[pytest.MonkeyPatch], None]
CONDITION = torch.tensor([[1.0, -2.0]], dtype=torch.float64)


def no_bug(patch: pytest.MonkeyPatch) -> None:
    """Nothing planted: the check must be content."""


def another_condition(patch: pytest.MonkeyPatch) -> None:
    """The law of the codes under another case's condition."""
    law = ConditionalNormal.law
    patch.setattr(ConditionalNormal, "law", lambda self, c: law(self, -c))


def no_condition_for_draws(patch: pytest.MonkeyPatch) -> None:
    """New codes come from the standard normal law, as if there were no condition."""
    patch.setattr(ConditionalNormal, "sample", StandardNormal.sample)


def as_if_standard(patch: pytest.MonkeyPatch) -> None:
    """The KL in closed form from the standard normal law."""
    patch.setattr(Diagonal, "kl_from", lambda self, other: self.kl_from_standard())


def model(sizes: tuple[int, ...] = (1,)) -> VAE:
    """A small model whose prior's means and variances are far from 0 and 1."""
    vae = tiny_vae(sizes=sizes, scale=1.0, prior="conditional", n_condition=2)
    with torch.no_grad():
        for parameter in vae.prior.parameters():
            parameter.mul_(2)
    return vae


@pytest.mark.parametrize("plant", [no_bug, as_if_standard])
def test_the_divergence_is_that_of_quadrature(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    q = Diagonal(torch.tensor([[0.7]]).double(), torch.tensor([[-0.8]]).double())
    p = Diagonal(torch.tensor([[-0.4]]).double(), torch.tensor([[0.5]]).double())
    z = GRID.reshape(-1, 1, 1)
    wanted = (q.log_prob(z).exp() * (q.log_prob(z) - p.log_prob(z))).sum(0) * STEP
    plant(monkeypatch)
    assert torch.allclose(q.kl_from(p), wanted, atol=1e-9) == (plant is no_bug)


@pytest.mark.parametrize(("sizes", "plant"), [((1,), no_bug), ((1, 1), no_bug), ((1,), another_condition)])
def test_weights_have_the_likelihood_of_quadrature_as_their_mean(
    sizes: tuple[int, ...], plant: Plant, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    vae, x = model(sizes), all_bits()
    c = CONDITION.expand(len(x), 2)
    exact = log_p_by_quadrature(vae, x, c)
    assert exact.exp().sum().item() == pytest.approx(1, abs=1e-5)
    plant(monkeypatch)
    with torch.no_grad():
        weights = vae.log_weights(x, 20_000, c=c, generator=generator)
    assert (means_p_value((weights - exact).exp(), 1.0) > FALSE_ALARM) == (plant is no_bug)


@pytest.mark.parametrize("plant", [no_bug, another_condition, no_condition_for_draws])
def test_new_cases_have_the_law_of_their_condition(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    vae, n = model(), 50_000
    wanted = log_p_by_quadrature(vae, all_bits(), CONDITION.expand(8, 2)).exp().detach()
    plant(monkeypatch)
    cases = vae.sample(n, condition=CONDITION[0], generator=generator)
    counts = torch.bincount((cases @ torch.tensor([4.0, 2.0, 1.0], dtype=cases.dtype)).long(), minlength=8)
    assert (counts_p_value(counts, wanted / wanted.sum()) > FALSE_ALARM) == (plant is no_bug)


def forgotten_in_learning(patch: pytest.MonkeyPatch) -> None:
    """The objective's part of the codes sees no condition but another's."""
    part = elbo.ELBO._codes_part
    patch.setattr(elbo.ELBO, "_codes_part", lambda self, inferred, lower, c: part(self, inferred, lower, -c))


@pytest.mark.parametrize(
    ("k", "gradient", "plant"),
    [
        (1, "reparameterized", no_bug),
        (2, "reparameterized", no_bug),
        (2, "dreg", no_bug),
        (1, "reparameterized", as_if_standard),
        (2, "dreg", forgotten_in_learning),
    ],
)
def test_gradients_are_unbiased(
    k: int, gradient: str, plant: Plant, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    vae, x = model(), all_bits()[[6]]
    wanted = gradient_by_quadrature(vae, x, k, CONDITION)
    plant(monkeypatch)
    procedure, context = ELBO(vae, k=k, gradient=gradient), make_context(generator)
    rows, c = x.expand(200, 3), CONDITION.expand(200, 2)
    draws = [procedure.objective(rows, c, 1.0, context)[0].mean() for _ in range(150)]
    found = torch.stack([flat_gradient(draw, vae) for draw in draws])
    noisy = found.std(0) > 1e-9  # with the KL in closed form the prior's own gradient has no noise at all
    right = means_p_value(found[:, noisy], wanted[noisy]) > FALSE_ALARM
    right = right and torch.allclose(found[0, ~noisy], wanted[~noisy], atol=1e-6)  # noise was cut off at 6.5
    assert right == (plant is no_bug)


def test_free_of_the_encoder_it_learns_the_law_of_the_codes() -> None:
    """``-<KL(q || p)>`` is highest where p has the mean and the variance of all codes of a condition."""
    means = torch.tensor([[-1.0], [2.0], [0.5]], dtype=torch.float64)
    q = Diagonal(means, torch.full_like(means, math.log(0.25)))
    outputs = torch.stack([means.mean(), (means.var(correction=0) + 0.25).log()]).requires_grad_()
    prior = ConditionalNormal(1, 2, _Constant(outputs))
    kl = prior.kl(q, CONDITION.expand(3, 2))
    assert kl is not None
    (slope,) = torch.autograd.grad(kl.mean(), outputs)
    assert torch.allclose(slope, torch.zeros(2, dtype=torch.float64), atol=1e-12)


class _Constant(nn.Module):
    """A network that gives the same outputs whatever the condition."""

    def __init__(self, outputs: Tensor) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, c: Tensor) -> Tensor:
        return self.outputs.expand(len(c), -1)


def test_wrong_use_is_told() -> None:
    plain: dict[str, Any] = {"hidden": [[5]]}
    with pytest.raises(InvalidArgumentError, match=r"prior must be another than 'conditional'.*Got n_condition=0"):
        dense_vae(Bernoulli(6), [2], prior="conditional", **plain)
    prior: Prior = ConditionalNormal(2, 4, nn.Linear(4, 4))
    with pytest.raises(InvalidArgumentError, match=r"prior must take conditions of n_condition=3 numbers\. Got 4"):
        VAE(Bernoulli(6), [nn.Linear(9, 4)], [nn.Linear(5, 6)], [2], prior=prior, n_condition=3)
    with pytest.raises(InvalidArgumentError, match=r"n_condition must be at least 1\. Got n_condition=0"):
        ConditionalNormal(2, 0, nn.Linear(1, 4))
    vae = dense_vae(Bernoulli(6), [2], prior="conditional", n_condition=3, **plain)
    with pytest.raises(InvalidArgumentError, match="free_bits must be 0 unless"):
        ELBO(vae, free_bits=0.1)
