"""Recommendation from ratings: how well a recommender predicts and ranks, and lists of titles for a person."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from deepbelief.data.ratings import Ratings
from deepbelief.errors import InvalidDataError, check_count

Array = NDArray[Any]


class Recommender(Protocol):
    """What predicts ratings of pairs and lists items for a user, such as `deepbelief.RatingsRBM`."""

    def predict(self, X: Any) -> Array: ...

    def recommend(self, user: Any, n: int = 10, *, seen: bool = False) -> tuple[Array, Array]: ...


def root_mean_squared_error(predicted: Array, truth: Array) -> float:
    """``sqrt(mean (predicted - truth)^2)``, in units of the ratings.

    >>> root_mean_squared_error(np.array([3.0, 4.0]), np.array([3.0, 2.0])) == 2**0.5
    True
    """
    return float(np.sqrt(np.mean(_errors(predicted, truth) ** 2)))


def mean_absolute_error(predicted: Array, truth: Array) -> float:
    """``mean |predicted - truth|``, in units of the ratings."""
    return float(np.mean(np.abs(_errors(predicted, truth))))


def ranked_pairs(predicted: Array, truth: Array, users: Array) -> float:
    """The share of pairs of one user's ratings that are in the right order, ties of prediction counting a half.

    Only pairs with different ratings count; 0.5 is chance. NaN where there is no such pair.

    >>> ranked_pairs(np.array([1.0, 2.0, 0.0]), np.array([1, 5, 3]), np.array([0, 0, 0]))
    0.6666666666666666
    """
    _errors(predicted, truth)
    right = total = 0.0
    for user in np.unique(users):
        mine, its = predicted[users == user], truth[users == user]
        higher = its[:, None] > its[None, :]
        gap = mine[:, None] - mine[None, :]
        right += float((higher * ((gap > 0) + 0.5 * (gap == 0))).sum())
        total += float(higher.sum())
    return right / total if total else float("nan")


def evaluate(model: Recommender, held_out: Ratings) -> dict[str, float]:
    """Errors and order of the predictions on held-out ratings."""
    predicted = model.predict(held_out.pairs)
    return {
        "root_mean_squared_error": root_mean_squared_error(predicted, held_out.values),
        "mean_absolute_error": mean_absolute_error(predicted, held_out.values),
        "ranked_pairs": ranked_pairs(predicted, held_out.values, held_out.users),
    }


def titles_for(
    model: Recommender, data: Ratings, user: Any, n: int = 10, *, fewest: int = 0
) -> list[tuple[str, float]]:
    """The `n` best titles for `user` with their expected ratings, among items with at least `fewest` ratings in `data`.

    Without titles, the items' own names are given.
    """
    check_count("n", n, low=1)
    check_count("fewest", fewest, low=0)
    items, numbers = np.unique(data.items, return_counts=True)
    often = set(items[numbers >= fewest].tolist()) if fewest else None
    found, scores = model.recommend(user, len(items))
    titles = data.titles or {}
    listed = [(item, score) for item, score in zip(found.tolist(), scores.tolist(), strict=True)]
    kept = [(titles.get(item, str(item)), score) for item, score in listed if often is None or item in often]
    return kept[:n]


def _errors(predicted: Array, truth: Array) -> Array:
    if len(predicted) != len(truth) or len(truth) == 0:
        raise InvalidDataError(
            f"predicted must hold one number for each of at least 1 rating. Got {len(predicted)} for {len(truth)}."
        )
    return np.asarray(predicted, dtype=np.float64) - np.asarray(truth, dtype=np.float64)
