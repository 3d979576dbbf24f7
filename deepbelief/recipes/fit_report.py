"""The page of a fit: the numbers and curves that its folder kept, and how its model's chains run beside the data."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import is_classifier
from torch import Tensor

from deepbelief.data.order import holdout
from deepbelief.data.part import part_of
from deepbelief.energy.gradients.settings import RULES, LearningSettings
from deepbelief.estimators import generative as face
from deepbelief.estimators.arrays import dense_chunks, to_tensor
from deepbelief.estimators.columns import Columns
from deepbelief.estimators.storage import load_estimator
from deepbelief.estimators.supervised import UNKNOWN, is_generative
from deepbelief.evaluation.advice import overfitting_advice
from deepbelief.evaluation.chain_advice import learning_advice
from deepbelief.evaluation.chain_findings import FEWEST_COMPARED, judge_chains
from deepbelief.evaluation.chain_view import part_with_chains
from deepbelief.evaluation.gallery import Gallery
from deepbelief.evaluation.gather import GalleryBudget, as_states
from deepbelief.evaluation.gather_any import gather_any
from deepbelief.evaluation.measured import random_rows
from deepbelief.recipes.fit_data import FitData, Part, read_fit_data
from deepbelief.recipes.fit_model import OF_SERIES, FitSettings
from deepbelief.recipes.run_data import Preparation
from deepbelief.recipes.run_folder import FIT_SETTINGS, RESULTS, find_model, read_results
from deepbelief.rng import make_generator
from deepbelief.types import Bound, Result

REPORT_STREAM = 601  # of the fit's seed
MOST_CASES, CHAIN_STEPS = 5000, 400
FINE_TUNING = "fine-tuning"

History = list[dict[str, Any]]


@dataclass(frozen=True)
class Fit:
    """What lies in the folder of a fit, or of an estimator saved from Python, without settings and results."""

    estimator: Any
    how: Preparation
    settings: FitSettings | None
    results: list[Result]

    @property
    def name(self) -> str:
        """The estimator's class."""
        return type(self.estimator).__name__


def read_fit(folder: Path) -> Fit:
    """The fit in `folder`. Raises `StorageError` where there is no estimator, or a damaged one."""
    path = find_model(folder)
    estimator = load_estimator(path)
    settings = FitSettings.from_file(folder / FIT_SETTINGS) if (folder / FIT_SETTINGS).is_file() else None
    results = read_results(folder) if (folder / RESULTS).is_file() else []
    return Fit(estimator, Preparation.read(path) or Preparation(0), settings, results)


def fit_gallery(folder: Path, *, data: str | None = None, n_steps: int = CHAIN_STEPS) -> Gallery:
    """What the page of a fit shows.

    Every estimator has its numbers and the curves of its history. Where the model has chains, they are run for
    `n_steps` from cases and from independent units, and judged as those of a run are: on the fit's own split of its
    data, or on `data` (a file or a named set) in its place. With ``n_steps=0`` no data are read.
    """
    fit = read_fit(folder)
    plain = _what_was_kept(fit)
    model = generative_module(fit.estimator)
    if not n_steps or model is None or part_with_chains(model) is None:
        return plain
    settings = fit.settings if data is None else replace(fit.settings or FitSettings(fit.name, data), data=data)
    if settings is None:
        return plain
    return _beside_data(fit, model, _read_data(settings), plain, n_steps)


# -- what a fit kept --------------------------------------------------------------------------------------------------


def _what_was_kept(fit: Fit) -> Gallery:
    settings, histories = fit.settings, histories_of(fit.estimator)
    return Gallery(
        f"{fit.name} on {settings.data}" if settings else fit.name,
        settings=asdict(settings) if settings else None,
        command=f"deepbelief fit --settings {FIT_SETTINGS}" if settings else "",
        results=fit.results,
        histories=histories or None,
        advice=learning_advice(histories, learning_of(fit.estimator)) + overfitting_advice(histories),
    )


def innermost(estimator: Any) -> Any:
    """The estimator that learned: a detector's own inner one, and itself otherwise."""
    around = estimator._stored_estimator
    return estimator if around is None else getattr(estimator, around)


def histories_of(estimator: Any) -> dict[str, History]:
    """The rows of an estimator's training by stage: its layers, what all of them learned together, its fine-tuning."""
    estimator = innermost(estimator)
    found: dict[str, History] = {}
    rows = [*(getattr(estimator, "pretrain_history_", None) or []), *(getattr(estimator, "history_", None) or [])]
    rest = "all layers" if any("layer" in row for row in rows) else "training"
    for row in rows:
        stage = f"layer {row['layer']}" if "layer" in row else "low rank" if "low_rank" in row else rest
        found.setdefault(stage, []).append({k: v for k, v in row.items() if k not in ("layer", "low_rank")})
    tuned = list(getattr(estimator, "fine_tune_history_", None) or [])
    return {**found, **({FINE_TUNING: tuned} if tuned else {})}


