"""A dense network whose layers add to what they got: deeper networks that learn as fast as shallow ones.

h_0 = W_0 x + b_0;   h_i = h_{i-1} + W_i act(norm(h_{i-1})) + b_i;   f(x) = V act(norm(h_n)) + c

The sum passes gradients on as they are (He et al. 2016, with the activation before the weights), and ``norm`` brings
every case's units to mean 0 and variance 1 before learned scales and offsets (layer normalization, Ba et al. 2016), so
that no rate or size of the start makes a layer die. Where two layers differ in width, the upper one has nothing to add
to and stands by itself: h_i = W_i act(norm(h_{i-1})) + b_i.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from deepbelief.errors import check, check_choice, check_count
from deepbelief.networks.dense import ACTIVATIONS, new_linear


class ResidualNetwork(nn.Module):
    """A first layer of ``sizes[1]`` units, and further ones that add to it wherever they are as wide as the last.

    Parameters
    ----------
    sizes
        Inputs, then the hidden layers, best of one width: ``(784, 300, 300, 300)``.
    activation
        "silu" (``h sigmoid(h)``), or any of `DenseNetwork`.
    output
        Units of the linear layer on top.
    generator
        Draws the start: uniform on +-1/sqrt(inputs of the layer), as for `DenseNetwork`.

    >>> ResidualNetwork((4, 8, 8), output=2)(torch.zeros(5, 4)).shape
    torch.Size([5, 2])
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        output: int,
        activation: str = "silu",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_choice("activation", activation, ACTIVATIONS)
        for size in [*sizes, output]:
            check_count("every size", size, low=1)
        check(len(sizes) >= 2, f"sizes must give inputs and one layer at least. Got sizes={tuple(sizes)}. Add a size.")
        self.sizes, self.activation, self.output = tuple(sizes), activation, output
        self.first = new_linear(sizes[0], sizes[1], generator)
        between = list(itertools.pairwise(sizes[1:]))
        self.blocks = nn.ModuleList(self._after_norm(n_in, n_out, generator) for n_in, n_out in between)
        self._adds = [n_in == n_out for n_in, n_out in between]
        self.last = self._after_norm(sizes[-1], output, generator)

    def _after_norm(self, n_in: int, n_out: int, generator: torch.Generator | None) -> nn.Sequential:
        norm = nn.LayerNorm(n_in)
        return nn.Sequential(norm, ACTIVATIONS[self.activation](), new_linear(n_in, n_out, generator))

    def forward(self, x: Tensor) -> Tensor:
        """(cases, sizes[0]) to (cases, output)."""
        h: Tensor = self.first(x)
        for block, adds in zip(self.blocks, self._adds, strict=True):
            h = h + block(h) if adds else block(h)
        last: Tensor = self.last(h)
        return last

    def config(self) -> dict[str, Any]:
        """The arguments that make this network again."""
        return {"sizes": list(self.sizes), "activation": self.activation, "output": self.output}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The network that `config` describes, with fresh weights."""
        return cls(**config)
