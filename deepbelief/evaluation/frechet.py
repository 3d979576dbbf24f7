"""The Frechet distance between two sets of features, as if both were normal (Heusel et al. 2017).

    FD = |m - m'|^2 + tr(C + C' - 2 (C^1/2 C' C^1/2)^1/2)

This is the squared 2-Wasserstein distance of two normal laws (Dowson & Landau 1982). It is biased upwards in small
sets, by about tr(C) / n and more: read it beside the same number for held-out data, in sets of the same size.
"""

from __future__ import annotations

import torch
from torch import Tensor

from deepbelief.errors import InvalidDataError

Moments = tuple[Tensor, Tensor]


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """FD between two sets of features (cases, features); 0 for the same set twice.

    >>> x = torch.tensor([[0.0], [2.0]])
    >>> round(frechet_distance(x, x + 3), 9)
    9.0
    """
    return gaussian_frechet_distance(moments(first), moments(second))


def moments(x: Tensor) -> Moments:
    """Mean (d,) and unbiased covariance (d, d) of the rows of `x`, in float64."""
    if x.ndim != 2 or len(x) < 2 or not bool(torch.isfinite(x).all()):
        raise InvalidDataError(f"features must be finite, of shape (cases, features), 2 cases or more. Got {x.shape}.")
    wide = x.double()
    return wide.mean(0), torch.cov(wide.T).reshape(x.shape[1], x.shape[1])


def gaussian_frechet_distance(first: Moments, second: Moments) -> float:
    """FD between two normal laws given by mean and covariance.

    The trace of the root is taken from the eigenvalues of ``C^1/2 C' C^1/2``, which are real and at least 0 even where
    a covariance is singular, as the usual ``sqrtm(C C')`` is not.
    """
    (mean, covariance), (other_mean, other_covariance) = first, second
    if mean.shape != other_mean.shape:
        raise InvalidDataError(f"both sets must have the same features. Got {len(mean)} and {len(other_mean)}.")
    root = _root(covariance)
    inner = root @ other_covariance @ root
    overlap = torch.linalg.eigvalsh((inner + inner.T) / 2).clamp_min(0).sqrt().sum()
    gap = (mean - other_mean).square().sum()
    return max(0.0, float(gap + covariance.trace() + other_covariance.trace() - 2 * overlap))


def _root(covariance: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp_min(0).sqrt()) @ vectors.T
