"""The gallery of a run: what its report shows."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from deepbelief.evaluation.gallery import Gallery
from deepbelief.evaluation.gather import gather
from deepbelief.recipes.run_data import RunData
from deepbelief.recipes.run_evaluation import Evaluation, Trained, data_name, model_name
from deepbelief.recipes.settings import RunSettings
from deepbelief.rng import make_generator

GALLERY_STREAM = 501  # of the run's seed
MOST_SHOWN = 10_000
HEADLINE = ("test error rate", "test root mean squared error", "test log-likelihood", "linear probe accuracy")


def make_gallery(
    trained: Trained,
    found: Evaluation,
    histories: Mapping[str, Sequence[Mapping[str, Any]]],
    data: RunData,
    settings: RunSettings,
    device: torch.device,
    command: str,
) -> Gallery:
    """Everything to see of a trained run; the page itself is drawn by `deepbelief.report`."""
    how = data.preparation
    train = how.shown(data.train_values(MOST_SHOWN))
    return gather(
        trained.dbn,
        train,
        how.shown(data.test),
        title=settings.title or f"{model_name(trained.dbn)} on {data.name}",
        generator=make_generator(settings.seed, device, stream=GALLERY_STREAM),
        y_train=None if data.train_y is None else data.train_y[: len(train)],
        y_test=data.test_y,
        classifier=trained.classifier if data.task == "class" else None,
        histories=histories,
        results=found.results,
        bounds={name: bound.mean() for name, bound in found.bounds.items()},
        image_shape=how.image_shape,
        class_names=how.class_names or ([str(i) for i in range(data.n_classes)] if data.n_classes else None),
        feature_names=None if how.image_shape else how.feature_names,
        binarize=_binarize(data),
        description=describe(trained, data, settings),
        created=time.strftime("%Y-%m-%d %H:%M"),
        command=command,
        settings=settings.to_dict(),
        headline=[name for name in HEADLINE if any(row.quantity == name for row in found.results)],
        data_facts=data.facts(),
    )


def describe(trained: Trained, data: RunData, settings: RunSettings) -> str:
    """What was trained on what, in a sentence or two."""
    kind = "deep belief network" if len(trained.dbn.layers) > 1 else "restricted Boltzmann machine"
    plan = settings.plans()[0]
    text = (
        f"A {kind} ({model_name(trained.dbn)}) that learned layer by layer from {len(data.train):,} cases of "
        f"{data.name} without labels by {plan.rule}, scored on {len(data.test):,} held-out cases "
        f"({data_name(data)})."
    )
    return text if trained.classifier is None else f"{text} Back-propagation then fine-tuned it on labels."


def _binarize(data: RunData) -> Any:
    how = data.preparation

    def bits(x: Tensor, generator: torch.Generator) -> Tensor:
        return how.bits(how.unshown(x), generator)

    return bits
