"""The likelihood of a decoder: any network from noise to cases, with a little noise around what it draws.

    p(x) = int N(z; 0, I) N(x; g(z), sigma^2 I) dz

A GAN has no density. With Gaussian noise of a stated width around its draws it has one (Wu, Burda, Salakhutdinov &
Grosse 2017), which asks whether there is a z for every case: a generator that misses modes pays for it by hundreds of
nats, however good its draws look. The integral is annealed from the prior to the posterior by Hamiltonian Monte Carlo,
so what comes out is a lower bound, and cases that the decoder itself made tell how far it can be off:

    model = noisy_decoder(gan.decoder(), n_latent=50, n_features=784, sigma=0.2)
    annealed_log_likelihood(model, x, n_temperatures=1000)        # nats per case, a lower bound
    bracket_on_samples(model, n_temperatures=1000).gap            # at most so far below, on the model's own cases

A sharper sigma asks for closer draws; two numbers compare only if each had its best one, found on cases of their own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from deepbelief.autoencoders.annealed import annealed_log_likelihood
from deepbelief.autoencoders.vae import VAE
from deepbelief.errors import check, check_count, check_positive, check_range
from deepbelief.protocols import Generator
from deepbelief.units.gaussian import Gaussian


def noisy_decoder(decoder: nn.Module, *, n_latent: int, n_features: int, sigma: float) -> VAE:
    """`decoder`, (n, n_latent) -> (n, n_features), as a VAE whose encoder knows nothing: it gives the prior.

    The decoder is shared, not copied. `sigma` is the standard deviation of the noise in the units of the data.

    >>> model = noisy_decoder(nn.Linear(2, 5), n_latent=2, n_features=5, sigma=0.1)
    >>> annealed_log_likelihood(model, torch.zeros(3, 5), n_temperatures=10).kind
    'lower_bound'
    """
    check_count("n_latent", n_latent, low=1)
    check_count("n_features", n_features, low=1)
    check_range("sigma", sigma, low=0)
    check_positive("sigma", sigma, remedy="Without noise there is no density.")
    like = next(decoder.parameters(), torch.zeros(()))
    with torch.no_grad():
        found = decoder(like.new_zeros(1, n_latent)).shape
    check(
        found == (1, n_features),
        f"decoder must turn rows of {n_latent} into rows of {n_features}. Got {tuple(found)} from one row.",
    )
    visible = Gaussian(n_features)
    with torch.no_grad():
        visible.log_precision.fill_(-2 * math.log(sigma))
    return VAE(visible.to(like), [_Prior(n_latent)], [decoder], [n_latent])


def best_sigma(
    decoder: nn.Module,
    x: Tensor,
    sigmas: Sequence[float],
    *,
    n_latent: int,
    n_temperatures: int = 200,
    n_leapfrog: int = 5,
    generator: Generator = None,
) -> float:
    """The width of noise of the highest annealed mean over `x`, (n, n_features): held-out cases, not those of the test.

    >>> x = 0.1 * torch.randn(20, 5, generator=torch.Generator().manual_seed(0))
    >>> best_sigma(nn.Linear(2, 5), x, [0.001, 1.0, 100.0], n_latent=2, n_temperatures=20)
    1.0
    """
    check(len(sigmas) >= 1, "sigmas must hold at least 1 width. Got none.")
    how = {"n_temperatures": n_temperatures, "n_runs": 1, "n_leapfrog": n_leapfrog}

    def height(sigma: float) -> float:
        model = noisy_decoder(decoder, n_latent=n_latent, n_features=x.shape[1], sigma=sigma)
        return float(annealed_log_likelihood(model, x, generator=generator, **how).mean())

    return max(sigmas, key=height)


class _Prior(nn.Module):
    """An encoder that has not looked: means and log variances of 0."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        return x.new_zeros((*x.shape[:-1], 2 * self.size))
