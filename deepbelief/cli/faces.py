"""The verbs that use a model, for one that an estimator saved: each asks the estimator for what it can do."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepbelief.cli.conditions import class_value, given_condition, width_of
from deepbelief.cli.models import preparation_of, read_cases
from deepbelief.errors import InvalidArgumentError, check

if TYPE_CHECKING:
    from torch import Tensor

    from deepbelief.recipes.run_data import Preparation
    from deepbelief.types import Bound


@dataclass(frozen=True)
class Face:
    """A fitted estimator and how its data are read."""

    estimator: Any
    how: Preparation

    def sample(
        self,
        n: int,
        *,
        label: str | None = None,
        condition: str | None = None,
        seed: int,
        steps: int,
        mean: bool,
        method: str | None = None,
        labels: Any = None,
    ) -> Any:
        """`n` new cases, of one class or given a condition where the estimator takes them, by one of its methods.

        `labels` are one for each case, as the estimator knows them.
        """
        draw = self._method("sample", "draws no cases")
        options: dict[str, Any] = {"random_state": seed, "n_steps": steps, "mean": mean}
        check(None in (label, condition), "--label and --condition say the same. Got both. Leave out one.")
        if label is not None:
            self._check_takes(draw, "label", "--label", "draws no class by itself")
            options["label"] = class_value(self, label, "--label")
        if labels is not None:
            options["label"] = labels
        if method is not None:
            self._check_takes(draw, "method", "--method", "draws in one way only")
            options["method"] = method
        given = None if condition is None else given_condition(self, condition, n)
        if "context" in inspect.signature(draw).parameters:
            return draw(self._needed(given), **_known(draw, options))
        if given is not None:
            options["label"] = given
        if getattr(self.estimator, "conditional", False) and type(self.estimator).__name__ == "VAE":
            self._needed(options.get("label"), "--label or --condition")
        return draw(n, **_known(draw, options))

    def check_draws_alone(self) -> None:
        """Refuse an estimator without draws, or whose draws are given a context or a length."""
        self._method("sample", "draws no cases by itself", bar=("context", "length"))

    def complete(self, x: Tensor, known: Tensor, *, condition: Any, seed: int, steps: int) -> Any:
        """The cases with what is missing filled in, each given its condition where the estimator takes one."""
        fill = self._method("complete", "fills in nothing")
        options = {"random_state": seed, "n_steps": steps}
        if "context" in inspect.signature(fill).parameters:
            return fill(x.numpy(), self._needed(condition), known.numpy(), **_known(fill, options))
        return fill(x.numpy(), known.numpy(), **_known(fill, options), **self._as_y(fill, condition))

    def log_likelihood(self, x: Any, condition: Any = None) -> Bound:
        """The log-likelihood of each case, given its condition where the estimator takes one, with its kind."""
        score = self._method("log_likelihood", "has no likelihood of its own")
        return score(x) if condition is None else score(x, condition)

    def annealed_log_likelihood(self, x: Any, condition: Any, *, n_temperatures: int, seed: int) -> Bound:
        """The lower bound of each case by annealing: a VAE's from its encoder, an RBM's backwards from the case."""
        score = self._method("annealed_log_likelihood", "has no such bound")
        return score(x, **self._as_y(score, condition), n_temperatures=n_temperatures, random_state=seed)

    @property
    def detects(self) -> bool:
        """Whether the estimator tells odd cases from normal ones, which is another thing than a likelihood."""
        from sklearn.base import is_outlier_detector

        return is_outlier_detector(self.estimator)

    def oddness(self, x: Any) -> list[float]:
        """The detector's score of each case less its threshold."""
        scores: list[float] = self.estimator.decision_function(x).tolist()
        return scores

    def features(self, x: Any, condition: Any = None) -> Any:
        """The codes of the cases."""
        encode = self._method("transform", "makes no features")
        return encode(x, **self._as_y(encode, condition))

    def codes(self, name: str, label: str | None) -> Any:
        """The codes in a file, for the way back; of a CycleGAN the cases of its other set, read as its cases are."""
        self._way_back()
        if type(self.estimator).__name__ == "CycleGAN":
            how = replace(self.how, n_features=self.estimator.n_features_of_y_)
        else:
            how = type(self.how)(self.estimator._n_features_out)
        return read_cases(name, how, label).numpy()

    def from_codes(self, z: Any, condition: Any = None) -> Any:
        """Cases from codes."""
        decode = self._way_back()
        return decode(z, **self._as_y(decode, condition))

    def _way_back(self) -> Callable[..., Any]:
        return self._method("inverse_transform", "knows no way from codes to cases")

    def predictions(self, x: Any) -> list[dict[str, Any]]:
        """The class of each case with its probability, or its value."""
        guess = self._method("predict", "predicts nothing", bar=("context",))
        if not hasattr(self.estimator, "predict_proba"):
            return value_rows(guess(x))
        p = self.estimator.predict_proba(x)
        classes = [self._class_name(value) for value in self.estimator.classes_.tolist()]
        return [
            {"class": classes[i], "probability": round(float(row[i]), 6)} for row, i in zip(p, p.argmax(1), strict=True)
        ]

    def cases(self, name: str, label: str | None) -> Any:
        """The cases of a file or of a named set, as the estimator takes them."""
        if type(self.estimator).__name__ == "ReplicatedSoftmax" and not Path(name).exists():
            from deepbelief.data.text_sets import load_counts

            return load_counts(name, split="test").x
        return read_cases(name, self.how, label).numpy()

    def _class_name(self, value: Any) -> Any:
        names = self.how.class_names
        return names[value] if names and isinstance(value, int) and value < len(names) else value

    def _method(self, name: str, lack: str, bar: tuple[str, ...] = ()) -> Callable[..., Any]:
        found = getattr(self.estimator, name, None)
        if found is None or set(bar) & set(inspect.signature(found).parameters):
            kind = type(self.estimator).__name__
            raise InvalidArgumentError(f"MODEL must have {name} for this verb. Got {kind}, which {lack}.")
        return found

    def _needed(self, condition: Any, options: str = "--condition") -> Any:
        if condition is None:
            width, kind = width_of(self.estimator), type(self.estimator).__name__
            what = "a class" if hasattr(self.estimator, "classes_") else f"{width} numbers, or a file of them"
            raise InvalidArgumentError(f"{options} must name the condition of a {kind}: {what}. Got none.")
        return condition

    def _as_y(self, method: Callable[..., Any], condition: Any) -> dict[str, Any]:
        return {} if condition is None else _known(method, {"y": condition})

    def _check_takes(self, method: Callable[..., Any], name: str, option: str, lack: str) -> None:
        if name not in inspect.signature(method).parameters:
            kind = type(self.estimator).__name__
            raise InvalidArgumentError(f"{option} must be left out. Got {kind}, which {lack}.")


def find_face(folder: Path) -> Face | None:
    """The estimator that was saved in `folder` (or in the fit's folder there), or None where there is none."""
    from deepbelief.estimators.storage import ESTIMATOR_FILE, load_estimator
    from deepbelief.recipes.run_folder import check_finished, find_model

    check_finished(folder)
    path = find_model(folder)
    if not (path / ESTIMATOR_FILE).exists():
        return None
    estimator = load_estimator(path)
    return Face(estimator, preparation_of(path, getattr(estimator, "n_features_in_", 2)))


def _known(method: Callable[..., Any], options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name in inspect.signature(method).parameters}


def value_rows(values: Any) -> list[dict[str, Any]]:
    """Predicted values, (n,) or (n, k), by the names of their columns: value, or value_0, value_1 and so on."""
    rows = values.reshape(len(values), -1).tolist()
    return [{f"value_{i}" if len(row) > 1 else "value": v for i, v in enumerate(row)} for row in rows]
