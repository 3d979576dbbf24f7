"""Measures of a recommender against plain sums, and lists of titles."""

from itertools import product
from typing import Any

import numpy as np
import pytest

from deepbelief.applications.recommendation import evaluate, ranked_pairs, titles_for
from deepbelief.data.ratings import Ratings
from deepbelief.errors import InvalidDataError

RNG = np.random.default_rng(1)
DATA = Ratings(
    RNG.integers(0, 5, 60),
    RNG.integers(0, 8, 60),
    RNG.integers(1, 6, 60).astype(float),
    {item: f"Film {item}" for item in range(8)},
)


class Fixed:
    """Predicts the same for everyone: the item's number, halved."""

    def predict(self, X: Any) -> np.ndarray:
        return (np.asarray(X)[:, 1] // 2).astype(float)

    def recommend(self, user: Any, n: int = 10, *, seen: bool = False) -> tuple[np.ndarray, np.ndarray]:
        return np.arange(7, -1, -1)[:n], np.arange(7, -1, -1)[:n] / 2.0


def test_measures_are_the_plain_sums() -> None:
    predicted, found = Fixed().predict(DATA.pairs), evaluate(Fixed(), DATA)
    errors = [float(p - t) for p, t in zip(predicted, DATA.values, strict=True)]
    assert found["root_mean_squared_error"] == pytest.approx((sum(e * e for e in errors) / 60) ** 0.5)
    assert found["mean_absolute_error"] == pytest.approx(sum(abs(e) for e in errors) / 60)
    right = total = 0.0
    for i, j in product(range(60), range(60)):
        if DATA.users[i] == DATA.users[j] and DATA.values[i] > DATA.values[j]:
            total += 1
            right += 1.0 if predicted[i] > predicted[j] else 0.5 if predicted[i] == predicted[j] else 0.0
    assert found["ranked_pairs"] == pytest.approx(right / total)
    assert np.isnan(ranked_pairs(np.ones(2), np.ones(2), np.zeros(2)))


def test_titles_come_best_first_and_only_of_items_with_ratings() -> None:
    assert titles_for(Fixed(), DATA, 0, 2) == [("Film 7", 3.5), ("Film 6", 3.0)]
    often = {int(item) for item in range(8) if (DATA.items == item).sum() >= 8}
    assert {title for title, _ in titles_for(Fixed(), DATA, 0, 8, fewest=8)} == {f"Film {item}" for item in often}


def test_lengths_must_fit() -> None:
    with pytest.raises(InvalidDataError, match="one number for each"):
        ranked_pairs(np.ones(2), np.ones(3), np.zeros(3))
