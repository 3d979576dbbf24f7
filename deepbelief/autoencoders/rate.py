"""Rate and distortion of a variational autoencoder: what its codes cost, and what they leave unsaid.

    R = <log q(z | x) - log p(z)>_q,        D = -<log p(x | z)>_q,        ELBO = -(D + R),        H - D <= I(x; z) <= R

I is what the encoder's codes tell of x and H the entropy of the data, over the cases that x is drawn from: codes that
cost few nats cannot tell much. Models of one ELBO may lie anywhere on a line from all rate to all distortion (Alemi et
al. 2018, "Fixing a broken ELBO"); beta chooses the place (Higgins et al. 2017).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from deepbelief.errors import check_count
from deepbelief.protocols import Generator
from deepbelief.types import Bound, Kind


@dataclass(frozen=True)
class RateDistortion:
    """In nats, for each case: both parts, and the bound that they make, by the same draws."""

    rate: Bound
    distortion: Bound
    elbo: Bound


@torch.no_grad()
def rate_distortion(
    vae: Any, x: Tensor, *, condition: Any = None, n_samples: int = 10, generator: Generator = None
) -> RateDistortion:
    """Averages over `n_samples` draws of all codes of every case: (n, n_visible) -> (n,) each.

    With data standardized by an estimator, D is that of the standardized columns. The standard errors are those of the
    averages over all cases; NaN for a single draw.

    >>> from deepbelief.autoencoders.vae_builders import dense_vae
    >>> from deepbelief.units.bernoulli import Bernoulli
    >>> found = rate_distortion(dense_vae(Bernoulli(6), [2], hidden=[[8]]), torch.zeros(3, 6))
    >>> found.rate.kind, found.distortion.value.shape
    ('estimate', torch.Size([3]))
    """
    check_count("n_samples", n_samples, low=1)
    vae.visible.check_shape(x, "x")
    vae.visible.check_values(x, "x")
    c, vae = vae.checked_condition(condition, len(x)), vae.settled()
    pairs = []
    for _ in range(n_samples):
        inferred = vae.infer(x, c=c, generator=generator)
        generated = vae.generate(inferred.codes, c)
        log_p = generated.log_codes(inferred.codes) + vae.prior.log_prob(inferred.codes[-1], vae.top_posterior, c)
        pairs.append(torch.stack([inferred.log_q() - log_p, -vae.visible.log_prob(x, generated.inputs)])[:, 0])
    draws = torch.stack(pairs).double()  # (samples, 2, cases)
    parts = (_average(draws[:, 0]), _average(draws[:, 1]), _average(-draws.sum(1), "lower_bound"))
    return RateDistortion(*parts)


def _average(draws: Tensor, kind: Kind = "estimate") -> Bound:
    """The mean over the first axis, with the standard error of its mean over the second."""
    error = math.nan if len(draws) < 2 else (draws.var(0).sum() / len(draws)).sqrt().item() / draws.shape[1]
    return Bound(draws.mean(0), kind, error, f"{len(draws)} draws of the encoder")
