"""The scikit-learn face of autoencoders: what it learns, gives back, keeps, resumes, exports, and refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse, stats
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from deepbelief import Autoencoder, load_estimator
from deepbelief.autoencoders.autoencoder import Autoencoder as Network
from deepbelief.belief.deep_autoencoder import DeepAutoencoder
from deepbelief.errors import DeepBeliefError
from deepbelief.estimators.storage import save_estimator
from deepbelief.networks.onnx import export_onnx

QUICK: dict[str, Any] = {"epochs": 2, "batch_size": 50, "random_state": 0}


def digits(n: int = 200) -> np.ndarray:
    return (load_digits().data[:n] / 16).astype(np.float32)


def tables(n: int = 120) -> np.ndarray:
    rng = np.random.default_rng(0)
    return 3 + rng.normal(size=(n, 2)) @ rng.normal(size=(2, 6)) * 5 + rng.normal(size=(n, 6))


KINDS: dict[str, dict[str, Any]] = {
    "dense": {"hidden_layer_sizes": (20,), "n_components": 3},
    "one layer": {"hidden_layer_sizes": (), "n_components": 5, "code": "sigmoid", "tied": True},
    "convolutional": {"network": "convolutional", "channels": (4, 6), "n_components": 3, "normalization": "batch"},
    "out of a DBN": {"hidden_layer_sizes": (20,), "n_components": 3, "pretrain": "dbn", "pretrain_epochs": 1},
}


@pytest.mark.parametrize("kind", KINDS)
def test_it_codes_decodes_keeps_and_exports(kind: str, tmp_path: Path) -> None:
    x = digits()
    net = Autoencoder(**KINDS[kind], **QUICK).fit(x.reshape(-1, 8, 8))
    z = net.transform(x)
    assert z.shape == (200, net.n_components)
    assert z.dtype == np.float32
    assert net.get_feature_names_out()[0] == "autoencoder0"
    assert isinstance(net.module_, DeepAutoencoder if kind == "out of a DBN" else Network)
    back = net.reconstruct(x)
    np.testing.assert_allclose(net.inverse_transform(z), back, atol=1e-5)
    np.testing.assert_allclose(net.score_samples(x), -((x - back) ** 2).sum(1), rtol=1e-4)
    bits = (x * np.log(back) + (1 - x) * np.log(1 - back)).sum(1)
    np.testing.assert_allclose(net.log_prob(x), bits, rtol=1e-3)
    again = load_estimator(net.save(tmp_path / "net"))
    assert np.array_equal(again.transform(x), z)
    assert again.get_params() == net.get_params()


@pytest.mark.parametrize(
    ("kind", "method", "n"), [("dense", "encode", 64), ("one layer", "decode", 5), ("convolutional", "decode", 3)]
)
def test_each_way_leaves_for_onnx(kind: str, method: str, n: int, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    net = Autoencoder(**KINDS[kind], **QUICK).fit(digits())
    assert export_onnx(net.module_, tmp_path / "way.onnx", n, method=method) < 1e-4


def test_real_valued_columns_are_standardized_and_come_back_on_their_scale() -> None:
    x = tables()
    net = Autoencoder((), n_components=2, epochs=150, learning_rate=0.02, random_state=0).fit(x)
    assert net.visible_ == "gaussian"
    inner = (x - x.mean(0)) / x.std(0)
    back = (net.reconstruct(x) - x.mean(0)) / x.std(0)
    np.testing.assert_allclose(net.score_samples(x), -((inner - back) ** 2).sum(1), rtol=1e-4, atol=1e-5)
    of_components = PCA(2).fit(inner)
    floor = ((inner - of_components.inverse_transform(of_components.transform(inner))) ** 2).sum(1).mean()
    assert floor * (1 - 1e-6) <= -net.score(x)  # the best linear code of two numbers, by Eckart & Young 1936
    assert -net.score(x) < 6 / 2  # a code that says nothing leaves the 6 variances of 1
    deviation = np.exp(-net.module_.visible.log_precision.detach().double().numpy() / 2) * x.std(0)
    density = stats.norm(net.reconstruct(x), deviation).logpdf(x).sum(1)
    np.testing.assert_allclose(net.log_prob(x), density, rtol=1e-3, atol=1e-3)


def test_sparse_rows_learn_as_dense_ones() -> None:
    x = (digits() > 0.5).astype(np.float32)
    dense, from_sparse = (Autoencoder((8,), n_components=2, **QUICK).fit(rows) for rows in (x, sparse.csr_array(x)))
    np.testing.assert_allclose(from_sparse.transform(sparse.csr_array(x)), dense.transform(x), rtol=1e-5)


@pytest.mark.parametrize("kind", ["dense", "out of a DBN"])
def test_resumed_is_never_stopped(kind: str, tmp_path: Path) -> None:
    x = digits()
    plan = KINDS[kind] | QUICK | {"corruption": "masking", "schedule": "constant"}
    whole = Autoencoder(**plan).fit(x)
    part = Autoencoder(**plan | {"epochs": 1, "checkpoint_dir": tmp_path}).fit(x)
    assert not np.array_equal(part.transform(x), whole.transform(x))
    again = Autoencoder(**plan).fit(x, resume_from=tmp_path)
    assert np.array_equal(again.transform(x), whole.transform(x))


def test_out_of_a_dbn_it_starts_where_the_stack_ends() -> None:
    """With no epoch of back-propagation, the network is the stack of RBMs unrolled; an epoch of it lowers the error."""
    x = digits(600)
    plan: dict[str, Any] = KINDS["out of a DBN"] | {"pretrain_epochs": 5, "random_state": 0, "batch_size": 20}
    start, tuned = (Autoencoder(**plan, epochs=epochs, learning_rate=0.01).fit(x) for epochs in (0, 3))
    assert [row["layer"] for row in start.pretrain_history_] == [1] * 5 + [2] * 5
    assert start.pretrain_history_[-1]["epoch"] == tuned.pretrain_history_[-1]["epoch"]
    assert tuned.score(x) > start.score(x)


def test_out_of_a_stack_of_spins_it_is_a_network_of_tanh() -> None:
    x = digits()
    plan: dict[str, Any] = {"hidden_layer_sizes": (20, 10), "n_components": 3, "pretrain": "dbn", "pretrain_epochs": 1}
    net = Autoencoder(activation="tanh", code="tanh", **plan, **QUICK).fit(x)
    assert [layer.units.kind for layer in net.module_.ups] == ["spin", "spin", "spin"]
    assert [layer.units.kind for layer in net.module_.downs] == ["spin", "spin", "bernoulli"]
    h = torch.from_numpy(x)
    for layer in net.module_.ups:
        h = torch.tanh(layer.linear(h) + layer.units.bias)
    np.testing.assert_allclose(net.transform(x), h.detach().numpy(), atol=1e-5)


def test_out_of_a_stack_over_real_numbers_it_codes_them_too() -> None:
    x = tables()
    plan: dict[str, Any] = {"pretrain": "dbn", "pretrain_epochs": 20, "activation": "tanh", "random_state": 0}
    net = Autoencoder((10,), n_components=2, epochs=100, learning_rate=0.01, batch_size=20, **plan).fit(x)
    assert net.visible_ == "gaussian"
    assert -net.score(x) < 6 / 2  # a code that says nothing leaves the 6 variances of 1


def test_denoising_sparse_and_contractive_settings_reach_the_procedure() -> None:
    x = digits()
    plan: dict[str, Any] = {"hidden_layer_sizes": (), "n_components": 8, "code": "sigmoid", **QUICK}
    sparse_code = {"sparsity_target": 0.05, "sparsity_cost": 3.0, "learning_rate": 0.05, "epochs": 20}
    rate = Autoencoder(**plan | sparse_code).fit(x).transform(x).mean()
    plainly = Autoencoder(**plan | {"learning_rate": 0.05, "epochs": 20}).fit(x).transform(x).mean()
    assert abs(rate - 0.05) < abs(plainly - 0.05)
    row = Autoencoder(**plan, code_l1=0.1, contraction=0.1, corruption="salt_and_pepper").fit(x).history_[0]
    assert {"loss", "reconstruction", "l1", "contraction"} <= set(row)


def test_it_clones_and_refuses_what_makes_no_sense(tmp_path: Path) -> None:
    assert clone(Autoencoder((3,), n_components=2)).n_components == 2
    for options, sentence in (
        ({"network": "convolutional", "tied": True}, "tied must be False for convolutional"),
        ({"sparsity_target": 0.1}, "code must be 'sigmoid' with a sparsity_target"),
        ({"pretrain": "rbm"}, "pretrain must be one of 'dbn'"),
        ({"pretrain": "dbn", "tied": True}, "tied must be False to be pre-trained"),
        ({"pretrain": "dbn", "activation": "relu"}, "activation must be 'auto', 'sigmoid' or 'tanh' to be pre-trained"),
        ({"pretrain": "dbn", "pretrain_epochs": (1, 2, 3)}, "pretrain_epochs must be one number or 2"),
        ({"corruption": "masks"}, "Did you mean 'masking'"),
        ({"n_components": 0}, "n_components must be at least 1"),
        ({"contraction": -1.0}, "weight must be at least 0"),
        ({"optimizer": "lbfgs"}, "optimizer must be one of"),
        ({"network": "convolutional", "image_shape": (3, 3)}, "image_shape must hold 64 pixels"),
        ({"loss": "mse"}, "loss must be one of"),
    ):
        with pytest.raises(DeepBeliefError, match=sentence):
            Autoencoder(**options).fit(digits())
    with pytest.raises(DeepBeliefError, match="X must have 2 columns"):
        Autoencoder((), n_components=2, **QUICK).fit(digits()).inverse_transform(np.zeros((1, 3)))
    fitted = Autoencoder((), n_components=2, **QUICK).fit(digits())
    fitted.module_.encoder = torch.nn.Linear(64, 2)
    with pytest.raises(DeepBeliefError, match="encoder must be one of"):
        save_estimator(fitted, tmp_path / "own")
