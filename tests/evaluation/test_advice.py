"""Advice is given where the illness was planted, and not where the model is well."""

from __future__ import annotations

import torch

from deepbelief.belief.dbn import DBN
from deepbelief.evaluation.advice import (
    bound_advice,
    chain_overlap,
    give_advice,
    mixing_advice,
    overfitting_advice,
    progress_advice,
    unit_advice,
)
from deepbelief.types import Bound


def test_overlap_of_chains_that_stay_and_of_chains_that_forgot(generator: torch.Generator) -> None:
    first, other = (torch.randn(500, 30, generator=generator) for _ in range(2))
    own = chain_overlap(first, first)[0]
    cosines = torch.nn.functional.normalize(first.double() - first.double().mean(0), dim=1)
    others = (cosines @ cosines.T).fill_diagonal_(0).sum(1).mean().item() / 499
    assert abs(own - (1 - others)) < 1e-12
    overlap, error = chain_overlap(first, other)
    assert abs(overlap) < 4.9 * error  # two-sided false alarm rate 1e-6


def test_stuck_chains_are_told_and_free_ones_are_not(generator: torch.Generator) -> None:
    start, end = (torch.randn(32, 30, generator=generator) for _ in range(2))
    (sentence,) = mixing_advice(torch.stack([start, start + 0.1 * end], 1), [0, 200])
    assert "after 200 Gibbs steps" in sentence
    assert mixing_advice(torch.stack([start, end], 1), [0, 200]) == []
    assert mixing_advice(torch.stack([start, start], 1)[:2], [0, 200]) == []  # too few to tell


def test_idle_and_saturated_units_are_told(generator: torch.Generator) -> None:
    x = torch.randint(2, (50, 8), generator=generator).float()
    dbn = DBN.of_sizes([8, 10, 4], n_classes=2, generator=generator)
    assert unit_advice(dbn, x) == []
    with torch.no_grad():
        dbn.layers[0].hidden.bias[:5] = -30.0
        dbn.layers[1].weight.copy_(1e4 * torch.randn(dbn.top.weight.shape, generator=generator))
    below, above = unit_advice(dbn, x)
    assert below.startswith("50% of the hidden units of layer 1")
    assert "layer 2" in above


def test_wide_brackets_and_lost_layers_are_told() -> None:
    wide = Bound(-90.0, "estimate", 0.1, low=-95.0, high=-85.0)
    first, worse = Bound(-80.0, "exact"), Bound(-90.0, "lower_bound", 0.1)
    (sentence,) = bound_advice({"1 layer": wide})
    assert "uncertain by 10.0 nats" in sentence
    (sentence,) = bound_advice({"1 layer": first, "2 layers": worse})
    assert "2 layers lies 10.0 nats below that of 1 layer" in sentence
    assert bound_advice({"1 layer": worse, "2 layers": first}) == []


def test_a_growing_gap_is_told_and_a_level_one_is_not() -> None:
    grows = [{"epoch": i, "watch.free_energy_gap": float(i)} for i in range(1, 9)]
    level = [{"epoch": i, "free_energy_gap": 5.0} for i in range(1, 9)]
    (sentence,) = overfitting_advice({"layer 1": grows, "layer 2": level})
    assert sentence.startswith("layer 1 starts to learn its training cases by heart")
    assert "from 5.0 to 8.0" in sentence


def test_a_model_that_learned_nothing_is_told() -> None:
    baseline = Bound(torch.tensor([-20.0, -22.0]), "exact")
    (sentence,) = progress_advice({"1 layer": Bound(-20.9, "exact")}, baseline)
    assert "independent units (-21.0 nats per case)" in sentence
    assert progress_advice({"1 layer": Bound(-20.9, "exact"), "2 layers": Bound(-15.0, "lower_bound")}, baseline) == []
    assert progress_advice({}, baseline) == []


def test_nothing_is_said_of_a_healthy_model(generator: torch.Generator) -> None:
    x = torch.randint(2, (50, 8), generator=generator).float()
    assert give_advice(DBN.of_sizes([8, 4], generator=generator), x) == []
