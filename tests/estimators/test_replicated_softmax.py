"""Topics behind scikit-learn's face: planted topics are found, sparse counts are dense ones, fits resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse

from deepbelief import ReplicatedSoftmax
from deepbelief.errors import InvalidArgumentError, InvalidDataError

WORDS = ["ball", "goal", "team", "vote", "party", "law"]


def planted() -> NDArray[np.int64]:
    """Documents about sport or about politics."""
    random = np.random.default_rng(0)
    shares = [[0.4, 0.3, 0.3, 0, 0, 0], [0, 0, 0, 0.3, 0.3, 0.4]]
    return np.array([random.multinomial(random.integers(5, 15), shares[i % 2]) for i in range(200)])


X = planted()


@pytest.fixture(scope="module")
def topics() -> Any:
    return ReplicatedSoftmax(2, epochs=60, learning_rate=0.03, random_state=0).fit(X)


def test_planted_topics_are_found(topics: Any) -> None:
    lists = topics.top_words(WORDS, 3)
    assert any(set(words) in ({*WORDS[:3]}, {*WORDS[3:]}) for words in lists)
    found = topics.perplexity(X)
    unigram = np.exp(-np.mean((X @ np.log(X.sum(0) / X.sum())) / X.sum(1)))
    assert found.kind == "exact"
    assert found.value < unigram - 1
    codes = topics.transform(X)
    assert np.abs(codes[0::2].mean(0) - codes[1::2].mean(0)).max() > 0.5


def test_sparse_and_dense_counts_give_the_same(topics: Any) -> None:
    again = ReplicatedSoftmax(2, epochs=60, learning_rate=0.03, random_state=0).fit(sparse.csr_matrix(X))
    np.testing.assert_allclose(again.transform(sparse.csr_array(X)), topics.transform(X), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(again.get_feature_names_out(), ["replicatedsoftmax0", "replicatedsoftmax1"])


def test_samples_have_the_length_that_was_asked_for(topics: Any) -> None:
    drawn = topics.sample(5, length=9, n_steps=20)
    assert drawn.shape == (5, 6)
    assert (drawn.sum(1) == 9).all()
    np.testing.assert_array_equal(drawn, topics.sample(5, length=9, n_steps=20))


def test_scores_are_log_probabilities_and_estimates_say_so(topics: Any) -> None:
    scores = topics.score_samples(X)
    assert scores.shape == (200,)
    assert (scores < 0).all()
    assert topics.score(X) == pytest.approx(scores.mean())
    many = ReplicatedSoftmax(13, epochs=1, log_z_chains=20, random_state=0).fit(X).perplexity(X[:20])
    assert many.kind == "estimate"
    assert many.low <= many.value <= many.high
    assert many.stderr > 0


def test_a_fit_that_resumes_is_as_if_it_had_never_stopped(tmp_path: Path) -> None:
    options: Any = {"learning": "pcd", "schedule": "constant", "random_state": 0}
    whole = ReplicatedSoftmax(3, epochs=4, **options).fit(X)
    half = ReplicatedSoftmax(3, epochs=2, checkpoint_dir=tmp_path, **options).fit(X)
    again = half.set_params(epochs=4).fit(X, resume_from=tmp_path)
    np.testing.assert_array_equal(again.transform(X), whole.transform(X))


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda t: t.fit(-X), InvalidDataError, r"counts of at least 0\. Got -"),
        (lambda t: t.fit(X[:, :1]), InvalidDataError, r"at least 2 words\. Got n_features=1"),
        (lambda t: t.perplexity(X / 2), InvalidDataError, r"whole numbers of at least 0.*Give word counts"),
        (lambda t: t.top_words(["one"]), InvalidDataError, r"vocabulary must hold 6 words.*Got 1"),
        (lambda t: t.top_words(WORDS, 7), InvalidArgumentError, r"n must be at least 1 and at most 6\. Got n=7"),
        (lambda t: ReplicatedSoftmax(2, learning="exact").fit(X), InvalidArgumentError, "learning must be one of"),
        (lambda t: ReplicatedSoftmax(2, objective="topic").fit(X), InvalidArgumentError, "objective must be one of"),
    ],
)
def test_wrong_use_gets_a_sentence(topics: Any, call: Any, error: type[Exception], sentence: str) -> None:
    topics = ReplicatedSoftmax(2, epochs=1).fit(X) if "fit" in call.__code__.co_names else topics
    with pytest.raises(error, match=sentence):
        call(topics)


@pytest.mark.parametrize(("visible", "n_values"), [("binomial", 17), ("poisson", None), ("rectified", None)])
def test_the_rbm_takes_counts_and_positive_numbers(visible: str, n_values: int | None) -> None:
    from deepbelief import RBM

    rbm = RBM(3, visible=visible, n_values=n_values, epochs=5, learning_rate=0.01, random_state=0).fit(X)
    assert rbm.log_likelihood(X).kind == "exact"
    assert np.isfinite(rbm.score_samples(X)).all()
    assert (rbm.sample(4, n_steps=5) >= 0).all()
    with pytest.raises(InvalidArgumentError, match="must stand beside units of bounded values"):
        RBM(3, visible="poisson", hidden="gaussian").fit(X)
