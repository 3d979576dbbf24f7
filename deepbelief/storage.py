"""Saved models and saved states: safetensors and JSON, written atomically, and nothing is ever unpickled.

A model is a folder of ``config.json``, ``model.safetensors`` and ``README.md`` (the Hub's layout). A state (a training
checkpoint) is one ``.safetensors`` file: tensors as entries, everything else as JSON in the header.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

import deepbelief
from deepbelief.errors import DeepBeliefError, InvalidArgumentError, StorageError, check
from deepbelief.files import atomic_write_bytes, atomic_write_text, previous, swap_folder_in

FORMAT = 1
MODELS: dict[str, str] = {
    "RBM": "deepbelief.energy.rbm",
    "ConvolutionalRBM": "deepbelief.energy.convolutional_rbm",
    "ClassificationRBM": "deepbelief.energy.classification_rbm",
    "ConditionalRBM": "deepbelief.energy.conditional_rbm",
    "RatingsRBM": "deepbelief.energy.ratings_rbm",
    "BoltzmannMachine": "deepbelief.energy.boltzmann",
    "DBN": "deepbelief.belief.dbn",
    "ConvolutionalDBN": "deepbelief.belief.convolutional_dbn",
    "UntiedDBN": "deepbelief.belief.untied",
    "DBM": "deepbelief.energy.dbm",
    "DBMNetwork": "deepbelief.energy.dbm_network",
    "UnrolledDBN": "deepbelief.belief.unrolled",
    "DeepAutoencoder": "deepbelief.belief.deep_autoencoder",
    "Autoencoder": "deepbelief.autoencoders.autoencoder",
    "ReplicatedSoftmax": "deepbelief.energy.replicated_softmax",
    "VAE": "deepbelief.autoencoders.vae",
    "RBMVAE": "deepbelief.belief.rbm_vae",
    "VAEStack": "deepbelief.belief.vae_stack",
    "DenseNetwork": "deepbelief.networks.dense",
    "ConvolutionalEncoder": "deepbelief.networks.convolutional",
    "ConvolutionalDecoder": "deepbelief.networks.convolutional",
    "CycleGAN": "deepbelief.adversarial.cycle_gan",
    "GAN": "deepbelief.adversarial.gan",
}
CONFIG_FILE, WEIGHTS_FILE, CARD_FILE = "config.json", "model.safetensors", "README.md"

__all__ = [
    "atomic_write_bytes",
    "atomic_write_text",
    "fill_module",
    "load_model",
    "read_state",
    "save_model",
    "state_from_bytes",
    "state_to_bytes",
    "write_state",
]


def save_model(model: nn.Module, folder: str | Path, *, card: Mapping[str, Any] | None = None) -> Path:
    """Save a storable model into `folder`, replacing an older model there only once the new one is whole.

    `card` holds facts for the model card (data, settings, numbers reached). Files of other kinds in the folder stay.
    Raises `StorageError` when the folder holds something that is not a deepbelief model, or the disk is full.
    """
    folder = Path(folder).absolute()
    name = type(model).__name__
    check(
        name in MODELS and hasattr(model, "config"),
        f"model must be one of {', '.join(MODELS)}. Got model={name}. Save the parts of it that are.",
    )
    _check_replaceable(folder)
    weights = safetensors.torch.save({k: _own(v) for k, v in model.state_dict().items()}, metadata={"format": "pt"})
    settings = {
        "format": FORMAT,
        "library": "deepbelief",
        "version": deepbelief.__version__,
        "model": name,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "config": model.config(),  # type: ignore[operator]
        "card": dict(card or {}),
    }
    try:
        text = json.dumps(settings, indent=2, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise StorageError(
            f"config and card must hold JSON values. Got {error}. Convert them to numbers or text."
        ) from error
    files = {
        WEIGHTS_FILE: weights,
        CONFIG_FILE: text.encode(),
        CARD_FILE: _model_card(name, model, card or {}).encode(),
    }
    swap_folder_in(folder, files)
    return folder


def load_model(folder: str | Path, *, device: str | torch.device = "cpu") -> Any:
    """The model saved in `folder`, rebuilt by name from this library's own classes; the file runs no code.

    Raises `StorageError`, with a sentence, for a folder that is absent, damaged, foreign or newer than this library.
    """
    folder = Path(folder).absolute()
    settings = _read_settings(folder)
    try:
        weights = (folder / WEIGHTS_FILE).read_bytes()
    except OSError as error:
        raise StorageError(f"{folder / WEIGHTS_FILE} must be readable. Got {error.strerror}. Save it again.") from error
    if hashlib.sha256(weights).hexdigest() != settings["weights_sha256"]:
        raise StorageError(f"{folder / WEIGHTS_FILE} must match its checksum. It is damaged. Copy or save it again.")
    state = _parse_tensors(weights, folder / WEIGHTS_FILE)
    kind = getattr(importlib.import_module(MODELS[settings["model"]]), settings["model"])
    try:
        model = kind.from_config(settings["config"])
    except (DeepBeliefError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise StorageError(
            f"config in {folder / CONFIG_FILE} must describe a {settings['model']}. It is damaged: {error}"
        ) from error
    fill_module(model, state, source=str(folder))
    return model.to(device)


def fill_module(module: nn.Module, state: Mapping[str, Tensor], *, source: str) -> None:
    """Put `state` into `module`, in the file's own floating type, after checking every name and shape."""
    wanted = {k: tuple(v.shape) for k, v in module.state_dict().items()}
    found = {k: tuple(v.shape) for k, v in state.items()}
    wrong = sorted(k for k in wanted.keys() | found.keys() if wanted.get(k) != found.get(k))
    if wrong:
        k = wrong[0]
        raise StorageError(
            f"{source} must hold the tensors of this {type(module).__name__}. Got {k!r} with shape "
            f"{found.get(k, 'absent')} instead of {wanted.get(k, 'absent')}. Use the settings it was saved with."
        )
    types = {v.dtype for v in state.values() if v.is_floating_point()}
    if len(types) == 1:
        module.to(dtype=types.pop())
    module.load_state_dict(dict(state))


