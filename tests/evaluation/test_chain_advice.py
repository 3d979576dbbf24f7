"""Advice on chains is given where the illness was planted, and not where all is well."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from deepbelief.belief.dbn import DBN
from deepbelief.energy.gradients.settings import LearningSettings
from deepbelief.evaluation.advice import give_advice
from deepbelief.evaluation.chain_advice import (
    comparison_advice,
    copying_advice,
    diagnosis_advice,
    learning_advice,
    suggested_k,
)
from deepbelief.evaluation.chain_data import Comparison, FlooredDistance
from deepbelief.evaluation.chains import ChainDiagnosis, diagnose_model
from deepbelief.types import Bound, Result

WELL = ChainDiagnosis(
    Bound(3.0, "estimate", 0.1), {}, {}, {"a": 1.0}, {"a": 1.0}, 0.1, Bound(0.1, "estimate", 0.1), 100, (None, None)
)
SLOW = LearningSettings(k=1)


def row(gap: float, error: float = 0.1, time: float = 15.0) -> dict[str, float]:
    return {"epoch": 3, "chain_gap": gap, "chain_gap.stderr": error, "relaxation_time": time}


def test_chains_left_behind_by_learning_are_told_with_a_k() -> None:
    (sentence,) = learning_advice({"layer 1": [row(0.0), row(-4.0)]}, {"layer 1": SLOW})
    assert "out of equilibrium" in sentence
    assert "falls by 4.0 nats" in sentence
    assert "k=1 -> k=20" in sentence
    (sentence,) = learning_advice({"layer 1": [row(4.0)]}, {"layer 1": LearningSettings(learning="cd", k=1)})
    assert "contrastive divergence" in sentence
    assert "learning: pcd" in sentence
    (sentence,) = learning_advice({"layer 1": [row(4.0)]})
    assert "more sweeps per update" in sentence


@pytest.mark.parametrize("rows", [[row(4.0), row(0.5)], [row(4.0, 2.0)], [{"epoch": 1}], []])
def test_chains_that_keep_up_are_not(rows: list) -> None:
    assert learning_advice({"layer 1": rows}, {"layer 1": SLOW}) == []


def test_a_suggested_k_is_always_larger_and_never_a_leap() -> None:
    for k in (1, 2, 3, 10, 60, 100, 400):
        for time in (0.0, 1.0, 13.0, 99.0, 1e9):
            assert k < suggested_k(k, time) <= 20 * k


def test_slow_and_divided_chains_are_told() -> None:
    assert diagnosis_advice(WELL, SLOW) == []
    (sentence,) = diagnosis_advice(replace(WELL, relaxation=Bound(80.0, "lower_bound", 9.0)), SLOW)
    assert "at least 80 sweeps" in sentence
    assert "k=1 -> k=20" in sentence
    divided = replace(WELL, nested_r_hats={"a": 1.4}, start_gap=Bound(12.0, "estimate", 0.5))
    (sentence,) = diagnosis_advice(divided)
    assert "stay 12.0 nats apart" in sentence
    assert "R-hat is 1.40" in sentence


def compared(**changes: object) -> Comparison:
    near = FlooredDistance(1.0, 1.0, 0.1)
    shares = np.array([[0.5, 0.4], [0.49, 0.6], [0.01, 0.0]])
    return replace(Comparison(near, near, near, shares), **changes)


def test_missed_clusters_and_far_moments_are_told() -> None:
    assert comparison_advice(compared()) == []
    assert comparison_advice(compared(means=FlooredDistance(1.7, 1.0, 0.1))) == []  # far in errors, near in size
    (sentence,) = comparison_advice(compared(covariances=FlooredDistance(4.0, 1.0, 0.1)))
    assert "pairwise covariances are further" in sentence
    assert "4.0 times" in sentence
    (sentence,) = comparison_advice(compared(shares=np.array([[0.5, 1.0], [0.5, 0.01]])))
    assert "hardly visit 1 of 2 clusters" in sentence


def accuracies(training: float, held_out: float, synthetic: float) -> list[Result]:
    values = {"AA_truth, training cases": training, "AA_truth, held-out cases": held_out}
    values["AA_syn, held-out cases"] = synthetic
    return [Result(name, value, "measured", 3.0, "%", "d", "m") for name, value in values.items()]


def test_samples_that_copy_or_stand_apart_are_told() -> None:
    assert copying_advice(accuracies(49, 51, 50)) == []
    assert copying_advice(accuracies(49, 51, 50)[:1]) == []
    (sentence,) = copying_advice(accuracies(20, 48, 50))
    assert "by heart" in sentence
    (sentence,) = copying_advice(accuracies(88, 90, 95))
    assert "easily told" in sentence
    assert copying_advice(accuracies(20, 48, 50), "another model") == []


def test_all_of_it_reaches_the_page(generator: torch.Generator) -> None:
    x = torch.randint(2, (50, 8), generator=generator).float()
    dbn = DBN.of_sizes([8, 4], generator=generator)
    healthy = diagnose_model(dbn, x, n_steps=100, generator=generator)
    known = {"learning": {"layer 1": SLOW}, "comparison": compared(), "results": accuracies(49, 51, 50)}
    assert give_advice(dbn, x, diagnosis=healthy, **known) == []
    ill = replace(healthy, relaxation=Bound(80.0, "lower_bound", 9.0))
    known |= {"comparison": compared(shares=np.array([[0.5, 1.0], [0.5, 0.01]])), "results": accuracies(20, 48, 50)}
    assert len(give_advice(dbn, x, diagnosis=ill, histories={"layer 1": [row(4.0)]}, **known)) == 4
