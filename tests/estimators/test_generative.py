"""RBM and DeepBeliefNetwork: samples, completions, scores, scales, weights, resuming."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy import sparse, stats
from sklearn.base import clone
from sklearn.datasets import load_digits

from deepbelief.energy.partition.exact import exact_log_z
from deepbelief.errors import InvalidArgumentError, InvalidDataError, StorageError
from deepbelief.estimators.network import DeepBeliefNetwork
from deepbelief.estimators.rbm import RBM
from deepbelief.training.trainer import Trainer
from tests.training.stops import StopAt

FALSE_ALARM = 1e-6
DIGITS = load_digits().data / 16
BITS = (DIGITS > 0.5).astype(np.float32)
PATTERNS = np.repeat([[0.0, 0, 1, 1], [1, 1, 0, 0]], 50, axis=0)
REAL = np.random.RandomState(0).randn(200, 3) * [1, 10, 0.1] + [5, -3, 100]
KINDS = [RBM(6, epochs=2, random_state=0), DeepBeliefNetwork((6, 5), epochs=2, random_state=0)]
both = pytest.mark.parametrize("model", KINDS, ids=lambda model: type(model).__name__)


@both
def test_images_tensors_frames_and_sparse_rows_are_the_same_data(model: Any) -> None:
    expected = clone(model).fit(BITS).transform(BITS)
    frame = pd.DataFrame(BITS, columns=[f"pixel {i}" for i in range(64)])
    for other in (BITS.reshape(-1, 8, 8), torch.from_numpy(BITS), sparse.csr_matrix(BITS), frame, pl.DataFrame(frame)):
        np.testing.assert_allclose(clone(model).fit(other).transform(other), expected, rtol=1e-5)
    named = clone(model).fit(frame)
    assert named.feature_names_in_[1] == "pixel 1"
    with pytest.raises(ValueError, match="feature names"):
        named.transform(frame.rename(columns={"pixel 1": "x"}))


@both
def test_shapes_and_types(model: Any) -> None:
    fitted = clone(model).fit(BITS)
    codes = fitted.transform(BITS[:7])
    assert codes.shape == (7, len(fitted.get_feature_names_out()))
    assert fitted.inverse_transform(codes).shape == (7, 64)
    assert fitted.sample(3, n_steps=5).shape == (3, 64)
    assert set(np.unique(fitted.sample(3, n_steps=5))) <= {0.0, 1.0}
    assert fitted.transform(BITS[:2].astype(float)).dtype == np.float64
    assert fitted.transform(BITS[:2].astype(np.uint8)).dtype == np.float32


@both
def test_an_integer_random_state_repeats_everything(model: Any) -> None:
    first, second = (clone(model).fit(BITS) for _ in range(2))
    for name, value in first.module_.state_dict().items():
        assert torch.equal(value, second.module_.state_dict()[name])
    np.testing.assert_array_equal(first.sample(4, n_steps=3), second.sample(4, n_steps=3))
    assert (first.sample(4, n_steps=3) != first.sample(4, n_steps=3, random_state=1)).any()
    np.testing.assert_array_equal(first.score_samples(BITS[:20]), second.score_samples(BITS[:20]))


@both
def test_completion_keeps_what_is_known_and_fills_the_rest(model: Any) -> None:
    fitted = clone(model).set_params(epochs=200, batch_size=10, learning_rate=0.2).fit(PATTERNS)
    holes = np.array([[1.0, np.nan, 0.0, 0.0], [0.0, 0.0, 1.0, np.nan]])
    filled = fitted.complete(holes)
    np.testing.assert_array_equal(filled.round(), [[1, 1, 0, 0], [0, 0, 1, 1]])
    np.testing.assert_array_equal(filled[~np.isnan(holes)], holes[~np.isnan(holes)])
    masked = fitted.complete(np.nan_to_num(holes), ~np.isnan(holes))
    np.testing.assert_array_equal(masked, filled)
    with pytest.raises(InvalidDataError, match="known must be booleans"):
        fitted.complete(holes, np.ones(4))
    with pytest.raises(InvalidDataError, match="False where X is NaN"):
        fitted.complete(holes, np.ones(4, dtype=bool))


def test_score_of_an_rbm_is_its_exact_log_likelihood() -> None:
    model = RBM(5, epochs=5, random_state=0).fit(PATTERNS)
    rbm = model.module_.double()
    expected = -rbm.free_energy(torch.from_numpy(PATTERNS)).detach().numpy() - float(exact_log_z(rbm))
    np.testing.assert_allclose(model.score_samples(PATTERNS), expected, rtol=1e-10)
    assert model.score(PATTERNS) == pytest.approx(expected.mean())
    assert model.log_likelihood(PATTERNS).kind == model.log_z_.kind == "exact"


def test_log_z_is_kept_until_the_next_fit() -> None:
    model = RBM(5, epochs=1, random_state=0).fit(PATTERNS)
    before = model.log_z_
    assert model.log_z_ is before
    model.partial_fit(PATTERNS)
    assert model.log_z_ is not before


def test_bound_of_a_network_lies_below_its_likelihood() -> None:
    """A 2-layer network over 4 bits: p(v) = sum over h1 of p(v | h1) p(h1), enumerated."""
    model = DeepBeliefNetwork((3, 2), epochs=100, learning_rate=0.2, random_state=0).fit(PATTERNS)
    bottom, top = model.module_.double().layers
    h = torch.cat(list(top.visible.states()))
    prior = torch.softmax(-top.free_energy(h), 0)
    v = torch.from_numpy(PATTERNS[[0, -1]])
    given = torch.stack([bottom.visible.log_prob(v, bottom.input_v_from_h(row.expand(2, -1))) for row in h], 1)
    exact = torch.logsumexp(given + prior.log(), 1).detach().numpy()
    bound = model.score_samples(PATTERNS[[0, -1]], n_samples=20_000)
    spread = np.std([model.score_samples(PATTERNS[[i]], n_samples=20_000) for i in (0, -1)])
    assert (bound < exact + 0.05 + 6 * spread).all()
    assert model.log_likelihood(PATTERNS).kind == "lower_bound"


def test_real_columns_are_standardized_and_come_back_on_their_scale() -> None:
    model = RBM(4, epochs=5, random_state=0).fit(REAL)
    assert model.visible_ == "gaussian"
    np.testing.assert_allclose(model.mean_, REAL.mean(0))
    np.testing.assert_allclose(model.scale_, REAL.std(0))
    draws = model.sample(500, n_steps=50)
    assert (np.abs(draws.mean(0) - REAL.mean(0)) < 0.5 * REAL.std(0)).all()
    holes = np.where(np.arange(3) == 1, np.nan, REAL[:5])
    assert np.isfinite(model.complete(holes)).all()


def test_density_of_standardized_columns_is_that_of_the_columns() -> None:
    """Scaling a column by 10 lowers every log density by log 10, whatever the model learned."""
    ours = RBM(4, epochs=3, random_state=0).fit(REAL)
    scaled = RBM(4, epochs=3, random_state=0).fit(REAL * 10)
    difference = ours.score_samples(REAL) - scaled.score_samples(REAL * 10)
    np.testing.assert_allclose(difference, 3 * np.log(10), atol=1e-3)


def test_sparse_counts_are_standardized_without_becoming_dense() -> None:
    counts = np.random.RandomState(0).poisson(0.5, (120, 6)).astype(float)
    dense, thin = RBM(4, epochs=2, random_state=0), RBM(4, epochs=2, random_state=0)
    expected = dense.fit(counts).transform(counts)
    np.testing.assert_allclose(thin.fit(sparse.csr_matrix(counts)).transform(counts), expected, rtol=1e-4)


@pytest.mark.parametrize(("kind", "value"), [("bernoulli", 17.0), ("spin", -17.0), ("categorical", 17.0)])
def test_values_out_of_range_are_refused_with_a_remedy(kind: str, value: float) -> None:
    X = PATTERNS.copy()
    X[3, 2] = value
    with pytest.raises(InvalidDataError, match=r"for .* units"):
        RBM(3, visible=kind, n_values=2).fit(X)
    if kind == "bernoulli":
        with pytest.raises(InvalidDataError, match=r"scale to \[0, 1\] or use Gaussian units"):
            RBM(3, visible=kind).fit(X)


@pytest.mark.parametrize(("visible", "hidden"), [("spin", "spin"), ("gaussian", "bernoulli"), ("categorical", "spin")])
def test_named_kinds_of_units(visible: str, hidden: str) -> None:
    X = np.tile([[0.0, 1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 1.0]], (20, 1))
    model = RBM(4, visible=visible, hidden=hidden, n_values=2, epochs=2, random_state=0).fit(X)
    assert (model.module_.visible.kind, model.module_.hidden.kind) == (visible, hidden)
    assert model.mean_ is None
    assert np.isfinite(model.score_samples(X)).all()


def test_weights_of_zero_are_cases_that_are_not_there() -> None:
    weight = np.repeat([0, 1], 50)
    weighted = RBM(3, epochs=3, random_state=0).fit(PATTERNS, sample_weight=weight)
    without = RBM(3, epochs=3, random_state=0).fit(PATTERNS[50:])
    np.testing.assert_allclose(weighted.transform(PATTERNS), without.transform(PATTERNS), rtol=1e-6)


def test_weights_move_the_likelihood() -> None:
    settings: dict[str, Any] = {"epochs": 200, "learning_rate": 0.2, "random_state": 0}
    model = RBM(3, **settings).fit(PATTERNS, sample_weight=np.repeat([9.0, 1.0], 50))
    scores = model.score_samples(PATTERNS[[0, -1]])
    assert scores[0] > scores[1] + np.log(3)


def test_partial_fit_improves_and_continues_its_chains() -> None:
    model = RBM(8, learning_rate=0.3, random_state=0).partial_fit(PATTERNS)
    first, chains = model.score(PATTERNS), model._learning_state["negative"]["updates"]
    for _ in range(300):
        model.partial_fit(PATTERNS)
    assert model.score(PATTERNS) > first + 0.5
    assert model._learning_state["negative"]["updates"] == 301 * chains


def test_partial_fit_after_fit_goes_on_from_there() -> None:
    model = RBM(8, epochs=2, random_state=0).fit(PATTERNS)
    updates = model._learning_state["negative"]["updates"]
    assert model.partial_fit(PATTERNS)._learning_state["negative"]["updates"] == updates + 1


@both
def test_a_training_that_was_interrupted_is_resumed_bit_for_bit(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = clone(model).fit(BITS)
    settings = {"checkpoint_dir": tmp_path}
    start = Trainer.__init__
    with monkeypatch.context() as patch:
        patch.setattr(
            Trainer, "__init__", lambda self, **o: start(self, **{**o, "callbacks": [*o["callbacks"], StopAt(25)]})
        )
        with pytest.raises(KeyboardInterrupt):
            clone(model).set_params(**settings).fit(BITS)
    resumed = clone(model).set_params(**settings).fit(BITS, resume_from=tmp_path)
    for name, value in whole.module_.state_dict().items():
        assert torch.equal(value, resumed.module_.state_dict()[name])


def test_resuming_from_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="resume_from must be a folder with checkpoints"):
        RBM(2, random_state=0).fit(PATTERNS, resume_from=tmp_path)
    RBM(2, epochs=1, checkpoint_dir=tmp_path).fit(PATTERNS)
    with pytest.raises(InvalidArgumentError, match="random_state must be an integer to resume"):
        RBM(2, epochs=1).fit(PATTERNS, resume_from=tmp_path)


@both
def test_watched_numbers_are_in_the_history(model: Any) -> None:
    settings = {"watch": ("free_energy_gap", "reconstruction_error"), "validation_fraction": 0.2}
    rows = clone(model).set_params(**settings).fit(BITS).history_
    assert all(np.isfinite(row["free_energy_gap"]) for row in rows)
    assert {row.get("layer", 1) for row in rows} == set(range(1, 1 + len(rows) // 2))
    with pytest.raises(InvalidArgumentError, match="Did you mean 'free_energy_gap'"):
        clone(model).set_params(watch=("free_energy_gab",)).fit(BITS)


def test_bounds_are_reported_after_each_layer() -> None:
    model = DeepBeliefNetwork((8, 6), epochs=3, report_bounds=True, random_state=0).fit(PATTERNS)
    assert [bound.kind for bound in model.bounds_] == ["exact", "lower_bound"]


def test_layers_may_have_their_own_epochs_and_rates() -> None:
    model = DeepBeliefNetwork((4, 3), epochs=(3, 1), learning_rate=(0.1, 0.01), random_state=0).fit(PATTERNS)
    assert [row["layer"] for row in model.history_] == [1, 1, 1, 2]
    with pytest.raises(InvalidArgumentError, match="epochs must be one number or 2"):
        DeepBeliefNetwork((4, 3), epochs=(3, 1, 1)).fit(PATTERNS)
    with pytest.raises(InvalidArgumentError, match=r"learning_rate must be .* for each layer.*learning_rate='fast'"):
        DeepBeliefNetwork((4, 3), learning_rate="fast").fit(PATTERNS)


def test_stochastic_binarization_learns_grey_levels_as_probabilities() -> None:
    """Two grey columns that always agree are, in bits, independent: log p is near -2 H(0.3) on average."""
    grey = np.full((5000, 2), 0.3)
    model = RBM(2, binarization="stochastic", epochs=5, random_state=0).fit(grey)
    entropy = -(0.3 * np.log(0.3) + 0.7 * np.log(0.7))
    z = (model.score(grey) + 2 * entropy) / (np.log(0.7 / 0.3) * np.sqrt(2 * 0.21 / 5000))
    assert 2 * stats.norm.sf(abs(z)) > FALSE_ALARM
    assert set(np.unique(model.sample(50, n_steps=5))) <= {0.0, 1.0}


@both
def test_bad_arguments_are_named(model: Any) -> None:
    for name, value in {"precision": "fp16", "batch_size": 0, "validation_fraction": 1.0, "learning": "pdc"}.items():
        with pytest.raises(InvalidArgumentError, match=name):
            clone(model).set_params(**{name: value}).fit(BITS)
    with pytest.raises(ValueError, match="NaN"):
        clone(model).fit(np.where(BITS > 0, np.nan, BITS))
