"""One fit of a comparison and all its numbers: likelihood, samples, features, completion, cost."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deepbelief.energy.partition.choose import log_z
from deepbelief.evaluation.completion import completion_results
from deepbelief.evaluation.feature_network import FeatureNetwork
from deepbelief.evaluation.pictures import picture_half
from deepbelief.evaluation.samples import COPIES, HELD_OUT
from deepbelief.recipes.compare_cases import Cases
from deepbelief.recipes.compare_settings import CompareSettings
from deepbelief.recipes.families import Family, build
from deepbelief.recipes.model_rows import (
    MOST_SAMPLES,
    RAW,
    SAMPLING,
    as_bits,
    can_be_judged,
    feature_rows,
    independent_row,
    likelihood_row,
    quality_rows,
)
from deepbelief.rng import make_generator
from deepbelief.types import Bound, Result

SECONDS, MEMORY = "training time", "peak memory of training"
PARAMETERS, PASSES = "parameters", "passes over the data"
FILLING = "time to fill in 1,000 cases"
MOST_COMPLETED, STEPS = 300, 500
POLL = 0.02  # seconds between two looks at the memory


def fit_one(
    name: str,
    family: Family,
    settings: CompareSettings,
    cases: Cases,
    networks: Sequence[FeatureNetwork],
    seed: int,
    learning_rate: float | None = None,
) -> tuple[list[Result], np.ndarray]:
    """The rows of one fit, and its samples."""
    x = cases.train.numpy()
    epochs = settings.epochs if settings.seconds is None else affordable(family, settings, cases, seed)
    estimator = build(family, settings.width, epochs, cases, seed, learning_rate)
    with Meter() as meter:
        estimator.fit(x)
    own = {"data": cases.name, "model": name}
    rows = [
        Result(SECONDS, meter.seconds, "measured", None, "s", **own),
        Result(PASSES, float(epochs), "exact", None, "", **own),
        Result(PARAMETERS, float(_count(estimator)), "exact", None, "", **own),
    ]
    if meter.megabytes is not None:
        rows.append(Result(MEMORY, meter.megabytes, "measured", None, "MB", **own))
    generator = make_generator(seed, stream=7)
    rows += likelihood_rows(estimator, family, settings, cases, name, generator)
    sampled, drawn = sample_rows(estimator, cases, networks, name, generator)
    rows += sampled + code_rows(estimator, cases, name, generator)
    return rows + completion_rows(estimator, cases, name, generator, settings.sweeps), drawn


def likelihood_rows(
    estimator: Any, family: Family, settings: CompareSettings, cases: Cases, name: str, generator: torch.Generator
) -> list[Result]:
    """The mean log-likelihood of the test cases with its kind; nothing where the family has none."""
    if not hasattr(estimator, "log_likelihood"):
        return []
    mean = mean_log_likelihood(estimator, family, settings, cases.test, generator)
    return [likelihood_row(mean, cases.name, name)]


def mean_log_likelihood(
    estimator: Any, family: Family, settings: CompareSettings, x: Tensor, generator: torch.Generator
) -> Bound:
    """The mean over cases, with the settings' effort for log Z where the family needs one."""
    if family.log_z_of is not None:
        part = family.log_z_of(estimator)
        estimator._log_z = log_z(part, betas=settings.betas, burn_in=settings.betas, generator=generator)
    mean: Bound = estimator.log_likelihood(x.numpy()).mean()
    return mean


def draws_of(estimator: Any, n: int, cases: Cases, generator: torch.Generator) -> Tensor:
    """`n` samples of one kind with the cases: bits, drawn where the estimator gives means, or real numbers."""
    drawn = estimator.sample(n, **_known(estimator.sample, n_steps=STEPS))
    x = torch.as_tensor(np.asarray(drawn, dtype=np.float32))
    return as_bits(x, generator) if cases.bits else x


