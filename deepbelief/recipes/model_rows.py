"""Rows of results that `compare` and `evaluate` share: sample quality, features, likelihoods, and their references."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from deepbelief.evaluation.feature_network import FeatureNetwork, feature_networks
from deepbelief.evaluation.features import feature_results
from deepbelief.evaluation.likelihood import independent_log_likelihood
from deepbelief.evaluation.measured import random_rows
from deepbelief.evaluation.sample_quality import FEWEST, quality_results
from deepbelief.recipes.compare_cases import Cases, is_bits
from deepbelief.rng import make_generator
from deepbelief.types import Bound, Result
from deepbelief.units.bernoulli import Bernoulli
from deepbelief.units.gaussian import Gaussian

LIKELIHOOD, SAMPLING = "test log-likelihood", "time to draw 1,000 samples"
INDEPENDENT, RAW = "independent units", "raw inputs"
MOST_SAMPLES = 5000


def as_bits(drawn: Tensor, generator: torch.Generator) -> Tensor:
    """Bits as they are, and draws of means: what is compared with bits must be bits."""
    return drawn if is_bits(drawn) else torch.bernoulli(drawn.clamp(0, 1), generator=generator)


def can_be_judged(cases: Cases) -> bool:
    """Whether there are cases enough for the measures of sample quality."""
    return len(cases.train) >= FEWEST and len(cases.test) // 2 >= FEWEST


def networks_for(
    cases: Cases, generator: torch.Generator, *, n_networks: int, epochs: int, most: int | None = None
) -> list[FeatureNetwork]:
    """The feature networks, taught by the labels where there are any, else by clusters; by at most `most` cases."""
    x, y = _labelled(cases.train, cases.y)
    if most is not None and most < len(x):
        rows = random_rows(len(x), most, generator)
        x, y = x[rows], None if y is None else y[rows.numpy()]
    options: dict[str, Any] = {"shape": cases.channels_first, "n_networks": n_networks, "epochs": epochs}
    return feature_networks(x, y, generator=generator, **options)


def quality_rows(
    drawn: Tensor, cases: Cases, networks: list[FeatureNetwork], name: str, *, references: bool, most: int
) -> list[Result]:
    """Sample quality of the draws, which are of one kind with the cases; with both references where asked."""
    options: dict[str, Any] = {"data": cases.name, "model_name": name, "shape": cases.channels_first, "most": most}
    return quality_results(
        drawn, cases.train, cases.test, networks, generator=make_generator(0), references=references, **options
    )


def likelihood_row(mean: Bound, data: str, name: str) -> Result:
    """A mean log-likelihood with its kind."""
    return Result(LIKELIHOOD, float(mean), mean.kind, mean.stderr, "nats per case", data, name)


def independent_row(train: Tensor, test: Tensor, data: str, *, bits: bool) -> Result:
    """What units that stand alone reach: Bernoulli for bits, else normal."""
    units = Bernoulli(train.shape[1]) if bits else Gaussian(train.shape[1])
    return likelihood_row(independent_log_likelihood(units, train, test).mean(), data, INDEPENDENT)


def feature_rows(
    codes: tuple[Any, Any], cases: Cases, name: str, generator: torch.Generator, *, raw: tuple[Any, Any] | None = None
) -> list[Result]:
    """Linear probe, neighbours, few labels and clusters on the codes of both parts; nothing without labels."""
    if cases.y is None or cases.truth is None:
        return []
    (train, y), (test, truth) = _labelled(codes[0], cases.y), _labelled(codes[1], cases.truth)
    if y is None or truth is None:
        return []
    pair = None if raw is None else (_labelled(raw[0], cases.y)[0], _labelled(raw[1], cases.truth)[0])
    names: dict[str, Any] = {"data": cases.name, "model_name": name, "generator": generator}
    return feature_results(train, y, test, truth, raw=pair, **names)


def _labelled(x: Any, y: np.ndarray | None) -> tuple[Any, np.ndarray | None]:
    """The rows that have a label, and these; all rows, and no labels, where there are fewer than two classes."""
    if y is None or len(np.unique(y[y >= 0])) < 2:
        return x, None
    return x[y >= 0], y[y >= 0]
