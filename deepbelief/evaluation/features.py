"""How good codes are as features: linear probes, few labels, neighbours and clusters, always beside the raw inputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from deepbelief.errors import InvalidDataError, check_count
from deepbelief.evaluation.measured import check_same_length, random_rows, seed_from, standard_error, to_numpy
from deepbelief.types import Result

MOST_TRAINING, MOST_CLUSTERED = 10_000, 5_000  # cases; more would take minutes and change little


@dataclass(frozen=True)
class CurvePoint:
    """Accuracy with `labels_per_class` labels: the mean over draws of the labelled cases, and its standard error."""

    labels_per_class: int
    mean: float
    stderr: float
    n_draws: int


def linear_probe(
    train_codes: Any, y_train: Any, test_codes: Any, y_test: Any, *, inverse_penalty: float = 1.0
) -> float:
    """Test accuracy of logistic regression on standardized codes, between 0 and 1.

    `inverse_penalty` is scikit-learn's ``C``. The same probe on raw inputs says what the codes are worth.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train, y, test, truth = _check_sets(train_codes, y_train, test_codes, y_test)
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=inverse_penalty, max_iter=2000, tol=1e-3))
    return float(probe.fit(train, y).score(test, truth))


def knn_accuracy(train_codes: Any, y_train: Any, test_codes: Any, y_test: Any, *, k: int = 5) -> float:
    """Test accuracy of the vote of the `k` nearest training codes (Euclidean), between 0 and 1."""
    from sklearn.neighbors import KNeighborsClassifier

    train, y, test, truth = _check_sets(train_codes, y_train, test_codes, y_test)
    check_count("k", k, low=1, high=len(train))
    return float(KNeighborsClassifier(k).fit(train, y).score(test, truth))


def cluster_agreement(codes: Any, y: Any, *, generator: torch.Generator, n_clusters: int | None = None) -> float:
    """Adjusted mutual information of k-means clusters with the classes: 1 is agreement, 0 is chance (Vinh et al. 2010).

    As many clusters as classes unless told.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_mutual_info_score

    x, labels = to_numpy(codes), to_numpy(y)
    check_same_length(x, labels, "codes", "y")
    n = len(np.unique(labels)) if n_clusters is None else n_clusters
    check_count("n_clusters", n, low=1, high=len(x))
    found = KMeans(n, n_init=4, random_state=seed_from(generator)).fit_predict(x)
    return float(adjusted_mutual_info_score(labels, found))


def few_label_curve(
    train_codes: Any,
    y_train: Any,
    test_codes: Any,
    y_test: Any,
    *,
    generator: torch.Generator,
    labels_per_class: Sequence[int] = (1, 5, 10, 50),
    n_draws: int = 5,
) -> list[CurvePoint]:
    """`linear_probe` from few labels: for each number, `n_draws` random choices of that many cases of every class.

    Numbers that a class does not have are left out.
    """
    check_count("n_draws", n_draws, low=1)
    train, y, test, truth = _check_sets(train_codes, y_train, test_codes, y_test)
    members = [np.flatnonzero(y == label) for label in np.unique(y)]
    points = []
    for n in labels_per_class:
        check_count("labels_per_class", n, low=1)
        if n > min(map(len, members)):
            continue
        chosen = [_draw_of_each(members, n, generator) for _ in range(n_draws)]
        scores = np.array([linear_probe(train[rows], y[rows], test, truth) for rows in chosen])
        points.append(CurvePoint(n, float(scores.mean()), standard_error(scores), n_draws))
    return points


def feature_results(
    train_codes: Any,
    y_train: Any,
    test_codes: Any,
    y_test: Any,
    *,
    data: str,
    model_name: str,
    generator: torch.Generator,
    raw: tuple[Any, Any] | None = None,
    labels_per_class: Sequence[int] = (1, 10),
) -> list[Result]:
    """All of the above as rows, for the codes and, with ``raw=(train_x, test_x)``, for the inputs themselves.

    Training cases beyond 10,000 are left out (at random, the same for both); accuracies are in percent.
    """
    check_same_length(train_codes, y_train, "train_codes", "y_train")
    kept = random_rows(len(y_train), MOST_TRAINING, generator).numpy()
    y, truth = to_numpy(y_train)[kept], to_numpy(y_test)
    pairs = {model_name: (train_codes, test_codes)} | ({} if raw is None else {"raw inputs": raw})
    state = generator.get_state()
    rows: list[Result] = []
    for name, (train, test) in pairs.items():
        generator.set_state(state)  # codes and raw inputs meet the same draws of labels and the same starts
        rows += _rows_of(to_numpy(train)[kept], y, to_numpy(test), truth, data, name, generator, labels_per_class)
    return rows


def _rows_of(
    train: np.ndarray,
    y: np.ndarray,
    test: np.ndarray,
    truth: np.ndarray,
    data: str,
    model: str,
    generator: torch.Generator,
    labels_per_class: Sequence[int],
) -> list[Result]:
    rows = []
    for name, accuracy in (
        ("linear probe accuracy", linear_probe(train, y, test, truth)),
        ("5-nearest-neighbour accuracy", knn_accuracy(train, y, test, truth, k=min(5, len(train)))),
    ):
        error = math.sqrt(accuracy * (1 - accuracy) / len(truth))
        rows.append(Result(name, 100 * accuracy, "measured", 100 * error, "%", data, model))
    for point in few_label_curve(train, y, test, truth, generator=generator, labels_per_class=labels_per_class):
        name = f"linear probe accuracy, {point.labels_per_class} labels per class"
        rows.append(Result(name, 100 * point.mean, "measured", 100 * point.stderr, "%", data, model))
    agreement = cluster_agreement(test[:MOST_CLUSTERED], truth[:MOST_CLUSTERED], generator=generator)
    rows.append(Result("cluster agreement (adjusted mutual information)", agreement, "measured", None, "", data, model))
    return rows


def _draw_of_each(members: Sequence[np.ndarray], n: int, generator: torch.Generator) -> np.ndarray:
    return np.concatenate([rows[random_rows(len(rows), n, generator).numpy()] for rows in members])


def _check_sets(
    train: Any, y_train: Any, test: Any, y_test: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    arrays = tuple(to_numpy(a) for a in (train, y_train, test, y_test))
    check_same_length(arrays[0], arrays[1], "train_codes", "y_train")
    check_same_length(arrays[2], arrays[3], "test_codes", "y_test")
    classes = np.unique(arrays[1])
    if len(classes) < 2:
        raise InvalidDataError(f"y_train must hold at least 2 classes. Got {len(classes)}. Add cases of others.")
    return arrays[0], arrays[1], arrays[2], arrays[3]
