"""Small autoencoders of every kind, in double precision, and cases for each."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from deepbelief.autoencoders.autoencoder import Autoencoder
from deepbelief.belief.dbn import DBN
from deepbelief.belief.deep_autoencoder import DeepAutoencoder, unroll_autoencoder
from deepbelief.units.base import Units
from deepbelief.units.bernoulli import Bernoulli
from deepbelief.units.categorical import Categorical
from deepbelief.units.gaussian import Gaussian
from deepbelief.units.side_by_side import SideBySide

SHAPE = (1, 3, 4)
KINDS = [
    *("one layer", "one layer, linear", "deep", "tied", "deep tied", "gaussian", "gaussian, fixed scale"),
    *("categorical", "mixed", "convolutional", "own networks", "unrolled"),
]
STORED = [kind for kind in KINDS if kind != "own networks"]


def make(kind: str, generator: torch.Generator) -> Autoencoder | DeepAutoencoder:
    """The autoencoder of this name with random biases, so that a forgotten one shows."""
    net = _build(kind, generator).double()
    for name, parameter in net.named_parameters():
        if "bias" in name or "log_precision" in name:
            parameter.data.normal_(std=0.5, generator=generator)
    return net


def _build(kind: str, generator: torch.Generator) -> Autoencoder | DeepAutoencoder:
    options = {"generator": generator}
    if kind == "unrolled":
        return unroll_autoencoder(DBN.of_units([Bernoulli(12), Bernoulli(5), Gaussian(3)], **options))
    if kind == "convolutional":
        return Autoencoder.convolutional(Bernoulli(12), SHAPE, 3, channels=(2, 4), activation="tanh", **options)
    if kind == "own networks":
        return Autoencoder(nn.Linear(12, 4), nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 12)), Bernoulli(12))
    units: Units = Bernoulli(12)
    if kind.startswith("gaussian"):
        units = Gaussian(12)
    elif kind == "mixed":
        units = SideBySide([Gaussian(5), Categorical(1, 3), Bernoulli(4)])
    elif kind == "categorical":
        units = Categorical(4, 3)
    sizes, activation = ([4], "tanh") if "one layer" in kind or kind == "tied" else ([6, 5, 3], "sigmoid")
    return Autoencoder.dense(
        units,
        sizes,
        activation=activation,
        code="identity" if kind == "one layer, linear" else "sigmoid",
        tied="tied" in kind,
        learned_scale="fixed" not in kind and kind != "mixed",
        **options,
    )


def cases(net: Autoencoder | DeepAutoencoder, n: int, generator: torch.Generator) -> Tensor:
    """Cases that the units of `net` can take."""
    return net.visible.sample(torch.zeros(n, 12, dtype=torch.float64), generator).detach()
