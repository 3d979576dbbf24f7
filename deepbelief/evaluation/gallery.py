"""Everything that a report shows, as plain arrays.

Whoever has the model fills a `Gallery`; `deepbelief.report` draws it and computes nothing. A gallery goes to a folder
(``gallery.json`` and ``gallery.npz``) and back, so a report can be drawn again without the model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from deepbelief.errors import InvalidArgumentError, StorageError, check
from deepbelief.evaluation.gallery_files import read_tree, write_tree
from deepbelief.types import Bound, Result


def _as_array(value: Any, name: str, dimensions: int) -> np.ndarray:
    """`value` (an array, or a tensor on any device) as a NumPy array with that many dimensions."""
    array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
    check(array.dtype.kind in "biuf", f"{name} must hold numbers. Got an array of {array.dtype}.")
    check(
        array.ndim == dimensions,
        f"{name} must have {dimensions} dimensions. Got shape {array.shape}.",
    )
    return array


def _check_same(first: np.ndarray, second: np.ndarray, first_name: str, second_name: str) -> None:
    check(
        first.shape == second.shape,
        f"{first_name} and {second_name} must have one shape. Got {first.shape} and {second.shape}.",
    )


@dataclass
class Chains:
    """Frames of Markov chains: `frames` (chains, times, features), taken after `steps` (times) Gibbs steps."""

    frames: np.ndarray
    steps: np.ndarray

    def __post_init__(self) -> None:
        self.frames = _as_array(self.frames, "chains.frames", 3)
        self.steps = _as_array(self.steps, "chains.steps", 1)
        times, steps = self.frames.shape[1], len(self.steps)
        check(times == steps, f"chains.steps must have one number per frame. Got {steps} for {times} frames.")


@dataclass
class Completions:
    """Cases, what was given of them (`known` is True) and what the model filled in, each (cases, features)."""

    original: np.ndarray
    known: np.ndarray
    completed: np.ndarray

    def __post_init__(self) -> None:
        self.original = _as_array(self.original, "completions.original", 2)
        self.known = _as_array(self.known, "completions.known", 2).astype(bool)
        self.completed = _as_array(self.completed, "completions.completed", 2)
        _check_same(self.original, self.known, "completions.original", "completions.known")
        _check_same(self.original, self.completed, "completions.original", "completions.completed")


@dataclass
class Reconstructions:
    """Cases and what comes back after encoding and decoding, each (cases, features)."""

    original: np.ndarray
    reconstruction: np.ndarray

    def __post_init__(self) -> None:
        self.original = _as_array(self.original, "reconstructions.original", 2)
        self.reconstruction = _as_array(self.reconstruction, "reconstructions.reconstruction", 2)
        _check_same(self.original, self.reconstruction, "reconstructions.original", "reconstructions.reconstruction")


@dataclass
class HardCases:
    """Cases `x` (cases, features) with their true and predicted class numbers and the probability of the prediction."""

    x: np.ndarray
    truth: np.ndarray
    predicted: np.ndarray
    probability: np.ndarray

    def __post_init__(self) -> None:
        self.x = _as_array(self.x, "hard_cases.x", 2)
        for name in ("truth", "predicted", "probability"):
            array = _as_array(getattr(self, name), f"hard_cases.{name}", 1)
            setattr(self, name, array)
            check(
                len(array) == len(self.x),
                f"hard_cases.{name} must have one number per case. Got {len(array)} for {len(self.x)} cases.",
            )


@dataclass
class CodeMap:
    """Codes on a plane, `points` (cases, 2); `labels` are class numbers (-1: unlabelled) or real numbers (colours)."""

    points: np.ndarray
    labels: np.ndarray | None = None
    method: str = ""

    def __post_init__(self) -> None:
        self.points = _as_array(self.points, "code_map.points", 2)
        check(self.points.shape[1] == 2, f"code_map.points must have 2 columns. Got {self.points.shape[1]} columns.")
        if self.labels is not None:
            self.labels = _as_array(self.labels, "code_map.labels", 1)
            cases, labels = len(self.points), len(self.labels)
            check(cases == labels, f"code_map.labels must have one label per point. Got {labels} for {cases} points.")


PARTS: dict[str, type] = {
    "chains": Chains,
    "completions": Completions,
    "reconstructions": Reconstructions,
    "hard_cases": HardCases,
    "code_map": CodeMap,
}


@dataclass
class Gallery:
    """What a report shows; whatever is None or empty is left out of the page.

    `image_shape` is (height, width), (channels, height, width) or (height, width, channels) with 1 or 3 channels; None
    means a table, whose columns `feature_names` names. `layers` are from the data up, each a dict with ``name``,
    ``units`` and, if one likes, ``kind``. `histories` holds, per stage of training, rows with ``epoch``, ``step``,
    ``seconds`` and any metrics. `filters` has one array (units, features) per layer, in the space of the data,
    each unit on its own colour scale unless `shared_filter_scale`;
    `drivers` one array (units, k, features) or None per layer: the k cases that drive each unit most.
    `class_samples` is (classes, n, features), `confusion` (true classes, predicted classes). `bounds` are
    log-likelihoods (nats per case), usually one per layer. `headline` names the `results` that the page puts on top.
    """

    title: str
    description: str = ""
    created: str = ""
    command: str = ""
    settings: dict[str, Any] | None = None
    data_facts: dict[str, Any] | None = None
    layers: list[dict[str, Any]] | None = None
    results: list[Result] = field(default_factory=list)
    headline: list[str] | None = None
    histories: dict[str, list[dict[str, Any]]] | None = None
    bounds: dict[str, Bound] | None = None
    image_shape: tuple[int, ...] | None = None
    feature_names: list[str] | None = None
    class_names: list[str] | None = None
    filters: list[np.ndarray] | None = None
    filter_notes: list[str] | None = None
    shared_filter_scale: bool = False
    drivers: list[np.ndarray | None] | None = None
    samples: np.ndarray | None = None
    class_samples: np.ndarray | None = None
    chains: Chains | None = None
    completions: Completions | None = None
    reconstructions: Reconstructions | None = None
    confusion: np.ndarray | None = None
    hard_cases: HardCases | None = None
    code_map: CodeMap | None = None
    advice: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Refuse arrays that do not fit each other; called again before drawing and writing."""
        if self.samples is not None:
            self.samples = _as_array(self.samples, "samples", 2)
        if self.class_samples is not None:
            self.class_samples = _as_array(self.class_samples, "class_samples", 3)
        if self.confusion is not None:
            self.confusion = _as_array(self.confusion, "confusion", 2)
            rows, columns = self.confusion.shape
            check(rows == columns, f"confusion must be square. Got shape {self.confusion.shape}.")
        if self.filters is not None:
            self.filters = [_as_array(f, f"filters[{i}]", 2) for i, f in enumerate(self.filters)]
        if self.drivers is not None:
            self.drivers = [None if d is None else _as_array(d, f"drivers[{i}]", 3) for i, d in enumerate(self.drivers)]
        if self.bounds is not None:
            self.bounds = {name: bound.mean() for name, bound in self.bounds.items()}
        self._check_shape()
        self._check_widths()
        self._check_names()

    def _check_shape(self) -> None:
        if self.image_shape is not None:
            self.image_shape = shape = tuple(int(size) for size in self.image_shape)
            grey = len(shape) == 2
            colour = len(shape) == 3 and (shape[0] in (1, 3) or shape[2] in (1, 3))
            check(
                min(shape, default=0) > 0 and (grey or colour),
                "image_shape must be (height, width), or three sizes with 1 or 3 channels first or last. "
                f"Got image_shape={shape}.",
            )

    def _check_widths(self) -> None:
        """Every array of cases must have the features of the data."""
        expected = math.prod(self.image_shape) if self.image_shape else len(self.feature_names or []) or None
        for name, array in self.cases().items():
            check(array.size > 0, f"{name} must not be empty. Got shape {array.shape}. Leave it None instead.")
            expected = expected or array.shape[-1]
            check(
                array.shape[-1] == expected,
                f"{name} must have {expected} features, as image_shape, feature_names and the other arrays say. "
                f"Got {array.shape[-1]}.",
            )

    def _check_names(self) -> None:
        classes = {"class_samples": self.class_samples, "confusion": self.confusion}
        for name, array in classes.items():
            if array is not None and self.class_names is not None:
                check(
                    len(array) == len(self.class_names),
                    f"class_names must have one name per row of {name}. "
                    f"Got {len(self.class_names)} names for {len(array)} rows.",
                )

    def cases(self) -> dict[str, np.ndarray]:
        """Every array that lives in the space of the data, by name, originals first."""
        found: dict[str, Any] = {}
        for name in ("completions", "reconstructions"):
            if (part := getattr(self, name)) is not None:
                found |= {f"{name}.{f.name}": getattr(part, f.name) for f in fields(part)}
        found |= {"hard_cases.x": self.hard_cases and self.hard_cases.x, "samples": self.samples}
        found |= {"class_samples": self.class_samples, "chains.frames": self.chains and self.chains.frames}
        found |= {f"drivers[{i}]": d for i, d in enumerate(self.drivers or [])}
        found |= {f"filters[{i}]": f for i, f in enumerate(self.filters or [])}
        return {name: array for name, array in found.items() if array is not None}

    def to_folder(self, folder: str | Path) -> Path:
        """Write ``gallery.json`` and ``gallery.npz`` into `folder` (made if absent) and return it."""
        self.check()
        return write_tree({f.name: getattr(self, f.name) for f in fields(self)}, Path(folder))

    @classmethod
    def from_folder(cls, folder: str | Path) -> Gallery:
        """Read a gallery that `to_folder` wrote; a damaged, foreign or newer one is refused with a sentence."""
        values = read_tree(Path(folder))
        try:
            for name, part in PARTS.items():
                values[name] = values[name] and part(**values[name])
            values["results"] = [Result(**row) for row in values["results"]]
            if values["bounds"] is not None:
                values["bounds"] = {name: Bound(**row) for name, row in values["bounds"].items()}
            return cls(**values)
        except (KeyError, TypeError, AttributeError, InvalidArgumentError) as error:
            raise StorageError(f"The gallery in {folder} is damaged ({error}). Make it again.") from error
