"""A map of codes on a plane."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from deepbelief.errors import InvalidDataError, check_choice
from deepbelief.evaluation.gallery import CodeMap
from deepbelief.evaluation.measured import random_rows, seed_from, to_numpy

FEWEST_FOR_TSNE = 50  # below, its neighbourhoods mean little


def code_map(
    codes: Any, labels: Any | None = None, *, generator: torch.Generator, most: int = 1000, method: str = "auto"
) -> CodeMap:
    """`codes` (cases, features) on a plane by t-SNE after principal components, or by principal components alone.

    At most `most` cases, drawn at random, for t-SNE takes seconds per thousand. "auto" takes t-SNE from 50 cases on.
    """
    check_choice("method", method, ["auto", "tsne", "pca"])
    x = to_numpy(codes).astype(np.float64)
    if x.ndim != 2 or len(x) < 2:
        raise InvalidDataError(f"codes must have shape (cases, features), at least 2 cases. Got {x.shape}.")
    rows = np.sort(random_rows(len(x), most, generator).numpy())
    x, shown = x[rows], None if labels is None else to_numpy(labels)[rows]
    seed = seed_from(generator)
    if method == "pca" or (method == "auto" and len(x) < FEWEST_FOR_TSNE):
        return CodeMap(_principal(x, 2, seed), shown, "its first two principal components")
    from sklearn.manifold import TSNE

    reduced = _principal(x, 30, seed)
    flat = TSNE(perplexity=min(30.0, (len(x) - 1) / 3), random_state=seed).fit_transform(reduced)
    return CodeMap(flat, shown, f"t-SNE on {reduced.shape[1]} principal components")


def _principal(x: np.ndarray, n: int, seed: int) -> np.ndarray:
    """The first `n` principal components; columns of zeros where there are fewer than 2."""
    from sklearn.decomposition import PCA

    n_found = min(n, *x.shape)
    found = PCA(n_found, random_state=seed).fit_transform(x)
    return np.pad(found, [(0, 0), (0, max(0, 2 - n_found))])
