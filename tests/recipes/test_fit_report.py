"""The page of a fit: curves of every estimator, chains judged where there are chains, and the advice that follows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deepbelief.energy.dbm import DBM
from deepbelief.energy.gradients.settings import LearningSettings
from deepbelief.errors import InvalidDataError, StorageError
from deepbelief.estimators.autoencoder import Autoencoder
from deepbelief.estimators.boltzmann import BoltzmannMachine
from deepbelief.estimators.boltzmann_network import DeepBoltzmannMachine
from deepbelief.estimators.classification_rbm import ClassificationRBM
from deepbelief.estimators.convolutional import ConvolutionalBeliefNetwork
from deepbelief.estimators.network import DeepBeliefNetwork
from deepbelief.estimators.rbm import RBM
from deepbelief.estimators.storage import load_estimator
from deepbelief.recipes.fit_model import FitSettings, fit_model
from deepbelief.recipes.fit_report import fit_gallery, histories_of, learning_of, read_fit
from deepbelief.report.page import render_report

STEPS = 16  # the fewest that a diagnosis takes


@pytest.fixture(scope="module")
def wells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cases of eight equal bits: what learns them has two wells that chains hardly leave."""
    random, folder = np.random.default_rng(0), tmp_path_factory.mktemp("wells")
    bits = np.repeat(random.integers(0, 2, (300, 1)), 8, axis=1).astype(np.float32)
    np.savez(folder / "wells.npz", x=bits, y=np.where(bits[:, 0] > 0, "on", "off"))
    return folder / "wells.npz"


def fitted(name: str, data: Path, folder: Path, **arguments: Any) -> Path:
    """The folder of a fit."""
    fit_model(FitSettings(name, str(data), label="y", arguments={"device": "cpu", **arguments}), folder)
    return folder


@torch.no_grad()
def put_wells(module: Any) -> None:
    """All units on or all off, alike in probability, and no way between: what a long training on `wells` makes."""
    if isinstance(module, DBM):
        width, layers = 3.0, [units.size for units in module.units]
        for weight in module.weights:
            weight.fill_(width)
        for i, units in enumerate(module.units):
            units.bias.fill_(-width / 2 * sum(layers[j] for j in (i - 1, i + 1) if 0 <= j < len(layers)))
    elif hasattr(module, "coupling"):
        module.coupling.fill_(2.5)
        module.visible.bias.fill_(-2.5 / 2 * (module.size - 1))
    else:
        rbm = getattr(module, "rbm", module)
        rbm.weight[:8].fill_(4.0)
        rbm.hidden.bias.fill_(-16.0)
        module.visible.bias.fill_(-2.0 * rbm.hidden.size)


CAUGHT: dict[str, dict[str, Any]] = {
    "RBM": {"n_components": 8},
    "DeepBoltzmannMachine": {"hidden_layer_sizes": [8, 4]},
    "BoltzmannMachine": {},
    "ClassificationRBM": {"n_components": 8, "objective": "generative"},
}


@pytest.mark.parametrize("name", CAUGHT)
def test_a_model_whose_chains_are_caught_is_told_to_raise_k(name: str, wells: Path, tmp_path: Path) -> None:
    folder = fitted(name, wells, tmp_path / "fit", epochs=1, **CAUGHT[name])
    estimator = load_estimator(folder / "model")
    put_wells(estimator.module_)
    estimator.save(folder / "model")
    gallery = fit_gallery(folder)
    assert any("k=1 -> k=20" in sentence for sentence in gallery.advice), gallery.advice
    assert any(row.quantity == "relaxation time of chains" for row in gallery.results)
    assert "Chains over time" in render_report(gallery)
    kept = fit_gallery(folder, n_steps=0)
    assert (kept.histories, kept.advice, kept.chains) == (gallery.histories, [], None)


def test_a_model_whose_chains_mix_is_left_alone(tmp_path: Path) -> None:
    bits = np.random.default_rng(0).integers(0, 2, (400, 4)).astype(np.float32)
    np.savez(tmp_path / "free.npz", x=bits, y=np.zeros(400, dtype=int))
    folder = fitted("BoltzmannMachine", tmp_path / "free.npz", tmp_path / "fit", epochs=5)
    assert not any("k=1" in sentence for sentence in fit_gallery(folder, n_steps=200).advice)


