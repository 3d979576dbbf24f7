"""Networks inside a model: rows of any shape through them, and their settings by name, for saving and rebuilding."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from deepbelief.errors import InvalidArgumentError, check_choice

NETWORKS = {
    "DenseNetwork": "deepbelief.networks.dense",
    "FourierNetwork": "deepbelief.networks.fourier",
    "ConvolutionalEncoder": "deepbelief.networks.convolutional",
    "ConvolutionalDecoder": "deepbelief.networks.convolutional",
}


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
