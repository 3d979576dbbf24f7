"""Networks inside a model: their settings by name, so that the model can be saved and built again."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from torch import nn

from deepbelief.errors import InvalidArgumentError, check_choice

NETWORKS = {
    "DenseNetwork": "deepbelief.networks.dense",
    "ConvolutionalEncoder": "deepbelief.networks.convolutional",
    "ConvolutionalDecoder": "deepbelief.networks.convolutional",
}


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
