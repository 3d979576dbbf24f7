"""Save a fitted estimator and load it again: modules in the models' own folders, all else in ``estimator.json``.

A folder holds the module (``config.json``, ``model.safetensors``), ``estimator.json`` with the class's name, the
arguments and the fitted attributes, and where there is one the generative module in ``generative/``. An estimator
around another keeps that in ``inner/`` and has no module of its own, a pipeline keeps each of its steps so in a folder
below that, and a large array is in ``estimator.safetensors``.
Nothing is pickled.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

import deepbelief
from deepbelief.errors import InvalidArgumentError, StorageError
from deepbelief.files import atomic_write_bytes, atomic_write_text
from deepbelief.storage import CONFIG_FILE, load_model, save_model, state_from_bytes, state_to_bytes
from deepbelief.types import Bound

FORMAT = 1
ESTIMATOR_FILE, STATE_FILE = "estimator.json", "estimator.safetensors"
GENERATIVE_FOLDER, INNER_FOLDER = "generative", "inner"
ESTIMATORS: dict[str, str] = {
    "Autoencoder": "deepbelief.estimators.autoencoder",
    "AnomalyDetector": "deepbelief.estimators.anomaly",
    "SeriesAnomalyDetector": "deepbelief.estimators.anomaly_series",
    "BernoulliRBM": "deepbelief.estimators.bernoulli_rbm",
    "BoltzmannMachine": "deepbelief.estimators.boltzmann",
    "RBM": "deepbelief.estimators.rbm",
    "ClassificationRBM": "deepbelief.estimators.classification_rbm",
    "ConvolutionalBeliefNetwork": "deepbelief.estimators.convolutional",
    "CycleGAN": "deepbelief.estimators.cycle_gan",
    "GAN": "deepbelief.estimators.gan",
    "ConditionalRBM": "deepbelief.estimators.conditional_rbm",
    "RatingsRBM": "deepbelief.estimators.ratings_rbm",
    "ReplicatedSoftmax": "deepbelief.estimators.replicated_softmax",
    "DeepBeliefNetwork": "deepbelief.estimators.network",
    "DeepBeliefClassifier": "deepbelief.estimators.classifier",
    "DeepBeliefRegressor": "deepbelief.estimators.regressor",
    "DeepBoltzmannClassifier": "deepbelief.estimators.boltzmann_classifier",
    "DeepBoltzmannMachine": "deepbelief.estimators.boltzmann_network",
    "VAE": "deepbelief.estimators.vae",
    "RBMVAE": "deepbelief.estimators.rbm_vae",
    "VAEStack": "deepbelief.estimators.vae_stack",
}
OF_SEVERAL = {"GenerativePipeline": "deepbelief.estimators.pipeline"}  # which no name alone can make


class Savable:
    """Gives an estimator `save`; `_stored` names its fitted attributes, `_stored_arrays` those that are its module.

    `_stored_state` names one fitted array too large for JSON, None where a fit made none.
    """

    _stored: tuple[str, ...] = ()
    _stored_arrays: tuple[str, ...] = ()
    _stored_module: str | None = None
    _stored_state: str | None = None
    _stored_estimator: str | None = (
        None  # the fitted attribute of an estimator around another, its argument `estimator`
    )

    def save(self, folder: str | Path) -> Path:
        """Save the fitted estimator into `folder`; `load_estimator` reads it. Returns the folder."""
        return save_estimator(self, folder)


def save_estimator(estimator: Any, folder: str | Path) -> Path:
    """Save a fitted estimator; the ``estimator.json`` is written last and names the weights that it belongs to."""
    from sklearn.utils.validation import check_is_fitted

    check_is_fitted(estimator)
    name = type(estimator).__name__
    if (ESTIMATORS | OF_SEVERAL).get(name) != type(estimator).__module__:
        raise InvalidArgumentError(f"estimator must be one of {', '.join(ESTIMATORS)}. Got {name}. Save its module_.")
    around = estimator._stored_estimator is not None
    parameters = {
        key: _encode(value, key)
        for key, value in estimator.get_params(deep=False).items()
        # an unfitted inner one comes back as a clone of the fitted
        if not (around and (hasattr(value, "fit") or key == estimator._stored_estimator))
    }
    names = ("n_features_in_", "feature_names_in_", *estimator._stored, *estimator._stored_arrays)
    fitted = {key: _encode(getattr(estimator, key), key) for key in names if hasattr(estimator, key)}
    if name in OF_SEVERAL:  # their steps know the columns
        fitted = {"step_names": [step for step, _ in getattr(estimator, str(estimator._stored_estimator))]}
    folder = _save_inner(estimator, Path(folder)) if around else save_model(estimator.module_, folder)
    generative = estimator._stored_module
    if generative is not None:
        save_model(getattr(estimator, generative), folder / GENERATIVE_FOLDER)
    record = {
        "format": FORMAT,
        "library": "deepbelief",
        "version": deepbelief.__version__,
        "estimator": name,
        "weights_sha256": _checksum(folder),
        "state_sha256": _save_state(estimator, folder),
        "parameters": parameters,
        "fitted": fitted,
    }
    atomic_write_text(folder / ESTIMATOR_FILE, json.dumps(record, indent=1, allow_nan=False))
    return folder


def load_estimator(folder: str | Path, *, device: str = "cpu") -> Any:
    """The estimator that was saved in `folder`, with its module on `device`; the files run no code.

    Raises `StorageError` for a folder that holds no estimator, a damaged, foreign or newer one.
    """
    folder = Path(folder)
    record = _read(folder)
    kind = getattr(importlib.import_module((ESTIMATORS | OF_SEVERAL)[record["estimator"]]), record["estimator"])
    steps: dict[str, Any] = {}
    if record["estimator"] in OF_SEVERAL:
        places = [folder / INNER_FOLDER / str(number) for number in range(len(record["fitted"]["step_names"]))]
        models = [load_estimator(place, device=device) for place in places]
        steps = {"steps": list(zip(record["fitted"].pop("step_names"), models, strict=True))}
    try:
        estimator = kind(**steps, **{key: _decode(value) for key, value in record["parameters"].items()})
        for key, value in record["fitted"].items():
            setattr(estimator, key, _decode(value))
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise StorageError(
            f"{folder / ESTIMATOR_FILE} must describe a {record['estimator']}. It is damaged: {error}."
        ) from error
    if steps:
        return estimator
    if estimator._stored_estimator is not None:
        _load_inner(estimator, folder, "estimator" in record["parameters"], device)
    elif not estimator._stored_arrays:
        estimator.module_ = load_model(folder, device=device).eval()
    if estimator._stored_state is not None:
        setattr(estimator, estimator._stored_state, _load_state(folder, record.get("state_sha256")))
    if estimator._stored_module is not None:
        setattr(estimator, estimator._stored_module, load_model(folder / GENERATIVE_FOLDER, device=device).eval())
    return estimator


def _save_inner(estimator: Any, folder: Path) -> Path:
    inner = getattr(estimator, estimator._stored_estimator)
    several = isinstance(inner, list)
    places = {folder / INNER_FOLDER: inner}
    if several:
        places = {folder / INNER_FOLDER / str(number): step for number, (_, step) in enumerate(inner)}
    for step in places.values():
        if not isinstance(step, Savable):
            raise InvalidArgumentError(
                f"{'steps' if several else 'estimator'} must be of {', '.join(ESTIMATORS)} to be saved. "
                f"Got {type(step).__name__}. Save the estimators of this library in it one by one."
            )
    for place, step in places.items():
        save_estimator(step, place)
    return folder


def _save_state(estimator: Any, folder: Path) -> str | None:
    """Write the large array where there is one; returns its checksum."""
    values = None if estimator._stored_state is None else getattr(estimator, estimator._stored_state, None)
    if values is None:
        return None
    data = state_to_bytes(torch.from_numpy(values))
    atomic_write_bytes(folder / STATE_FILE, data)
    return hashlib.sha256(data).hexdigest()


def _load_state(folder: Path, checksum: str | None) -> Any:
    if checksum is None:
        return None
    try:
        data = (folder / STATE_FILE).read_bytes()
    except OSError as error:
        raise StorageError(f"{folder} must hold {STATE_FILE}. Got {error.strerror}. Copy or save it again.") from error
    if hashlib.sha256(data).hexdigest() != checksum:
        raise StorageError(f"{folder / STATE_FILE} must match its checksum. It is damaged. Copy or save it again.")
    return state_from_bytes(data, source=str(folder / STATE_FILE)).numpy()


def _load_inner(estimator: Any, folder: Path, is_named: bool, device: str) -> None:
    from sklearn.base import clone

    inner = load_estimator(folder / INNER_FOLDER, device=device)
    setattr(estimator, estimator._stored_estimator, inner)
    if not is_named:
        estimator.estimator = clone(inner)


def _read(folder: Path) -> dict[str, Any]:
    path = folder / ESTIMATOR_FILE
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StorageError(
            f"folder must hold a saved estimator with {ESTIMATOR_FILE}. Got {folder} ({error.strerror}). "
            "Check the path, or use load_model for a module."
        ) from error
    except ValueError as error:
        raise StorageError(f"{path} must be JSON. It is damaged: {error}. Copy or save it again.") from error
    if not isinstance(record, dict) or record.get("library") != "deepbelief":
        raise StorageError(f"{path} must describe a deepbelief estimator. It belongs to another library.")
    if not isinstance(record.get("format"), int) or record["format"] > FORMAT:
        raise StorageError(
            f"{path} must be of format {FORMAT} or older. Got {record.get('format')!r}. Upgrade deepbelief."
        )
    if record.get("estimator") not in ESTIMATORS | OF_SEVERAL or not all(
        isinstance(record.get(k), dict) for k in ("parameters", "fitted")
    ):
        raise StorageError(f"{path} must name an estimator, its parameters and what was fitted. It is damaged.")
    if record.get("weights_sha256") != _checksum(folder):
        raise StorageError(f"{path} must belong to the weights beside it. Got others. Save the estimator again.")
    return record


def _checksum(folder: Path) -> Any:
    inner = folder / INNER_FOLDER
    if inner.is_dir():
        steps = sorted((place for place in inner.iterdir() if place.name.isdigit()), key=lambda place: int(place.name))
        if steps:  # of a pipeline
            return "-".join(str(_checksum(step)) for step in steps)
        folder = inner
    try:
        return json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8")).get("weights_sha256")
    except (OSError, ValueError, AttributeError) as error:
        raise StorageError(f"{folder / CONFIG_FILE} must be a model's settings. It is damaged or absent.") from error


def _encode(value: Any, name: str) -> Any:
    """JSON for an argument or a fitted attribute: arrays and tuples as one-key objects, plain values as they are."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        kind = "object" if value.dtype == object else value.dtype.str
        return {"array": [_encode(v, name) for v in value.ravel().tolist()], "dtype": kind, "shape": list(value.shape)}
    if isinstance(value, tuple | list):
        parts = [_encode(v, name) for v in value]
        return {"tuple": parts} if isinstance(value, tuple) else parts
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Bound):
        return {"bound": {key: _encode(part, name) for key, part in vars(value).items()}}
    if isinstance(value, dict):
        return {"dict": {key: _encode(part, name) for key, part in value.items()}}
    if isinstance(value, np.random.RandomState):
        return None  # a stream cannot be kept: what is drawn after loading takes fresh entropy
    if isinstance(value, float) and not np.isfinite(value):
        return {"float": repr(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise InvalidArgumentError(f"{name} must be a number, text, None, or an array or sequence of these. Got {value!r}.")


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return [_decode(v) for v in value]
    if not isinstance(value, dict):
        return value
    if "float" in value:
        return float(value["float"])
    if "bound" in value:
        return Bound(**{key: _decode(part) for key, part in value["bound"].items()})
    if "dict" in value:
        return {key: _decode(part) for key, part in value["dict"].items()}
    if "tuple" in value:
        return tuple(_decode(v) for v in value["tuple"])
    return np.array(value["array"], dtype=np.dtype(value["dtype"])).reshape(value["shape"])
