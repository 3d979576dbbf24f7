"""Saved models and states: what goes in comes out, and everything else is refused with a sentence."""

from __future__ import annotations

import errno
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from deepbelief.errors import InvalidArgumentError, StorageError
from deepbelief.networks.dense import DenseNetwork
from deepbelief.storage import (
    atomic_write_bytes,
    atomic_write_text,
    load_model,
    read_state,
    save_model,
    state_from_bytes,
    state_to_bytes,
    write_state,
)


def make_network() -> DenseNetwork:
    return DenseNetwork((5, 4), output=3, generator=torch.Generator().manual_seed(0))


def equal(a: Any, b: Any) -> bool:
    """Equality of values, types, shapes and dtypes, with NaN equal to itself."""
    if type(a) is not type(b):
        return False
    if isinstance(a, Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(equal(a[k], b[k]) for k in a)
    return repr(a) == repr(b)  # tells -0.0 from 0.0, and every float from every other


def test_state_of_everything_round_trips(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    state = {
        "tensors": [base, base.T, base[:, 1], torch.tensor(3), torch.zeros(0, 2), torch.tensor([True, False])],
        "types": [torch.ones(2, dtype=t) for t in (torch.bfloat16, torch.float16, torch.float64, torch.int8)],
        "generator": torch.Generator().manual_seed(3).get_state(),
        "numbers": (1, -(10**30), 0.1, -0.0, math.inf, -math.inf, math.nan, True, None, "text", ""),
        0: {1: {2.5: "deep"}, None: (), False: []},
        (1, "a"): {"tensor": "a word that is also a tag"},
    }
    write_state(tmp_path / "state.safetensors", state)
    assert equal(read_state(tmp_path / "state.safetensors"), state)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers(), inner),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(values)
def test_any_plain_state_round_trips(state: Any) -> None:
    assert equal(state_from_bytes(state_to_bytes(state)), state)


def test_equal_states_give_equal_bytes() -> None:
    assert state_to_bytes({"a": torch.ones(3), "b": 1}) == state_to_bytes({"a": torch.ones(3), "b": 1})


def test_optimizer_state_round_trips() -> None:
    network = make_network()
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.ones(2, 5)).sum().backward()
    optimizer.step()
    state = optimizer.state_dict()
    assert equal(state_from_bytes(state_to_bytes(state)), state)


def test_unknown_types_are_refused_by_place() -> None:
    with pytest.raises(InvalidArgumentError, match=r"state\['a'\]\[1\] must be a tensor.* Got complex"):
        state_to_bytes({"a": [1, 2j]})


@pytest.mark.parametrize("place", [0, 9, 40, -1])
def test_one_changed_byte_of_a_state_is_noticed(tmp_path: Path, place: int) -> None:
    path = tmp_path / "state.safetensors"
    write_state(path, {"a": torch.arange(100.0), "b": [1, 2.5]})
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(StorageError):
        read_state(path)


