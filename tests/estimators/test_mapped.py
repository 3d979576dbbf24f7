"""Estimators learn from a mapped file without taking it into memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deepbelief.data.memmap import MemmapSource
from deepbelief.data.part import RowsBelow, RowsOf
from deepbelief.estimators import learning
from deepbelief.estimators.autoencoder import Autoencoder
from deepbelief.estimators.boltzmann import BoltzmannMachine
from deepbelief.estimators.boltzmann_classifier import DeepBoltzmannClassifier
from deepbelief.estimators.boltzmann_network import DeepBoltzmannMachine
from deepbelief.estimators.classification_rbm import ClassificationRBM
from deepbelief.estimators.classifier import DeepBeliefClassifier
from deepbelief.estimators.convolutional import ConvolutionalBeliefNetwork
from deepbelief.estimators.network import DeepBeliefNetwork
from deepbelief.estimators.rbm import RBM
from deepbelief.estimators.rbm_vae import RBMVAE
from deepbelief.estimators.regressor import DeepBeliefRegressor
from deepbelief.estimators.vae import VAE
from deepbelief.estimators.vae_stack import VAEStack

ROWS, SIDE = 3000, 6
OPTIONS: dict[str, Any] = {"n_components": 4, "epochs": 1, "random_state": 0, "verbose": 0}


@pytest.fixture
def pictures(tmp_path: Path) -> np.memmap[Any, Any]:
    x = np.random.default_rng(0).integers(0, 2, (ROWS, SIDE, SIDE)).astype(np.uint8)
    np.save(tmp_path / "x.npy", x)
    return np.load(tmp_path / "x.npy", mmap_mode="r")


@pytest.mark.parametrize("kind", ["bits", "real"])
def test_a_mapped_file_streams(kind: str, pictures: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind == "real":
        np.save(tmp_path / "real.npy", pictures.astype(np.float32) * 5 - 1)
        pictures = np.load(tmp_path / "real.npy", mmap_mode="r")
    sources, make = [], learning.make_source
    monkeypatch.setattr(learning, "make_source", lambda *a, **o: sources.append(make(*a, **o)) or sources[-1])
    mapped, held = RBM(**OPTIONS).fit(pictures), RBM(**OPTIONS).fit(np.array(pictures))
    assert isinstance(sources[0], MemmapSource)
    assert not isinstance(sources[1], MemmapSource)
    assert mapped.visible_ == held.visible_ == ("bernoulli" if kind == "bits" else "gaussian")
    np.testing.assert_array_equal(mapped.score_samples(pictures), mapped.score_samples(np.array(pictures)))
    if kind == "real":
        np.testing.assert_array_equal(mapped.mean_, held.mean_)


def test_every_entry_of_a_mapped_file_is_checked(tmp_path: Path) -> None:
    x = np.lib.format.open_memmap(tmp_path / "x.npy", mode="w+", dtype=np.float32, shape=(20_000, 3))
    x[19_999, 2] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        RBM(**OPTIONS).fit(x)


@pytest.mark.parametrize("kind", ["bits", "real"])
@pytest.mark.parametrize("made", [RBM, DeepBeliefNetwork])
def test_what_is_kept_of_a_mapped_file_trains_as_a_copy_of_it(
    made: Any, kind: str, pictures: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "real":
        np.save(tmp_path / "real.npy", pictures.astype(np.float32) * 5 - 1)
        pictures = np.load(tmp_path / "real.npy", mmap_mode="r")
    size = {"n_components": 4} if made is RBM else {"hidden_layer_sizes": (4, 3), "report_bounds": True}
    options = OPTIONS | size | {"validation_fraction": 0.2, "watch": ("free_energy_gap",), "epochs": 2}
    options = {name: value for name, value in options.items() if made is RBM or name != "n_components"}
    parts, make = [], learning.make_source
    monkeypatch.setattr(learning, "make_source", lambda x, *a, **o: parts.append(x) or make(x, *a, **o))
    mapped = made(**options).fit(pictures)
    assert [type(part) for part in parts] == [RowsOf, RowsOf]
    assert sorted(np.concatenate([part.index for part in parts])) == list(range(ROWS))

    def copied(x: Any, *more: Any, **others: Any) -> MemmapSource:
        return MemmapSource(np.array(x[:]), *more, **{name: v for name, v in others.items() if name != "binarizer"})

    monkeypatch.setattr(learning, "make_source", copied)
    copy = made(**options).fit(pictures)
    for name, value in copy.module_.state_dict().items():
        assert torch.equal(mapped.module_.state_dict()[name], value)
    watched = [
        [row["free_energy_gap"] for row in fitted.history_ if "free_energy_gap" in row] for fitted in (mapped, copy)
    ]
    assert watched[0] == watched[1] != []


BELOW = {"hidden_layer_sizes": (4, 3), "epochs": 1}
TUNED = {"hidden_layer_sizes": (4,), "pretrain_epochs": 1, "fine_tune_epochs": 2}
FITS: dict[str, tuple[Any, dict[str, Any]]] = {
    "RBM": (RBM, {"n_components": 4, "epochs": 2, "validation_fraction": 0.2}),
    "DeepBeliefNetwork": (DeepBeliefNetwork, BELOW | {"report_bounds": True, "validation_fraction": 0.2}),
    "BoltzmannMachine": (BoltzmannMachine, {"epochs": 1}),
    "DeepBoltzmannMachine": (DeepBoltzmannMachine, BELOW | {"pretrain_epochs": 1}),
    "ConvolutionalBeliefNetwork": (
        ConvolutionalBeliefNetwork,
        {"n_filters": 2, "filter_size": 3, "image_shape": (6, 6), "epochs": 1},
    ),
    "Autoencoder": (Autoencoder, {"hidden_layer_sizes": (4,), "n_components": 2, "epochs": 1}),
    "VAE": (VAE, {"hidden_layer_sizes": (4,), "n_components": 2, "epochs": 1}),
    "RBMVAE": (RBMVAE, {"hidden_layer_sizes": (4,), "n_bits": (3, 3), "epochs": 1}),
    "VAEStack": (VAEStack, BELOW | {"n_components": 2, "top_epochs": 1}),
    "ClassificationRBM": (ClassificationRBM, {"n_components": 4, "epochs": 1}),
    "DeepBeliefClassifier": (DeepBeliefClassifier, TUNED),
    "stopped early": (DeepBeliefClassifier, TUNED | {"early_stopping": True, "validation_fraction": 0.2}),
    "up-down": (DeepBeliefClassifier, TUNED | {"label_in_top": True, "fine_tuning": "up_down"}),
    "lbfgs": (DeepBeliefClassifier, TUNED | {"optimizer": "lbfgs", "pretrain_epochs": 0}),
    "DeepBeliefRegressor": (DeepBeliefRegressor, TUNED | {"early_stopping": True}),
    "DeepBoltzmannClassifier": (DeepBoltzmannClassifier, TUNED | {"hidden_layer_sizes": (4, 3), "epochs": 1}),
}


def seen_by_sources(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What every source is made of, from now on."""
    seen, make = [], learning.make_source
    monkeypatch.setattr(learning, "make_source", lambda x, *a, **o: seen.append(x) or make(x, *a, **o))
    return seen


