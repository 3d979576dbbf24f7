"""The recommender: what it takes, what it says of the unknown, saving; and that its predictions are the module's."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from deepbelief import RatingsRBM, load_estimator
from deepbelief.errors import InvalidArgumentError, InvalidDataError

RNG = np.random.default_rng(0)
USERS, ITEMS = RNG.integers(0, 25, 400), RNG.integers(0, 12, 400)
VALUES = 1.0 + 3 * ((USERS + ITEMS) % 2) + RNG.integers(0, 2, 400)
TRIPLES = np.stack([USERS, ITEMS, VALUES], 1)


def fitted(**settings: Any) -> RatingsRBM:
    options = {"n_components": 4, "epochs": 20, "batch_size": 6, "learning_rate": 0.05, "random_state": 0, **settings}
    return RatingsRBM(**options).fit(TRIPLES)


def test_it_learns_who_likes_what() -> None:
    for settings in ({}, {"cases": "users", "hidden": "bernoulli", "shrinkage": None}):
        model = fitted(**settings)
        assert model.score(TRIPLES) > -0.8, settings  # the noise alone is 0.5, the two tastes 1.5 more


def test_predictions_are_the_exact_conditionals_of_the_module() -> None:
    for cases in ("items", "users"):
        model = fitted(epochs=2, cases=cases)
        dense = torch.from_numpy(model._matrix().toarray())
        pairs = np.array([[user, item] for user in range(25) for item in range(12)])
        places = torch.from_numpy(pairs)
        rows, columns = (places[:, 1], places[:, 0]) if cases == "items" else (places[:, 0], places[:, 1])
        with torch.no_grad():
            wanted = model.module_.expected(dense, rows, columns)
        np.testing.assert_allclose(model.predict(pairs), wanted.numpy(), rtol=1e-5)
        known = model.items_ if cases == "items" else model.users_
        np.testing.assert_allclose(model.transform(known), model.module_.encode(dense).detach().numpy(), atol=1e-6)


def test_triples_pairs_and_matrices_say_the_same() -> None:
    matrix = sparse.coo_array((VALUES, (USERS, ITEMS)), shape=(25, 12))
    kept = sparse.lil_array((25, 12))
    for user, item, value in TRIPLES:  # of two ratings of one pair the last one holds
        kept[int(user), int(item)] = value
    options = {"n_components": 3, "epochs": 2, "random_state": 0}
    wanted = RatingsRBM(**options).fit(TRIPLES).predict(TRIPLES[:, :2])
    pairs = RatingsRBM(**options).fit(TRIPLES[:, :2].astype(int), VALUES)
    names = [(f"u{user:02.0f}", f"i{item:02.0f}", value) for user, item, value in TRIPLES]
    assert np.array_equal(pairs.predict(TRIPLES[:, :2]), wanted)
    assert np.array_equal(RatingsRBM(**options).fit(kept.tocsr()).predict(TRIPLES[:, :2]), wanted)
    assert np.array_equal(RatingsRBM(**options).fit(names).predict([row[:2] for row in names]), wanted)
    assert matrix.nnz == len(VALUES)


def test_unknown_users_and_items_get_an_answer() -> None:
    model = fitted()
    found = model.predict([[0, 99], [99, 0], [99, 99]])
    assert np.isfinite(found).all()
    values = model.ratings_[model._codes - 1]
    assert found[1] == pytest.approx(values[model._rows == 0].mean())
    assert found[2] == pytest.approx(values.mean())


def test_recommendations_are_the_best_of_what_was_not_rated() -> None:
    model = fitted()
    user = 3
    rated = set(ITEMS[user == USERS].tolist())
    items, scores = model.recommend(user, 12)
    assert set(items.tolist()) == set(range(12)) - rated
    assert (np.diff(scores) <= 0).all()
    np.testing.assert_allclose(scores, model.predict([[user, item] for item in items]))
    assert len(model.recommend(user, 12, seen=True)[0]) == 12


def test_it_is_saved_cloned_and_resumed(tmp_path: Path) -> None:
    model = fitted(epochs=3, checkpoint_dir=tmp_path / "checkpoint")
    loaded = load_estimator(model.save(tmp_path / "model"))
    assert np.array_equal(loaded.predict(TRIPLES[:, :2]), model.predict(TRIPLES[:, :2]))
    assert clone(model).get_params()["n_components"] == 4
    again = RatingsRBM(**model.get_params()).fit(TRIPLES, resume_from=tmp_path / "checkpoint")
    assert np.array_equal(again.predict(TRIPLES[:, :2]), model.predict(TRIPLES[:, :2]))


def test_what_it_cannot_take_is_refused() -> None:
    with pytest.raises(InvalidDataError, match="X must be triples"):
        RatingsRBM().fit(np.zeros((3, 2)))
    with pytest.raises(InvalidDataError, match="2 to 100 values"):
        RatingsRBM().fit([[0, 0, 1.0], [1, 0, 1.0]])
    with pytest.raises(InvalidDataError, match="finite"):
        RatingsRBM().fit([[0, 0, 1.0], [1, 0, float("nan")]])
    with pytest.raises(InvalidArgumentError, match="cases must be one of"):
        RatingsRBM(cases="films").fit(TRIPLES)
    with pytest.raises(InvalidArgumentError, match="user must be one"):
        fitted(epochs=0).recommend(99)
    with pytest.raises(NotFittedError):
        RatingsRBM().predict([[0, 0]])
