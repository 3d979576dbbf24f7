"""One fit of a comparison and all its numbers: likelihood, samples, features, completion, cost."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from deepbelief.energy.partition.choose import log_z
from deepbelief.evaluation.completion import completion_results
from deepbelief.evaluation.feature_network import FeatureNetwork
from deepbelief.evaluation.features import feature_results
from deepbelief.evaluation.likelihood import independent_log_likelihood
from deepbelief.evaluation.sample_quality import quality_results
from deepbelief.evaluation.samples import COPIES, HELD_OUT
from deepbelief.recipes.families import Family, build
from deepbelief.rng import make_generator
from deepbelief.types import Bound, Result
from deepbelief.units.bernoulli import Bernoulli

if TYPE_CHECKING:
    from deepbelief.recipes.compare import Cases, CompareSettings

LIKELIHOOD, SECONDS, MEMORY = "test log-likelihood", "training time", "peak memory of training"
PARAMETERS, PASSES, SAMPLING = "parameters", "passes over the data", "time to draw 1,000 samples"
MOST_SAMPLES, MOST_COMPLETED, STEPS = 5000, 300, 500
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
    estimator = build(family, settings.width, epochs, cases.image_shape, seed, learning_rate)
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
    rows += sampled + feature_rows(estimator, cases, name, generator)
    return rows + completion_rows(estimator, cases, name, generator), drawn


def likelihood_rows(
    estimator: Any, family: Family, settings: CompareSettings, cases: Cases, name: str, generator: torch.Generator
) -> list[Result]:
    """The mean log-likelihood of the test cases with its kind; nothing where the family has none."""
    if not hasattr(estimator, "log_likelihood"):
        return []
    mean = mean_log_likelihood(estimator, family, settings, cases.test, generator)
    return [Result(LIKELIHOOD, float(mean), mean.kind, mean.stderr, "nats per case", cases.name, name)]


def mean_log_likelihood(
    estimator: Any, family: Family, settings: CompareSettings, x: Tensor, generator: torch.Generator
) -> Bound:
    """The mean over cases, with the settings' effort for log Z where the family needs one."""
    if family.log_z_of is not None:
        part = family.log_z_of(estimator)
        estimator._log_z = log_z(part, betas=settings.betas, burn_in=settings.betas, generator=generator)
    mean: Bound = estimator.log_likelihood(x.numpy()).mean()
    return mean


def draws_of(estimator: Any, n: int) -> Tensor:
    """`n` samples as the estimator gives them: bits, or means of them."""
    drawn = estimator.sample(n, **_known(estimator.sample, n_steps=STEPS))
    return torch.as_tensor(np.asarray(drawn, dtype=np.float32))


def as_bits(drawn: Tensor, generator: torch.Generator) -> Tensor:
    """Bits as they are, and draws of means: what is compared with bits must be bits."""
    if bool(((drawn != 0) & (drawn != 1)).any()):
        return torch.bernoulli(drawn.clamp(0, 1), generator=generator)
    return drawn


def sample_rows(
    estimator: Any, cases: Cases, networks: Sequence[FeatureNetwork], name: str, generator: torch.Generator
) -> tuple[list[Result], np.ndarray]:
    """Sample quality of as many draws as half of the test cases, and the seconds that 1,000 take."""
    if not hasattr(estimator, "sample"):
        return [], np.zeros((0, cases.train.shape[1]), dtype=np.float32)
    n = min(len(cases.test) // 2, MOST_SAMPLES)
    start = time.perf_counter()
    drawn = draws_of(estimator, n)
    seconds = (time.perf_counter() - start) * 1000 / n
    bits = as_bits(drawn, generator)
    options: dict[str, Any] = {"data": cases.name, "model_name": name, "shape": cases.channels_first}
    rows = quality_results(
        bits, cases.train, cases.test, networks, generator=make_generator(0), references=False, **options
    )
    return [Result(SAMPLING, seconds, "measured", None, "s", cases.name, name), *rows], bits.numpy()


def feature_rows(estimator: Any, cases: Cases, name: str, generator: torch.Generator) -> list[Result]:
    """Linear probe, neighbours, few labels and clusters on the codes; nothing without codes or labels."""
    if cases.y is None or not hasattr(estimator, "transform"):
        return []
    codes = [np.asarray(estimator.transform(x.numpy())).reshape(len(x), -1) for x in (cases.train, cases.test)]
    return feature_results(
        codes[0], cases.y, codes[1], cases.truth, data=cases.name, model_name=name, generator=generator
    )


def completion_rows(estimator: Any, cases: Cases, name: str, generator: torch.Generator) -> list[Result]:
    """The log-loss of the lower half of the test cases given the upper half."""
    if not hasattr(estimator, "complete"):
        return []
    rows = _completions(_Completer(estimator), cases, name, generator)
    return [row for row in rows if row.model == name]


def reference_rows(cases: Cases, networks: Sequence[FeatureNetwork], generator: torch.Generator) -> list[Result]:
    """What needs no model of a family: held-out data, copies, raw inputs, independent units, neighbours."""
    start = quality_results(
        cases.train,
        cases.train,
        cases.test,
        networks,
        data=cases.name,
        model_name=COPIES + " again",
        generator=make_generator(0),
        shape=cases.channels_first,
        most=min(len(cases.test) // 2, MOST_SAMPLES),
    )
    rows = [row for row in start if row.model in (HELD_OUT, COPIES)]
    units = Bernoulli(cases.train.shape[1])
    alone = independent_log_likelihood(units, cases.train, cases.test).mean()
    rows.append(Result(LIKELIHOOD, float(alone), alone.kind, 0.0, "nats per case", cases.name, "independent units"))
    if cases.y is not None:
        options: dict[str, Any] = {"data": cases.name, "model_name": "raw inputs", "generator": generator}
        rows += feature_results(cases.train, cases.y, cases.test, cases.truth, **options)
    found = _completions(_MeanOf(cases.train), cases, "the mean again", generator)
    return rows + [row for row in found if row.model != "the mean again"]


def _completions(model: Any, cases: Cases, name: str, generator: torch.Generator) -> list[Result]:
    x = cases.test[:MOST_COMPLETED]
    known = torch.arange(x.shape[1]) < x.shape[1] // 2
    return completion_results(
        model, x, known, train=cases.train, data=cases.name, model_name=name, generator=generator, loss="log_loss"
    )


class _Completer:
    """An estimator's `complete` as the capability that the measure asks for."""

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def complete(self, x: Tensor, known: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        given = _known(self.estimator.complete, n_steps=STEPS // 5)
        return torch.as_tensor(self.estimator.complete(x.numpy(), known.numpy(), **given))


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
    build(family, settings.width, family.shares, cases.image_shape, seed).fit(x)
    return max(1, int(settings.seconds / max(time.perf_counter() - start, 1e-9))) * family.shares


def _count(estimator: Any) -> int:
    return sum(p.numel() for p in estimator.module_.parameters())


def _known(method: Any, **options: Any) -> dict[str, Any]:
    import inspect

    return {name: value for name, value in options.items() if name in inspect.signature(method).parameters}
