"""A saved model as an ONNX file: which ways in and out it has, and how wide their inputs are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deepbelief.errors import InvalidArgumentError, check, check_choice
from deepbelief.estimators.storage import INNER_FOLDER
from deepbelief.networks.onnx import export_onnx
from deepbelief.recipes.run_folder import CLASSIFIER, MODEL, check_finished, find_model
from deepbelief.storage import load_model

CODERS = ("encode", "decode", "reconstruct")


@dataclass(frozen=True)
class Way:
    """One function of a model: its method, the width and the names of its inputs, and inputs beside them."""

    method: str
    n_inputs: int
    names: tuple[str, str]
    also: Mapping[str, Tensor] = field(default_factory=dict)


def export_model(folder: Path, path: Path, way: str | None = None) -> tuple[Way, float]:
    """Write one way of the model in `folder`, of a run or saved from Python, to `path`; None takes the first it has.

    "predict" of a run takes its fine-tuned network. Returns the way, and how far onnxruntime's outputs are from torch's
    at most.
    """
    check(path.suffix == ".onnx", f"--out must end in .onnx. Got {str(path)!r}.")
    check_finished(folder)
    tuned = way == "predict" and (folder / CLASSIFIER).is_dir()
    place = find_model(folder, CLASSIFIER if tuned else MODEL)
    if (place / INNER_FOLDER).is_dir():
        raise InvalidArgumentError(
            f"MODEL must be one model by itself. Got an estimator around another. Export that: {place / INNER_FOLDER}."
        )
    model = load_model(place).eval()
    ways = ways_of(model)
    if not ways:
        raise InvalidArgumentError(
            f"MODEL must have a way that is a function of rows: codes, cases from noise, or predictions. Got a "
            f"{type(model).__name__}. Export an RBM, a DBN, an autoencoder, a GAN or a classifier."
        )
    name = next(iter(ways)) if way is None else way
    check_choice("--way", name, ways)
    chosen = ways[name]
    options: dict[str, Any] = {"names": chosen.names, "method": chosen.method, "also": chosen.also}
    return chosen, export_onnx(model, path, chosen.n_inputs, **options)


def ways_of(model: Any) -> dict[str, Way]:
    """The ways of a model that are functions of rows, by what the command line calls them.

    >>> from deepbelief.belief.dbn import DBN
    >>> {name: way.n_inputs for name, way in ways_of(DBN.of_sizes([6, 4, 3])).items()}
    {'encode': 6, 'decode': 3, 'reconstruct': 6}
    """
    kind = type(model).__name__
    if kind == "GAN":
        labels = {} if model.n_classes is None else {"labels": torch.arange(model.n_classes)}
        return {"generate": Way("generate", model.n_latent + model.n_codes, ("z", "x"), labels)}
    if kind == "CycleGAN":
        there, back = _width(model.critic_x), _width(model.critic_y)
        return {"encode": Way("encode", there, ("x", "y")), "decode": Way("decode", back, ("y", "x"))}
    if kind in ("UnrolledDBN", "DBMNetwork"):
        return {"predict": Way("forward", model.n_inputs, ("x", "outputs"))}
    return _coder_ways(model, kind)


def _coder_ways(model: Any, kind: str) -> dict[str, Way]:
    """Those of a model with codes; a conditional one is given rows of its condition."""
    n_condition = getattr(model, "n_condition", 0)
    also = {"condition": torch.eye(n_condition)} if n_condition else {}
    try:
        lowest = model.layers[0] if kind == "ConvolutionalDBN" else model
        width = prod(lowest.image_shape) if hasattr(lowest, "image_shape") else lowest.visible.size
        with torch.no_grad():
            one = {name: rows[:1] for name, rows in also.items()}
            n_codes = model.encode(next(model.parameters()).new_zeros(1, width), **one).shape[1]
    except (AttributeError, TypeError):
        return {}  # no codes, or codes that need more than the case
    names = {"encode": ("x", "z"), "decode": ("z", "x"), "reconstruct": ("x", "mean")}
    widths = {"encode": width, "decode": n_codes, "reconstruct": width}
    return {way: Way(way, widths[way], names[way], also) for way in CODERS if hasattr(model, way)}


def _width(network: Any) -> int:
    """What a network of this library takes in."""
    sizes = getattr(network, "sizes", None)
    return int(sizes[0] if sizes else network.n_features)
