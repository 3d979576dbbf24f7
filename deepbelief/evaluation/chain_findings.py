"""All that is measured of a finished model's chains: how they run, whether they visit the data, what they copy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from deepbelief.evaluation.adversarial_accuracy import adversarial_rows
from deepbelief.evaluation.chain_data import Comparison, compare_with_data, comparison_rows
from deepbelief.evaluation.chains import ChainDiagnosis, diagnose_model, diagnosis_rows, ends_as_data
from deepbelief.types import Result

FEWEST_COMPARED = 40  # cases, below which distances of samples from data say little


@dataclass(frozen=True)
class ChainFindings:
    """A diagnosis, a comparison with data (None where cases are few), and the rows of both."""

    diagnosis: ChainDiagnosis
    comparison: Comparison | None
    results: list[Result]


def judge_chains(
    model: Any,
    train: Tensor,
    held_out: Tensor,
    *,
    n_steps: int = 400,
    accuracies: bool = True,
    data: str,
    model_name: str,
    generator: torch.Generator,
) -> ChainFindings:
    """Run chains from `held_out` cases and from independent units, and lay their ends beside the data.

    Cases are states of the data's units, (cases, features). The ends serve as samples for adversarial accuracies unless
    `accuracies` is False.
    """
    names: dict[str, Any] = {"data": data, "model_name": model_name}
    diagnosis, comparison = diagnose_model(model, held_out, n_steps=n_steps, generator=generator), None
    results = diagnosis_rows(model, diagnosis, **names)
    ends = ends_as_data(model, diagnosis, generator)
    if min(len(train), len(held_out)) >= FEWEST_COMPARED:
        comparison = compare_with_data(ends, train, held_out, generator=generator)
        results += comparison_rows(comparison, **names)
    if accuracies:
        for which, cases in (("training", train), ("held-out", held_out)):
            results += adversarial_rows(cases, ends, which, generator=generator, **names)
    return ChainFindings(diagnosis, comparison, results)
