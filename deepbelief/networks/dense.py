"""A feed-forward network of fully connected layers, the shape that a DBN takes for back-propagation."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from deepbelief.errors import check, check_choice, check_count, check_range
from deepbelief.networks.dropout import Dropout
from deepbelief.networks.spectral import with_unit_norm

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "sigmoid": nn.Sigmoid,
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "silu": nn.SiLU,
    "identity": nn.Identity,
}


class DenseNetwork(nn.Module):
    """Layers of `sizes`, an `activation` after each, and, where `output` is given, a last linear layer to that many.

    ``sizes=(784, 500, 10)`` maps 784 inputs to 10 activations; ``sizes=(784, 500), output=10`` to 10 log-odds.
    `dropout` is one probability for the inputs and one for the hidden layers (Srivastava et al. 2014). Weights and
    biases begin uniform on +-1/sqrt(inputs of the layer), drawn from `generator`. With `spectral`, every layer's
    weights are divided by their largest singular value (Miyato et al. 2018), as a critic may want.

    >>> import torch
    >>> DenseNetwork((4, 3), output=2)(torch.zeros(5, 4)).shape
    torch.Size([5, 2])
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        activation: str = "sigmoid",
        dropout: tuple[float, float] = (0.0, 0.0),
        output: int | None = None,
        spectral: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_choice("activation", activation, ACTIVATIONS)
        check(
            len(sizes) + (output is not None) >= 2,
            f"sizes must give inputs and one layer at least. Got sizes={tuple(sizes)}. Add a size or an output.",
        )
        for size in [*sizes, 1 if output is None else output]:
            check_count("every size", size, low=1)
        for probability in dropout:
            check_range("dropout", probability, low=0, high=0.95)
        self.sizes, self.activation, self.output, self.spectral = tuple(sizes), activation, output, spectral
        self.dropout = (float(dropout[0]), float(dropout[1]))
        self.layers = nn.Sequential(*self._build(generator))

    def _build(self, generator: torch.Generator | None) -> list[nn.Module]:
        layers: list[nn.Module] = [Dropout(self.dropout[0])] if self.dropout[0] else []
        for n_in, n_out in itertools.pairwise(self.sizes):
            layers += [self._linear(n_in, n_out, generator), ACTIVATIONS[self.activation]()]
            if self.dropout[1]:
                layers.append(Dropout(self.dropout[1]))
        if self.output is not None:
            return [*layers, self._linear(self.sizes[-1], self.output, generator)]
        return layers[:-1] if self.dropout[1] else layers

    def _linear(self, n_in: int, n_out: int, generator: torch.Generator | None) -> nn.Module:
        layer = new_linear(n_in, n_out, generator)
        return with_unit_norm(layer, generator) if self.spectral else layer

    @property
    def linear_layers(self) -> list[nn.Linear]:
        """The layers with weights, from the inputs up; a DBN copies its weights into these."""
        return [layer for layer in self.layers if isinstance(layer, nn.Linear)]

    def forward(self, x: Tensor) -> Tensor:
        """(cases, sizes[0]) to (cases, output or sizes[-1])."""
        return self.layers(x)

    def config(self) -> dict[str, Any]:
        """The arguments that make this network again."""
        return {
            "sizes": list(self.sizes),
            "activation": self.activation,
            "dropout": list(self.dropout),
            "output": self.output,
            "spectral": self.spectral,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> DenseNetwork:
        """The network that `config` describes, with fresh weights."""
        drop_input, drop_hidden = config["dropout"]
        return cls(
            config["sizes"],
            activation=config["activation"],
            dropout=(drop_input, drop_hidden),
            output=config["output"],
            spectral=config.get("spectral", False),
        )


@torch.no_grad()
def new_linear(n_in: int, n_out: int, generator: torch.Generator | None) -> nn.Linear:
    """A layer whose weights and biases are uniform on +-1/sqrt(n_in), drawn from `generator`."""
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, n_in, n_out)
    for parameter in layer.parameters():
        parameter.uniform_(-(n_in**-0.5), n_in**-0.5, generator=generator)
    return layer