def _check_replaceable(folder: Path) -> None:
    """Refuse to replace anything but a model of ours, an empty folder, or nothing."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    try:
        ours = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8")).get("library") == "deepbelief"
    except (OSError, ValueError, AttributeError):
        ours = False
    if not ours:
        raise StorageError(f"folder must be new, empty or a deepbelief model. Got {folder}. Choose another folder.")


def _read_settings(folder: Path) -> dict[str, Any]:
    """``config.json`` after every check that can be made before weights are read."""
    path = folder / CONFIG_FILE
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        hint = f"An interrupted save left the older model in {previous(folder)}." if previous(folder).exists() else ""
        raise StorageError(
            f"folder must be a saved model with {CONFIG_FILE}. Got {folder} ({error.strerror}). "
            f"{hint or 'Check the path.'}"
        ) from error
    except ValueError as error:
        raise StorageError(f"{path} must be JSON. It is damaged: {error}. Copy or save the model again.") from error
    if not isinstance(settings, dict) or settings.get("library") != "deepbelief":
        raise StorageError(f"{path} must describe a deepbelief model. It belongs to another library.")
    if not isinstance(settings.get("format"), int) or settings["format"] > FORMAT:
        raise StorageError(
            f"{path} must be of format {FORMAT} or older. Got format {settings.get('format')!r}. Upgrade deepbelief."
        )
    if str(settings.get("model")) not in MODELS:
        raise StorageError(
            f"model in {path} must be one of {', '.join(MODELS)}. Got {settings.get('model')!r}. Upgrade deepbelief."
        )
    if not isinstance(settings.get("config"), dict) or not isinstance(settings.get("weights_sha256"), str):
        raise StorageError(f"{path} must hold config and weights_sha256. It is damaged. Copy or save the model again.")
    return settings


def _model_card(name: str, model: nn.Module, facts: Mapping[str, Any]) -> str:
    """A README that says what the model is, how large, how it was trained, and how to load it."""
    rows = [f"| {k} | {' x '.join(map(str, v.shape)) or 'one number'} |" for k, v in model.state_dict().items()]
    size = sum(v.numel() for v in model.parameters())
    lines = ["---", "library_name: deepbelief", "tags: [deepbelief, energy-based]", "---", "", f"# {name}", ""]
    lines += [f"{name} with {size:,} parameters, saved by deepbelief {deepbelief.__version__}.", ""]
    lines += ["| tensor | shape |", "|---|---|", *rows, ""]
    if facts:
        lines += ["## Facts", "", *(f"- {key}: {value}" for key, value in facts.items()), ""]
    lines += ["## Load", "", "```python", "from deepbelief.storage import load_model", ""]
    lines += ['model = load_model("path/to/this/folder")', "```", ""]
    return "\n".join(lines)


def state_to_bytes(state: Any) -> bytes:
    """Nested dicts, lists and tuples of tensors, numbers, strings, booleans and None, as safetensors bytes.

    Every number comes back exactly, infinities and NaN included, and so do keys that are integers.
    """
    tensors: dict[str, Tensor] = {}
    tree = json.dumps(_encode(state, tensors, "state"), allow_nan=False)
    # One entry, since several would be written in an order of their own every time: equal states give equal bytes.
    metadata = {"deepbelief": json.dumps({"format": FORMAT, "sha256": _digest(tree, tensors), "tree": tree})}
    return safetensors.torch.save(tensors, metadata=metadata)


def state_from_bytes(data: bytes, *, source: str = "state", device: str | torch.device = "cpu") -> Any:
    """What `state_to_bytes` was given; tensors that were on an accelerator go to `device`, the others to the CPU."""
    header = _state_header(data, source)
    tensors = _parse_tensors(data, source)
    if _digest(header["tree"], tensors) != header["sha256"]:
        raise StorageError(f"{source} must match its checksum. It is damaged. Use an older checkpoint.")
    return _decode(json.loads(header["tree"]), tensors, device)


def write_state(path: str | Path, state: Any) -> None:
    """`state_to_bytes` into one file, atomically."""
    atomic_write_bytes(path, state_to_bytes(state))


def read_state(path: str | Path, *, device: str | torch.device = "cpu") -> Any:
    """What `write_state` wrote; tensors that were on an accelerator go to `device`.

    Raises `StorageError` for a file that is absent, damaged, foreign or newer.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StorageError(f"{path} must be a readable file. Got {error.strerror}. Check the path.") from error
    return state_from_bytes(data, source=str(path), device=device)


