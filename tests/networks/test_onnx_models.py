"""Encoders, decoders and classifiers of our models leave for ONNX and come out the same."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from deepbelief.adversarial.cycle_gan import CycleGAN
from deepbelief.adversarial.gan import GAN
from deepbelief.autoencoders.autoencoder import Autoencoder
from deepbelief.autoencoders.vae import VAE
from deepbelief.autoencoders.vae_builders import convolutional_vae, dense_vae
from deepbelief.belief.dbn import DBN
from deepbelief.belief.deep_autoencoder import unroll_autoencoder
from deepbelief.belief.rbm_vae import RBMVAE
from deepbelief.belief.rbm_vae_builders import make_rbm_vae
from deepbelief.belief.unrolled import UnrolledDBN
from deepbelief.belief.vae_stack import VAEStack
from deepbelief.energy.dbm import DBM
from deepbelief.energy.dbm_network import DBMNetwork
from deepbelief.energy.mean_field import infer
from deepbelief.energy.rbm import RBM
from deepbelief.errors import InvalidArgumentError
from deepbelief.networks.convolutional import ConvolutionalDecoder
from deepbelief.networks.dense import DenseNetwork
from deepbelief.networks.onnx import export_onnx
from deepbelief.networks.pixel_cnn import PixelCNN
from deepbelief.networks.translator import ConvolutionalTranslator
from deepbelief.units.bernoulli import Bernoulli
from deepbelief.units.gaussian import Gaussian

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module", autouse=True)
def _operators_read_once() -> Iterator[None]:
    """Each export parses all of torch's operators anew, which takes longer than the rest of it: here one table serves.

    Where another version of onnxscript keeps them elsewhere, exports take their time.
    """
    with pytest.MonkeyPatch.context() as patch:
        with suppress(ImportError, AttributeError):
            table = importlib.import_module("onnxscript._framework_apis.torch_2_5")
            patch.setattr(table, "get_torchlib_ops", functools.cache(table.get_torchlib_ops))
        yield


@pytest.mark.parametrize(("method", "n_inputs"), [("encode", 6), ("decode", 3), ("reconstruct", 6)])
def test_a_dbn_leaves_by_each_way(method: str, n_inputs: int, tmp_path: Path, generator: torch.Generator) -> None:
    dbn = DBN.of_sizes([6, 4, 3], generator=generator)
    for parameter in dbn.parameters():
        parameter.data.normal_(generator=generator)
    assert export_onnx(dbn, tmp_path / "dbn.onnx", n_inputs, method=method) < 1e-5
    assert (tmp_path / "dbn.onnx").stat().st_size > 0


def test_gaussian_units_and_a_classifier_leave(tmp_path: Path, generator: torch.Generator) -> None:
    rbm = RBM(Gaussian(5), 4, weight_std=0.5, generator=generator)
    net = UnrolledDBN.from_dbn(DBN([rbm]), n_outputs=3, dropout=0.5, output_std=1.0, generator=generator)
    assert export_onnx(net, tmp_path / "net.onnx", 5, names=("x", "log_odds")) < 1e-5
    assert export_onnx(rbm, tmp_path / "rbm.onnx", 4, method="decode") < 1e-5


@pytest.mark.parametrize(("method", "n_inputs"), [("encode", 12), ("decode", 2)])
def test_variational_autoencoders_leave_by_both_ways(
    method: str, n_inputs: int, tmp_path: Path, generator: torch.Generator
) -> None:
    dense = dense_vae(Bernoulli(12), [3, 2], hidden=[[5], [4]], generator=generator)
    pictures = convolutional_vae(Bernoulli(12), 2, (1, 3, 4), channels=(3,), generator=generator)
    residual = dense_vae(Bernoulli(12), [2], hidden=[[5, 5]], network="residual", generator=generator)
    for vae in (dense, residual, pictures):
        assert export_onnx(vae, tmp_path / "vae.onnx", n_inputs, method=method) < 1e-5


def gan(*, values: str = "unit", n_classes: int | None = None) -> GAN:
    """One whose average is another network than its generator, as after learning."""
    made = ConvolutionalDecoder(5 + (n_classes or 0), (1, 3, 3), channels=(2,), normalization="batch")
    model = GAN(made, nn.Linear(9, n_classes or 1), 3, n_codes=2, n_classes=n_classes, values=values)
    for network in (model.generator, model.averaged):
        for tensor in (*network.parameters(), *network.buffers()):
            if tensor.is_floating_point():
                tensor.data.uniform_(0.1, 1.0)
    return model


def cycle_gan() -> CycleGAN:
    ways = [DenseNetwork((4, 5), output=3), DenseNetwork((3, 5), output=4)]
    return CycleGAN(*ways, nn.Linear(4, 1), nn.Linear(3, 1), values="unit")


def picture_translation() -> CycleGAN:
    shapes = (1, 3, 3), (2, 2, 4)
    ways = [ConvolutionalTranslator(*pair, channels=(2, 3)) for pair in (shapes, shapes[::-1])]
    return CycleGAN(*ways, nn.Linear(9, 1), nn.Linear(16, 1))


def conditional_vae() -> VAE:
    return dense_vae(Bernoulli(9), [3, 2], hidden=[[5], [4]], n_condition=4)


def hanging_pixels() -> RBMVAE:
    return make_rbm_vae(Bernoulli(9), (3, 2), hidden=[5], pixels=PixelCNN((3, 3), maps=2, channels=2))


def dense_autoencoder() -> Autoencoder:
    return Autoencoder.dense(Gaussian(9), [5, 2], tied=True, code="sigmoid")


def picture_autoencoder() -> Autoencoder:
    return Autoencoder.convolutional(Bernoulli(9), (1, 3, 3), 2, channels=(2,), normalization="batch")


def unrolled() -> nn.Module:
    return unroll_autoencoder(DBN.of_units([Bernoulli(9), Bernoulli(4), Gaussian(3)]))


def stack() -> VAEStack:
    return VAEStack(DBN.of_sizes([9, 4]), dense_vae(Bernoulli(4), [2], hidden=[[5]]))


Further = dict[str, Tensor]
CLASSES, CONDITIONS = {"labels": torch.arange(4)}, {"condition": torch.eye(4)}
LEAVING: list[tuple[Callable[[], nn.Module], str, int, Further]] = [
    (gan, "generate", 5, {}),
    (lambda: gan(values="real", n_classes=4), "generate", 5, CLASSES),
    (cycle_gan, "encode", 4, {}),
    (cycle_gan, "decode", 3, {}),
    (picture_translation, "encode", 9, {}),
    (picture_translation, "decode", 16, {}),
    *((dense_autoencoder, way, n, {}) for way, n in (("encode", 9), ("decode", 2), ("reconstruct", 9))),
    *((picture_autoencoder, way, n, {}) for way, n in (("encode", 9), ("decode", 2))),
    *((unrolled, way, n, {}) for way, n in (("encode", 9), ("decode", 3), ("reconstruct", 9))),
    (conditional_vae, "encode", 9, CONDITIONS),
    (conditional_vae, "decode", 2, CONDITIONS),
    (lambda: make_rbm_vae(Bernoulli(9), (3, 2), hidden=[5]), "encode", 9, {}),
    (lambda: make_rbm_vae(Bernoulli(9), (3, 2), hidden=[5], n_codes=2), "decode", 5, {}),
    (hanging_pixels, "encode", 9, {}),
    (stack, "encode", 9, {}),
    (stack, "decode", 2, {}),
]


@pytest.mark.parametrize(("make", "method", "n_inputs", "also"), LEAVING)
def test_the_newer_models_leave_by_each_way(
    make: Callable[[], nn.Module], method: str, n_inputs: int, also: Further, tmp_path: Path
) -> None:
    assert export_onnx(make(), tmp_path / "model.onnx", n_inputs, method=method, also=also) < 1e-5


@pytest.mark.parametrize(("method", "n_inputs"), [("encode", 9), ("decode", 3), ("forward", 9)])
def test_a_deep_boltzmann_machine_leaves_with_rounds_for_the_slowest_case(
    method: str, n_inputs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    """A file cannot stop early: it takes all rounds (here 6, not 50), in which cases that have settled stand still."""
    monkeypatch.setattr("deepbelief.energy.dbm.infer", lambda *a, **how: infer(*a, **{**how, "n_steps": 6}))
    dbm = DBM([9, 5, 3], weight_std=0.5, generator=generator)
    model = DBMNetwork(dbm, 2, feedback=True) if method == "forward" else dbm
    assert export_onnx(model, tmp_path / "dbm.onnx", n_inputs, method=method) < 1e-5


def test_a_label_matters_and_the_average_is_what_leaves(tmp_path: Path, generator: torch.Generator) -> None:
    runtime = pytest.importorskip("onnxruntime")
    model, z = gan(n_classes=4), torch.randn(2, 5, generator=generator)
    export_onnx(model, tmp_path / "gan.onnx", 5, names=("z", "x"), method="generate", also=CLASSES)
    session = runtime.InferenceSession(tmp_path / "gan.onnx")
    assert [given.name for given in session.get_inputs()] == ["z", "labels"]
    made = {label: session.run(["x"], {"z": z.numpy(), "labels": np.full(2, label)})[0] for label in (0, 3)}
    assert abs(made[0] - made[3]).max() > 1e-3
    learning = model.eval().generate(z, torch.zeros(2, dtype=torch.long), averaged=False)
    assert abs(made[0] - learning.detach().numpy()).max() > 1e-3


class Branching(nn.Module):
    """What a file of fixed operations cannot hold."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x if float(x.sum()) > 0 else x


