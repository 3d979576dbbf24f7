"""The families that `compare` knows by name: a line here is all that a new one needs."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from deepbelief.errors import check, check_choice
from deepbelief.estimators.storage import ESTIMATORS
from deepbelief.recipes.compare_cases import Cases

BATCH = 50  # cases of an update, for every family


@dataclass(frozen=True)
class Family:
    """An estimator by its class's name, its arguments for a width of hidden layers, and how many layers share epochs.

    ``log_z_of`` names the part of the fitted estimator whose partition function its likelihood needs, where it has one.
    ``epochs`` names the arguments that take the epochs of a share, ``rate`` that of the learning rate that is tuned.
    ``real`` holds what is different for standardized columns, ``needs`` what it cannot do without.
    """

    title: str
    estimator: str
    arguments: Callable[[int], Mapping[str, Any]]
    shares: int = 1
    log_z_of: Callable[[Any], Any] | None = field(default=None)
    epochs: tuple[str, ...] = ("epochs",)
    rate: str = "learning_rate"
    real: Mapping[str, Any] = field(default_factory=dict)
    needs: Literal["anything", "bits", "pictures"] = "anything"

    def can_learn(self, cases: Cases) -> bool:
        """Whether the family has what it needs in these cases."""
        has = {"anything": True, "bits": cases.bits, "pictures": cases.channels_first is not None}
        return has[self.needs]

    def of_width(self, width: int, *, bits: bool = True) -> dict[str, Any]:
        """Its arguments for hidden layers of this width."""
        return {**self.arguments(width), **({} if bits else self.real)}


def _images(width: int) -> dict[str, Any]:
    return {"n_filters": max(2, width // 8), "filter_size": 3, "pool": 2}


def _code(width: int) -> int:
    """A code a quarter as wide as the layers around it, as usual for networks that squeeze."""
    return max(2, width // 4)


def _gan(width: int, **more: Any) -> dict[str, Any]:
    return {"hidden_layer_sizes": (width, width), "n_components": _code(width), **more}


def _dcgan(width: int) -> dict[str, Any]:
    filters = (max(2, width // 4), max(4, width // 2))
    return {"network": "convolutional", "n_filters": filters, "n_components": _code(width)}


SLOWER = {"learning_rate": 0.05}  # normal units: the rate of bits would throw them out

FAMILIES: dict[str, Family] = {
    "rbm": Family(
        "RBM",
        "RBM",
        lambda h: {"n_components": h, "learning_rate": 0.3},
        log_z_of=lambda e: e.module_,
        real=SLOWER,
    ),
    "boltzmann": Family(
        "Boltzmann machine",
        "BoltzmannMachine",
        lambda h: {"n_components": h},
        log_z_of=lambda e: e.module_,
        needs="bits",
    ),
    "dbn": Family(
        "deep belief network",
        "DeepBeliefNetwork",
        lambda h: {"hidden_layer_sizes": (h, h), "learning_rate": 0.3},
        shares=2,
        log_z_of=lambda e: e.module_.top,
        real=SLOWER,
    ),
    "dbm": Family(
        "deep Boltzmann machine",
        "DeepBoltzmannMachine",
        lambda h: {"hidden_layer_sizes": (h, h), "learning_rate": 0.1},
        log_z_of=lambda e: e.module_.even_odd(),
        real=SLOWER,
    ),
    "convolutional": Family(
        "convolutional RBM",
        "ConvolutionalBeliefNetwork",
        _images,
        log_z_of=lambda e: e.module_.layers[0],
        needs="pictures",
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
    "vaestack": Family(
        "RBM under a variational autoencoder",
        "VAEStack",
        lambda h: {
            "hidden_layer_sizes": (h,),
            "learning_rate": 0.3,
            "top_hidden_layer_sizes": (h,),
            "n_components": _code(h),
        },
        shares=2,
        epochs=("epochs", "top_epochs"),
        rate="top_learning_rate",
        real=SLOWER,
    ),
    "gan": Family("adversarial network", "GAN", _gan),
    "wgan-gp": Family("Wasserstein GAN with a gradient penalty", "GAN", lambda h: _gan(h, loss="wgan-gp")),
    "hinge": Family("GAN by the hinge loss, spectrally normalised", "GAN", lambda h: _gan(h, loss="hinge")),
    "dcgan": Family("convolutional GAN", "GAN", _dcgan, needs="pictures"),
}


def families(names: Sequence[str]) -> dict[str, Family]:
    """The families of these names, in their order."""
    check(len(names) >= 1, "models must name at least 1 family. Got none. Try: rbm,dbn")
    for name in names:
        check_choice("models", name, FAMILIES)
    check(len(set(names)) == len(names), f"models must name each family once. Got {','.join(names)}.")
    return {name: FAMILIES[name] for name in names}


def usual_rate(family: Family, width: int, *, bits: bool = True) -> float:
    """The learning rate that the family has here, or else its estimator's own."""
    own: float = {**_class_of(family)().get_params(deep=False), **family.of_width(width, bits=bits)}[family.rate]
    return own


def build(family: Family, width: int, epochs: int, cases: Cases, seed: int, learning_rate: float | None = None) -> Any:
    """The unfitted estimator; a family that learns layer by layer shares the epochs among its layers."""
    kind = _class_of(family)
    known = kind().get_params(deep=False)
    own: dict[str, Any] = {"device": "cpu", "batch_size": BATCH, "random_state": seed}
    if cases.channels_first is not None:
        own["image_shape"] = cases.image_shape
    given = {name: value for name, value in own.items() if name in known} | family.of_width(width, bits=cases.bits)
    if "pool" in given and cases.channels_first is not None:
        given["pool"] = _pool(given["pool"], given["filter_size"], cases.channels_first)
    if learning_rate is not None:
        given[family.rate] = learning_rate
    return kind(**given, **dict.fromkeys(family.epochs, max(1, round(epochs / family.shares))))


def _pool(wanted: int, filter_size: int, shape: Sequence[int]) -> int:
    """Units pooled each way where blocks of so many fill the maps, else 1.

    >>> _pool(2, 3, (1, 8, 8)), _pool(2, 3, (1, 8, 7))
    (2, 1)
    """
    return wanted if all((side - filter_size + 1) % wanted == 0 for side in shape[1:]) else 1


def _class_of(family: Family) -> Any:
    return getattr(importlib.import_module(ESTIMATORS[family.estimator]), family.estimator)
