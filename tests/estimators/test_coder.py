"""Every estimator with both ways as a coder of tensors: what it transforms, and what it transforms back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

import deepbelief
from deepbelief.errors import InvalidArgumentError
from deepbelief.estimators.coder import EstimatorCoder
from deepbelief.protocols import Coder

X = np.random.default_rng(0).normal(3, 2, (40, 6)).astype(np.float32)
BITS = (X > 3).astype(np.float32)
Y = np.arange(40) % 2
SMALL: dict[str, Any] = {"epochs": 1, "random_state": 0}
BOTH_WAYS = {
    "Autoencoder": {"n_components": 3, "hidden_layer_sizes": (4,), **SMALL},
    "DeepBeliefNetwork": {"hidden_layer_sizes": (4, 3), **SMALL},
    "DeepBoltzmannMachine": {"hidden_layer_sizes": (4, 3), **SMALL},
    "RBM": {"n_components": 3, **SMALL},
    "RBMVAE": {"n_bits": (2, 2), "hidden_layer_sizes": (4,), **SMALL},
    "VAE": {"n_components": (3, 2), "hidden_layer_sizes": (4,), **SMALL},
    "VAEStack": {"hidden_layer_sizes": (4,), "n_components": 2, "top_epochs": 1, **SMALL},
}
ONE_WAY_IN_FACE = {
    "BernoulliRBM": {"n_components": 3, "n_iter": 1},
    "BoltzmannMachine": {"n_components": 3, **SMALL},
    "ClassificationRBM": {"n_components": 3, **SMALL},
    "ReplicatedSoftmax": {"n_components": 3, **SMALL},
}


@pytest.mark.parametrize("name", BOTH_WAYS)
@pytest.mark.parametrize("rows", [X, BITS], ids=["real", "bits"])
def test_the_coder_is_the_estimator_there_and_back(name: str, rows: np.ndarray) -> None:
    estimator = getattr(deepbelief, name)(**BOTH_WAYS[name]).fit(rows)
    coder = EstimatorCoder(estimator)
    assert isinstance(coder, Coder)
    assert coder.condition_rows(None, 40) is None
    z = coder.encode(torch.from_numpy(rows))
    np.testing.assert_allclose(z, estimator.transform(rows), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(coder.decode(z), estimator.inverse_transform(z.numpy()), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ONE_WAY_IN_FACE)
def test_a_module_gives_the_way_back_that_its_estimator_does_not_show(name: str) -> None:
    estimator = getattr(deepbelief, name)(**ONE_WAY_IN_FACE[name])
    estimator.fit(BITS, Y) if name == "ClassificationRBM" else estimator.fit(BITS)
    coder = EstimatorCoder(estimator)
    z = coder.encode(torch.from_numpy(BITS))
    np.testing.assert_allclose(z, estimator.transform(BITS), rtol=1e-4, atol=1e-5)
    back = coder.decode(z)
    assert back.shape == BITS.shape
    assert bool(((back >= 0) & (back <= 1)).all())


def test_labels_become_the_rows_of_a_conditional_vae() -> None:
    names = np.array(["iris", "rose"])[Y]
    vae = deepbelief.VAE(2, conditional=True, hidden_layer_sizes=(4,), **SMALL).fit(X, names)
    coder = EstimatorCoder(vae)
    rows = coder.condition_rows(names, 40)
    assert rows is not None
    assert torch.equal(rows, torch.eye(2)[Y])
    assert torch.equal(coder.condition_rows("rose", 3), torch.tensor([[0.0, 1.0]]).expand(3, 2))  # type: ignore[arg-type]
    z = coder.encode(torch.from_numpy(X), condition=rows)
    np.testing.assert_allclose(z, vae.transform(X, names), rtol=1e-4, atol=1e-5)
    back = coder.decode(z, condition=rows)
    np.testing.assert_allclose(back, vae.inverse_transform(z.numpy(), names), rtol=1e-4, atol=1e-4)


def test_a_model_without_both_ways_gets_a_sentence() -> None:
    gan = deepbelief.GAN(2, hidden_layer_sizes=(4,), **SMALL).fit(X)
    for other in (gan, PCA(2).fit(X)):
        with pytest.raises(InvalidArgumentError, match=r"must have encode and decode\. Got (GAN|PCA)"):
            EstimatorCoder(other)