REFUSED: list[tuple[Callable[[], nn.Module], str, int, Further, str]] = [
    (lambda: nn.Linear(2, 2), "encode", 2, {}, "method must be one that the module has.*Use 'forward'"),
    (gan, "forward", 5, {}, "method must be one that the module has. Got method='forward'. Use 'generate'"),
    (gan, "sample", 5, {}, r"method must take \(cases, 5\) numbers. 'sample' does not, but how many cases"),
    (hanging_pixels, "sample", 9, {}, r"method must take \(cases, 9\) numbers. 'sample' does not, but how many cases"),
    (gan, "generate", 4, {}, r"method must take \(cases, 4\) numbers. .*n_inputs and also= that belong together"),
    (lambda: gan(n_classes=4), "generate", 5, {}, "labels must be given to a conditional GAN"),
    (hanging_pixels, "decode", 5, {}, "decode of a RBMVAE must be made of operations that torch can export"),
    (conditional_vae, "encode", 9, {}, "condition must be vectors of 4 numbers. Got None"),
    (conditional_vae, "encode", 9, {"x": torch.eye(4)}, "names must be two different names"),
    (lambda: dense_vae(Bernoulli(9), [2], hidden=[[5]]), "log_weights", 9, {}, "method must give one row for each"),
    (lambda: RBM(9, 3), "sample_h_from_v", 9, {}, "the same each time.*such as 'encode'"),
    (Branching, "forward", 2, {}, "forward of a Branching must be made of operations that torch can export"),
]


@pytest.mark.parametrize(("make", "method", "n_inputs", "also", "sentence"), REFUSED)
def test_what_cannot_leave_is_told(
    make: Callable[[], nn.Module], method: str, n_inputs: int, also: Further, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidArgumentError, match=sentence):
        export_onnx(make(), tmp_path / "x.onnx", n_inputs, method=method, also=also)
    assert not (tmp_path / "x.onnx").exists()
