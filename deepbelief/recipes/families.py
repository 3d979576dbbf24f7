"""The families that `compare` knows by name: a line here is all that a new one needs."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from deepbelief.errors import check, check_choice
from deepbelief.estimators.storage import ESTIMATORS

BATCH = 50  # cases of an update, for every family


@dataclass(frozen=True)
class Family:
    """An estimator by its class's name, its arguments for a width of hidden layers, and how many layers share epochs.

    ``log_z_of`` names the part of the fitted estimator whose partition function its likelihood needs, where it has one.
    """

    title: str
    estimator: str
    arguments: Callable[[int], Mapping[str, Any]]
    shares: int = 1
    log_z_of: Callable[[Any], Any] | None = field(default=None)


def _images(width: int) -> dict[str, Any]:
    return {"n_filters": max(2, width // 8), "filter_size": 3, "pool": 2}


def _code(width: int) -> int:
    """A code a quarter as wide as the layers around it, as usual for networks that squeeze."""
    return max(2, width // 4)


FAMILIES: dict[str, Family] = {
    "rbm": Family("RBM", "RBM", lambda h: {"n_components": h, "learning_rate": 0.3}, log_z_of=lambda e: e.module_),
    "boltzmann": Family(
        "Boltzmann machine", "BoltzmannMachine", lambda h: {"n_components": h}, log_z_of=lambda e: e.module_
    ),
    "dbn": Family(
        "deep belief network",
        "DeepBeliefNetwork",
        lambda h: {"hidden_layer_sizes": (h, h), "learning_rate": 0.3},
        shares=2,
        log_z_of=lambda e: e.module_.top,
    ),
    "dbm": Family(
        "deep Boltzmann machine",
        "DeepBoltzmannMachine",
        lambda h: {"hidden_layer_sizes": (h, h), "learning_rate": 0.1},
        log_z_of=lambda e: e.module_.even_odd(),
    ),
    "convolutional": Family(
        "convolutional RBM", "ConvolutionalBeliefNetwork", _images, log_z_of=lambda e: e.module_.layers[0]
    ),
    "autoencoder": Family(
        "autoencoder", "Autoencoder", lambda h: {"hidden_layer_sizes": (h,), "n_components": _code(h)}
    ),
    "vae": Family("variational autoencoder", "VAE", lambda h: {"hidden_layer_sizes": (h, h), "n_components": _code(h)}),
    "iwae": Family(
        "importance-weighted autoencoder",
        "VAE",
        lambda h: {"hidden_layer_sizes": (h, h), "n_components": _code(h), "k": 5},
    ),
    "rbmvae": Family(
        "variational autoencoder of bits under an RBM",
        "RBMVAE",
        lambda h: {"hidden_layer_sizes": (h, h), "n_bits": (_code(h), _code(h))},
        log_z_of=lambda e: e.module_.rbm,
    ),
    "gan": Family("adversarial network", "GAN", lambda h: {"hidden_layer_sizes": (h, h), "n_components": _code(h)}),
}


def families(names: Sequence[str]) -> dict[str, Family]:
    """The families of these names, in their order."""
    check(len(names) >= 1, "models must name at least 1 family. Got none. Try: rbm,dbn")
    for name in names:
        check_choice("models", name, FAMILIES)
    check(len(set(names)) == len(names), f"models must name each family once. Got {','.join(names)}.")
    return {name: FAMILIES[name] for name in names}


def usual_rate(family: Family, width: int) -> float:
    """The learning rate that the family has here, or else its estimator's own."""
    own: float = {**_class_of(family)().get_params(deep=False), **family.arguments(width)}["learning_rate"]
    return own


def build(
    family: Family, width: int, epochs: int, image_shape: Sequence[int], seed: int, learning_rate: float | None = None
) -> Any:
    """The unfitted estimator; a family that learns layer by layer shares the epochs among its layers."""
    kind = _class_of(family)
    known = kind().get_params(deep=False)
    own = {"image_shape": tuple(image_shape), "device": "cpu", "batch_size": BATCH, "random_state": seed}
    given = {name: value for name, value in own.items() if name in known} | dict(family.arguments(width))
    if learning_rate is not None:
        given["learning_rate"] = learning_rate
    return kind(**given, epochs=max(1, round(epochs / family.shares)))


def _class_of(family: Family) -> Any:
    return getattr(importlib.import_module(ESTIMATORS[family.estimator]), family.estimator)
