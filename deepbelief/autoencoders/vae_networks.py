"""The networks of a variational autoencoder by name, and rows of any shape through them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from deepbelief.errors import InvalidArgumentError, check_choice
from deepbelief.networks.convolutional import ConvolutionalDecoder, ConvolutionalEncoder
from deepbelief.networks.dense import DenseNetwork

NETWORKS: dict[str, Any] = {c.__name__: c for c in (DenseNetwork, ConvolutionalEncoder, ConvolutionalDecoder)}


def on_rows(network: nn.Module, rows: Tensor) -> Tensor:
    """``network(rows)`` in the type of `rows`, with any number of leading axes: networks see (n, width).

    In mixed precision a network gives short numbers, in which no likelihood should be summed.
    """
    if rows.ndim == 2:  # apart, so that an exported network keeps any number of rows
        outputs: Tensor = network(rows)
        return outputs.to(rows.dtype)
    return network(rows.flatten(0, -2)).to(rows.dtype).unflatten(0, rows.shape[:-1])


def network_config(network: nn.Module) -> dict[str, Any]:
    """What makes `network` again, as JSON."""
    name = type(network).__name__
    if NETWORKS.get(name) is not type(network):
        raise InvalidArgumentError(
            f"networks must be of {', '.join(NETWORKS)} to be stored by name. Got {name}. Save the model's state_dict."
        )
    return {"network": name, **network.config()}  # type: ignore[operator]


def network_from_config(config: Mapping[str, Any]) -> nn.Module:
    """The network that `network_config` described, with fresh weights."""
    check_choice("network", config["network"], NETWORKS)
    arguments = {name: value for name, value in config.items() if name != "network"}
    network: nn.Module = NETWORKS[config["network"]].from_config(arguments)
    return network
