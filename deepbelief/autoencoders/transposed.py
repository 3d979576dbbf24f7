"""The way down of a tied autoencoder: the transposed weights of the way up, and biases of its own."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from deepbelief.errors import check, check_choice
from deepbelief.networks.dense import ACTIVATIONS, DenseNetwork


class Transposed(nn.Module):
    """``h -> f(h W_l + b_l)`` from the top down, with each ``W_l`` borrowed from an encoder's linear layer.

    `sizes` run from the code to the data; the last layer is linear and has no bias (the units of the data hold it).

    >>> encoder = DenseNetwork((6, 4), output=2)
    >>> Transposed((2, 4, 6), activation="sigmoid")(torch.zeros(5, 2), encoder).shape
    torch.Size([5, 6])
    """

    def __init__(self, sizes: Sequence[int], *, activation: str = "relu") -> None:
        super().__init__()
        check_choice("activation", activation, ACTIVATIONS)
        check(len(sizes) >= 2, f"sizes must run from the code to the data. Got sizes={tuple(sizes)}.")
        self.sizes, self.activation = tuple(sizes), activation
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(size)) for size in self.sizes[1:-1])
        self.apply_activation = ACTIVATIONS[activation]()

    def check_fits(self, encoder: nn.Module) -> None:
        """Refuse an encoder whose weights cannot be borrowed."""
        found = encoder.linear_layers if isinstance(encoder, DenseNetwork) else []
        sizes = [(layer.out_features, layer.in_features) for layer in found[::-1]]
        wanted = list(itertools.pairwise(self.sizes))
        check(
            sizes == wanted,
            f"encoder must be a DenseNetwork of sizes {self.sizes[::-1]} to be tied. Got {type(encoder).__name__} "
            f"with layers {sizes[::-1]}. Use tied=False.",
        )

    def forward(self, z: Tensor, encoder: DenseNetwork) -> Tensor:
        """(n, sizes[0]) -> (n, sizes[-1]), by the weights of `encoder`."""
        *inner, last = encoder.linear_layers[::-1]
        for layer, bias in zip(inner, self.biases, strict=True):
            z = self.apply_activation(z @ layer.weight + bias)  # (n, out) (out, in) -> (n, in)
        return z @ last.weight

    def config(self) -> dict[str, Any]:
        """The arguments that make this network again."""
        return {"sizes": list(self.sizes), "activation": self.activation}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The network that `config` describes, with biases of 0."""
        return cls(config["sizes"], activation=config["activation"])
