"""The faces of the hybrids, a VAE under an RBM and RBMs under a VAE: learning, scores, saving, resuming."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.special import logsumexp
from sklearn.datasets import load_digits

from deepbelief import RBMVAE, VAE, VAEStack, load_estimator
from deepbelief.errors import InvalidArgumentError
from deepbelief.training.optimization import Descent

RNG = np.random.default_rng(0)
ALL_BITS = np.array([[n >> i & 1 for i in range(6)] for n in range(64)], dtype=np.float64)


def patterns(n: int = 300) -> Any:
    """Two causes, three noisy copies of each."""
    causes = RNG.random((n, 2)) < 0.5
    return (np.repeat(causes, 3, axis=1) ^ (RNG.random((n, 6)) < 0.05)).astype(float)


X = patterns()


def rbm_vae(**more: Any) -> RBMVAE:
    plan = {"hidden_layer_sizes": (16,), "epochs": 2, "learning_rate": 1e-2, "n_importance_samples": 50}
    return RBMVAE((3, 2), **{**plan, "n_steps": 2, "random_state": 0, "batch_size": 50, **more})


def vae_stack(**more: Any) -> VAEStack:
    plan = {"hidden_layer_sizes": (8,), "epochs": 2, "learning_rate": 0.3, "top_epochs": 2, "top_learning_rate": 1e-2}
    plan |= {"top_hidden_layer_sizes": (16,), "n_importance_samples": 50}
    return VAEStack(2, **{**plan, "random_state": 0, "batch_size": 50, **more})


LONG: dict[Any, dict[str, Any]] = {
    rbm_vae: {"epochs": 60},
    vae_stack: {"learning": "cd", "learning_rate": 1.0, "epochs": 60, "top_epochs": 60, "top_k": 3},
}
BOTH = pytest.mark.parametrize("make", [rbm_vae, vae_stack])


@pytest.mark.parametrize(
    "make", [rbm_vae, vae_stack, lambda: VAE(2, hidden_layer_sizes=(4,), epochs=1, random_state=0)]
)
def test_chains_of_any_length_average_their_last_three_quarters(make: Callable[..., Any]) -> None:
    model, known = make().fit(X), X[:9] > 0
    for n_steps, n_average in ((1, 1), (3, 3), (8, 6), (40, 30)):
        told = model.complete(X[:9], known, n_steps=n_steps, n_average=n_average, random_state=0)
        assert_array_equal(model.complete(X[:9], known, n_steps=n_steps, random_state=0), told)
    with pytest.raises(InvalidArgumentError, match="n_average must be at least 0 and at most 8"):
        model.complete(X[:9], known, n_steps=8, n_average=9)


@BOTH
def test_it_learns_more_than_the_rates_of_the_bits(make: Callable[..., Any]) -> None:
    model, new = make(**LONG[make]).fit(X), patterns(100)
    rate = X.mean(0)
    independent = (new * np.log(rate) + (1 - new) * np.log(1 - rate)).sum(1).mean()
    bound = model.log_likelihood(new)
    assert bound.kind == "lower_bound"
    assert model.score(new) - 6 * bound.stderr > independent + 0.5
    # estimates of the probabilities of all cases, from the same draws: they add up to 1 where these are many
    model.set_params(n_importance_samples=3000)
    assert abs(logsumexp(model.score_samples(ALL_BITS))) < 0.02
    draws = model.sample(500, random_state=1)
    assert abs(np.corrcoef(draws.T)[0, 1] - np.corrcoef(X.T)[0, 1]) < 0.3
    decoded = model.inverse_transform(model.transform(new))
    assert ((decoded - new) ** 2).sum(1).mean() < ((rate - new) ** 2).sum(1).mean()


@BOTH
def test_a_score_depends_on_the_case_alone(make: Callable[..., Any]) -> None:
    model = make().fit(X)
    assert_array_equal(model.score_samples(X[:9])[::-1], model.score_samples(X[:9][::-1]))  # which lies backwards
    assert_array_equal(model.log_likelihood(X[:9]).value.numpy(), model.score_samples(X[:9]))


@BOTH
def test_real_columns_are_scored_on_their_own_scale(make: Callable[..., Any]) -> None:
    x = RNG.normal(size=(200, 3)) * [1, 10, 0.1] + 5
    model = make().fit(x)
    twice = make().fit(2 * x)
    np.testing.assert_allclose(model.score_samples(x) - 3 * np.log(2), twice.score_samples(2 * x), rtol=1e-3, atol=1e-3)
    holes = np.where(np.arange(3) == 1, np.nan, x[:5])
    filled, twofold = (m.complete(h, n_steps=40, random_state=0) for m, h in ((model, holes), (twice, 2 * holes)))
    np.testing.assert_allclose(2 * filled, twofold, rtol=1e-3)


@BOTH
def test_what_was_saved_is_what_is_loaded(make: Callable[..., Any], tmp_path: Path) -> None:
    model = make().fit(X)
    model.save(tmp_path / "model")
    twin = load_estimator(tmp_path / "model")
    assert str(twin.get_params()) == str(model.get_params())
    for use in (
        lambda m: m.transform(X[:9]),
        lambda m: m.inverse_transform(m.transform(X[:9])),
        lambda m: m.sample(3, random_state=0),
        lambda m: m.score_samples(X[:9]),
    ):
        assert_array_equal(use(model), use(twin))


@BOTH
def test_a_stopped_fit_goes_on_as_if_never_stopped(
    make: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = make(averaging=0.9).fit(X)
    steps, step = iter(range(10_000)), Descent.step

    def stopping(descent: Descent, *given: Any, **named: Any) -> Any:
        if next(steps) == 8:
            raise KeyboardInterrupt
        return step(descent, *given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(Descent, "step", stopping)
        with pytest.raises(KeyboardInterrupt):
            type(whole)(**{**whole.get_params(), "checkpoint_dir": tmp_path}).fit(X)
    resumed = type(whole)(**whole.get_params()).fit(X, resume_from=tmp_path)
    assert_array_equal(whole.transform(X), resumed.transform(X))
    assert whole.history_[-1]["loss"] == resumed.history_[-1]["loss"]


def test_holes_are_filled_with_what_goes_with_the_rest() -> None:
    model = vae_stack(**LONG[vae_stack]).fit(X)
    holes = np.array([[1, 1, np.nan, 0, 0, np.nan], [0, np.nan, 0, np.nan, 1, 1]])
    filled = model.complete(holes, random_state=0)
    assert_array_equal(filled.round(), [[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]])
    assert_array_equal(filled[~np.isnan(holes)], holes[~np.isnan(holes)])
    masked = model.complete(np.nan_to_num(holes), ~np.isnan(holes), random_state=0)
    assert_array_equal(masked, filled)
    assert_array_equal(model.complete(holes, exact=True, random_state=0).round(), filled.round())
    assert model.complete(holes, n_steps=3).shape == holes.shape  # fewer steps than are averaged by default


def test_a_vae_of_bits_fills_digits_in() -> None:
    digits = (load_digits().data > 7).astype(float)
    model = rbm_vae(n_codes=2).fit(digits[:500])
    broken = digits[500:510].copy()
    broken[:, :20] = np.nan
    filled = model.complete(broken, n_steps=20, random_state=0)
    assert_array_equal(filled[:, 20:], broken[:, 20:])
    assert ((filled >= 0) & (filled <= 1)).all()
    assert model.log_z_.kind == "exact"


def test_residual_networks_are_kept(tmp_path: Path) -> None:
    model = rbm_vae(network="residual", hidden_layer_sizes=(8, 8)).fit(X)
    twin = load_estimator(model.save(tmp_path / "model"))
    assert "residual" in repr(twin)
    assert_array_equal(twin.transform(X[:9]), model.transform(X[:9]))


def test_more_groups_have_a_deep_belief_network_over_them(tmp_path: Path) -> None:
    model = rbm_vae(epochs=60).set_params(n_bits=(3, 2, 2)).fit(X)
    assert model.transform(X).shape == (len(X), 7)
    rate = X.mean(0)
    independent = (X * np.log(rate) + (1 - X) * np.log(1 - rate)).sum(1).mean()
    assert model.score(X) > independent + 0.5
    twin = load_estimator(model.save(tmp_path / "model"))
    assert_array_equal(twin.sample(3, random_state=0), model.sample(3, random_state=0))
    model.set_params(n_importance_samples=3000)
    assert abs(logsumexp(model.score_samples(ALL_BITS))) < 0.03


def test_pixels_that_hang_on_those_before_them(tmp_path: Path) -> None:
    """Runs of ones, of which a pixel's neighbour says more than one bit above can."""
    runs = np.repeat(RNG.random((400, 8)) < 0.5, 2, axis=1).astype(float)
    options: dict[str, Any] = {"image_shape": (4, 4), "epochs": 30}
    plain, model = rbm_vae(**options).fit(runs), rbm_vae(pixel_maps=4, **options).fit(runs)
    assert model.image_shape_ == (4, 4)
    assert plain.image_shape_ is None
    assert model.score(runs) > plain.score(runs) + 1
    drawn = model.sample(300, random_state=0)
    assert (drawn[:, ::2] == drawn[:, 1::2]).mean() > 0.9
    twin = load_estimator(model.save(tmp_path / "model"))
    assert_array_equal(twin.sample(3, random_state=0), model.sample(3, random_state=0))
    assert_array_equal(twin.score_samples(runs[:9])[::-1], model.score_samples(runs[:9][::-1]))
    holes = np.where(RNG.random((20, 16)) < 0.3, np.nan, runs[:20])
    filled = model.complete(holes, n_steps=30, n_average=20, random_state=0)
    assert_array_equal(filled[~np.isnan(holes)], runs[:20][~np.isnan(holes)])
    assert ((filled > 0.5) == runs[:20])[np.isnan(holes)].mean() > 0.8
    pictures = rbm_vae(pixel_maps=2).fit(runs.reshape(-1, 2, 8))
    assert pictures.module_.below.pixels.shape == (2, 8)
    assert rbm_vae(pixel_maps=2).fit(runs.reshape(-1, 1, 2, 8)).image_shape_ == (2, 8)


def test_wrong_use_is_told() -> None:
    with pytest.raises(InvalidArgumentError, match="pixel_maps must be at least 0"):
        rbm_vae(pixel_maps=-1).fit(X)
    with pytest.raises(InvalidArgumentError, match=r"pixel_maps must be 0 for data that are not in \[0, 1\]"):
        rbm_vae(pixel_maps=2).fit(RNG.normal(size=(50, 6)))
    with pytest.raises(InvalidArgumentError, match=r"pixel_maps must be 0 with Gaussian codes below\. Got n_codes=1"):
        rbm_vae(pixel_maps=2, n_codes=1).fit(X)
    with pytest.raises(InvalidArgumentError, match=r"pixel_maps must be 0 for pictures of several channels\. Got 3"):
        rbm_vae(pixel_maps=2).fit(RNG.random((50, 3, 2, 2)))
    with pytest.raises(InvalidArgumentError, match="n_bits must be two numbers"):
        RBMVAE((3,)).fit(X)
    with pytest.raises(InvalidArgumentError, match="k must be at least 2"):
        rbm_vae(gradient="vimco", k=1).fit(X)
    with pytest.raises(InvalidArgumentError, match="n_components must be at least 1"):
        VAEStack(0).fit(X)
