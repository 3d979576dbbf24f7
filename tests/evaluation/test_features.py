"""Probes on codes whose worth is known beforehand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from deepbelief.errors import InvalidDataError
from deepbelief.evaluation.features import (
    cluster_agreement,
    feature_results,
    few_label_curve,
    knn_accuracy,
    linear_probe,
)


def blobs(n: int, generator: torch.Generator, distance: float = 20.0) -> tuple[Tensor, Tensor]:
    """Three classes around corners so far apart that no case lies between."""
    y = torch.arange(n) % 3
    return distance * torch.eye(3)[y] + torch.randn(n, 3, generator=generator), y


def test_codes_that_separate_the_classes_are_perfect_features(generator: torch.Generator) -> None:
    train, test = blobs(60, generator), blobs(30, generator)
    assert linear_probe(*train, *test) == 1.0
    assert knn_accuracy(*train, *test) == 1.0
    assert cluster_agreement(*test, generator=generator) == pytest.approx(1.0)
    curve = few_label_curve(*train, *test, generator=generator, labels_per_class=(2, 20, 21), n_draws=3)
    assert [(point.labels_per_class, point.mean, point.stderr) for point in curve] == [(2, 1.0, 0.0), (20, 1.0, 0.0)]


def test_constant_codes_say_nothing() -> None:
    y = torch.tensor([0, 0, 0, 1, 1, 2])
    codes = torch.ones(6, 4)
    assert linear_probe(codes, y, codes, y) == pytest.approx(0.5)  # the most frequent class


def test_clusters_of_noise_agree_by_chance_only(generator: torch.Generator) -> None:
    agreements = []
    for _ in range(10):
        codes, y = torch.randn(100, 2, generator=generator), torch.randint(3, (100,), generator=generator)
        agreements.append(cluster_agreement(codes, y, generator=generator))
    scores = torch.tensor(agreements)
    # adjusted for chance: mean 0; Student's t with 9 degrees of freedom exceeds 11.5 with probability below 1e-6
    assert abs(scores.mean() / (scores.std() / 10**0.5)) < 11.5


def test_codes_and_raw_inputs_meet_the_same_draws(generator: torch.Generator) -> None:
    (x, y), (test_x, test_y) = blobs(60, generator, distance=1.0), blobs(30, generator, distance=1.0)
    rows = feature_results(
        x, y, test_x, test_y, data="d", model_name="m", generator=generator, raw=(x, test_x), labels_per_class=(2,)
    )
    ours, raw = ([(r.quantity, r.value, r.stderr) for r in rows if r.model == name] for name in ("m", "raw inputs"))
    assert ours == raw
    assert len(ours) == 4


def test_one_class_is_refused() -> None:
    x, y = torch.zeros(4, 2), torch.zeros(4).long()
    with pytest.raises(InvalidDataError, match="at least 2 classes"):
        linear_probe(x, y, x, y)
