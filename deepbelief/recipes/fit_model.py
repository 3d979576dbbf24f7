"""Fit any estimator of the library by its name on a set or a file, score it on held-out cases, and keep it.

fit.yaml   model/ (what `load_estimator` reads)   checkpoints/   results.json (written last)
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml
from sklearn.base import is_classifier, is_outlier_detector, is_regressor

from deepbelief.data.windows import frames_and_contexts
from deepbelief.errors import DataNotFoundError, InvalidArgumentError, InvalidDataError, check, check_choice
from deepbelief.estimators.pictures import picture_shape
from deepbelief.estimators.storage import ESTIMATORS
from deepbelief.evaluation.classification import classification_results, regression_results
from deepbelief.evaluation.measured import mean_result
from deepbelief.files import atomic_write_text
from deepbelief.recipes.fit_data import FitData, Part, read_fit_data
from deepbelief.recipes.run_data import Preparation
from deepbelief.recipes.run_folder import FIT_SETTINGS, MODEL, REPORT, RESULTS, list_places, write_results
from deepbelief.training.processes import connect
from deepbelief.types import Bound, Result

CHECKPOINTS = "checkpoints"
OF_SERIES = ("ConditionalRBM", "SeriesAnomalyDetector")  # the order of their cases is that of time
OWN = ("checkpoint_dir", "verbose", "random_state")  # what the run decides itself


@dataclass(frozen=True)
class FitSettings:
    """One fit: the estimator by its class's name, its arguments, the data, and the seed of everything random."""

    estimator: str
    data: str
    label: str | None = None
    key: str | None = None
    target: str = "auto"
    held_out: float = 0.1
    data_dir: str | None = None
    seed: int = 0
    arguments: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_choice("estimator", self.estimator, ESTIMATORS)
        for name in self.arguments:
            remedy = "Say --seed." if name == "random_state" else "Leave it out."
            check(name not in OWN, f"the arguments must leave out what a fit sets itself. Got {name}. {remedy}")
            check_choice(f"an argument of {self.estimator}", name, settable(self.estimator))

    def to_yaml(self) -> str:
        """All settings, those of the estimator that were not given with their defaults."""
        return yaml.safe_dump(
            _plain(asdict(self) | {"arguments": defaults(self.estimator) | self.arguments}), sort_keys=False
        )

    @classmethod
    def from_file(cls, path: Path) -> FitSettings:
        """Settings that `to_yaml` wrote."""
        if not path.is_file():
            raise DataNotFoundError(f"the settings file must exist. Got {str(path)!r}. Check the path.")
        try:
            return cls(**yaml.safe_load(path.read_text(encoding="utf-8")))
        except (yaml.YAMLError, TypeError, UnicodeDecodeError) as error:
            place = " ".join(str(error).split())
            raise InvalidArgumentError(
                f"{path} must hold the settings of a fit. Got others ({place}). Start from --print-settings."
            ) from error


def estimator_class(name: str) -> Any:
    """The class of this name."""
    return getattr(importlib.import_module(ESTIMATORS[name]), name)


def defaults(name: str) -> dict[str, Any]:
    """The arguments of an estimator that a person sets, with their defaults."""
    return {key: value for key, value in estimator_class(name)().get_params(deep=False).items() if key not in OWN}


def settable(name: str) -> list[str]:
    """The names of these arguments."""
    return list(defaults(name))


