"""The factorisation by levels is the plain loop over ratings, number by number."""

import numpy as np

from deepbelief.data.ratings import Ratings
from deepbelief.evaluation.biased_factors import fit_factors, levels


def test_levels_equal_the_loop_over_single_ratings() -> None:
    rng = np.random.default_rng(0)
    data = Ratings(rng.integers(0, 6, 80), rng.integers(0, 9, 80), rng.integers(1, 6, 80).astype(float))
    ((_, found),) = fit_factors(data, 6, 9, n_factors=3, checks=(2,))
    rng = np.random.default_rng(0)
    mean, p, q = data.values.mean(), rng.normal(0, 0.1, (6, 3)), rng.normal(0, 0.1, (9, 3))
    of_user, of_item = np.zeros(6), np.zeros(9)
    for _ in range(2):
        for row in rng.permutation(80):
            u, i = data.users[row], data.items[row]
            error = data.values[row] - mean - of_user[u] - of_item[i] - p[u] @ q[i]
            of_user[u], of_item[i] = (
                of_user[u] + 0.005 * (error - 0.02 * of_user[u]),
                of_item[i] + 0.005 * (error - 0.02 * of_item[i]),
            )
            p[u], q[i] = p[u] + 0.005 * (error * q[i] - 0.02 * p[u]), q[i] + 0.005 * (error * p[u] - 0.02 * q[i])
    np.testing.assert_allclose(found.user_bias, of_user)
    np.testing.assert_allclose(found.items, q)


def test_no_level_holds_a_user_or_an_item_twice() -> None:
    rng = np.random.default_rng(1)
    users, items = rng.integers(0, 20, 300), rng.integers(0, 30, 300)
    found = levels(users, items)
    assert sorted(np.concatenate(found).tolist()) == list(range(300))
    for rows in found:
        assert len(set(users[rows])) == len(rows) == len(set(items[rows]))
