"""Learning by lower bounds: the objectives and their gradients have the expectations that they should, and resume."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from deepbelief.autoencoders import elbo
from deepbelief.autoencoders.diagonal import Diagonal
from deepbelief.autoencoders.elbo import ELBO
from deepbelief.autoencoders.vae import VAE
from deepbelief.autoencoders.vae_builders import dense_vae
from deepbelief.data.source import ArraySource
from deepbelief.errors import InvalidArgumentError, InvalidDataError
from deepbelief.storage import state_to_bytes
from deepbelief.training.trainer import Trainer
from deepbelief.types import Batch
from deepbelief.units.bernoulli import Bernoulli
from tests.oracle.checks import make_context
from tests.oracle.pvalues import FALSE_ALARM, means_p_value
from tests.oracle.variational import (
    all_bits,
    flat_gradient,
    gradient_by_quadrature,
    linear_log_p,
    linear_posterior,
    linear_vae,
    tiny_vae,
)
from tests.training.stops import InterruptAt

Plant = Callable[[pytest.MonkeyPatch], None]


def no_bug(patch: pytest.MonkeyPatch) -> None:
    """Nothing planted: the check must be content."""


# -- the objectives -------------------------------------------------------------------------------------------------


def exact_elbo(vae: VAE, x: Tensor, beta: float) -> Tensor:
    """``log p(x) - KL(q || posterior) - (beta - 1) KL(q || prior)`` of a linear model, in closed form."""
    matrix, variance = linear_posterior(vae)
    exact = torch.distributions.Normal(
        (x - vae.decoders[0].bias - vae.visible.bias / vae.visible.precision) @ matrix.T, variance.sqrt()
    )
    law = vae.posterior(0, x)
    q = torch.distributions.Normal(law.mean, torch.exp(0.5 * law.log_variance))
    prior = torch.distributions.Normal(torch.zeros_like(law.mean), 1)
    gap, from_prior = (torch.distributions.kl_divergence(q, other).sum(1) for other in (exact, prior))
    return linear_log_p(vae, x) - gap - (beta - 1) * from_prior


def wrong_sign_of_kl(patch: pytest.MonkeyPatch) -> None:
    """The codes' part added where it should be taken away."""
    terms = Diagonal.kl_terms
    patch.setattr(Diagonal, "kl_terms", lambda self: -terms(self))


def halved_variance(patch: pytest.MonkeyPatch) -> None:
    """Draws with the variance where the standard deviation belongs."""
    place = lambda self, noise: self.mean + torch.exp(self.log_variance) * noise
    patch.setattr(Diagonal, "place", place)


