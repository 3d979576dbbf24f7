"""The likelihood of a decoder with noise: closed form for a linear one, quadrature for others."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from deepbelief.adversarial.gan import GAN
from deepbelief.autoencoders.annealed import annealed_log_likelihood, bracket_on_samples
from deepbelief.errors import InvalidArgumentError
from deepbelief.evaluation.decoder import best_sigma, noisy_decoder
from deepbelief.networks.dense import DenseNetwork
from tests.oracle.pvalues import FALSE_ALARM, at_most_p_value, means_p_value

SIGMA = 0.3


@pytest.fixture
def linear(generator: torch.Generator) -> nn.Linear:
    decoder = nn.Linear(2, 4).double()
    for parameter in decoder.parameters():
        parameter.data.normal_(generator=generator)
    return decoder


def linear_log_p(decoder: nn.Linear, x: Tensor, sigma: float) -> Tensor:
    """``log N(x; b, W W' + sigma^2 I)``."""
    covariance = decoder.weight @ decoder.weight.T + sigma**2 * torch.eye(4, dtype=torch.float64)
    return torch.distributions.MultivariateNormal(decoder.bias, covariance).log_prob(x).detach()


@pytest.mark.parametrize("off", [0.0, 0.4], ids=["as it is", "a width that is wrong"])
def test_weights_average_to_the_density(linear: nn.Linear, off: float, generator: torch.Generator) -> None:
    """``<W> = p(x)`` of every run; by another width than was asked for, it would be seen."""
    model = noisy_decoder(linear, n_latent=2, n_features=4, sigma=SIGMA + off)
    x = torch.randn(1, 4, generator=generator, dtype=torch.float64)
    log_w = annealed_log_likelihood(model, x.expand(5000, 4), n_temperatures=20, n_runs=1, generator=generator).value
    found = means_p_value((torch.as_tensor(log_w) - linear_log_p(linear, x, SIGMA)).exp(), 1.0)
    assert (found > FALSE_ALARM) == (off == 0)


def test_both_ends_hold_the_truth_between_them(linear: nn.Linear, generator: torch.Generator) -> None:
    model = noisy_decoder(linear, n_latent=2, n_features=4, sigma=SIGMA)
    bracket = bracket_on_samples(model, 2000, n_temperatures=20, generator=generator)
    with torch.no_grad():
        x = linear(torch.randn(2000, 2, generator=generator, dtype=torch.float64))
    x = x + SIGMA * torch.randn(2000, 4, generator=generator, dtype=torch.float64)
    truth = linear_log_p(linear, x, SIGMA)
    lower, upper = torch.as_tensor(bracket.lower.value), torch.as_tensor(bracket.upper.value)
    assert at_most_p_value(lower - truth, 0.0) > FALSE_ALARM
    assert at_most_p_value(truth - upper, 0.0) > FALSE_ALARM


def test_a_curved_decoder_by_quadrature(generator: torch.Generator) -> None:
    """A spiral in the plane: one number of noise, and a posterior that may have two humps."""

    class Spiral(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return torch.cat([z.cos() * z, z.sin() * z], -1)

    model = noisy_decoder(Spiral(), n_latent=1, n_features=2, sigma=SIGMA).double()
    x, grid = torch.tensor([[-0.5, 0.8]]).double(), torch.linspace(-9, 9, 20_001, dtype=torch.float64).unsqueeze(1)
    log_joint = model.log_joint(x, [grid.unsqueeze(1)])[:, 0]
    truth = torch.logsumexp(log_joint, 0) + math.log((grid[1] - grid[0]).item())
    found = annealed_log_likelihood(model, x.expand(5000, 2), n_temperatures=20, n_runs=1, generator=generator)
    assert means_p_value((torch.as_tensor(found.value) - truth).exp().detach(), 1.0) > FALSE_ALARM


def test_the_best_width_is_that_of_the_data(linear: nn.Linear, generator: torch.Generator) -> None:
    with torch.no_grad():
        x = linear(torch.randn(400, 2, generator=generator, dtype=torch.float64))
    x = x + SIGMA * torch.randn(400, 4, generator=generator, dtype=torch.float64)
    sigmas = [0.1, SIGMA, 0.9]
    truth = [float(linear_log_p(linear, x, sigma).mean()) for sigma in sigmas]
    assert truth.index(max(truth)) == 1  # by enough that annealing cannot miss it
    assert best_sigma(linear, x, sigmas, n_latent=2, n_temperatures=50, generator=generator) == SIGMA


@pytest.mark.parametrize("values", ["unit", "real"])
def test_a_gan_is_judged_by_what_it_draws(values: str, generator: torch.Generator) -> None:
    gan = GAN(DenseNetwork((3, 8), output=5), DenseNetwork((5, 8), output=1), 3, values=values)
    z = torch.randn(7, 3, generator=generator)
    assert torch.equal(gan.decoder()(z), gan.generate(z))


def test_errors(linear: nn.Linear) -> None:
    with pytest.raises(InvalidArgumentError, match="sigma must be above 0"):
        noisy_decoder(linear, n_latent=2, n_features=4, sigma=0.0)
    with pytest.raises(InvalidArgumentError, match=r"decoder must turn rows of 2 into rows of 5. Got \(1, 4\)"):
        noisy_decoder(linear, n_latent=2, n_features=5, sigma=1.0)
    with pytest.raises(InvalidArgumentError, match="sigmas must hold at least 1"):
        best_sigma(linear, torch.zeros(1, 4), [], n_latent=2)
    labelled = GAN(DenseNetwork((5, 8), output=5), DenseNetwork((5, 8), output=2), 3, n_classes=2)
    with pytest.raises(InvalidArgumentError, match="a GAN with labels or codes"):
        labelled.decoder()
