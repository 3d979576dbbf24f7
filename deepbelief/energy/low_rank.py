"""Low-rank pre-training: an RBM whose weights first live in the span of a few principal directions of the data.

    W = U A,        U (n_visible, rank): orthonormal principal directions,        dA = U' dW

Data of a few clusters differ first of all along a few directions. While the weights are held in their span, the model's
modes lie in a space of `rank` dimensions, where chains find them all; the shares of the clusters are learned before the
details that separate them are. Learning then goes on freely from there. Decelle & Furtlehner 2021; Bereux, Decelle,
Furtlehner, Rosset & Seoane 2025, who integrate over that space where chains are used here (tempered ones do well).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deepbelief.energy.gradients.procedure import LikelihoodLearning
from deepbelief.energy.gradients.settings import OBJECTIVES, LearningSettings, make_procedure
from deepbelief.energy.rbm import RBM
from deepbelief.errors import check, check_count
from deepbelief.protocols import BatchSource
from deepbelief.training.checkpoint import LATEST
from deepbelief.training.record import TrainingRecord
from deepbelief.training.trainer import Trainer


def principal_directions(x: Tensor, rank: int) -> Tensor:
    """The `rank` directions in which `x` (n, d) varies most: orthonormal columns (d, rank).

    >>> x = torch.tensor([[1.0, 1.0], [0.0, 0.0], [2.0, 2.0]])
    >>> principal_directions(x, 1).abs().squeeze().tolist()
    [0.7071..., 0.7071...]
    """
    check_count("rank", rank, low=1, high=min(x.shape))
    centred = x.double() - x.double().mean(0)
    values, vectors = torch.linalg.eigh(centred.T @ centred)
    return vectors[:, values.argsort(descending=True)[:rank]].to(x.dtype)


def learn_in_span(
    rbm: RBM,
    directions: Tensor,
    source: BatchSource,
    settings: LearningSettings,
    *,
    seed: int = 0,
    trainer_options: Mapping[str, Any] | None = None,
    checkpoint_dir: str | Path | None = None,
    resume: bool = False,
) -> TrainingRecord:
    """Learn `rbm` with its weights held in the span of `directions` (orthonormal columns); the biases are free.

    The present weights are projected first. Any rule with a negative phase will do ("pcd", "pt", "ptt", "exact", ...),
    with plain gradient descent, since Adam's steps would leave the span. With `checkpoint_dir`, `resume` goes on there.
    """
    check_span(settings)
    procedure = make_procedure(rbm, settings)
    assert isinstance(procedure, LikelihoodLearning)
    axes = directions.to(rbm.weight)
    with torch.no_grad():
        rbm.weight.copy_(axes @ (axes.T @ rbm.weight))
    procedure.directions = axes
    folder = None if checkpoint_dir is None else Path(checkpoint_dir)
    saved = folder if resume and folder is not None and (folder / LATEST).exists() else None
    options = {"averaging": settings.averaging, "checkpoint_dir": folder, **(trainer_options or {})}
    return Trainer(epochs=settings.epochs, seed=seed, **options).fit(procedure, source, resume_from=saved)


def check_span(settings: LearningSettings) -> None:
    """Refuse rules that do not stay in a span, or have no half of the model's to learn by."""
    check(settings.optimizer == "sgd", f"optimizer must be 'sgd' in a span. Got {settings.optimizer!r}.")
    check(
        settings.learning not in OBJECTIVES,
        f'learning must have a negative phase in a span. Got learning={settings.learning!r}. Use learning="pt".',
    )
