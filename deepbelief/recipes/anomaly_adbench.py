"""Anomaly detection on ADBench's classical tables: RBMs and a DBN beside nearest neighbours and isolation forest.

An RBM's "combined" score joins its free energy with how far a case's code lies from the codes of normal cases: what
the one misses the other often sees.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, RobustScaler, StandardScaler

from deepbelief.data.anomaly_sets import ADBENCH, AnomalySet, load_adbench
from deepbelief.errors import DataNotFoundError
from deepbelief.estimators.anomaly import AnomalyDetector
from deepbelief.estimators.network import DeepBeliefNetwork
from deepbelief.estimators.rbm import RBM
from deepbelief.evaluation.anomaly import anomaly_results
from deepbelief.recipes.recipe import Options, Recipe, main
from deepbelief.types import Result

Array = NDArray[Any]
AREA = "area under the ROC curve"
STEPS, BATCH, RATE = 400, 100, 0.01
MEMBERS = tuple((view, kind) for view in ("standard", "compressed") for kind in (("bernoulli", 200), ("gaussian", 30)))
FARTHEST = 50.0  # standard deviations: further is no odder, and would overflow
NEIGHBOURS = 5
OURS = "four RBMs, combined"
# the members were chosen by the labels of these tables; width and steps were first tried with those of others in view,
# ionosphere and pima among them, so no table is wholly unseen
CHOSEN_ON = ("annthyroid", "cardio", "mammography", "satimage-2", "thyroid")


@dataclass(frozen=True)
class Split:
    """Half of the normal cases to learn from; the other half and all anomalies to be told apart."""

    train: Array
    test: Array
    odd: NDArray[np.bool_]

    @classmethod
    def of(cls, data: AnomalySet, seed: int) -> Split:
        """The split of this seed."""
        normal = np.random.default_rng(seed).permutation(np.flatnonzero(~data.odd))
        half = len(normal) // 2
        rest = np.concatenate([normal[half:], np.flatnonzero(data.odd)])
        return cls(data.x[normal[:half]], data.x[rest], data.odd[rest])


@dataclass(frozen=True)
class Plan:
    """The seed of a run and the steps of each model's learning."""

    seed: int
    steps: int = STEPS

    def learning(self, train: Array) -> dict[str, Any]:
        """The arguments of learning that all models share."""
        batch = min(BATCH, len(train))
        epochs = max(1, self.steps * batch // len(train))
        own = {"batch_size": batch, "learning_rate": RATE, "device": "cpu", "random_state": self.seed}
        return {"visible": "gaussian", "epochs": epochs, **own}


Scorer = Callable[[Array, Array, Plan], Array]


def reproduce(options: Options) -> list[Result]:
    """The area under the ROC curve of every detector on every table that is here, and the means over tables."""
    sets, plan = _sets(options), Plan(options.seed, 10 if options.quick else STEPS)
    areas: dict[str, dict[str, float]] = {}
    rows: list[Result] = []
    for data in sets:
        split = Split.of(data, options.seed)
        for name, score in SCORERS.items():
            scores = score(split.train, split.test, plan)
            area = anomaly_results(scores, split.odd, data=data.name, model_name=name)[0]
            rows.append(replace(area, quantity=f"{name} on {data.name}: {AREA}"))
            areas.setdefault(name, {})[data.name] = float(area.value or 0.0)
    return [*_means(areas), *rows]


def _sets(options: Options) -> list[AnomalySet]:
    if options.quick:
        digits = options.load("train")
        assert digits.y is not None
        return [AnomalySet("digits, 9 is odd", digits.scaled().double().numpy()[:200], digits.y.numpy()[:200] == 9)]
    found = []
    for name in ADBENCH:
        try:
            found.append(load_adbench(name, data_dir=options.data_dir))
        except DataNotFoundError:
            continue
    if not found:
        load_adbench(next(iter(ADBENCH)), data_dir=options.data_dir)  # says which file to put where
    return found


def _means(areas: Mapping[str, Mapping[str, float]]) -> list[Result]:
    """The mean over all tables, and over those outside the final choice of members."""
    rows = []
    for name, by_set in areas.items():
        unseen = [value for data, value in by_set.items() if data not in CHOSEN_ON]
        for values, where in ((list(by_set.values()), "tables"), (unseen, "tables outside the final choice")):
            if values:
                what = f"{name}: mean {AREA}, {len(values)} {where}"
                rows.append(Result(what, float(np.mean(values)), "measured", None, "", "ADBench", name))
    return rows


# -- detectors: higher is odder -------------------------------------------------------------------------------------


def rbm_score(
    train: Array,
    test: Array,
    plan: Plan,
    *,
    view: str = "standard",
    hidden: tuple[str, int] = ("bernoulli", 200),
    method: str = "free_energy",
) -> Array:
    """The free energy under an RBM with Gaussian visible units, of one view of the columns; or that and `method`.

    "standard" columns, or "compressed" ones: ``asinh((x - median) / quartile range)``, then standardized. "combined":
    the free energy and the distance to the fifth neighbour among the codes, which are of the same weight.
    """
    kind, size = hidden
    rbm = RBM(size, hidden=kind, **plan.learning(train))
    steps = [StandardScaler(), FunctionTransformer(_cut)]
    if view == "compressed":
        steps = [RobustScaler(), FunctionTransformer(np.arcsinh), *steps]
    detector = AnomalyDetector(make_pipeline(*steps, rbm), method=method, n_neighbors=NEIGHBOURS).fit(train)
    return -detector.score_samples(test)


def joined_score(train: Array, test: Array, plan: Plan) -> Array:
    """The mean of the combined scores of four RBMs (two views, two kinds of hidden units)."""
    return np.mean(
        [rbm_score(train, test, plan, view=view, hidden=hidden, method="combined") for view, hidden in MEMBERS], axis=0
    )


def dbn_score(train: Array, test: Array, plan: Plan) -> Array:
    """The squared error of a case decoded from the code of a DBN."""
    dbn = DeepBeliefNetwork((200, 200), **plan.learning(train))
    pipe = make_pipeline(StandardScaler(), FunctionTransformer(_cut), dbn)
    return -AnomalyDetector(pipe, method="reconstruction").fit(train).score_samples(test)


def neighbour_score(train: Array, test: Array, plan: Plan, *, scaler: Any = StandardScaler) -> Array:
    """The distance to the fifth nearest training case."""
    from sklearn.neighbors import NearestNeighbors

    scale = scaler().fit(train)
    tree = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(scale.transform(train))
    return tree.kneighbors(scale.transform(test))[0][:, -1]


def forest_score(train: Array, test: Array, plan: Plan) -> Array:
    """Isolation forest with scikit-learn's settings."""
    from sklearn.ensemble import IsolationForest

    return -IsolationForest(random_state=plan.seed).fit(train).score_samples(test)


def _cut(x: Array) -> Array:
    return np.clip(x, -FARTHEST, FARTHEST)


SCORERS: dict[str, Scorer] = {
    OURS: joined_score,
    "RBM": rbm_score,
    "RBM, combined": lambda train, test, plan: rbm_score(train, test, plan, method="combined"),
    "DBN, reconstruction": dbn_score,
    "5 nearest neighbours": neighbour_score,
    "5 nearest neighbours, columns in [0, 1]": lambda a, b, plan: neighbour_score(a, b, plan, scaler=MinMaxScaler),
    "isolation forest": forest_score,
}

RECIPE = Recipe(
    name="anomaly_adbench",
    title="Anomaly detection on ADBench's classical tables, trained on normal cases",
    paper="Han, Hu, Huang, Jiang & Zhao 2022, ADBench: Anomaly Detection Benchmark",
    published="no detector wins everywhere; k nearest neighbours are the practical bar",
    setting="half of the normal cases to learn from, the rest and all anomalies to be told apart; the members were "
    "chosen by the labels of five of the nine tables, after trials with the labels of others in view",
    reached="above neighbours: mean area over seeds 0 to 2 .9388 (.9393, .9383, .9387) for four RBMs, .9372 (.9391, "
    ".9370, .9356) for one, combined, against .9357 (.9365, .9358, .9349) for 5 nearest neighbours; on the four "
    "tables outside the final choice .9228 and .9223 against .9244; one RBM, free energy .927, DBN .924, forest .926",
    time="10 to 17 minutes a seed, 1 thread of a very busy machine",
    reproduce=reproduce,
)

if __name__ == "__main__":
    main(RECIPE)
