"""How far samples are from data, by measures that need no network.

Each measure is read between two reference rows: other held-out data (what a perfect sampler reaches), and copies of
training cases (what learning by heart reaches: right in every moment, at distance 0 from the training cases).
Samples and data must be of one kind: draws beside binarized data, not means.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from deepbelief.errors import InvalidDataError, check_choice, check_count
from deepbelief.evaluation.adversarial_accuracy import adversarial_rows
from deepbelief.evaluation.measured import mean_result, random_rows, seed_from, to_numpy
from deepbelief.types import Result

HELD_OUT, COPIES = "held-out data", "copies of training data"
Classifier = Literal["logistic", "knn"]
CLASSIFIERS = {"logistic": "logistic regression", "knn": "nearest neighbours"}


@dataclass(frozen=True)
class TwoSampleTest:
    """Cross-validated accuracy of telling two sets apart (0.5: not at all) and the p-value of their being alike."""

    accuracy: float
    p_value: float


def sample_results(
    samples: Tensor,
    train: Tensor,
    held_out: Tensor,
    *,
    data: str,
    model_name: str,
    generator: torch.Generator,
    most: int = 1000,
) -> list[Result]:
    """Rows for the model's samples, for held-out data and for copies of training data, all against other held-out data.

    Half of `held_out` is the yardstick, the other half the first reference; all sets are cut to one size, at most
    `most`, so that the rows compare.
    """
    n = min(len(samples), len(train), len(held_out) // 2, most)
    if n < 20:
        raise InvalidDataError(
            f"at least 20 samples, 20 training and 40 held-out cases are needed. Got enough for {n}."
        )
    order = random_rows(len(held_out), 2 * n, generator).to(held_out.device)
    yardstick, other = held_out[order[:n]], held_out[order[n : 2 * n]]
    copies = train[random_rows(len(train), n, generator).to(train.device)]
    drawn = samples[random_rows(len(samples), n, generator).to(samples.device)]
    seed = seed_from(generator)
    rows: list[Result] = []
    for name, candidate in ((model_name, drawn), (HELD_OUT, other), (COPIES, copies)):
        rows += _moment_rows(candidate, yardstick, data, name)
        distances = to_numpy(nearest_distances(candidate, train))
        rows.append(mean_result("distance to the nearest training case", distances, unit="", data=data, model=name))
        rows += _test_rows(candidate, yardstick, data, name, seed)
        for which, cases in (("training", copies), ("held-out", yardstick)):
            rows += adversarial_rows(cases, candidate, which, data=data, model_name=name, generator=generator)
    return rows


def moment_errors(samples: Tensor, cases: Tensor) -> tuple[float, float]:
    """Root mean squared differences of the features' means and of the entries of the covariance matrix."""
    a, b = samples.double(), cases.double()
    mean = (a.mean(0) - b.mean(0)).square().mean().sqrt()
    covariance = (torch.cov(a.T) - torch.cov(b.T)).square().mean().sqrt()
    return float(mean), float(covariance)


def nearest_distances(queries: Tensor, cases: Tensor, *, chunk: int = 500, n_tried: int = 4) -> Tensor:
    """The Euclidean distance from each query to the nearest of `cases`: (queries,).

    Matrix products find the `n_tried` nearest; their differences give the distances, for products of rounded numbers
    would put a copy at a distance above 0.
    """
    check_count("chunk", chunk, low=1)
    rows = cases.to(queries)
    squares, found = rows.square().sum(1), []
    for q in queries.split(chunk):
        nearest = (squares - 2 * q @ rows.T).topk(min(n_tried, len(rows)), dim=1, largest=False).indices
        found.append((rows[nearest] - q.unsqueeze(1)).norm(dim=2).min(1).values)
    return torch.cat(found)


def two_sample_test(
    first: Tensor, second: Tensor, *, generator: torch.Generator, classifier: Classifier = "knn", folds: int = 2
) -> TwoSampleTest:
    """Can a classifier tell the sets apart? (Lopez-Paz & Oquab 2017)

    Cross-validated; in each fold Fisher's exact test (one-sided) asks whether the held-out predictions go with the
    truth. Folds share cases, so their p-values are joined as e times their geometric mean, at most 1, which holds for
    any dependence (Vovk & Wang 2020): when the sets are alike, it falls below a with probability at most a.
    Few folds have the most power, for that mean gains only from larger folds.
    """
    check_choice("classifier", classifier, CLASSIFIERS)
    check_count("folds", folds, low=2, high=min(len(first), len(second)))
    return _two_sample_test(first, second, classifier, folds, seed_from(generator))


def _two_sample_test(first: Tensor, second: Tensor, classifier: Classifier, folds: int, seed: int) -> TwoSampleTest:
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    x = np.concatenate([to_numpy(first), to_numpy(second)]).astype(np.float64)
    y = np.repeat([1, 0], [len(first), len(second)])
    plan = StratifiedKFold(folds, shuffle=True, random_state=seed)
    guess = cross_val_predict(_make_classifier(classifier), x, y, cv=plan)
    log_p = [_log_fisher(guess[rows], y[rows]) for _, rows in plan.split(x, y)]
    return TwoSampleTest(float((guess == y).mean()), min(1.0, math.exp(1 + float(np.mean(log_p)))))


def _make_classifier(name: Classifier) -> object:
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if name == "knn":
        return KNeighborsClassifier(5)
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000, tol=1e-3))


def _log_fisher(guess: np.ndarray, y: np.ndarray) -> float:
    """log P(at least as many true positives) when the labels are shuffled: a hypergeometric tail."""
    from scipy.stats import hypergeom

    return float(hypergeom.logsf((guess & y).sum() - 1, len(y), y.sum(), guess.sum()))


def _moment_rows(candidate: Tensor, yardstick: Tensor, data: str, name: str) -> list[Result]:
    mean, covariance = moment_errors(candidate, yardstick)
    return [
        Result("error of the samples' means (root mean square)", mean, "measured", None, "", data, name),
        Result("error of the samples' covariances (root mean square)", covariance, "measured", None, "", data, name),
    ]


def _test_rows(candidate: Tensor, yardstick: Tensor, data: str, name: str, seed: int) -> list[Result]:
    rows = []
    kinds: tuple[Classifier, ...] = ("logistic", "knn")
    for kind in kinds:
        test = _two_sample_test(candidate, yardstick, kind, 2, seed)
        quantity = f"two-sample accuracy, {CLASSIFIERS[kind]}"
        rows.append(Result(quantity, 100 * test.accuracy, "measured", None, "%", data, name))
        rows.append(Result(f"{quantity}: p-value", test.p_value, "measured", None, "", data, name))
    return rows