FAMILIES: list[tuple[Any, int]] = [
    (RBM(3, epochs=1, random_state=0), 0),
    (DeepBeliefNetwork((4, 3), epochs=1, random_state=0), 0),
    (DeepBoltzmannMachine((4, 3), epochs=1, pretrain_epochs=1, random_state=0), 0),
    (BoltzmannMachine(2, epochs=1, random_state=0), 0),
    (ClassificationRBM(3, epochs=1, random_state=0), 2),
    (ConvolutionalBeliefNetwork(2, filter_size=2, image_shape=(3, 3), epochs=1, random_state=0), 0),
]


@pytest.mark.parametrize(("estimator", "n_classes"), FAMILIES, ids=lambda part: type(part).__name__)
def test_an_estimator_saved_from_python_needs_data_to_have_its_chains_judged(
    estimator: Any, n_classes: int, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    x, y = random.integers(0, 2, (90, 9)).astype(np.float32), random.integers(0, 2, 90)
    np.savez(tmp_path / "new.npz", x=x, y=y)
    folder = estimator.fit(x, y).save(tmp_path / "saved")
    assert fit_gallery(folder).chains is None
    gallery = fit_gallery(folder, data=str(tmp_path / "new.npz"), n_steps=STEPS)
    assert gallery.samples is not None
    assert gallery.samples.shape == (64, 9)
    assert (gallery.class_samples is not None) == (gallery.confusion is not None) == bool(n_classes)
    assert "Chains over time" in render_report(gallery)


def test_what_the_history_shows_is_told_without_data(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 2, (40, 6)).astype(np.float32)
    rbm = RBM(3, epochs=8, k=2, random_state=0).fit(x)
    for epoch, row in enumerate(rbm.history_, start=1):
        row |= {"chain_gap": 5.0, "chain_gap.stderr": 0.1, "relaxation_time": 9.0, "free_energy_gap": 2.0 * epoch}
    slow, by_heart = fit_gallery(rbm.save(tmp_path / "rbm"), n_steps=0).advice
    assert "k=2 -> k=10" in slow
    assert by_heart.startswith("training starts to learn its training cases by heart")


def test_stages_have_the_names_of_the_page() -> None:
    x = np.random.default_rng(0).integers(0, 2, (40, 6)).astype(np.float32)
    dbm = DeepBoltzmannMachine((4, 3), epochs=2, pretrain_epochs=1, k=3, random_state=0).fit(x)
    assert {stage: len(rows) for stage, rows in histories_of(dbm).items()} == {
        "layer 1": 1,
        "layer 2": 1,
        "all layers": 2,
    }
    assert learning_of(dbm) == dict.fromkeys(histories_of(dbm), LearningSettings(k=3))
    net = Autoencoder((4,), n_components=2, epochs=1, random_state=0).fit(x)
    assert list(histories_of(net)) == ["training"]


def test_a_classifier_that_learned_by_labels_alone_has_no_chains(wells: Path, tmp_path: Path) -> None:
    own = {"hidden_layer_sizes": [4], "pretrain_epochs": 0, "fine_tune_epochs": 1}
    gallery = fit_gallery(fitted("DeepBeliefClassifier", wells, tmp_path / "a", **own), n_steps=STEPS)
    assert gallery.chains is None
    assert list(gallery.histories or {}) == ["fine-tuning"]
    own = {"n_components": 3, "objective": "discriminative", "epochs": 1}
    assert fit_gallery(fitted("ClassificationRBM", wells, tmp_path / "b", **own), n_steps=STEPS).chains is None


def test_what_cannot_be_read_gets_a_sentence(wells: Path, tmp_path: Path) -> None:
    folder = fitted("RBM", wells, tmp_path / "fit", epochs=1)
    np.savez(tmp_path / "wide.npz", x=np.zeros((60, 5), dtype=np.float32), y=np.zeros(60, dtype=int))
    with pytest.raises(InvalidDataError, match=r"data must have shape \(cases, 8\)"):
        fit_gallery(folder, data=str(tmp_path / "wide.npz"), n_steps=STEPS)
    with pytest.raises(StorageError, match=r"must hold a saved estimator with estimator\.json"):
        read_fit(tmp_path)
