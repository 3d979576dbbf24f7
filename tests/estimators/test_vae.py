"""`VAE`, plain and conditional, in scikit-learn's manner."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse, stats
from sklearn.datasets import load_digits

from deepbelief.autoencoders.elbo import ELBO
from deepbelief.errors import InvalidArgumentError, InvalidDataError
from deepbelief.estimators import generative
from deepbelief.estimators.storage import load_estimator
from deepbelief.estimators.vae import VAE
from tests.oracle.pvalues import FALSE_ALARM

Array = NDArray[Any]


@pytest.fixture(scope="module")
def digits() -> tuple[Array, Array]:
    x, y = load_digits(return_X_y=True)
    return (x > 7).astype(np.float32), y


@pytest.fixture(scope="module")
def plain(digits: tuple[Array, Array]) -> VAE:
    plan: dict[str, Any] = {"hidden_layer_sizes": (64,), "epochs": 15, "learning_rate": 5e-3}
    return VAE(8, **plan, averaging=0.99, n_importance_samples=50, random_state=0).fit(digits[0][:1200])


def test_codes_know_the_digits_and_decode(plain: VAE, digits: tuple[Array, Array]) -> None:
    x = digits[0][1200:]
    codes = plain.transform(x)
    assert np.array_equal(codes, plain.transform(x))
    error = ((plain.inverse_transform(codes) - x) ** 2).sum(1).mean()
    assert error < 0.7 * ((digits[0][:1200].mean(0) - x) ** 2).sum(1).mean()
    assert list(plain.get_feature_names_out())[:2] == ["vae0", "vae1"]


def test_scores_tell_data_from_noise(plain: VAE, digits: tuple[Array, Array]) -> None:
    x = digits[0][1200:1300]
    shuffled = np.random.default_rng(0).permuted(x, axis=1)
    assert stats.mannwhitneyu(plain.score_samples(x), plain.score_samples(shuffled)).pvalue < FALSE_ALARM
    assert plain.score(x) > plain.score(shuffled)
    assert plain.history_[-1]["bound"] > plain.history_[0]["bound"]


def test_annealing_is_tighter_than_samples_and_repeats(plain: VAE, digits: tuple[Array, Array]) -> None:
    x = digits[0][1200:1300]
    walked, samples = plain.annealed_log_likelihood(x, n_temperatures=60), plain.log_likelihood(x)
    assert walked.kind == samples.kind == "lower_bound"
    assert float(walked) > float(samples) + 3 * walked.stderr
    again = plain.annealed_log_likelihood(x, n_temperatures=60)
    assert np.array_equal(again.value, walked.value)  # type: ignore[arg-type]
    other = plain.annealed_log_likelihood(x, n_temperatures=60, random_state=1)
    assert 0 < abs(float(other) - float(walked)) < 6 * (other.stderr + walked.stderr)


def test_completion_keeps_what_is_known(plain: VAE, digits: tuple[Array, Array]) -> None:
    x = digits[0][1200:1230].copy()
    x[:, 40:] = np.nan
    filled = plain.complete(x, n_steps=40, n_average=20, random_state=0)
    assert np.array_equal(filled[:, :40], x[:, :40])
    truth = digits[0][1200:1230, 40:]
    assert ((filled[:, 40:] - truth) ** 2).sum() < ((digits[0][:1200].mean(0)[40:] - truth) ** 2).sum()


@pytest.mark.parametrize("network", ["dense", "residual", "convolutional"])
def test_a_conditional_model_draws_what_it_is_asked_for(
    network: str, digits: tuple[Array, Array], tmp_path: Path
) -> None:
    x, y = digits
    names = np.array(["zero", "one"])
    x, y = x[y < 2], names[y[y < 2]]
    vae = VAE(2, hidden_layer_sizes=(32,), channels=(8,), network=network, conditional=True, random_state=0)
    vae.set_params(epochs=20, learning_rate=1e-2, n_importance_samples=20, batch_size=50).fit(x, y)
    means = {name: vae.sample(200, label=name, random_state=1).mean(0) for name in names}
    true = {name: x[y == name].mean(0) for name in names}
    for name, other in (("zero", "one"), ("one", "zero")):
        assert ((means[name] - true[name]) ** 2).sum() < ((means[name] - true[other]) ** 2).sum() / 4
    assert vae.score(x, y) > vae.score(x, names[(y == "zero").astype(int)])
    vae.save(tmp_path / "vae")
    twin = load_estimator(tmp_path / "vae")
    for use in (
        lambda m: m.transform(x, y),
        lambda m: m.inverse_transform(m.transform(x[:5], y[:5]), "one"),
        lambda m: m.sample(3, label=["one", "zero", "one"], random_state=0),
        lambda m: m.complete(x[:3], x[:3] > 0, y=y[:3], random_state=0, n_steps=4, n_average=2),
        lambda m: m.score_samples(x[:9], y[:9]),
    ):
        assert np.array_equal(use(vae), use(twin))


@pytest.mark.parametrize("prior", ["normal", "conditional"])
def test_vectors_condition_too_and_real_columns_are_scored_on_their_own_scale(prior: str) -> None:
    rng = np.random.default_rng(0)
    c = rng.normal(size=(400, 1))
    x = 5 + 10 * np.hstack([c, -c]) + rng.normal(size=(400, 2))
    plan: dict[str, Any] = {"epochs": 60, "learning_rate": 1e-2, "random_state": 0, "n_importance_samples": 100}
    plan |= {"hidden_layer_sizes": (16,), "activation": "tanh", "prior": prior}
    vae = VAE(1, conditional=True, **plan).fit(x, c)
    best = stats.norm.logpdf(x, 5 + 10 * np.hstack([c, -c]), 1).sum(1).mean()
    unconditional = stats.multivariate_normal.logpdf(x, x.mean(0), np.cov(x.T)).mean()
    assert unconditional < vae.score(x, c) < best + 0.1
    walked = vae.annealed_log_likelihood(x, c, n_temperatures=30)
    assert vae.score(x, c) - 6 * walked.stderr < float(walked) < best + 0.1
    draws = vae.sample(500, label=[0.5], random_state=0)
    assert np.allclose(draws.mean(0), [10, 0], atol=2)


def test_completions_are_those_of_each_cases_own_condition(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 300)
    x = np.repeat(y[:, None], 6, 1) * (rng.random((300, 6)) < 0.95)
    vae = VAE(1, hidden_layer_sizes=(8,), conditional=True, epochs=30, learning_rate=1e-2, random_state=0).fit(x, y)
    monkeypatch.setattr(generative, "CHUNK", 40)  # more cases than are filled in at a time
    for cases in (x[:100], sparse.csr_matrix(x[:100])):
        filled = vae.complete(cases, np.zeros(x[:100].shape, dtype=bool), y=y[:100], n_steps=20, n_average=20)
        assert np.array_equal(filled.mean(1) > 0.5, y[:100])


def test_pseudo_inputs_take_any_vector_as_their_condition() -> None:
    c = 5 + 10 * np.random.default_rng(0).normal(size=(300, 2))  # far outside of the unit interval of the bits
    x = (c[:, [0, 0, 1, 1]] > 5).astype(np.float32)
    plan: dict[str, Any] = {"prior": "vamp", "n_prior_components": 4, "n_importance_samples": 20, "epochs": 1}
    vae = VAE(2, hidden_layer_sizes=(8,), conditional=True, random_state=0, **plan).fit(x, c)
    data, beside = np.split(vae.module_.prior.inputs.detach().numpy(), [4], axis=1)
    assert 0 < data.min() < data.max() < 1
    assert np.abs(c[:, None] - beside).max(2).min(0).max() < 0.5  # each stands at a case's own condition
    assert np.isfinite(vae.score_samples(x, c)).all()


def test_a_stopped_fit_goes_on_as_if_never_stopped(
    digits: tuple[Array, Array], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, step = digits[0][:200], ELBO.step
    plan: dict[str, Any] = {"hidden_layer_sizes": ((8,), (6,)), "prior": "vamp", "n_prior_components": 5, "k": 2}
    plan |= {"epochs": 4, "random_state": 0}
    whole = VAE((3, 2), **plan).fit(x)
    steps = iter(range(100))

    def stopping(procedure: ELBO, batch: Any, context: Any) -> Any:
        if next(steps) == 5:
            raise KeyboardInterrupt
        return step(procedure, batch, context)

    with monkeypatch.context() as patch:
        patch.setattr(ELBO, "step", stopping)
        with pytest.raises(KeyboardInterrupt):
            VAE((3, 2), **plan, checkpoint_dir=tmp_path).fit(x)
    resumed = VAE((3, 2), **plan).fit(x, resume_from=tmp_path)
    assert np.array_equal(whole.transform(x), resumed.transform(x))


def test_wrong_use_is_told(digits: tuple[Array, Array]) -> None:
    x, y = digits[0][:50], digits[1][:50]
    quick: dict[str, Any] = {"epochs": 1, "hidden_layer_sizes": (4,), "random_state": 0}
    with pytest.raises(InvalidDataError, match="requires y to be passed"):
        VAE(conditional=True, **quick).fit(x)
    vae = VAE(2, conditional=True, **quick).fit(x, y)
    with pytest.raises(InvalidArgumentError, match="y must be the condition of a conditional model"):
        vae.sample(2)
    with pytest.raises(InvalidDataError, match=r"y must hold labels that were there in fit.*Got 77"):
        vae.sample(2, label=77)
    with pytest.raises(InvalidArgumentError, match=r"label must be None for a model without\. Got label=3"):
        VAE(2, **quick).fit(x).sample(2, label=3)
    with pytest.raises(InvalidArgumentError, match="n_components must be one number for convolutional"):
        VAE((3, 2), network="convolutional", **quick).fit(x)
    with pytest.raises(InvalidDataError, match="image_shape must hold 64 pixels"):
        VAE(2, network="convolutional", image_shape=(5, 5), **quick).fit(x)
    with pytest.raises(InvalidArgumentError, match="prior must be one of"):
        VAE(2, prior="normla", **quick).fit(x)
    with pytest.raises(InvalidArgumentError, match="prior must be another than 'conditional' for a model without"):
        VAE(2, prior="conditional", **quick).fit(x)
