"""The detectors that the recipes about time series compare, all on the same windows, and what is said of each.

Their settings were fixed before any score on a tested series was seen: width, rate and batch are those of
`anomaly_adbench`, a window is 10 steps; 2,000 updates and the rate of the conditional RBM were chosen by how well the
end of SKAB's anomaly-free series was reconstructed and predicted, 100 epochs (short series) by their time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from deepbelief.data.anomaly_sets import AnomalySet
from deepbelief.estimators.anomaly_series import SeriesAnomalyDetector
from deepbelief.estimators.autoencoder import Autoencoder
from deepbelief.estimators.conditional_rbm import ConditionalRBM
from deepbelief.estimators.network import DeepBeliefNetwork
from deepbelief.estimators.rbm import RBM
from deepbelief.evaluation.anomaly import alarm_results, anomaly_results
from deepbelief.types import Result

Array = NDArray[Any]
WINDOW, UPDATES, MOST_EPOCHS, BATCH, RATE, NEIGHBOURS = 10, 2000, 100, 100, 0.01, 5


@dataclass(frozen=True)
class Plan:
    """The seed of a run, the updates of each model, and how many windows it learns from."""

    seed: int
    updates: int
    n_windows: int

    def learning(self) -> dict[str, Any]:
        """The arguments of learning that all models share."""
        batch = min(BATCH, self.n_windows)
        epochs = min(max(1, self.updates * batch // self.n_windows), MOST_EPOCHS)
        shared = {"epochs": epochs, "batch_size": batch, "device": "cpu", "random_state": self.seed}
        return {"visible": "gaussian", **shared}


class NeighbourDistance(BaseEstimator):
    """Minus the distance to the fifth nearest case of `fit`, as a score."""

    def fit(self, X: Array, y: Any = None) -> Self:
        """Keep the cases."""
        from sklearn.neighbors import NearestNeighbors

        self.tree_ = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(X))).fit(X)
        return self

    def score_samples(self, X: Array) -> Array:
        """Higher is more normal: (n_samples,)."""
        return -self.tree_.kneighbors(X)[0][:, -1]


def _forest(plan: Plan) -> Any:
    from sklearn.ensemble import IsolationForest

    return IsolationForest(random_state=plan.seed)


MODELS: dict[str, tuple[Callable[[Plan], Any], str]] = {
    "RBM, free energy": (lambda p: RBM(200, learning_rate=RATE, **p.learning()), "free_energy"),
    "DBN, reconstruction": (
        lambda p: DeepBeliefNetwork((200, 200), learning_rate=RATE, **p.learning()),
        "reconstruction",
    ),
    "autoencoder, reconstruction": (lambda p: Autoencoder((100,), n_components=10, **p.learning()), "reconstruction"),
    "conditional RBM, surprise": (lambda p: ConditionalRBM(10, learning_rate=RATE, **p.learning()), "surprise"),
    "5 nearest neighbours": (lambda p: NeighbourDistance(), "score_samples"),
    "isolation forest": (_forest, "score_samples"),
}


def detector_of(
    name: str, n_steps: int, *, seed: int, quick: bool, contamination: float, held_out: float
) -> SeriesAnomalyDetector:
    """A detector, unfitted, for a series of `n_steps` to learn from."""
    n_windows = n_steps - round(held_out * n_steps) - WINDOW + 1
    build, method = MODELS[name]
    estimator = build(Plan(seed, 10 if quick else UPDATES, n_windows))
    return SeriesAnomalyDetector(
        estimator, window=WINDOW, method=method, contamination=contamination, held_out=held_out
    )


@dataclass(frozen=True)
class Judged:
    """The steps of a series that are judged: which are odd, what they scored (higher is odder), where alarm was."""

    odd: NDArray[np.bool_]
    scores: Array
    alarms: NDArray[np.bool_]


def judge(detector: SeriesAnomalyDetector, data: AnomalySet, start: int = 0) -> Judged:
    """Score a series whole, and judge its steps from `start` on that end a whole window."""
    normal = detector.score_samples(data.x)
    kept = np.arange(len(data)) >= max(start, WINDOW - 1)
    scores = -normal[kept]
    return Judged(data.odd[kept], scores, scores > -detector.offset_)


def mean_area(judged: Sequence[Judged], *, what: str, data: str, name: str) -> list[Result]:
    """The means over series of the area under the ROC curve and of the average precision."""
    found = [anomaly_results(one.scores, one.odd, data=data, model_name=name)[:2] for one in judged]
    means = [float(np.mean([row.value for row in column])) for column in zip(*found, strict=True)]
    names = [row.quantity for row in found[0]]
    many = f"{len(judged)} series"
    return [
        Result(f"{name}{what}: mean {quantity}, {many}", mean, "measured", None, "", data, name)
        for quantity, mean in zip(names, means, strict=True)
    ]


def pooled_alarms(judged: Sequence[Judged], *, what: str, data: str, name: str) -> list[Result]:
    """F1, false and missed alarms over the steps of all series together; the last row is that of constant alarm."""
    alarms, odd = (np.concatenate([getattr(one, part) for one in judged]) for part in ("alarms", "odd"))
    rows = alarm_results(alarms, odd, data=data, model_name=name)
    return [replace(row, quantity=f"{row.model}{what}: {row.quantity}") for row in rows]


def made_up_series(n: int = 240, seed: int = 0) -> AnomalySet:
    """Two noisy waves that jump for ten steps, for quick runs."""
    noise = np.random.default_rng(seed).normal(size=(n, 2))
    x = np.stack([np.sin(np.arange(n) / 4), np.cos(np.arange(n) / 4)], 1) + 0.1 * noise
    odd = (np.arange(n) >= n - 40) & (np.arange(n) < n - 30)
    return AnomalySet("made up", x + 3.0 * odd[:, None], odd)
