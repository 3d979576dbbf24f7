"""The GAN's estimator: what it shows, what it refuses, how it goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from deepbelief import GAN, CycleGAN
from deepbelief.errors import InvalidArgumentError, InvalidDataError
from deepbelief.recipes.fit_model import FitSettings, fit_model
from deepbelief.recipes.run_folder import MODEL

X, Y = load_digits(return_X_y=True)
X, Y = X[:120] / 16, Y[:120]
SMALL: dict[str, Any] = {"hidden_layer_sizes": (8,), "random_state": 0, "batch_size": 30}


def test_it_shows_only_what_it_can_do() -> None:
    gan = GAN(3, epochs=1, **SMALL).fit(X)
    for name in ("score", "score_samples", "log_likelihood", "transform", "complete"):
        assert not hasattr(gan, name)
    assert gan.sample(3).dtype == np.float32
    assert {"critic_loss", "generator_loss", "accuracy_real", "diversity", "nearest"} <= set(gan.history_[0])
    assert gan.interpolate(7).shape == (7, 64)


def test_columns_of_any_scale_come_back_on_it() -> None:
    x = np.random.default_rng(0).normal([1000.0, -5.0], [200.0, 0.01], (600, 2))
    gan = GAN(2, epochs=10, learning_rate=0.002, averaging=0.9, **SMALL).fit(x)
    made = gan.sample(1000)
    assert (np.abs(made.mean(0) - x.mean(0)) < x.std(0)).all()
    assert GAN(2, epochs=1, values="real", **SMALL).fit(x).mean_ is None


def test_labels_of_any_kind() -> None:
    names = np.array(["even", "odd"], dtype=object)[Y % 2]
    gan = GAN(3, epochs=1, conditional=True, loss="hinge", **SMALL).fit(X, names)
    assert gan.classes_.tolist() == ["even", "odd"]
    assert gan.module_.label_prior.tolist() == pytest.approx([np.mean(Y % 2 == 0), np.mean(Y % 2)])
    each = gan.sample(4, label=["odd", "even", "odd", "odd"])
    assert np.allclose(each[[0, 2, 3]], gan.sample(4, label="odd")[[0, 2, 3]])
    assert gan.interpolate(3, label="odd").shape == (3, 64)
    with pytest.raises(InvalidArgumentError, match="must be one of"):
        gan.sample(label="zero")
    with pytest.raises(InvalidArgumentError, match="one class or 3, one for each case"):
        gan.sample(3, label=["odd", "even"])
    with pytest.raises(InvalidArgumentError, match="conditional=True"):
        GAN(3, epochs=1, **SMALL).fit(X).sample(label=1)


def test_pictures_of_any_shape() -> None:
    x = np.random.default_rng(0).random((40, 3, 5, 6))
    settings: dict[str, Any] = {"network": "convolutional", "n_filters": (4, 6), "epochs": 1, "random_state": 0}
    gan = GAN(3, augment=("translation", "cutout", "color"), **settings).fit(x)
    assert gan.image_shape_ == (3, 5, 6)
    assert gan.sample(2).shape == (2, 90)
    with pytest.raises(InvalidDataError, match="must hold 90 pixels"):
        GAN(3, image_shape=(9, 9), **settings).fit(x)
    with pytest.raises(InvalidArgumentError, match="augment must be one of"):
        GAN(3, augment=("flip",), **settings).fit(x)


@pytest.mark.parametrize("network", ["dense", "convolutional"])
def test_a_critic_of_several_noisy_cases_at_once(network: str) -> None:
    x = np.random.default_rng(0).random((20, 5, 6))
    settings: dict[str, Any] = {
        "network": network,
        "n_filters": (4, 6),
        "hidden_layer_sizes": (5,),
        "image_shape": (5, 6),
    }
    gan = GAN(3, pack=2, instance_noise=0.3, augment=("cutout",), epochs=1, random_state=0, **settings)
    gan.fit(x.reshape(20, 30))
    assert gan.module_.critic(gan.module_.sample(4).reshape(2, 60)).shape == (2, 1)
    assert gan.sample(2).shape == (2, 30)


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"loss": "wgangp"}, "Did you mean 'wgan-gp'"),
        ({"network": "deep"}, "network must be one of"),
        ({"n_critic": 0}, "n_critic must be at least 1"),
        ({"averaging": 1.0}, "averaging must be"),
        ({"n_codes": -1}, "n_codes must be at least 0"),
        ({"pack": 0}, "pack must be at least 1"),
        ({"instance_noise": -1.0}, "instance_noise must be at least 0"),
        ({"values": "unit"}, "must lie in"),
    ],
)
def test_wrong_settings_get_a_sentence(setting: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidArgumentError, match=sentence):
        GAN(3, epochs=1, **SMALL, **setting).fit(X * 16)


def test_resumed_is_never_stopped(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"conditional": True, "loss": "wgan-gp", "n_critic": 3, "n_codes": 4, **SMALL}
    whole = GAN(3, epochs=3, **settings).fit(X, Y)
    GAN(3, epochs=2, checkpoint_dir=tmp_path, **settings).fit(X, Y)
    again = GAN(3, epochs=3, **settings).fit(X, Y, resume_from=tmp_path)
    assert np.array_equal(whole.sample(20), again.sample(20))
    assert whole.history_[-1]["critic_loss"] == again.history_[-1]["critic_loss"]


def test_fit_gives_the_labels_of_a_set_to_a_conditional_one(tmp_path: Path) -> None:
    changes = {"epochs": 1, "hidden_layer_sizes": [4], "conditional": True}
    assert fit_model(FitSettings("GAN", "digits", arguments=changes), tmp_path) == []
    assert (tmp_path / MODEL).is_dir()


@pytest.mark.parametrize("precision", ["bf16", "fp64"])
def test_other_precisions(precision: str) -> None:
    gan = GAN(3, epochs=1, conditional=True, loss="wgan-gp", n_critic=1, precision=precision, **SMALL).fit(X, Y)
    assert np.isfinite(gan.sample(3, label=4)).all()
    model = CycleGAN((4,), epochs=1, identity=1.0, precision=precision, random_state=0).fit(X, Y > 4)
    assert np.isfinite(model.transform(X)).all()
