"""Small variational autoencoders whose likelihoods are known: linear ones in closed form, others by quadrature."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

from deepbelief.autoencoders.vae import VAE
from deepbelief.autoencoders.vae_builders import dense_vae
from deepbelief.units.bernoulli import Bernoulli
from deepbelief.units.gaussian import Gaussian

GRID = torch.linspace(-9, 9, 1201, dtype=torch.float64)
STEP = (GRID[1] - GRID[0]).item()


def linear_vae(optimal: bool) -> VAE:
    """Probabilistic PCA of 4 numbers by 2 codes, whose posterior is diagonal since the loadings are orthogonal."""
    visible = Gaussian(4)
    loadings = torch.tensor([[1.0, 0.5], [1.0, -0.5], [-0.5, 1.0], [0.5, 1.0]])
    encoder, decoder = nn.Linear(4, 4), nn.Linear(2, 4)
    vae = VAE(visible, [encoder], [decoder], [2]).double()
    with torch.no_grad():
        visible.log_precision.fill_(math.log(1 / 0.6))
        visible.bias.copy_(torch.tensor([0.3, -0.2, 0.0, 0.5]))
        decoder.weight.copy_(loadings)
        decoder.bias.copy_(torch.tensor([0.1, 0.2, -0.3, 0.0]))
        mean, variance = linear_posterior(vae)
        encoder.weight.copy_(torch.cat([mean, torch.zeros(2, 4)]))
        encoder.bias.copy_(torch.cat([-mean @ centre(vae), variance.log()]))
        if not optimal:
            encoder.weight.mul_(0.7)
            encoder.bias.add_(0.4)
    return vae


def centre(vae: VAE) -> Tensor:
    """The mean of the data under a linear model."""
    return vae.decoders[0].bias + vae.visible.bias / vae.visible.precision  # type: ignore[operator]


def linear_posterior(vae: VAE) -> tuple[Tensor, Tensor]:
    """The matrix that gives the exact posterior means of centred data, and the posterior variances."""
    w = vae.decoders[0].weight
    precision = torch.eye(2, dtype=torch.float64) + w.T @ torch.diag(vae.visible.precision) @ w
    assert torch.allclose(precision, torch.diag(precision.diagonal()))
    return torch.linalg.solve(precision, w.T @ torch.diag(vae.visible.precision)), 1 / precision.diagonal()


def linear_log_p(vae: VAE, x: Tensor) -> Tensor:
    """``log N(x; centre, W W' + noise)``."""
    w = vae.decoders[0].weight
    covariance = w @ w.T + torch.diag(1 / vae.visible.precision)
    return torch.distributions.MultivariateNormal(centre(vae), covariance).log_prob(x)


def tiny_vae(seed: int = 5, *, sizes: tuple[int, ...] = (1,), scale: float = 2.0, **options: object) -> VAE:
    """Three bits under one number (or two): steep, so that the exact posterior is far from a Gaussian."""
    generator = torch.Generator().manual_seed(seed)
    hidden = [[4]] * len(sizes)
    vae = dense_vae(Bernoulli(3), sizes, hidden=hidden, generator=generator, **options).double()  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in vae.decoders[0].parameters():
            parameter.mul_(2 * scale)
        vae.visible.bias.copy_(torch.tensor([0.4, -0.6, 0.2]))
    return vae


def all_bits(n: int = 3) -> Tensor:
    """The ``2^n`` cases of `n` bits."""
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=n)), dtype=torch.float64)


def joint_on_grid(vae: VAE, x: Tensor, c: Tensor | None = None) -> Tensor:
    """``p(x, z | c)`` of a model with one code number, on `GRID`: (cases, grid)."""
    z = GRID.reshape(-1, 1, 1).expand(-1, len(x), 1)
    return vae.log_joint(x, [z], c).exp().T


def log_p_by_quadrature(vae: VAE, x: Tensor, c: Tensor | None = None) -> Tensor:
    """``log p(x | c)`` of a model with one code number in each of one or two layers."""
    if len(vae.sizes) == 1:
        return (joint_on_grid(vae, x, c).sum(1) * STEP).log()
    coarse = GRID[::10]
    z1, z2 = (g.reshape(-1, 1, 1).expand(-1, len(x), 1) for g in torch.meshgrid(coarse, coarse, indexing="ij"))
    return torch.logsumexp(vae.log_joint(x, [z1, z2], c), 0) + 2 * math.log(10 * STEP)


def gradient_by_quadrature(vae: VAE, x: Tensor, k: int, c: Tensor | None = None) -> Tensor:
    """The gradient of ``<log 1/k sum w>`` of a case by quadrature over the k noises, 1 or 2, of one code number."""
    nodes = torch.linspace(-6.5, 6.5, 121 if k == 1 else 61, dtype=torch.float64)
    mass = torch.exp(-0.5 * nodes**2)
    mass /= mass.sum()
    law = vae.posterior(0, x, c)
    z = law.mean + torch.exp(0.5 * law.log_variance) * nodes.reshape(-1, 1, 1)
    log_w = (vae.log_joint(x, [z], c) - law.log_prob(z))[:, 0]
    pairs = log_w if k == 1 else torch.logaddexp(log_w.unsqueeze(0), log_w.unsqueeze(1)) - math.log(2)
    weight = mass if k == 1 else torch.outer(mass, mass)
    return flat_gradient((pairs * weight).sum(), vae)


def flat_gradient(value: Tensor, vae: VAE) -> Tensor:
    """The gradient with respect to all parameters in one row, 0 for those that the value does not hang on."""
    gradients = torch.autograd.grad(value, list(vae.parameters()), allow_unused=True)
    pairs = zip(gradients, vae.parameters(), strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs])
