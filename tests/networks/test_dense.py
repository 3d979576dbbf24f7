"""Dense networks, and their export to ONNX."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from deepbelief.errors import InvalidArgumentError, MissingExtraError
from deepbelief.networks.dense import ACTIVATIONS, DenseNetwork
from deepbelief.networks.onnx import export_onnx


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_output_is_the_composition_of_the_layers(activation: str) -> None:
    network = DenseNetwork((5, 4, 3), activation=activation, dropout=(0.2, 0.5), output=2, generator=seeded()).eval()
    x = torch.rand(7, 5, generator=seeded(1))
    first, second, last = network.linear_layers
    bend = ACTIVATIONS[activation]()
    expected = bend(bend(x @ first.weight.T + first.bias) @ second.weight.T + second.bias) @ last.weight.T + last.bias
    torch.testing.assert_close(network(x), expected)


def test_without_output_the_last_layer_is_activated_and_never_dropped() -> None:
    network = DenseNetwork((5, 3), activation="sigmoid", dropout=(0.0, 0.9), generator=seeded()).train()
    y = network(torch.rand(200, 5, generator=seeded(1)))
    assert bool(((y > 0) & (y < 1)).all())


def test_weights_come_from_the_generator_alone() -> None:
    before = torch.get_rng_state()
    one, two = (DenseNetwork((5, 3), generator=seeded(7)) for _ in range(2))
    assert torch.equal(one.linear_layers[0].weight, two.linear_layers[0].weight)
    assert torch.equal(torch.get_rng_state(), before)


def test_config_makes_the_same_network_again() -> None:
    network = DenseNetwork((5, 4), activation="relu", dropout=(0.1, 0.2), output=3, generator=seeded())
    twin = DenseNetwork.from_config(network.config())
    twin.load_state_dict(network.state_dict())
    assert twin.config() == network.config()
    x = torch.rand(3, 5, generator=seeded(1))
    assert torch.equal(twin.eval()(x), network.eval()(x))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"sizes": (5,)}, "sizes must give inputs and one layer"),
        ({"sizes": (5, 0)}, "every size must be at least 1"),
        ({"sizes": (5, 2), "activation": "sigmoyd"}, "Did you mean 'sigmoid'"),
        ({"sizes": (5, 2), "dropout": (0.0, 1.0)}, "dropout must be"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidArgumentError, match=sentence):
        DenseNetwork(**arguments)


def test_onnx_agrees_with_torch_for_any_number_of_cases(tmp_path: Path) -> None:
    network = DenseNetwork((6, 5), dropout=(0.3, 0.3), output=3, generator=seeded()).train()
    difference = export_onnx(network, tmp_path / "network.onnx", 6, names=("v", "h"))
    assert 0 <= difference <= 8 * torch.finfo(torch.float32).eps
    assert network.training
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(tmp_path / "network.onnx")
    assert [session.get_inputs()[0].name, session.get_outputs()[0].name] == ["v", "h"]
    x = torch.rand(23, 6, generator=seeded(1))
    torch.testing.assert_close(torch.from_numpy(session.run(None, {"v": x.numpy()})[0]), network.eval()(x).detach())


def test_onnx_difference_sees_a_wrong_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shift = nn.Parameter(torch.zeros(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.shift + (0.0 if torch.compiler.is_exporting() else 0.25)

    assert abs(export_onnx(Shifted(), tmp_path / "shifted.onnx", 2) - 0.25) < 1e-6


def test_onnx_absent_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'deepbelief\[onnx\]'"):
        export_onnx(DenseNetwork((2, 2)), tmp_path / "n.onnx", 2)
    assert not (tmp_path / "n.onnx").exists()
