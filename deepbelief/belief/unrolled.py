"""A DBN unrolled into a feed-forward network with an output layer, for fine-tuning by back-propagation.

Each layer computes the mean of its hidden units, ``h_l = <h_l | h_{l-1}>``; the output is linear in the last one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from deepbelief.belief.layers import weight_up
from deepbelief.belief.stack import BeliefStack
from deepbelief.errors import check_count, check_range
from deepbelief.networks.dropout import Dropout
from deepbelief.protocols import Generator
from deepbelief.units.base import Units
from deepbelief.units.catalog import units_from_config


class MeanField(nn.Module):
    """One layer up: ``units.mean(x W)``; the units hold the bias."""

    def __init__(self, n_inputs: int, units: Units) -> None:
        super().__init__()
        self.linear = nn.Linear(n_inputs, units.size, bias=False)
        self.units = units

    def forward(self, x: Tensor) -> Tensor:
        return self.units.mean(self.linear(x))  # (n, inputs) -> (n, units)


class UnrolledDBN(nn.Module):
    """The recognition pass of a DBN, dropout between the layers, and a linear output: log-odds or targets.

    >>> from deepbelief.belief.dbn import DBN
    >>> net = UnrolledDBN.from_dbn(DBN.of_sizes([6, 4, 3]), n_outputs=2)
    >>> net(torch.zeros(5, 6)).shape
    torch.Size([5, 2])
    """

    def __init__(
        self, n_inputs: int, layers: list[Units], n_outputs: int, *, dropout: float = 0.0, input_dropout: float = 0.0
    ) -> None:
        super().__init__()
        check_count("n_inputs", n_inputs, low=1)
        check_count("n_outputs", n_outputs, low=1)
        check_range("dropout", dropout, low=0, high=1)
        check_range("input_dropout", input_dropout, low=0, high=1)
        self.n_inputs, self.n_outputs = n_inputs, n_outputs
        self.dropout, self.input_dropout = Dropout(dropout), Dropout(input_dropout)
        sizes = [n_inputs, *(units.size for units in layers)]
        self.layers = nn.ModuleList(MeanField(n, units) for n, units in zip(sizes, layers, strict=False))
        self.output = nn.Linear(sizes[-1], n_outputs)

    @classmethod
    @torch.no_grad()
    def from_dbn(
        cls,
        dbn: BeliefStack,
        n_outputs: int,
        *,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        output_std: float = 0.01,
        generator: Generator = None,
    ) -> Self:
        """A network that starts with the weights of `dbn` (copies) and a small random output layer.

        When labels sit in the top RBM, their weights are left out: they are not known on the way up. Of an `UntiedDBN`
        the recognition weights are taken.
        """
        net = cls(
            dbn.visible.size,
            [rbm.hidden.empty_like() for rbm in dbn.layers],
            n_outputs,
            dropout=dropout,
            input_dropout=input_dropout,
        )
        for layer, rbm in zip(net.mean_fields, dbn.layers, strict=True):
            layer.linear.weight.copy_(weight_up(rbm)[: layer.linear.in_features].T)
            layer.units.load_state_dict(rbm.hidden.state_dict())
        net.to(dbn.top.weight)
        noise = torch.randn(net.output.weight.shape, generator=generator)
        net.output.weight.copy_(output_std * noise)
        net.output.bias.zero_()
        return net

    @property
    def mean_fields(self) -> list[MeanField]:
        """The layers below the output."""
        return list(self.layers)  # type: ignore[arg-type]

    def features(self, x: Tensor) -> Tensor:
        """The last hidden layer: (n, inputs) -> (n, units)."""
        x = self.input_dropout(x)
        for layer in self.mean_fields:
            x = self.dropout(layer(x))
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.features(x))  # (n, units) -> (n, outputs)

    def config(self) -> dict[str, Any]:
        """What rebuilds the model (without its parameters), as JSON."""
        return {
            "n_inputs": self.n_inputs,
            "layers": [layer.units.config() for layer in self.mean_fields],
            "n_outputs": self.n_outputs,
            "dropout": self.dropout.p,
            "input_dropout": self.input_dropout.p,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A model from `config`."""
        layers = [units_from_config(units) for units in config["layers"]]
        rates = {"dropout": config["dropout"], "input_dropout": config["input_dropout"]}
        return cls(config["n_inputs"], layers, config["n_outputs"], **rates)
