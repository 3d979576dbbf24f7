"""`GenerativePipeline`: steps learned on the codes below, drawn from the top down, kept in a folder, not scored."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import MinMaxScaler, Normalizer

from deepbelief import GAN, RBM, VAE, Autoencoder, DeepBeliefNetwork, GenerativePipeline, load_estimator
from deepbelief.errors import InvalidArgumentError, StorageError

X = (load_digits().data[:300] > 7).astype(np.float32)
CODES = Autoencoder((16, 6), epochs=3, random_state=0)


def mixtures() -> dict[str, GenerativePipeline]:
    """What stands on what."""
    quick = {"epochs": 2, "random_state": 0}
    return {
        "autoencoder, RBM": GenerativePipeline([("codes", clone(CODES)), ("law", RBM(8, **quick))]),
        "RBM, RBM, GAN": GenerativePipeline(
            [("first", RBM(20, **quick)), ("second", RBM(10, **quick)), ("top", GAN(4, **quick))]
        ),
        "DBN, VAE": GenerativePipeline([("net", DeepBeliefNetwork((20, 10), **quick)), ("top", VAE(3, **quick))]),
        "VAE, RBM": GenerativePipeline([("codes", VAE(5, **quick)), ("law", RBM(8, **quick))]),
        "scaled, VAE": GenerativePipeline(
            [("scaled", MinMaxScaler()), ("none", "passthrough"), ("top", VAE(3, **quick))]
        ),
    }


@pytest.mark.parametrize("name", mixtures())
def test_each_step_learns_on_the_codes_below_and_draws_come_down(name: str) -> None:
    pipeline = mixtures()[name].fit(X)
    codes, alone = X, [step for _, step in mixtures()[name].steps if step != "passthrough"]
    for step in alone:
        codes = clone(step).fit(codes).transform(codes) if hasattr(step, "transform") else codes
    if hasattr(alone[-1], "transform"):
        np.testing.assert_array_equal(pipeline.transform(X), codes)
    drawn = pipeline.sample(5, random_state=3)
    below = pipeline[-1].sample(5, random_state=3)
    np.testing.assert_array_equal(drawn, pipeline[:-1].inverse_transform(below))
    assert drawn.shape == (5, 64)


def test_pixels_of_draws_go_together_as_in_the_data() -> None:
    """An RBM over an autoencoder's codes: half of the way to the data's correlations; shuffled columns have none."""
    steps = [("codes", Autoencoder((40, 10), epochs=150, random_state=0)), ("law", RBM(30, epochs=150, random_state=0))]
    drawn = GenerativePipeline(steps).fit(X).sample(1000, random_state=0, n_steps=200)
    shuffled = np.random.default_rng(0).permuted(drawn, axis=0)
    assert agreement(drawn) > 0.5 > 0.1 > abs(agreement(shuffled))


def agreement(drawn: np.ndarray) -> float:
    """The correlation of the correlations of pixels, in draws and in data."""
    varying = (X.std(0) > 0.1) & (drawn.std(0) > 1e-6)
    true, found = np.corrcoef(X[:, varying].T), np.corrcoef(drawn[:, varying].T)
    off = ~np.eye(len(true), dtype=bool)
    return float(np.corrcoef(true[off], found[off])[0, 1])


def test_no_likelihood_of_codes_passes_for_one_of_the_data() -> None:
    pipeline = mixtures()["autoencoder, RBM"].fit(X)
    assert not hasattr(pipeline, "score")
    assert not hasattr(pipeline, "score_samples")
    y = load_digits().target[:300]
    classifier = GenerativePipeline([("codes", RBM(20, epochs=2, random_state=0)), ("top", LogisticRegression())])
    assert classifier.fit(X, y).score(X, y) == (classifier.predict(X) == y).mean()
    assert not hasattr(classifier, "sample")
    assert not hasattr(GenerativePipeline([("one way", Normalizer()), ("law", RBM(3))]), "sample")


def test_a_saved_pipeline_is_the_same(tmp_path: Path) -> None:
    pipeline = mixtures()["RBM, RBM, GAN"].fit(X)
    loaded = load_estimator(pipeline.save(tmp_path / "model"))
    assert [name for name, _ in loaded.steps] == ["first", "second", "top"]
    np.testing.assert_array_equal(loaded.sample(4, random_state=0), pipeline.sample(4, random_state=0))
    np.testing.assert_array_equal(loaded[:-1].transform(X), pipeline[:-1].transform(X))
    assert clone(loaded).fit(X[:50]) is not None


def test_what_cannot_be_kept_or_was_changed(tmp_path: Path) -> None:
    foreign = GenerativePipeline([("pca", PCA(3)), ("law", RBM(3, epochs=1, random_state=0))]).fit(X)
    with pytest.raises(InvalidArgumentError, match=r"steps must be of .* Got PCA\. Save the estimators"):
        foreign.save(tmp_path / "foreign")
    assert not (tmp_path / "foreign").exists()
    folder = mixtures()["VAE, RBM"].fit(X).save(tmp_path / "model")
    other = RBM(8, epochs=1, random_state=1).fit(VAE(5, epochs=1, random_state=0).fit_transform(X))
    other.save(folder / "inner" / "1")
    with pytest.raises(StorageError, match="must belong to the weights beside it"):
        load_estimator(folder)
    record = json.loads((folder / "estimator.json").read_text())
    record["fitted"] = {}
    (folder / "estimator.json").write_text(json.dumps(record))
    with pytest.raises(StorageError):
        load_estimator(folder)


def test_counts_get_their_sentence() -> None:
    with pytest.raises(InvalidArgumentError, match="n_samples must be"):
        mixtures()["VAE, RBM"].fit(X).sample(0)
