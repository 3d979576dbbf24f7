"""Biased matrix factorisation by stochastic gradient descent: the model and the steps of scikit-surprise's SVD.

    r_ui = mean + b_u + b_i + q_i . p_u

    b_u += rate (e - decay b_u),   b_i += rate (e - decay b_i),   p_u += rate (e q_i - decay p_u),   q_i alike

one rating after the other in a new random order every epoch (Funk 2006; Koren, Bell & Volinsky 2009). It is the peer of
the ratings recipe. Steps that share no user and no item commute, so ratings are taken in levels: a rating's level is
one more than that of the last one before it with its user or its item. The result is that of the plain loop.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepbelief.data.ratings import Ratings
from deepbelief.errors import check_count

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Factors:
    """A fitted factorisation."""

    mean: float
    user_bias: Floats
    item_bias: Floats
    users: Floats
    items: Floats

    def predict(self, users: Integers, items: Integers, low: float, high: float) -> Floats:
        """Expected ratings, kept within the scale of the ratings."""
        inner = np.einsum("nf,nf->n", self.users[users], self.items[items])
        return np.clip(self.mean + self.user_bias[users] + self.item_bias[items] + inner, low, high)


def levels(users: Integers, items: Integers) -> list[Integers]:
    """Row numbers by level, each without a user or an item twice; the levels in turn keep every dependence.

    >>> [rows.tolist() for rows in levels(np.array([0, 1, 0, 1]), np.array([5, 6, 6, 7]))]
    [[0, 1], [2, 3]]
    """
    of_user, of_item = [0] * (int(users.max()) + 1), [0] * (int(items.max()) + 1)
    level = np.empty(len(users), dtype=np.int64)
    for row, (user, item) in enumerate(zip(users.tolist(), items.tolist(), strict=True)):
        level[row] = of_user[user] = of_item[item] = max(of_user[user], of_item[item]) + 1
    order = np.argsort(level, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(level[order])) + 1)


def fit_factors(
    data: Ratings,
    n_users: int,
    n_items: int,
    *,
    n_factors: int = 100,
    checks: Sequence[int] = (20,),
    rate: float = 0.005,
    decay: float = 0.02,
    seed: int = 0,
) -> Iterator[tuple[int, Factors]]:
    """The factors after each number of passes in `checks`, in rising order; the defaults are scikit-surprise's."""
    for name, number in (("n_users", n_users), ("n_items", n_items), ("n_factors", n_factors)):
        check_count(name, number, low=1)
    for number in checks:
        check_count("every number of checks", number, low=1)
    rng = np.random.default_rng(seed)
    found = Factors(
        float(data.values.mean()),
        np.zeros(n_users),
        np.zeros(n_items),
        rng.normal(0, 0.1, (n_users, n_factors)),
        rng.normal(0, 0.1, (n_items, n_factors)),
    )
    for passes in range(1, max(checks) + 1):
        shuffled = data.take(rng.permutation(len(data)))
        for rows in levels(shuffled.users, shuffled.items):
            _step(found, shuffled.take(rows), rate, decay)
        if passes in checks:
            yield passes, found


def _step(found: Factors, data: Ratings, rate: float, decay: float) -> None:
    u, i = data.users, data.items
    p, q, of_user, of_item = found.users[u], found.items[i], found.user_bias[u], found.item_bias[i]
    error = data.values - found.mean - of_user - of_item - np.einsum("nf,nf->n", p, q)
    found.user_bias[u] = of_user + rate * (error - decay * of_user)
    found.item_bias[i] = of_item + rate * (error - decay * of_item)
    found.users[u] = p + rate * (error[:, None] * q - decay * p)
    found.items[i] = q + rate * (error[:, None] * p - decay * q)
