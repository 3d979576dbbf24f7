"""Bounds of variational autoencoders bracket what is known exactly, and every capability does what it says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from deepbelief.autoencoders import completion, importance
from deepbelief.autoencoders.completion import metropolis_step
from deepbelief.autoencoders.diagonal import Diagonal
from deepbelief.autoencoders.importance import importance_weighted
from deepbelief.autoencoders.vae import VAE
from deepbelief.autoencoders.vae_builders import convolutional_vae, dense_vae
from deepbelief.errors import InvalidArgumentError, InvalidDataError
from deepbelief.protocols import Coder, Completer, Density, Sampler, Storable
from deepbelief.storage import load_model, save_model
from deepbelief.types import Clamp
from deepbelief.units.bernoulli import Bernoulli
from deepbelief.units.categorical import Categorical
from tests.oracle.checks import known_parts
from tests.oracle.pvalues import FALSE_ALARM, at_most_p_value, counts_p_value, means_p_value
from tests.oracle.variational import (
    GRID,
    STEP,
    all_bits,
    joint_on_grid,
    linear_log_p,
    linear_vae,
    log_p_by_quadrature,
    tiny_vae,
)

Plant = Callable[[pytest.MonkeyPatch], None]


def no_bug(patch: pytest.MonkeyPatch) -> None:
    """Nothing planted: the check must be content."""


# -- the likelihood -------------------------------------------------------------------------------------------------


def test_at_the_exact_posterior_every_weight_is_the_likelihood(generator: torch.Generator) -> None:
    vae, x = linear_vae(optimal=True), torch.randn(6, 4, generator=generator, dtype=torch.float64)
    weights = vae.log_weights(x, 9, generator=generator)
    assert torch.allclose(weights, linear_log_p(vae, x).expand(9, 6))
    bound = vae.log_likelihood(x, generator=generator, n_samples=3)
    assert torch.allclose(bound.value, linear_log_p(vae, x))
    assert bound.kind == "lower_bound"
    assert bound.stderr < 1e-12


def deaf_to_the_posterior(patch: pytest.MonkeyPatch) -> None:
    """A density that forgets its own normalization by the log variance."""
    law = lambda self, noise: -0.5 * (noise * noise + 1.8378770664093453).sum(-1)
    patch.setattr(Diagonal, "log_prob_of_noise", law)


def twice_the_prior(patch: pytest.MonkeyPatch) -> None:
    """A KL term with the wrong sign."""
    joint, prior = VAE.log_joint, lambda self, codes: self.prior.log_prob(codes[-1], self.top_posterior)
    patch.setattr(VAE, "log_joint", lambda self, x, codes, c=None: joint(self, x, codes, c) - 2 * prior(self, codes))


@pytest.mark.parametrize("plant", [no_bug, deaf_to_the_posterior, twice_the_prior])
def test_weights_have_the_likelihood_as_their_mean(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    vae, x = linear_vae(optimal=False), torch.randn(5, 4, generator=generator, dtype=torch.float64)
    exact = linear_log_p(vae, x)
    plant(monkeypatch)
    with torch.no_grad():
        weights = vae.log_weights(x, 20_000, generator=generator)
    assert (means_p_value((weights - exact).exp(), 1.0) > FALSE_ALARM) == (plant is no_bug)


@pytest.mark.parametrize("sizes", [(1,), (1, 1)])
@pytest.mark.parametrize("prior", ["normal", "mixture", "vamp"])
def test_weights_of_every_kind_of_model_have_the_mean_of_quadrature(
    sizes: tuple[int, ...], prior: str, generator: torch.Generator
) -> None:
    vae = tiny_vae(sizes=sizes, prior=prior, n_components=3, scale=1.0)
    exact = log_p_by_quadrature(vae, all_bits())
    assert exact.exp().sum().item() == pytest.approx(1, abs=1e-6)
    with torch.no_grad():
        weights = vae.log_weights(all_bits(), 20_000, generator=generator)
    assert means_p_value((weights - exact).exp(), 1.0) > FALSE_ALARM


def test_bounds_rise_with_the_samples_and_stay_below(generator: torch.Generator) -> None:
    vae, x = linear_vae(optimal=False), torch.randn(1, 4, generator=generator, dtype=torch.float64)
    exact = linear_log_p(vae, x).item()
    with torch.no_grad():
        weights = vae.log_weights(x, 64 * 2000, generator=generator).reshape(2000, 64)
    bounds = [
        torch.logsumexp(weights.unflatten(1, (-1, k)), 2).mean(1) - torch.log(torch.tensor(k)) for k in (1, 8, 64)
    ]
    for lower, upper in zip(bounds, [*bounds[1:], torch.full_like(bounds[0], exact)], strict=True):
        assert at_most_p_value(lower - upper, 0.0) > FALSE_ALARM
        assert at_most_p_value(upper - lower, 0.0) < FALSE_ALARM  # and truly below
    elbo = vae.elbo(x, n_samples=2000, generator=generator)
    assert abs(float(elbo) - bounds[0].mean().item()) < 6 * elbo.stderr


def worst_weighs_most(patch: pytest.MonkeyPatch) -> None:
    """The smallest weight stands for all."""
    add = importance.StreamingLogMeans.add
    patch.setattr(importance.StreamingLogMeans, "add", lambda self, w: add(self, w.amin(0).expand_as(w)))


def forgotten_count(patch: pytest.MonkeyPatch) -> None:
    """A sum for a mean."""
    value = importance.StreamingLogMeans.value
    patch.setattr(importance.StreamingLogMeans, "value", lambda self: value(self) + torch.tensor(self.n).log())


@pytest.mark.parametrize("plant", [no_bug, worst_weighs_most, forgotten_count])
def test_the_estimate_converges_within_its_error(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    vae, x = linear_vae(optimal=False), torch.randn(120, 4, generator=generator, dtype=torch.float64)
    plant(monkeypatch)
    bound = vae.log_likelihood(x, n_samples=3000, generator=generator)
    gap = float(bound) - linear_log_p(vae, x).mean().item()
    assert (abs(gap) < 6 * bound.stderr) == (plant is no_bug)


def test_chunks_of_memory_change_nothing(generator: torch.Generator) -> None:
    weights = 50 * torch.randn(500, 7, generator=generator)
    weights[:, 3] = -torch.inf  # a case that no sample explains

    def value(rows: int) -> Tensor:
        return importance_weighted(lambda cases, draws: weights[draws, cases], 7, 500, rows=rows)[0]

    whole = torch.logsumexp(weights.double(), 0) - torch.log(torch.tensor(500.0, dtype=torch.float64))
    for rows in (1, 70, 100_000):
        assert torch.allclose(value(rows), whole)


def test_with_shared_noise_a_score_depends_on_no_other_case() -> None:
    vae, x = tiny_vae(sizes=(1, 1)), all_bits()

    def score(rows: Tensor) -> Tensor:
        value = vae.log_likelihood(rows, generator=torch.Generator().manual_seed(1), n_samples=5000, shared=True).value
        assert isinstance(value, Tensor)
        return value

    assert torch.allclose(score(x)[[3, 1]], torch.cat([score(x[[3]]), score(x[[1]])]))
    assert (score(x) - log_p_by_quadrature(vae, x)).abs().max() < 0.5


# -- priors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prior", ["normal", "mixture", "vamp"])
def test_priors_draw_from_their_density(prior: str, generator: torch.Generator) -> None:
    vae = tiny_vae(prior=prior, n_components=3)
    if prior != "normal":
        vae.prior.logits.data.copy_(torch.tensor([0.5, -1.0, 1.0]))
    density = vae.prior.log_prob(GRID.unsqueeze(1), vae.top_posterior).exp().detach() * STEP
    assert density.sum().item() == pytest.approx(1, abs=1e-9)
    edges = GRID[::60] + STEP / 2
    draws = vae.prior.sample(50_000, GRID, vae.top_posterior, generator).detach()[:, 0]
    cells = torch.bincount(torch.bucketize(draws, edges), minlength=len(edges) + 1)
    wanted = torch.zeros(len(edges) + 1, dtype=torch.float64)
    wanted.index_add_(0, torch.bucketize(GRID, edges), density)
    assert counts_p_value(cells, wanted) > FALSE_ALARM


def test_the_vampprior_begins_at_the_data() -> None:
    vae, x = tiny_vae(prior="vamp", n_components=10), all_bits()
    vae.match_data(x)
    inputs = vae.prior.inputs
    assert torch.equal(inputs.round()[:8], x.double())
    assert torch.equal(inputs[8:], inputs[:2])


# -- completion -----------------------------------------------------------------------------------------------------


def takes_everything(patch: pytest.MonkeyPatch) -> None:
    """Pseudo-Gibbs where the exact chain is asked for."""
    patch.setattr(completion, "_log_weight", lambda vae, x, codes, c: torch.zeros_like(x[:, 0]))


@pytest.mark.parametrize("plant", [no_bug, takes_everything])
def test_the_completing_chain_keeps_the_law(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    vae = tiny_vae(scale=1.5)
    n = 100_000
    plant(monkeypatch)
    with torch.no_grad():
        z, _ = vae.draw_codes(n, None, generator)
        x = vae.visible.sample(vae.visible_inputs(z), generator)
        known = torch.rand(x.shape, generator=generator) < 0.5
        x, codes, _ = metropolis_step(vae, x, [z], None, Clamp(x, known), generator)
        joint = joint_on_grid(vae, all_bits()) * STEP
    cells = torch.stack([joint[:, GRID < 0].sum(1), joint[:, GRID >= 0].sum(1)], 1).flatten()
    place = (x @ torch.tensor([4.0, 2.0, 1.0], dtype=x.dtype)).long() * 2 + (codes[0][:, 0] >= 0).long()
    counts = torch.bincount(place, minlength=16)
    assert (counts_p_value(counts, cells) > FALSE_ALARM) == (plant is no_bug)


def test_completion_draws_from_the_conditional(generator: torch.Generator) -> None:
    vae, n = tiny_vae(scale=1.0), 20_000
    x = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64).expand(n, 3)
    known = torch.tensor([True, False, False])
    exact = log_p_by_quadrature(vae, all_bits()).exp()[4:]
    for filled in (
        vae.complete(x, known.expand(n, 3), n_steps=40, n_average=0, generator=generator),
        vae.sample(n, condition=Clamp(x[0], known), n_steps=40, generator=generator),
    ):
        assert torch.equal(filled[:, 0], x[:, 0])
        counts = torch.bincount((filled @ torch.tensor([4.0, 2.0, 1.0], dtype=x.dtype)).long() - 4, minlength=4)
        assert counts_p_value(counts, exact / exact.sum()) > FALSE_ALARM
    means = vae.complete(x[:2000], known.expand(2000, 3), n_steps=80, n_average=40, generator=generator)
    states = all_bits()[4:]
    assert means_p_value(means[:, 1:], (exact / exact.sum()) @ states[:, 1:]) > FALSE_ALARM


# -- capabilities ---------------------------------------------------------------------------------------------------


def models() -> dict[str, VAE]:
    g = torch.Generator().manual_seed(0)
    return {
        "one layer": dense_vae(Bernoulli(6), [2], hidden=[[5]], generator=g),
        "two layers, vamp": dense_vae(
            Categorical(2, 3), [3, 2], hidden=[[5], [4]], prior="vamp", n_components=4, generator=g
        ),
        "mixture": dense_vae(Bernoulli(6), [2], hidden=[[5]], prior="mixture", n_components=4, generator=g),
        "convolutional": convolutional_vae(Bernoulli(6), 2, (1, 2, 3), channels=(3,), generator=g),
        "conditional": dense_vae(Bernoulli(6), [2], hidden=[[5]], n_condition=3, generator=g),
        "conditional, its prior too": dense_vae(
            Bernoulli(6), [3, 2], hidden=[[5], [4]], n_condition=3, prior="conditional", generator=g
        ),
        "convolutional, its prior too": convolutional_vae(
            Bernoulli(6), 2, (1, 2, 3), channels=(3,), n_condition=3, prior="conditional", generator=g
        ),
        "conditional convolutional": convolutional_vae(
            Bernoulli(6), 2, (1, 2, 3), channels=(3,), n_condition=3, prior="vamp", n_components=4, generator=g
        ),
    }


@pytest.mark.parametrize("name", models())
def test_models_have_their_capabilities_and_come_back_from_disk(
    name: str, tmp_path: Path, generator: torch.Generator
) -> None:
    vae = models()[name].eval()
    c: dict[str, Any] = {} if vae.n_condition == 0 else {"condition": torch.tensor([0.0, 1.0, 0.0])}
    for capability in (Sampler, Density, Coder, Completer, Storable):
        assert isinstance(vae, capability)
    x = vae.sample(4, generator=generator, **c)
    assert torch.equal(vae.encode(x, **c), vae.encode(x, **c))
    assert vae.encode(x, **c).shape == (4, 2)
    drawn = vae.encode(x, sample=True, generator=generator, **c)
    assert drawn.shape == (4, 2)
    assert not torch.equal(drawn, vae.encode(x, **c))
    save_model(vae, tmp_path / "model")
    twin = load_model(tmp_path / "model")
    for use in (
        lambda m: m.decode(m.encode(x, **c), **c),
        lambda m: m.log_likelihood(x, generator=torch.Generator().manual_seed(1), n_samples=5, **c).value,
        lambda m: m.complete(
            x, known_parts(m), generator=torch.Generator().manual_seed(1), n_steps=4, n_average=2, **c
        ),
        lambda m: m.sample(3, mean=True, generator=torch.Generator().manual_seed(1), **c),
    ):
        assert torch.equal(use(vae), use(twin))


def noisy_codes(patch: pytest.MonkeyPatch) -> None:
    """Codes drawn at random where nobody asked for it."""
    encode = VAE.encode
    patch.setattr(VAE, "encode", lambda self, x: encode(self, x, sample=True))


@pytest.mark.parametrize("plant", [no_bug, noisy_codes])
@pytest.mark.parametrize("training", [True, False])
def test_codes_are_not_random(training: bool, plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    vae, x = models()["two layers, vamp"].train(training), torch.eye(6)
    plant(monkeypatch)
    assert torch.equal(vae.encode(x), vae.encode(x)) == (plant is no_bug)


def test_conditions_reach_both_ways() -> None:
    vae, x = models()["conditional"], torch.ones(2, 6)
    one, other = torch.tensor([1.0, 0, 0]), torch.tensor([0, 0, 1.0])
    assert not torch.equal(vae.encode(x, condition=one), vae.encode(x, condition=other))
    assert not torch.equal(vae.decode(x[:, :2], condition=one), vae.decode(x[:, :2], condition=other))
    both = vae.encode(x, condition=torch.stack([one, other]))
    assert torch.allclose(both[1], vae.encode(x, condition=Clamp(other, other > -1))[0])


def test_wrong_use_is_told(tmp_path: Path) -> None:
    plain, conditional = models()["one layer"], models()["conditional"]
    with pytest.raises(InvalidArgumentError, match=r"condition must be vectors of 3 numbers\. Got None"):
        conditional.sample(2)
    with pytest.raises(InvalidArgumentError, match="condition must be None"):
        plain.encode(torch.ones(1, 6), condition=torch.ones(3))
    with pytest.raises(InvalidDataError, match=r"condition must have shape \(3,\) or \(5, 3\)"):
        conditional.sample(5, condition=torch.ones(4, 3))
    with pytest.raises(InvalidArgumentError, match="hidden must have one list for each of the 2"):
        dense_vae(Bernoulli(6), [3, 2], hidden=[[5]])
    with pytest.raises(InvalidArgumentError, match="shape must hold 7 numbers"):
        convolutional_vae(Bernoulli(7), 2, (1, 2, 3))
    own = VAE(Bernoulli(6), [nn.Linear(6, 4)], [nn.Linear(2, 6)], [2])
    assert own.sample(2).shape == (2, 6)
    with pytest.raises(InvalidArgumentError, match=r"to be stored by name\. Got Linear"):
        save_model(own, tmp_path / "own")


def test_a_variable_of_several_entries_is_known_whole_or_not() -> None:
    vae = dense_vae(Categorical(2, 3), [2], hidden=[[4]])
    x = torch.tensor([[1.0, 0, 0, 0, 1, 0]])
    known = torch.tensor([[True, True, True, False, False, False]])
    assert torch.equal(vae.complete(x, known, n_steps=2, n_average=1)[:, :3], x[:, :3])
    with pytest.raises(InvalidDataError, match="all 3 entries"):
        vae.complete(x, torch.tensor([[True, False, True, False, False, False]]))