def learning_of(estimator: Any) -> dict[str, LearningSettings]:
    """The rule and the sweeps per update of every generative stage, for advice; empty where there are no chains."""
    estimator = innermost(estimator)
    rule = getattr(estimator, "learning", None)
    if rule not in RULES:
        return {}
    plan = LearningSettings(learning=rule, k=getattr(estimator, "k", 1))
    return dict.fromkeys((stage for stage in histories_of(estimator) if stage != FINE_TUNING), plan)


# -- beside data ------------------------------------------------------------------------------------------------------


def generative_module(estimator: Any) -> Any | None:
    """The model of the data that an estimator learned, or None: what learned by labels alone is none."""
    if hasattr(estimator, "dbn_"):
        return estimator.dbn_ if is_generative(estimator) else None
    alone = getattr(estimator, "objective", None) == "discriminative"
    return None if alone else getattr(estimator, "dbm_", getattr(estimator, "module_", None))


def _read_data(settings: FitSettings) -> FitData:
    options: dict[str, Any] = {"label": settings.label, "key": settings.key, "target": settings.target}
    options |= {"held_out": settings.held_out, "in_order": settings.estimator in OF_SERIES}
    return read_fit_data(settings.data, **options, seed=settings.seed, data_dir=settings.data_dir)


def _beside_data(fit: Fit, model: Any, data: FitData, plain: Gallery, n_steps: int) -> Gallery:
    seed = fit.settings.seed if fit.settings else 0
    generator = make_generator(seed, next(model.parameters()).device, stream=REPORT_STREAM)
    parts = _halves(data.train, seed) if data.test is None else (data.train, data.test)
    (train, _), (test, y) = (_cases(fit, model, part, generator) for part in parts)
    states = [as_states(model.visible, rows, generator) for rows in (train, test)]
    enough = data.test is not None and min(len(train), len(test)) >= FEWEST_COMPARED
    names: dict[str, Any] = {"data": f"{data.name}, {len(test):,} cases", "model_name": fit.name}
    judged = judge_chains(model, *states, n_steps=n_steps, accuracies=enough, generator=generator, **names)
    shape = getattr(fit.estimator, "image_shape_", None) or fit.how.image_shape
    return gather_any(
        model,
        train,
        test,
        title=plain.title,
        generator=generator,
        image_shape=shape,
        feature_names=None if shape else fit.how.feature_names,
        y_test=y,
        class_names=_class_names(fit),
        budget=GalleryBudget(steps=n_steps),
        histories=plain.histories,
        results=[*fit.results, *judged.results],
        bounds=_bounds(fit),
        learning=learning_of(fit.estimator),
        diagnosis=judged.diagnosis,
        comparison=judged.comparison,
        settings=plain.settings,
        command=plain.command,
        data_facts={"training cases": len(data.train), "held-out cases": len(data.test or ())},
    )


def _halves(part: Part, seed: int) -> list[Part]:
    """Two halves, where nothing was held out: chains can be compared with one as far as the other differs from it."""
    halves = [index.numpy() for index in holdout(len(part), 0.5, seed=seed)]
    return [Part(part_of(part.x, index), None if part.y is None else part.y[index]) for index in halves]


def _cases(fit: Fit, model: Any, part: Part, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
    """Some cases as the units see them, with the numbers of their classes (-1: unknown) or their values."""
    estimator, weight = fit.estimator, next(model.parameters())
    index = random_rows(len(part), MOST_CASES, generator).sort().values.cpu().numpy()
    x = part_of(part.x, index)
    columns = getattr(estimator, "_columns", Columns("bernoulli"))
    if hasattr(estimator, "binarization"):
        rows = face.all_rows(estimator, model, columns, x, dtype=weight.dtype)
    else:
        rows = torch.cat([to_tensor(chunk, weight.dtype, weight.device) for chunk in dense_chunks(x)])
    model.visible.check_shape(rows, "data")
    if part.y is None:
        return rows, None
    y = part.y[index]
    if is_classifier(estimator):
        y = np.where(y >= 0, estimator.classes_.searchsorted(y), UNKNOWN)
    return rows, torch.as_tensor(y)


def _class_names(fit: Fit) -> list[str] | None:
    names = fit.how.class_names
    if not is_classifier(fit.estimator):
        return names
    return [names[c] if names and isinstance(c, int) else str(c) for c in fit.estimator.classes_.tolist()]


def _bounds(fit: Fit) -> dict[str, Bound]:
    """The log-likelihood that the fit was scored by, where it is one of the units' values."""
    if getattr(getattr(fit.estimator, "_columns", None), "mean", None) is not None:
        return {}  # of the columns before they were standardized
    row = next((row for row in fit.results if row.quantity == "test log-likelihood"), None)
    if row is None or row.value is None:
        return {}
    return {fit.name: Bound(row.value, row.kind, row.stderr or 0.0)}
