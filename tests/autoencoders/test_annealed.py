"""Annealing over codes: weights whose mean is the likelihood, ends that bracket it, and steps found beforehand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from deepbelief.autoencoders import annealed
from deepbelief.autoencoders.annealed import anneal, annealed_log_likelihood, bracket_on_samples, temperatures
from deepbelief.autoencoders.diagonal import normal_noise
from deepbelief.autoencoders.vae import VAE
from deepbelief.autoencoders.vae_builders import dense_vae
from deepbelief.errors import InvalidArgumentError, InvalidDataError
from deepbelief.units.bernoulli import Bernoulli
from tests.oracle.pvalues import FALSE_ALARM, at_most_p_value, means_p_value
from tests.oracle.variational import all_bits, linear_log_p, linear_vae, log_p_by_quadrature, tiny_vae

Plant = Callable[[pytest.MonkeyPatch], None]


def no_bug(patch: pytest.MonkeyPatch) -> None:
    """Nothing planted: the check must be content."""


def never_refused(patch: pytest.MonkeyPatch) -> None:
    """Every path is taken, however far it strays."""
    move = annealed._Chain.move

    def taken(chain: annealed._Chain, beta: float, *rest: Any) -> Tensor:
        with pytest.MonkeyPatch.context() as always:
            always.setattr(torch.Tensor, "__lt__", lambda a, b: torch.ones_like(a, dtype=torch.bool))
            return move(chain, beta, *rest)

    patch.setattr(annealed._Chain, "move", taken)


def too_cold(patch: pytest.MonkeyPatch) -> None:
    """Chains that move in the posterior from the first temperature on."""
    move = annealed._Chain.move
    patch.setattr(annealed._Chain, "move", lambda self, beta, *rest: move(self, 1.0, *rest))


def no_pull_to_the_middle(patch: pytest.MonkeyPatch) -> None:
    """The same momenta for all chains: no law is left as it is."""
    patch.setattr(annealed, "normal_noise", lambda shape, like, generator: torch.ones(shape, dtype=like.dtype))


BUGS: list[Plant] = [no_bug, never_refused, too_cold, no_pull_to_the_middle]


def log_weights(vae: VAE, x: Tensor, e: Tensor, n: int, *, up: bool, step: float, generator: torch.Generator) -> Tensor:
    """log W of a chain from every row of e, at a given length of steps."""
    betas = temperatures(n) if up else temperatures(n).flip(0)
    steps = torch.full((n + 1, len(e)), step, dtype=e.dtype)
    return anneal(annealed.weights_of(vae, x), e, betas, steps, 2, generator)


@pytest.mark.parametrize("plant", BUGS)
@pytest.mark.parametrize("n", [2, 5])
def test_weights_have_the_likelihood_as_their_mean(
    plant: Plant, n: int, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    vae = linear_vae(optimal=False)
    x = torch.randn(1, 4, generator=generator, dtype=torch.float64).expand(20_000, 4)
    e = normal_noise((20_000, 2), x, generator)
    plant(monkeypatch)
    log_w = log_weights(vae, x, e, n, up=True, step=1.7, generator=generator)
    found = means_p_value((log_w - linear_log_p(vae, x[:1])).exp(), 1.0)
    assert (found > FALSE_ALARM) == (plant is no_bug)


@pytest.mark.parametrize("plant", BUGS)
def test_backwards_from_the_posterior_they_have_its_inverse(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    vae = linear_vae(optimal=False)
    codes, _ = vae.draw_all_codes(20_000, None, generator)
    with torch.no_grad():
        x = vae.visible.sample(vae.visible_inputs(codes[0]), generator)
        e = torch.cat(vae.noise_of(x, codes), -1)
    plant(monkeypatch)
    back = log_weights(vae, x, e, 12, up=False, step=1.2, generator=generator)
    found = means_p_value((back + linear_log_p(vae, x)).exp(), 1.0)
    assert (found > FALSE_ALARM) == (plant is no_bug)


@pytest.mark.parametrize("sizes", [(1,), (1, 1)])
@pytest.mark.parametrize("prior", ["normal", "mixture", "vamp"])
def test_weights_of_every_kind_of_model_have_the_mean_of_quadrature(
    sizes: tuple[int, ...], prior: str, generator: torch.Generator
) -> None:
    vae = tiny_vae(sizes=sizes, prior=prior, n_components=3, scale=1.0)
    x = all_bits().repeat(2500, 1)
    e = normal_noise((len(x), len(sizes)), x, generator)
    log_w = log_weights(vae, x, e, 4, up=True, step=0.8, generator=generator)
    exact = log_p_by_quadrature(vae, all_bits())
    assert means_p_value((log_w.view(2500, 8) - exact).exp(), 1.0) > FALSE_ALARM


def test_noise_is_read_off_codes(generator: torch.Generator) -> None:
    vae, x = tiny_vae(sizes=(2, 1)), all_bits()
    inferred = vae.infer(x, generator=generator)
    found = vae.noise_of(x, [z[0] for z in inferred.codes])
    for ours, noise in zip(found, inferred.noises, strict=True):
        torch.testing.assert_close(ours, noise[0])


def test_the_ends_bracket_the_truth_and_close(generator: torch.Generator) -> None:
    vae, gaps = linear_vae(optimal=False), []
    for n in (2, 60):
        generator.manual_seed(3)
        found = bracket_on_samples(vae, 4000, n_temperatures=n, generator=generator)
        lower, upper = found.lower.value, found.upper.value
        assert isinstance(lower, Tensor)
        assert isinstance(upper, Tensor)
        assert (found.lower.kind, found.upper.kind) == ("lower_bound", "upper_bound")
        assert at_most_p_value(lower - upper, 0.0) > FALSE_ALARM
        assert found.gap == pytest.approx((upper - lower).mean().item())
        gaps.append(found.gap)
    assert gaps[1] < gaps[0] / 4


def far_off() -> VAE:
    """A model whose encoder looks two standard deviations beside the posterior."""
    vae = linear_vae(optimal=True)
    with torch.no_grad():
        vae.encoders[0].bias[:2] += 1.5  # type: ignore[operator, index]
    return vae


def test_it_is_tighter_than_as_many_samples_where_the_encoder_is_off(generator: torch.Generator) -> None:
    vae, x = far_off(), torch.randn(300, 4, generator=generator, dtype=torch.float64)
    exact = linear_log_p(vae, x).mean().item()
    samples = float(vae.log_likelihood(x, n_samples=200, generator=generator))
    walked = annealed_log_likelihood(vae, x, n_temperatures=20, n_runs=2, n_leapfrog=5, generator=generator)
    assert walked.kind == "lower_bound"
    assert abs(exact - float(walked)) < 0.2 * (exact - samples)
    assert float(walked) < exact + 6 * walked.stderr


def test_memory_that_holds_few_chains_changes_no_law(
    monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    vae, x = linear_vae(optimal=False), torch.randn(3, 4, generator=generator, dtype=torch.float64).repeat(1500, 1)
    exact = linear_log_p(vae, x)
    for rows in (50, 1000, 10_000):
        monkeypatch.setattr(annealed, "ROWS", rows)
        found = annealed_log_likelihood(vae, x, n_temperatures=4, n_runs=2, n_leapfrog=2, generator=generator)
        assert isinstance(found.value, Tensor)
        assert means_p_value((found.value - exact).exp().view(1500, 3), 1.0) > FALSE_ALARM
    again = [
        annealed_log_likelihood(vae, x[:300], n_temperatures=9, generator=generator.manual_seed(1)).value
        for _ in range(2)
    ]
    assert torch.equal(*again)  # type: ignore[arg-type]


def test_steps_are_accepted_as_often_as_wanted(generator: torch.Generator) -> None:
    vae, x = linear_vae(optimal=False), torch.randn(2000, 4, generator=generator, dtype=torch.float64)
    log_w, betas = annealed.weights_of(vae, x), temperatures(100)
    e = normal_noise((2000, 2), x, generator)
    steps = annealed.find_steps(log_w, e, betas, 3, generator)
    chain = annealed._Chain(log_w, e)
    chances = [chain.move(b, steps[k], 3, generator) for k, b in enumerate(betas.tolist()) if k > 50]
    assert steps.shape == (101, 2000)
    assert 0.6 < float(torch.stack(chances).mean()) < 0.9  # 0.99 with the first length throughout


def test_a_condition_is_used(generator: torch.Generator) -> None:
    vae = dense_vae(Bernoulli(3), [1], hidden=[[4]], n_condition=2, generator=torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        for parameter in vae.decoders.parameters():
            parameter.mul_(4)
    x, c = all_bits(), torch.eye(2, dtype=torch.float64).repeat(4, 1)
    many = vae.log_likelihood(x, condition=c, n_samples=50_000, generator=generator)
    walked = annealed_log_likelihood(vae, x, condition=c, n_runs=20, generator=generator)
    other = annealed_log_likelihood(vae, x, condition=c.flip(1), n_runs=20, generator=generator)
    assert abs(float(walked) - float(many)) < 6 * (walked.stderr + many.stderr) + 1e-3
    assert (other.value - many.value).abs().max() > 0.3  # type: ignore[operator, union-attr]
    ends = bracket_on_samples(vae, 500, condition=c[:1].expand(500, 2), n_temperatures=20, generator=generator)
    assert at_most_p_value(ends.lower.value - ends.upper.value, 0.0) > FALSE_ALARM  # type: ignore[operator]


def test_wrong_use_is_told() -> None:
    vae = linear_vae(optimal=True)
    for name in ("n_temperatures", "n_runs", "n_leapfrog"):
        with pytest.raises(InvalidArgumentError, match=f"{name} must be at least 1"):
            annealed_log_likelihood(vae, torch.zeros(2, 4, dtype=torch.float64), **{name: 0})
    with pytest.raises(InvalidArgumentError, match="n must be at least 1"):
        bracket_on_samples(vae, 0)
    with pytest.raises(InvalidDataError, match="x must"):
        annealed_log_likelihood(vae, torch.zeros(2, 3, dtype=torch.float64))
