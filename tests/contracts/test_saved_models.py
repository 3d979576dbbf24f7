"""Every model that has a name: saved and loaded it is the same, nothing is unpickled, no write is seen half done."""

from __future__ import annotations

import errno
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from deepbelief.belief.convolutional_dbn import ConvolutionalDBN
from deepbelief.belief.dbn import DBN
from deepbelief.belief.unrolled import UnrolledDBN
from deepbelief.belief.untied import UntiedDBN
from deepbelief.energy.boltzmann import BoltzmannMachine
from deepbelief.energy.classification_rbm import ClassificationRBM
from deepbelief.energy.conditional_rbm import ConditionalRBM
from deepbelief.energy.convolutional_rbm import ConvolutionalRBM
from deepbelief.energy.dbm import DBM
from deepbelief.energy.dbm_network import DBMNetwork
from deepbelief.energy.ratings_rbm import RatingsRBM
from deepbelief.energy.rbm import RBM
from deepbelief.energy.replicated_softmax import ReplicatedSoftmax
from deepbelief.errors import StorageError
from deepbelief.networks.convolutional import ConvolutionalDecoder, ConvolutionalEncoder
from deepbelief.networks.dense import DenseNetwork
from deepbelief.storage import MODELS, load_model, save_model, state_to_bytes
from tests.contracts import wings

OF_ENERGY: dict[str, Callable[[], nn.Module]] = {
    "rbm": lambda: RBM(5, 3),
    "convolutional rbm": lambda: ConvolutionalRBM((5, 5), 2, 2),
    "classification rbm": lambda: ClassificationRBM(5, 3, 2),
    "conditional rbm": lambda: ConditionalRBM(5, 3, 4),
    "ratings rbm": lambda: RatingsRBM(5, 3, [1.0, 2.0, 3.0]),
    "boltzmann machine": lambda: BoltzmannMachine(4, 2),
    "dbn": lambda: DBN.of_sizes([5, 4, 3]),
    "convolutional dbn": lambda: ConvolutionalDBN([ConvolutionalRBM((5, 5), 2, 2)]),
    "untied dbn": lambda: UntiedDBN.from_dbn(DBN.of_sizes([5, 4, 3])),
    "dbm": lambda: DBM([5, 4, 3]),
    "dbm network": lambda: DBMNetwork(DBM([5, 4, 3]), 2),
    "dbm network with feedback": lambda: DBMNetwork(DBM([5, 4, 3]), 2, feedback=True),
    "unrolled dbn": lambda: UnrolledDBN.from_dbn(DBN.of_sizes([5, 4, 3]), n_outputs=2),
    "replicated softmax": lambda: ReplicatedSoftmax(5, 3),
    "dense network": lambda: DenseNetwork((5, 4), output=2, spectral=True),
    "convolutional encoder": lambda: ConvolutionalEncoder(wings.SHAPE, 2, channels=(2, 3), normalization="batch"),
    "convolutional decoder": lambda: ConvolutionalDecoder(2, wings.SHAPE, channels=(2, 3), normalization="batch"),
}
MADE = OF_ENERGY | {name: wing.make for name, wing in wings.WINGS.items()} | {wings.STACK: wings.make_stack}


@pytest.fixture(params=MADE)
def model(request: pytest.FixtureRequest, generator: torch.Generator) -> nn.Module:
    """Each model, with numbers of its own in every parameter and every buffer."""
    made = MADE[request.param]()
    for tensor in (*made.parameters(), *made.buffers()):
        if tensor.is_floating_point():
            tensor.data.add_(0.1 * torch.rand(tensor.shape, dtype=tensor.dtype, generator=generator))
    return made.eval()


def uses(model: Any) -> list[Tensor]:
    """What a model of the newer wings gives, on fixed inputs with fixed draws."""
    if type(model).__name__ == "GAN":
        return [model.sample(3, generator=wings.stream(2))]
    if type(model).__name__ not in ("Autoencoder", "DeepAutoencoder", "VAE", "RBMVAE", "VAEStack", "CycleGAN"):
        return []
    x = torch.rand(3, wings.WIDTH, generator=wings.stream(1)).to(next(model.parameters()))
    given = {"condition": torch.eye(wings.N_CLASSES)[:3]} if getattr(model, "n_condition", 0) else {}
    z = model.encode(x, **given)
    return [z, model.decode(z, **given)]


def test_the_list_names_every_model() -> None:
    assert {type(make()).__name__ for make in MADE.values()} == set(MODELS)


def test_what_was_saved_is_what_is_loaded(model: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("something was unpickled")

    for place, name in ((pickle, "load"), (pickle, "loads"), (pickle, "Unpickler"), (torch, "load")):
        monkeypatch.setattr(place, name, refuse)
    save_model(model, tmp_path / "model")
    assert {path.name for path in (tmp_path / "model").iterdir()} == {"config.json", "model.safetensors", "README.md"}
    twin = load_model(tmp_path / "model")
    assert type(twin) is type(model)
    assert json.dumps(twin.config()) == json.dumps(model.config())  # type: ignore[operator]
    assert state_to_bytes(dict(twin.state_dict())) == state_to_bytes(dict(model.state_dict()))
    twin.eval()
    for ours, its in zip(uses(model), uses(twin), strict=True):
        assert torch.equal(ours, its)


def test_a_full_disk_keeps_the_older_one(model: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_model(model, tmp_path / "model")
    before = state_to_bytes(dict(model.state_dict()))
    for parameter in model.parameters():
        parameter.data.add_(1.0)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("deepbelief.files.os.fsync", full)
    with pytest.raises(StorageError, match="disk space"):
        save_model(model, tmp_path / "model")
    assert state_to_bytes(dict(load_model(tmp_path / "model").state_dict())) == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_damage_is_told_in_a_sentence(model: nn.Module, tmp_path: Path) -> None:
    save_model(model, tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    settings = json.loads(path.read_text())
    for wrong in ({}, dict.fromkeys(settings["config"], "foreign")):
        path.write_text(json.dumps(settings | {"config": wrong}))
        with pytest.raises(StorageError, match="It is damaged"):
            load_model(tmp_path / "model")
    path.write_text(json.dumps(settings))
    weights = path.with_name("model.safetensors")
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(StorageError, match="must match its checksum"):
        load_model(tmp_path / "model")