def fit_model(
    settings: FitSettings,
    folder: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    verbose: int = 0,
    tell: Callable[[str], None] | None = None,
) -> list[Result]:
    """Read the data, fit, save the estimator and its numbers on held-out cases into `folder`, and return these.

    `tell` is given a sentence before a scoring by log Z, which may take longer than the learning.
    Under ``torchrun`` all processes call this and learn together; the first one writes.
    """
    given = defaults(settings.estimator) | settings.arguments
    peers = connect(given.get("device", "auto"), "bf16" if given.get("precision") == "bf16" else "fp32")
    if peers.rank == 0:  # one process opens the folder for all: the others would find it in use
        _open(settings, folder, resume, overwrite)
    started = peers.share(resume and (folder / CHECKPOINTS).exists())
    data = read_fit_data(
        settings.data,
        label=settings.label,
        key=settings.key,
        target=_target(settings),
        held_out=settings.held_out,
        in_order=settings.estimator in OF_SERIES,
        seed=settings.seed,
        data_dir=settings.data_dir,
    )
    estimator = build(settings, folder, verbose).set_params(**pictures_of(settings, data.how))
    _fit(estimator, data.train, folder / CHECKPOINTS if started else None)
    estimator.set_params(**{name: None for name in ("checkpoint_dir",) if name in estimator.get_params(deep=False)})
    if tell is not None and data.test is not None and hasattr(type(estimator), "log_z_"):
        tell(f"Scoring {len(data.test):,} held-out cases; log Z may take a while")
    results = scores(estimator, data)
    if peers.rank == 0:
        estimator.save(folder / MODEL)
        data.how.write(folder / MODEL)
        write_results(folder, results)
    return results


def list_fits(folder: Path) -> list[dict[str, str]]:
    """The fits in `folder` and in the folders just below it, as `list_runs` lists runs."""
    return list_places(folder, FIT_SETTINGS, _names)


def _names(place: Path) -> dict[str, str]:
    plan = FitSettings.from_file(place / FIT_SETTINGS)
    return {"model": plan.estimator, "data": plan.data}


def _target(settings: FitSettings) -> str:
    """What labels are: whole numbers, which are classes elsewhere, are values to whom predicts values."""
    of_values = settings.estimator == "RatingsRBM" or is_regressor(estimator_class(settings.estimator)())
    return "value" if of_values and settings.target == "auto" else settings.target


def build(settings: FitSettings, folder: Path, verbose: int = 0) -> Any:
    """The estimator, unfitted."""
    kind = estimator_class(settings.estimator)
    own = {"checkpoint_dir": folder / CHECKPOINTS, "verbose": verbose, "random_state": settings.seed}
    known = kind().get_params(deep=False)
    given = {name: tuple(v) if isinstance(v, list) else v for name, v in settings.arguments.items()}
    return kind(**{name: value for name, value in own.items() if name in known}, **given)


def pictures_of(settings: FitSettings, how: Preparation) -> dict[str, Any]:
    """The shape of the file's pictures, for an estimator that convolves and was told none.

    Without it rows that are no squares would be taken for pictures of one line.
    """
    given = defaults(settings.estimator) | settings.arguments
    names = [name for name in ("image_shape", "image_shape_of_y") if name in given and given[name] is None]
    convolves = given.get("network", "convolutional") == "convolutional" or given.get("augment")
    if how.image_shape is None or not (names and convolves):
        return {}
    return dict.fromkeys(names, picture_shape(None, how.image_shape, how.n_features))


def scores(estimator: Any, data: FitData) -> list[Result]:
    """What there is to say of held-out cases: likelihood or perplexity with its kind, errors of predictions."""
    test, name = data.test, type(estimator).__name__
    if test is None:
        return []
    where = f"{data.name}, {len(test):,} held-out cases"
    rows: list[Result] = []
    if hasattr(estimator, "perplexity"):
        rows += _bound_row("test perplexity", estimator.perplexity(test.x), "per word", where, name)
    if hasattr(estimator, "log_likelihood"):
        given = [condition_of(test)] if getattr(estimator, "conditional", False) else []
        bound = estimator.log_likelihood(test.x, *given).mean()
        rows += _bound_row("test log-likelihood", bound, "nats per case", where, name)
    elif hasattr(estimator, "reconstruct"):
        what, errors = "test squared error of reconstructions", -estimator.score_samples(test.x)
        rows.append(mean_result(what, errors, unit="per case", data=where, model=name))
    elif is_outlier_detector(estimator):
        rows.append(
            Result("share of alarms", float((estimator.predict(test.x) < 0).mean()), "measured", None, "", where, name)
        )
    elif hasattr(estimator, "score_samples"):
        what = "test pseudo-log-likelihood (one flip)"  # what scikit-learn's BernoulliRBM scores by
        rows.append(mean_result(what, estimator.score_samples(test.x), unit="nats per case", data=where, model=name))
    if test.y is not None:
        rows += _predictions(estimator, test, where, name)
    if name == "ConditionalRBM":
        rows += _forecasts(estimator, test, where, name)
    return rows


