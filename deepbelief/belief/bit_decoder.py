"""Data given bits, by one network and one layer of units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from torch import Tensor, nn

from deepbelief.errors import check_count
from deepbelief.networks.parts import network_config, network_from_config, on_rows
from deepbelief.protocols import Generator
from deepbelief.units.base import Units
from deepbelief.units.catalog import units_from_config


class BitDecoder(nn.Module):
    """``p(x | s)`` of `visible` units whose inputs `network` gives: (n, n_condition) -> (n, visible.size).

    It has the methods of a VAE given s that a model over bits needs; it has no codes of its own, so its log weights are
    the log-likelihood itself.

    >>> import torch
    >>> from deepbelief.units.bernoulli import Bernoulli
    >>> BitDecoder(Bernoulli(4), nn.Linear(3, 4), 3).log_weights(torch.zeros(5, 4), c=torch.ones(5, 3)).shape
    torch.Size([1, 5])
    """

    def __init__(self, visible: Units, network: nn.Module, n_condition: int) -> None:
        super().__init__()
        check_count("n_condition", n_condition, low=1)
        self.visible, self.network, self.n_condition = visible, network, n_condition

    def log_weights(self, x: Tensor, *, c: Tensor, generator: Generator = None) -> Tensor:
        """``log p(x | s)``, as one draw: (1, cases)."""
        return self.visible.log_prob(x, on_rows(self.network, c)).unsqueeze(0)

    def inputs_given(self, x: Tensor, c: Tensor, generator: Generator = None) -> Tensor:
        """The inputs of the visible units given bits, whatever x."""
        return on_rows(self.network, c)

    def decode(self, s: Tensor) -> Tensor:
        """The means of the data."""
        return self.visible.mean(on_rows(self.network, s))

    def sample(self, n: int, *, condition: Tensor, generator: Generator = None, mean: bool = False) -> Tensor:
        """`n` draws of the data given `n` rows of bits, or their means."""
        inputs = on_rows(self.network, condition)
        return self.visible.mean(inputs) if mean else self.visible.sample(inputs, generator)

    def config(self) -> dict[str, Any]:
        """What makes this decoder again."""
        network = network_config(self.network)
        return {"visible": self.visible.config(), "network": network, "n_condition": self.n_condition}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The decoder that `config` describes, with fresh weights."""
        network = network_from_config(config["network"])
        return cls(units_from_config(config["visible"]), network, config["n_condition"])