@pytest.mark.parametrize("plant", [no_bug, wrong_sign_of_kl, halved_variance])
@pytest.mark.parametrize("beta", [1.0, 4.0])
def test_the_objective_is_the_elbo(
    beta: float, plant: Plant, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    vae, x = linear_vae(optimal=False), torch.randn(3, 4, generator=generator, dtype=torch.float64)
    wanted = exact_elbo(vae, x, beta).detach()
    plant(monkeypatch)
    many = x.repeat(20_000, 1)
    objective, bound, kl = ELBO(vae).objective(many, None, beta, make_context(generator))
    draws = objective.detach().reshape(-1, 3)
    assert (means_p_value(draws, wanted) > FALSE_ALARM) == (plant is no_bug)
    assert torch.allclose(bound - (beta - 1) * kl, objective)


@pytest.mark.parametrize("prior", ["normal", "mixture", "vamp"])
@pytest.mark.parametrize("k", [1, 3])
def test_objectives_are_the_means_of_the_weights(prior: str, k: int, generator: torch.Generator) -> None:
    vae, n = tiny_vae(sizes=(2, 1), prior=prior, n_components=3, scale=1.0), 30_000
    x = all_bits()[[5]].repeat(n, 1)
    with torch.no_grad():
        objective, _, _ = ELBO(vae, k=k).objective(x, None, 1.0, make_context(generator))
        weights = torch.logsumexp(vae.log_weights(x, k, generator=generator), 0) - math.log(k)
    assert means_p_value(objective - weights, 0.0) > FALSE_ALARM


def test_free_bits_spare_units_below_the_allowance(generator: torch.Generator) -> None:
    vae = dense_vae(Bernoulli(3), [4], hidden=[[5]], generator=generator).double()
    with torch.no_grad():
        last = vae.encoders[0].linear_layers[-1]  # type: ignore[union-attr]
        last.bias[:4] = torch.tensor([3.0, 0.01, 3.0, 0.01])
    seed = torch.Generator().manual_seed(0)
    free = ELBO(vae, free_bits=1.0).objective(all_bits(), None, 1.0, make_context(seed))[0].mean()
    plain = ELBO(vae).objective(all_bits(), None, 1.0, make_context(seed.manual_seed(0)))[0].mean()
    per_unit = vae.posterior(0, all_bits()).kl_terms().mean(0)
    assert (per_unit > 1).tolist() == [True, False, True, False]
    assert torch.allclose(plain - free, (1 - per_unit[[1, 3]]).sum())


# -- the gradients --------------------------------------------------------------------------------------------------


def worst_weighs_most(patch: pytest.MonkeyPatch) -> None:
    """Importance weights upside down."""
    surrogate = elbo.doubly_reparameterized
    patch.setattr(elbo, "doubly_reparameterized", lambda log_w, codes: -surrogate(-log_w, codes))


def forgotten_second_weight(patch: pytest.MonkeyPatch) -> None:
    """The encoder's gradient weighted once, as if there were no correction for what was left out."""
    patch.setattr(elbo, "doubly_reparameterized", lambda w, z: (torch.softmax(w.detach(), 0) * w).sum(0))


@pytest.mark.parametrize(
    ("gradient", "k", "prior", "plant"),
    [
        ("reparameterized", 1, "normal", no_bug),
        ("reparameterized", 2, "normal", no_bug),
        ("reparameterized", 2, "vamp", no_bug),
        ("dreg", 2, "normal", no_bug),
        ("dreg", 2, "vamp", no_bug),
        ("dreg", 2, "normal", worst_weighs_most),
        ("dreg", 2, "normal", forgotten_second_weight),
    ],
)
def test_gradients_are_unbiased(
    gradient: str, k: int, prior: str, plant: Plant, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    vae, x = tiny_vae(scale=1.0, prior=prior, n_components=2), all_bits()[[6]]
    wanted = gradient_by_quadrature(vae, x, k)
    plant(monkeypatch)
    procedure = ELBO(vae, k=k, gradient=gradient)
    rows, context = x.expand(200, 3), make_context(generator)

    def one() -> Tensor:
        objective = procedure.objective(rows, None, 1.0, context)[0].mean()
        return flat_gradient(objective, vae)

    found = torch.stack([one() for _ in range(150)])
    assert (means_p_value(found, wanted) > FALSE_ALARM) == (plant is no_bug)


def test_the_doubly_reparameterized_encoder_is_quieter(generator: torch.Generator) -> None:
    vae, x = linear_vae(optimal=True), torch.randn(1, 4, generator=generator, dtype=torch.float64)

    def gradient(kind: str) -> Tensor:
        objective = ELBO(vae, k=5, gradient=kind).objective(x, None, 1.0, make_context(generator))[0].sum()
        return torch.autograd.grad(objective, list(vae.encoders.parameters()))[0]

    # at the exact posterior all weights are equal whatever the draws: DReG's encoder then has no noise at all
    assert torch.allclose(gradient("dreg"), torch.zeros(4, 4, dtype=torch.float64), atol=1e-12)
    assert gradient("reparameterized").abs().max() > 1e-3


# -- training -------------------------------------------------------------------------------------------------------


def patterns(n: int = 60) -> Tensor:
    """Bits that hang together in two groups."""
    g = torch.Generator().manual_seed(7)
    causes = torch.rand(n, 2, generator=g) < 0.5
    noise = torch.rand(n, 6, generator=g) < 0.05
    return (causes.repeat_interleave(3, 1) ^ noise).float()


def train(vae: VAE, options: dict[str, Any], **settings: Any) -> Any:
    y = torch.arange(60) % 3 if vae.n_condition else None
    resume = settings.pop("resume_from", None)
    procedure = ELBO(vae, **options)
    trainer = Trainer(progress=False, device="cpu", **settings)
    trainer.fit(procedure, ArraySource(patterns(), y, batch_size=25), resume_from=resume)
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in trainer.record.history]
    return {"module": vae.state_dict(), "procedure": procedure.state_dict(), "history": rows}


def test_learning_finds_the_structure(generator: torch.Generator) -> None:
    vae, x = dense_vae(Bernoulli(6), [2], hidden=[[16]], generator=generator), patterns()
    independent = torch.distributions.Bernoulli(x.mean(0)).log_prob(x).sum(1).mean().item()
    train(vae, {"k": 4, "gradient": "dreg", "learning_rate": 0.02}, epochs=120)
    bound = vae.log_likelihood(x, generator=generator, n_samples=200)
    assert float(bound) - 6 * bound.stderr > independent + 0.5


@pytest.mark.parametrize(
    ("options", "n_condition", "prior"),
    [
        ({"k": 3, "gradient": "dreg"}, 0, "vamp"),
        ({"beta": 2.0, "warmup": 0.5}, 3, "normal"),
    ],
)
def test_resumed_is_never_stopped(options: dict[str, Any], n_condition: int, prior: str, tmp_path: Path) -> None:
    def make() -> VAE:
        g = torch.Generator().manual_seed(1)
        more: dict[str, Any] = {"n_condition": n_condition, "prior": prior, "n_components": 4}
        return dense_vae(Bernoulli(6), [2], hidden=[[5]], generator=g, **more)

    plan: dict[str, Any] = {"epochs": 5, "averaging": 0.9}
    whole = train(make(), options, **plan)
    with pytest.raises(KeyboardInterrupt):
        train(make(), options, callbacks=[InterruptAt(8)], checkpoint_dir=tmp_path, **plan)
    assert state_to_bytes(train(make(), options, resume_from=tmp_path, **plan)) == state_to_bytes(whole)


def test_case_weights_are_copies(generator: torch.Generator) -> None:
    vae, x = linear_vae(optimal=False), torch.randn(2, 4, generator=generator, dtype=torch.float64)
    context = make_context(generator)
    values = torch.stack([vae.log_joint(x, [torch.zeros(2, 2, dtype=torch.float64)])])
    weighted = elbo._weighted(values[0], torch.tensor([3.0, 1.0]))
    assert torch.allclose(weighted, values[0][[0, 0, 0, 1]].mean())
    metrics = ELBO(vae, k=2).step(Batch(x, weight=torch.tensor([1.0, 0.0])), context)
    assert metrics["loss"] == -metrics["bound"]


def test_wrong_use_is_told() -> None:
    plain, conditional = (dense_vae(Bernoulli(6), [2], hidden=[[5]], n_condition=n) for n in (0, 3))
    deep = dense_vae(Bernoulli(6), [2, 2], hidden=[[5], [5]])
    with pytest.raises(InvalidArgumentError, match="gradient 'dreg' must have one layer"):
        ELBO(deep, k=5, gradient="dreg")
    with pytest.raises(InvalidArgumentError, match="free_bits must be 0 unless k=1"):
        ELBO(plain, k=5, free_bits=0.1)
    with pytest.raises(InvalidArgumentError, match=r"k must be at least 1\. Got k=0"):
        ELBO(plain, k=0)
    with pytest.raises(InvalidDataError, match="batches must have y"):
        ELBO(conditional).start(Batch(patterns()), torch.Generator())
    with pytest.raises(InvalidDataError, match=r"class numbers from 0 to 2\. Got 0 to 4"):
        ELBO(conditional).start(Batch(patterns(), torch.arange(60) % 5), torch.Generator())
    with pytest.raises(InvalidDataError, match=r"x must lie in \[0, 1\]"):
        ELBO(plain).start(Batch(3 * patterns()), torch.Generator())
