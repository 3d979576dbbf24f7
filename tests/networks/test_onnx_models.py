"""Encoders, decoders and classifiers of our models leave for ONNX and come out the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from deepbelief.autoencoders.vae_builders import convolutional_vae, dense_vae
from deepbelief.belief.dbn import DBN
from deepbelief.belief.unrolled import UnrolledDBN
from deepbelief.energy.rbm import RBM
from deepbelief.errors import InvalidArgumentError
from deepbelief.networks.onnx import export_onnx
from deepbelief.units.bernoulli import Bernoulli
from deepbelief.units.gaussian import Gaussian

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")


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
    for vae in (dense, pictures):
        assert export_onnx(vae, tmp_path / "vae.onnx", n_inputs, method=method) < 1e-5


def test_a_method_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="method must be one that the module has"):
        export_onnx(torch.nn.Linear(2, 2), tmp_path / "x.onnx", 2, method="encode")
