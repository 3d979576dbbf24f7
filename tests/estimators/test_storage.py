"""Saved estimators come back the same, and damaged ones are refused."""

import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError

import deepbelief
from deepbelief import load_estimator
from deepbelief.errors import InvalidArgumentError, StorageError
from deepbelief.estimators.autoencoder import Autoencoder
from deepbelief.estimators.bernoulli_rbm import BernoulliRBM
from deepbelief.estimators.boltzmann import BoltzmannMachine
from deepbelief.estimators.classifier import DeepBeliefClassifier
from deepbelief.estimators.convolutional import ConvolutionalBeliefNetwork
from deepbelief.estimators.cycle_gan import CycleGAN
from deepbelief.estimators.gan import GAN
from deepbelief.estimators.network import DeepBeliefNetwork
from deepbelief.estimators.rbm import RBM
from deepbelief.estimators.rbm_vae import RBMVAE
from deepbelief.estimators.regressor import DeepBeliefRegressor
from deepbelief.estimators.replicated_softmax import ReplicatedSoftmax
from deepbelief.estimators.vae import VAE
from deepbelief.estimators.vae_stack import VAEStack

X, Y = load_digits(return_X_y=True)
X, Y = X[:100], Y[:100]
FITS: dict[str, Any] = {
    "BernoulliRBM": (BernoulliRBM(3, n_iter=1, random_state=0), X / 16, None),
    "RBM": (RBM(3, epochs=1, random_state=0, watch=("saturation",)), X, None),
    "ReplicatedSoftmax": (ReplicatedSoftmax(3, epochs=1, random_state=0), X, None),
    "Autoencoder": (Autoencoder((4,), n_components=2, epochs=1, random_state=0), X / 16, None),
    "VAE": (
        VAE((3, 2), hidden_layer_sizes=((5,), (4,)), epochs=1, n_importance_samples=9, random_state=0),
        X / 16,
        None,
    ),
    "VAE of labels": (VAE(2, hidden_layer_sizes=(5,), conditional=True, epochs=1, random_state=0), X / 16, Y),
    "RBMVAE": (RBMVAE((3, 2), hidden_layer_sizes=(5,), epochs=1, n_importance_samples=9, random_state=0), X / 16, None),
    "VAEStack": (
        VAEStack(2, hidden_layer_sizes=(4,), epochs=1, top_epochs=1, n_importance_samples=9, random_state=0),
        X / 16,
        None,
    ),
    "CycleGAN": (CycleGAN((4,), epochs=1, random_state=0), X, Y > 4),
    "GAN": (GAN(3, hidden_layer_sizes=(4,), conditional=True, epochs=1, random_state=0), X, Y),
    "BoltzmannMachine": (BoltzmannMachine(2, epochs=1, random_state=0, graph=((0, 3), (1, 2))), X[:, 18:26], None),
    "ConvolutionalBeliefNetwork": (
        ConvolutionalBeliefNetwork((2, 2), filter_size=(3, 2), epochs=1, random_state=0, all_layers=True),
        X / 16,
        None,
    ),
    "DeepBeliefNetwork": (DeepBeliefNetwork((4, 3), epochs=(1, 1), report_bounds=True, random_state=0), X, None),
    "DeepBeliefClassifier": (
        DeepBeliefClassifier((4,), dropout=0.5, pretrain_epochs=1, fine_tune_epochs=1, random_state=0),
        X / 16,
        np.array(["zero", "other"], dtype=object)[(Y > 0).astype(int)],
    ),
    "labels in top": (
        DeepBeliefClassifier((4,), label_in_top=True, pretrain_epochs=1, fine_tune_epochs=0, random_state=0),
        X / 16,
        Y,
    ),
    "DeepBeliefRegressor": (DeepBeliefRegressor((4,), pretrain_epochs=1, fine_tune_epochs=1, random_state=0), X, Y * 7),
}


@pytest.mark.parametrize("name", FITS)
def test_what_was_saved_is_what_is_loaded(name: str, tmp_path: Path) -> None:
    estimator, rows, y = FITS[name]
    estimator.fit(rows, y)
    estimator.save(tmp_path / "model")
    loaded = load_estimator(tmp_path / "model")
    assert type(loaded) is type(estimator)
    assert str(loaded.get_params()) == str(estimator.get_params())
    given = {"y": y} if name == "VAE of labels" else {}
    for method in ("transform", "predict", "predict_proba", "score_samples"):
        if hasattr(estimator, method):
            np.testing.assert_array_equal(
                getattr(loaded, method)(rows, **given), getattr(estimator, method)(rows, **given)
            )
    if hasattr(estimator, "sample"):
        steps = {"n_steps": 3} if "n_steps" in inspect.signature(estimator.sample).parameters else {}
        steps |= {"label": y[:2]} if given else {}
        np.testing.assert_array_equal(loaded.sample(2, **steps), estimator.sample(2, **steps))
    if hasattr(estimator, "bounds_"):
        assert loaded.bounds_ == estimator.bounds_
        assert loaded.history_ == estimator.history_


def test_learning_goes_on_after_loading(tmp_path: Path) -> None:
    RBM(3, epochs=1, random_state=0).fit(X).save(tmp_path / "model")
    loaded = load_estimator(tmp_path / "model")
    before = loaded.transform(X)
    assert (loaded.partial_fit(X).transform(X) != before).any()


def test_what_is_not_fitted_or_not_ours_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(NotFittedError):
        RBM().save(tmp_path / "model")

    class Mine(RBM):
        """Somebody's own."""

    with pytest.raises(InvalidArgumentError, match="estimator must be one of"):
        Mine(2, epochs=1).fit(X).save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def damaged(folder: Path, **changes: Any) -> None:
    path = folder / "estimator.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"library": "other"}, "belongs to another library"),
        ({"format": 99}, "Upgrade deepbelief"),
        ({"estimator": "os.system"}, "It is damaged"),
        ({"weights_sha256": "0"}, "must belong to the weights beside it"),
        ({"parameters": {"nothing": 1}}, "must describe a RBM"),
    ],
)
def test_foreign_newer_and_damaged_files_are_refused(changes: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    RBM(3, epochs=1).fit(X).save(tmp_path)
    damaged(tmp_path, **changes)
    with pytest.raises(StorageError, match=sentence):
        load_estimator(tmp_path)


def test_a_folder_without_an_estimator_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="folder must hold a saved estimator"):
        load_estimator(tmp_path)
    (tmp_path / "estimator.json").write_text("{")
    with pytest.raises(StorageError, match="must be JSON"):
        load_estimator(tmp_path)


def test_names_at_the_top_are_the_estimators() -> None:
    assert deepbelief.RBM is RBM
    assert set(deepbelief.__all__) <= set(dir(deepbelief))
    assert all(getattr(deepbelief, name) is not None for name in deepbelief.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'RMB'"):
        deepbelief.RMB  # noqa: B018
