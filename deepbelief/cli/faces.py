"""The verbs that use a model, for one that an estimator saved: each asks the estimator for what it can do."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepbelief.cli.models import preparation_of, read_cases
from deepbelief.errors import InvalidArgumentError

if TYPE_CHECKING:
    from torch import Tensor

    from deepbelief.recipes.run_data import Preparation
    from deepbelief.types import Bound


@dataclass(frozen=True)
class Face:
    """A fitted estimator and how its data are read."""

    estimator: Any
    how: Preparation

    def sample(self, n: int, *, label: int | None, seed: int, steps: int, mean: bool) -> Any:
        """`n` new cases."""
        draw = self._method("sample", "draws no cases by themselves", bar=("context",))
        options = {"random_state": seed, "n_steps": steps, "mean": mean}
        if label is not None:
            self._check_takes(draw, "label", "--label")
            options["label"] = label
        return draw(n, **_known(draw, options))

    def complete(self, x: Tensor, known: Tensor, *, seed: int, steps: int) -> Any:
        """The cases with what is missing filled in."""
        fill = self._method("complete", "fills in nothing", bar=("context",))
        options = {"random_state": seed, "n_steps": steps}
        return fill(x.numpy(), known.numpy(), **_known(fill, options))

    def log_likelihood(self, x: Any) -> Bound:
        """The log-likelihood of each case, with its kind."""
        return self._method("log_likelihood", "has no likelihood of its own")(x)

    def features(self, x: Any) -> Any:
        """The codes of the cases."""
        return self._method("transform", "makes no features")(x)

    def predictions(self, x: Any) -> list[dict[str, Any]]:
        """The class of each case with its probability, or its value."""
        guess = self._method("predict", "predicts nothing", bar=("context",))
        if not hasattr(self.estimator, "predict_proba"):
            return [{"value": value} for value in guess(x).tolist()]
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
            raise InvalidArgumentError(f"MODEL must have {name} for this verb. Got a {kind}, which {lack}.")
        return found

    def _check_takes(self, method: Callable[..., Any], name: str, option: str) -> None:
        if name not in inspect.signature(method).parameters:
            kind = type(self.estimator).__name__
            raise InvalidArgumentError(f"{option} must be left out. Got a {kind}, which draws no class by itself.")


def find_face(folder: Path) -> Face | None:
    """The estimator that was saved in `folder` (or in the fit's folder there), or None where there is none."""
    from deepbelief.estimators.storage import ESTIMATOR_FILE, load_estimator
    from deepbelief.recipes.run_folder import find_model

    path = find_model(folder)
    if not (path / ESTIMATOR_FILE).exists():
        return None
    estimator = load_estimator(path)
    return Face(estimator, preparation_of(path, getattr(estimator, "n_features_in_", 2)))


def _known(method: Callable[..., Any], options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name in inspect.signature(method).parameters}
