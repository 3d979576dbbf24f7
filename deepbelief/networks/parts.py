"""Networks inside a model: rows of any shape through them, and their settings by name, for saving and rebuilding."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from deepbelief.errors import InvalidArgumentError, check_choice
from deepbelief.networks.dense import DenseNetwork
from deepbelief.networks.residual import ResidualNetwork

FEED_FORWARD = ("dense", "residual")
NETWORKS = {
    "DenseNetwork": "deepbelief.networks.dense",
    "ResidualNetwork": "deepbelief.networks.residual",
    "FourierNetwork": "deepbelief.networks.fourier",
    "ConvolutionalEncoder": "deepbelief.networks.convolutional",
    "ConvolutionalDecoder": "deepbelief.networks.convolutional",
    "ConvolutionalTranslator": "deepbelief.networks.translator",
    "PixelCNN": "deepbelief.networks.pixel_cnn",
}


def feed_forward(
    kind: str, sizes: Sequence[int], *, output: int, activation: str = "auto", generator: torch.Generator | None = None
) -> nn.Module:
    """A network of fully connected layers by name; "auto" is tanh in a dense one and silu in a residual one.

    >>> feed_forward("residual", (4, 8, 8), output=2)(torch.zeros(5, 4)).shape
    torch.Size([5, 2])
    """
    check_choice("network", kind, FEED_FORWARD)
    if kind == "dense":
        usual = "tanh" if activation == "auto" else activation
        return DenseNetwork(sizes, activation=usual, output=output, generator=generator)
    usual = "silu" if activation == "auto" else activation
    return ResidualNetwork(sizes, activation=usual, output=output, generator=generator)


def on_rows(network: nn.Module, rows: Tensor) -> Tensor:
    """``network(rows)`` in the type of `rows`, with any number of leading axes: networks see (n, width).

    In mixed precision a network gives short numbers, in which no likelihood should be summed.
    """
    if rows.ndim == 2:  # apart, so that an exported network keeps any number of rows
        outputs: Tensor = network(rows)
        return outputs.to(rows.dtype)
    return network(rows.flatten(0, -2)).to(rows.dtype).unflatten(0, rows.shape[:-1])


def network_config(network: nn.Module) -> dict[str, Any]:
    """What builds this network again; a person's own module has no name here and is refused.

    >>> from deepbelief.networks.dense import DenseNetwork
    >>> network_config(DenseNetwork((2, 3)))["network"]
    'DenseNetwork'
    """
    name = type(network).__name__
    if NETWORKS.get(name) != type(network).__module__:
        raise InvalidArgumentError(
            f"network must be one of {', '.join(NETWORKS)} to be stored by name. Got {name}. Save its state_dict."
        )
    return {"network": name, **network.config()}  # type: ignore[operator]


def network_from_config(config: Mapping[str, Any]) -> nn.Module:
    """The network that `config` describes, with fresh weights."""
    name = config["network"]
    check_choice("network", name, NETWORKS)
    kind = getattr(importlib.import_module(NETWORKS[name]), name)
    return kind.from_config({key: value for key, value in config.items() if key != "network"})