def test_foreign_newer_cut_and_absent_states_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    with pytest.raises(StorageError, match="must be a readable file"):
        read_state(path)
    path.write_bytes(safetensors.torch.save({"a": torch.ones(2)}))
    with pytest.raises(StorageError, match="of another kind"):
        read_state(path)
    path.write_bytes(safetensors.torch.save({}, metadata={"deepbelief": json.dumps({"format": 99})}))
    with pytest.raises(StorageError, match=r"Got format 99\. Upgrade"):
        read_state(path)
    path.write_bytes(state_to_bytes({"a": torch.ones(200)})[:-10])
    with pytest.raises(StorageError, match="damaged"):
        read_state(path)
    path.write_bytes(b"not at all")
    with pytest.raises(StorageError, match="must be a safetensors file"):
        read_state(path)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_model_round_trips(tmp_path: Path, dtype: torch.dtype) -> None:
    network = make_network().to(dtype)
    save_model(network, tmp_path / "model", card={"data": "digits", "test error": 0.02})
    twin = load_model(tmp_path / "model")
    assert isinstance(twin, DenseNetwork)
    assert equal(dict(twin.state_dict()), dict(network.state_dict()))
    card = (tmp_path / "model" / "README.md").read_text()
    assert "test error: 0.02" in card
    assert "39 parameters" in card
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_saving_again_replaces_the_model_and_keeps_other_files(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    save_model(make_network(), folder)
    (folder / "notes.txt").write_text("mine")
    larger = DenseNetwork((5, 9), output=3)
    save_model(larger, folder)
    assert load_model(folder).config() == larger.config()
    assert (folder / "notes.txt").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_other_folders_are_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(StorageError, match="must be new, empty or a deepbelief model"):
        save_model(make_network(), tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(StorageError, match="must be new, empty or a deepbelief model"):
        save_model(make_network(), tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_only_known_models_are_saved(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="Got model=Linear"):
        save_model(nn.Linear(2, 2), tmp_path / "model")


def edit_config(**changes: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        content = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(content | changes))

    return edit


def flip_a_weight(folder: Path) -> None:
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)


SIZES = {"sizes": [5, 7], "activation": "sigmoid", "dropout": [0.0, 0.0], "output": 3}


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (flip_a_weight, "must match its checksum"),
        (lambda folder: (folder / "model.safetensors").unlink(), "must be readable"),
        (lambda folder: (folder / "config.json").unlink(), "must be a saved model with config.json"),
        (lambda folder: (folder / "config.json").write_text("{"), "must be JSON. It is damaged"),
        (lambda folder: (folder / "config.json").write_text("[1]"), "belongs to another library"),
        (edit_config(library="transformers"), "belongs to another library"),
        (edit_config(format=2), "Got format 2. Upgrade deepbelief"),
        (edit_config(format=None), "Got format None"),
        (edit_config(model="os.system"), r"must be one of RBM, .*DenseNetwork.*\. Got 'os\.system'"),
        (edit_config(model=["RBM"]), "must be one of RBM"),
        (edit_config(config=None), "must hold config and weights_sha256"),
        (edit_config(config={}), "must describe a DenseNetwork"),
        (edit_config(config=SIZES | {"activation": "eval"}), "must describe a DenseNetwork"),
        (edit_config(config=SIZES), r"Got 'layers.0.bias' with shape \(4,\) instead of \(7,\)"),
    ],
)
def test_damaged_foreign_and_newer_models_are_refused(
    tmp_path: Path, damage: Callable[[Path], None], sentence: str
) -> None:
    save_model(make_network(), tmp_path / "model")
    damage(tmp_path / "model")
    with pytest.raises(StorageError, match=sentence):
        load_model(tmp_path / "model")


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, path = make_network(), tmp_path / "file.txt"
    save_model(network, tmp_path / "model")
    atomic_write_text(path, "older")
    monkeypatch.setattr("deepbelief.files.os.fsync", full_disk)
    with pytest.raises(StorageError, match=r"file.txt needs 1.0 MB of disk space.* intact. Free some space"):
        atomic_write_bytes(path, bytes(1_000_000))
    with pytest.raises(StorageError, match="disk space"):
        save_model(DenseNetwork((5, 9), output=3), tmp_path / "model")
    assert path.read_text() == "older"
    assert load_model(tmp_path / "model").config() == network.config()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file.txt", "model"]


def test_a_failed_swap_puts_the_older_model_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, rename = make_network(), Path.rename
    save_model(network, tmp_path / "model")

    def failing(self: Path, target: Path) -> Path:
        if target.name == "model" and not self.name.endswith(".previous"):
            full_disk()
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(StorageError, match="disk space"):
        save_model(DenseNetwork((5, 9), output=3), tmp_path / "model")
    assert load_model(tmp_path / "model").config() == network.config()


def test_unwritable_places_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="must be writable"):
        atomic_write_text(tmp_path / "file" / "below", "text")