def _bound_row(quantity: str, bound: Bound, unit: str, where: str, name: str) -> list[Result]:
    return [Result(quantity, float(bound), bound.kind, bound.stderr, unit, where, name)]


def _predictions(estimator: Any, test: Part, where: str, name: str) -> list[Result]:
    assert test.y is not None
    if is_classifier(estimator):
        there = test.y >= 0
        found = estimator.predict_proba(test.x[there])
        numbers = estimator.classes_.searchsorted(test.y[there])
        return classification_results(found, numbers, data=where, model_name=name)
    if is_regressor(estimator) or name == "RatingsRBM":
        return regression_results(estimator.predict(test.x), test.y, data=where, model_name=name)
    return []


def _forecasts(estimator: Any, test: Part, where: str, name: str) -> list[Result]:
    """The error of the expected next frame."""
    frames, contexts = frames_and_contexts(test.x, estimator.order)
    rows = regression_results(estimator.predict(contexts), frames, data=where, model_name=name)
    return [row for row in rows if row.quantity in ("test root mean squared error", "test R squared")]


def _fit(estimator: Any, train: Part, resume_from: Path | None) -> None:
    more = {} if resume_from is None else {"resume_from": resume_from}
    conditional = getattr(estimator, "conditional", False)
    if train.y is None and (conditional or is_classifier(estimator)):
        raise InvalidArgumentError(
            f"{type(estimator).__name__} must be given classes. Got none. Name their column with --label."
        )
    named = type(estimator).__name__ in ("RatingsRBM", "CycleGAN")
    supervised = named or is_classifier(estimator) or is_regressor(estimator)
    y = condition_of(train) if conditional else train.y if supervised else None
    takes_values = is_regressor(estimator) or (conditional and type(estimator).__name__ != "GAN")
    takes_values |= type(estimator).__name__ == "CycleGAN"  # to which they are the cases of the other side
    if y is not None and y.ndim > 1 and not takes_values:
        raise InvalidArgumentError(
            f"{type(estimator).__name__} must be given a class for each case. Got numbers, {y.shape[1]} for each. "
            "Name one column of classes with --label."
        )
    estimator.fit(train.x, y, **more)


def condition_of(part: Part) -> Any:
    """What conditional models are given with each case: class numbers, or values as rows of numbers."""
    if part.y is None or part.y.dtype.kind == "f":
        return None if part.y is None else part.y.reshape(len(part), -1)
    if (part.y < 0).any():
        raise InvalidDataError(
            f"every case must have a label to be its condition. Got {int((part.y < 0).sum())} without."
        )
    return part.y


def _open(settings: FitSettings, folder: Path, resume: bool, overwrite: bool) -> None:
    path = folder / FIT_SETTINGS
    if resume:
        if FitSettings.from_file(path).to_yaml() != settings.to_yaml():
            raise InvalidArgumentError(
                f"the settings must be those of the run. Got others than in {path}. Resume without changing them."
            )
        return
    # a fit that was refused before it began leaves its settings alone, and can be asked for again
    used = folder.exists() and (not folder.is_dir() or any(part.name != FIT_SETTINGS for part in folder.iterdir()))
    if used and not (overwrite and path.exists()):
        raise InvalidArgumentError(
            f"the folder must be new or empty. Got {str(folder)!r}. Choose another, or write over a fit (overwrite)."
        )
    for stale in (RESULTS, REPORT) if used else ():
        (folder / stale).unlink(missing_ok=True)
    atomic_write_text(path, settings.to_yaml())


def _plain(value: Any) -> Any:
    """Tuples as lists, for YAML."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