def _encode(value: Any, tensors: dict[str, Tensor], where: str) -> Any:
    """JSON for `value`: plain scalars as they are, everything else as a one-key object that names its type."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = _own(value)
        return {"tensor" if value.device.type == "cpu" else "moved_tensor": name}
    if type(value) is int:
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, list):
        return [_encode(v, tensors, f"{where}[{i}]") for i, v in enumerate(value)]
    if type(value) is tuple:
        return {"tuple": [_encode(v, tensors, f"{where}[{i}]") for i, v in enumerate(value)]}
    if isinstance(value, Mapping):
        pairs = [
            [_encode(k, tensors, f"key of {where}"), _encode(v, tensors, f"{where}[{k!r}]")] for k, v in value.items()
        ]
        return {"dict": pairs}
    raise InvalidArgumentError(
        f"{where} must be a tensor, a number, text, a boolean, None, or a dict, list or tuple of these. "
        f"Got {type(value).__name__}. Convert it first."
    )


def _decode(node: Any, tensors: Mapping[str, Tensor], device: str | torch.device) -> Any:
    if isinstance(node, list):
        return [_decode(v, tensors, device) for v in node]
    if not isinstance(node, dict):
        return node
    ((tag, body),) = node.items()
    if tag == "tensor":
        return tensors[body]
    if tag == "moved_tensor":
        return tensors[body].to(device)
    if tag == "float":
        return float(body)
    if tag == "tuple":
        return tuple(_decode(v, tensors, device) for v in body)
    return {_decode(k, tensors, device): _decode(v, tensors, device) for k, v in body}


def _digest(tree: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(tree.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _own(tensor: Tensor) -> Tensor:
    """A contiguous copy on the CPU that shares memory with nothing, as safetensors asks."""
    return tensor.detach().to("cpu", copy=True).contiguous()


def _state_header(data: bytes, source: object) -> dict[str, Any]:
    """Our entry of the header, checked; safetensors gives it only for files, so the bytes are read here."""
    try:
        size = int.from_bytes(data[:8], "little")
        entry = json.loads(data[8 : 8 + size]).get("__metadata__", {}).get("deepbelief")
        header = None if entry is None else json.loads(entry)
    except (ValueError, AttributeError, TypeError) as error:
        raise StorageError(f"{source} must be a safetensors file. It is damaged or of another kind.") from error
    if header is None:
        raise StorageError(f"{source} must be a deepbelief state. It is a safetensors file of another kind.")
    if not isinstance(header, dict) or not isinstance(header.get("format"), int):
        raise StorageError(f"{source} must name its format. It is damaged. Use an older checkpoint.")
    if header["format"] > FORMAT:
        raise StorageError(
            f"{source} must be of format {FORMAT} or older. Got format {header['format']}. Upgrade deepbelief."
        )
    if not all(isinstance(header.get(key), str) for key in ("tree", "sha256")):
        raise StorageError(f"{source} must hold a tree and its checksum. It is damaged. Use an older checkpoint.")
    return header


def _parse_tensors(data: bytes, source: object) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise StorageError(f"{source} must be a whole safetensors file. It is damaged: {error}") from error