def learned(estimator: Any) -> dict[str, torch.Tensor]:
    return dict(estimator.module_.state_dict())


@pytest.mark.parametrize("name", FITS)
def test_cases_without_weight_are_left_out_of_a_mapped_file_without_a_copy(
    name: str, pictures: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, options = FITS[name]
    options = {"random_state": 0, "verbose": 0} | options
    weight = np.arange(ROWS) % 3
    labels = (pictures[:, 0, 0] + 2 * pictures[:, 3, 3]).astype(np.int64)
    y = {} if not hasattr(made, "predict") else {"y": labels}
    seen = seen_by_sources(monkeypatch)
    mapped = made(**options).fit(pictures, sample_weight=weight, **y)
    assert {type(x) for x in seen} == {RowsOf}
    assert all(set(x.index) <= set(np.flatnonzero(weight)) for x in seen)
    copied = made(**options).fit(np.array(pictures), sample_weight=weight, **y)
    for key, value in learned(copied).items():
        assert torch.equal(learned(mapped)[key], value), key
    if hasattr(made, "predict"):
        np.testing.assert_array_equal(mapped.predict(pictures), copied.predict(np.array(pictures)))


def test_real_columns_of_a_mapped_file_are_cut_as_those_of_an_array(pictures: Any, tmp_path: Path) -> None:
    for kind in (np.float32, np.float64, np.uint8):
        real = np.random.default_rng(1).integers(0, 9, pictures.shape).astype(kind)
        real[:, 2, 2] = 0.1 if kind != np.uint8 else 7  # a constant, which float32 rounds up
        np.save(tmp_path / "real.npy", real)
        weight, options = np.arange(ROWS) % 3, {"epochs": 1, "random_state": 0, "binarization": "none"}
        mapped = BoltzmannMachine(**options).fit(np.load(tmp_path / "real.npy", mmap_mode="r"), sample_weight=weight)
        copied = BoltzmannMachine(**options).fit(real, sample_weight=weight)
        np.testing.assert_array_equal(mapped.threshold_, copied.threshold_)
        for key, value in learned(copied).items():
            assert torch.equal(learned(mapped)[key], value), (kind, key)


@pytest.mark.parametrize("made", [DeepBeliefClassifier, DeepBoltzmannClassifier])
@pytest.mark.parametrize("where", ["labelled", "unlabelled", "both"])
def test_unlabelled_cases_of_a_mapped_file_are_not_copied(
    made: Any, where: str, pictures: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = FITS[made.__name__][1] | {"random_state": 0}
    labels, weight = np.arange(1000) % 2, np.arange(1000) % 3
    x, more = pictures[:1000], pictures[1000:]
    given = (x if where != "unlabelled" else np.array(x)), (more if where != "labelled" else np.array(more))
    seen = seen_by_sources(monkeypatch)
    mapped = made(**options).fit(given[0], labels, sample_weight=weight, X_unlabeled=given[1])
    assert isinstance(seen[0], RowsBelow)
    copied = made(**options).fit(np.array(x), labels, sample_weight=weight, X_unlabeled=np.array(more))
    for key, value in learned(copied).items():
        assert torch.equal(learned(mapped)[key], value), key


def test_every_entry_of_a_mapped_file_with_labels_is_checked(tmp_path: Path) -> None:
    x = np.lib.format.open_memmap(tmp_path / "x.npy", mode="w+", dtype=np.float32, shape=(20_000, 3))
    y = np.arange(20_000) % 2
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        DeepBeliefClassifier((2,)).fit(x, y[1:])
    x[19_999, 2] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        DeepBeliefClassifier((2,)).fit(x, y)


def test_holding_cases_out_takes_no_memory_of_the_size_of_the_file(tmp_path: Path) -> None:
    x = np.lib.format.open_memmap(tmp_path / "x.npy", mode="w+", dtype=np.uint8, shape=(1 << 17, 128))  # sparse
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    tracemalloc.start()
    try:
        RBM(2, epochs=1, batch_size=8192, validation_fraction=0.2, random_state=0).fit(x)
        assert tracemalloc.get_traced_memory()[1] < x.nbytes / 2
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("early_stopping", [False, True])
def test_learning_with_labels_takes_no_memory_of_the_size_of_the_file(early_stopping: bool, tmp_path: Path) -> None:
    np.lib.format.open_memmap(tmp_path / "x.npy", mode="w+", dtype=np.uint8, shape=(1 << 18, 128))  # sparse
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    labels, weight = np.arange(len(x)) % 2, np.arange(len(x)) % 10
    options: dict[str, Any] = {"pretrain_epochs": 1, "fine_tune_epochs": 1, "early_stopping": early_stopping}
    options |= {"batch_size": 8192, "fine_tune_batch_size": 8192, "random_state": 0, "validation_fraction": 0.7}
    DeepBeliefClassifier((2,), **options).fit(x[:100], labels[:100])  # what it imports is no memory for cases
    tracemalloc.start()
    try:
        DeepBeliefClassifier((2,), **options).fit(x, labels, sample_weight=weight)
        assert tracemalloc.get_traced_memory()[1] < x.nbytes / 2
    finally:
        tracemalloc.stop()