def sample_rows(
    estimator: Any, cases: Cases, networks: Sequence[FeatureNetwork], name: str, generator: torch.Generator
) -> tuple[list[Result], np.ndarray]:
    """Sample quality of as many draws as half of the test cases, and the seconds that 1,000 take."""
    if not hasattr(estimator, "sample"):
        return [], np.zeros((0, cases.train.shape[1]), dtype=np.float32)
    n = min(max(1, len(cases.test) // 2), MOST_SAMPLES)
    start = time.perf_counter()
    drawn = draws_of(estimator, n, cases, generator)
    rows = [Result(SAMPLING, (time.perf_counter() - start) * 1000 / n, "measured", None, "s", cases.name, name)]
    if can_be_judged(cases):
        rows += quality_rows(drawn, cases, list(networks), name, references=False, most=MOST_SAMPLES)
    return rows, drawn.numpy()


def code_rows(estimator: Any, cases: Cases, name: str, generator: torch.Generator) -> list[Result]:
    """Linear probe, neighbours, few labels and clusters on the codes; nothing without codes or labels."""
    if cases.y is None or not hasattr(estimator, "transform"):
        return []
    codes = estimator.transform(cases.train.numpy()), estimator.transform(cases.test.numpy())
    return feature_rows(codes, cases, name, generator)


def completion_rows(estimator: Any, cases: Cases, name: str, generator: torch.Generator, sweeps: int) -> list[Result]:
    """The loss of the second half of the test cases' entries (of a picture, the lower half) given the first, and the
    seconds that 1,000 such completions take."""
    if not hasattr(estimator, "complete"):
        return []
    completer = _Completer(estimator, sweeps)
    rows = _completions(completer, cases, name, generator)
    seconds = completer.seconds * 1000 / len(cases.test[:MOST_COMPLETED])
    taken = Result(FILLING, seconds, "measured", None, "s", cases.name, name)
    return [*(row for row in rows if row.model == name), taken]


def reference_rows(cases: Cases, networks: Sequence[FeatureNetwork], generator: torch.Generator) -> list[Result]:
    """What needs no model of a family: held-out data, copies, raw inputs, independent units, neighbours."""
    rows: list[Result] = []
    if can_be_judged(cases):
        most = min(len(cases.test) // 2, MOST_SAMPLES)
        start = quality_rows(cases.train, cases, list(networks), COPIES + " again", references=True, most=most)
        rows = [row for row in start if row.model in (HELD_OUT, COPIES)]
    rows.append(independent_row(cases.train, cases.test, cases.name, bits=cases.bits))
    rows += feature_rows((cases.train, cases.test), cases, RAW, generator)
    found = _completions(_MeanOf(cases.train), cases, "the mean again", generator)
    return rows + [row for row in found if row.model != "the mean again"]


def _completions(model: Any, cases: Cases, name: str, generator: torch.Generator) -> list[Result]:
    x = cases.test[:MOST_COMPLETED]
    known = given_half(cases)
    options: dict[str, Any] = {"data": cases.name, "model_name": name, "generator": generator}
    loss: Any = "log_loss" if cases.bits else "squared_error"
    return completion_results(model, x, known, train=cases.train, loss=loss, k=min(10, len(cases.train)), **options)


def given_half(cases: Cases) -> Tensor:
    """Which entries are given: the first half, of colours the upper half of each: (features,)."""
    if cases.image_shape is not None and len(cases.image_shape) == 3:
        return picture_half(cases.image_shape, "top")
    width = cases.test.shape[1]
    return torch.arange(width) < width // 2


class _Completer:
    """An estimator's `complete` as the capability that the measure asks for, by chains of one length for all."""

    def __init__(self, estimator: Any, sweeps: int) -> None:
        self.estimator, self.sweeps, self.seconds = estimator, sweeps, 0.0

    def complete(self, x: Tensor, known: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        given = _known(self.estimator.complete, n_steps=self.sweeps, n_average=3 * self.sweeps // 4)
        start = time.perf_counter()
        found = torch.as_tensor(self.estimator.complete(x.numpy(), known.numpy(), **given))
        self.seconds += time.perf_counter() - start
        return found


class _MeanOf:
    """The training mean as a completer: it is there so that the measure's own references can be had alone."""

    def __init__(self, train: Tensor) -> None:
        self.mean = train.mean(0)

    def complete(self, x: Tensor, known: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        return torch.where(known, x, self.mean)


class Meter:
    """Seconds, and on Linux the most memory in use beyond what was in use before."""

    def __enter__(self) -> Meter:
        self.start, self.before, self.most = time.perf_counter(), resident_megabytes(), 0.0
        self._stop = threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)
        self._watch.start()
        return self

    def _look(self) -> None:
        while not self._stop.wait(POLL):
            self.most = max(self.most, resident_megabytes() or 0.0)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds = time.perf_counter() - self.start
        self._stop.set()
        self._watch.join()

    @property
    def megabytes(self) -> float | None:
        """None where the system does not tell."""
        return None if self.before is None else max(0.0, self.most - self.before)


def resident_megabytes() -> float | None:
    """The memory of this process that is in use, None where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return pages * 4096 / 1e6


def affordable(family: Family, settings: CompareSettings, cases: Cases, seed: int) -> int:
    """The passes that fit into the seconds, by the time of the first."""
    assert settings.seconds is not None
    x = cases.train.numpy()
    start = time.perf_counter()
    build(family, settings.width, family.shares, cases, seed).fit(x)
    return max(1, int(settings.seconds / max(time.perf_counter() - start, 1e-9))) * family.shares


def _count(estimator: Any) -> int:
    return sum(p.numel() for p in estimator.module_.parameters())


def _known(method: Any, **options: Any) -> dict[str, Any]:
    import inspect

    return {name: value for name, value in options.items() if name in inspect.signature(method).parameters}
