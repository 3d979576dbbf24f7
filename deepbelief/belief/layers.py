"""The layers of a belief network below its top: what they must know, and one whose way up has weights of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn

from deepbelief.energy.conditionals import Conditionals
from deepbelief.energy.rbm import RBM
from deepbelief.maths.products import product
from deepbelief.protocols import Generator
from deepbelief.units.base import Units
from deepbelief.units.catalog import units_from_config


class Layer(Protocol):
    """Two layers of units with a way up, ``Q(h | v)``, and a way down, ``p(v | h)``: an RBM, or an `UntiedLayer`."""

    visible: Units
    hidden: Units
    visible_offset: Tensor
    hidden_offset: Tensor

    def input_h_from_v(self, v: Tensor) -> Tensor: ...

    def input_v_from_h(self, h: Tensor) -> Tensor: ...

    def mean_h_from_v(self, v: Tensor) -> Tensor: ...

    def mean_v_from_h(self, h: Tensor) -> Tensor: ...

    def sample_h_from_v(self, v: Tensor, generator: Generator = None) -> Tensor: ...

    def sample_v_from_h(self, h: Tensor, generator: Generator = None) -> Tensor: ...


class UntiedLayer(nn.Module, Conditionals):
    """A way up ``Q(h | v)`` with recognition weights, and a way down ``p(v | h)`` with generative weights.

    ``visible`` holds the biases of the way down, ``hidden`` those of the way up; the input of the one is
    ``h generative'``, of the other ``v recognition``. Both matrices are (n_visible, n_hidden), and start equal. The
    offsets are running means of the two layers on the data, as in an `RBM`.

    >>> layer = UntiedLayer.from_rbm(RBM(6, 3))
    >>> layer.mean_h_from_v(torch.zeros(2, 6)).shape
    torch.Size([2, 3])
    """

    def __init__(self, visible: Units, hidden: Units) -> None:
        super().__init__()
        self.visible, self.hidden = visible, hidden
        self.recognition = nn.Parameter(torch.zeros(visible.size, hidden.size))
        self.generative = nn.Parameter(torch.zeros(visible.size, hidden.size))
        self.visible_offset: Tensor
        self.hidden_offset: Tensor
        self.register_buffer("visible_offset", torch.zeros(visible.size))
        self.register_buffer("hidden_offset", torch.zeros(hidden.size))

    @classmethod
    @torch.no_grad()
    def from_rbm(cls, rbm: RBM) -> Self:
        """A layer that infers and generates as `rbm` does, with copies of its parameters."""
        layer = cls(rbm.visible.empty_like(), rbm.hidden.empty_like()).to(rbm.weight)
        layer.visible.load_state_dict(rbm.visible.state_dict())
        layer.hidden.load_state_dict(rbm.hidden.state_dict())
        layer.recognition.copy_(rbm.weight)
        layer.generative.copy_(rbm.weight)
        layer.visible_offset.copy_(rbm.visible_offset)
        layer.hidden_offset.copy_(rbm.hidden_offset)
        return layer

    def input_h_from_v(self, v: Tensor) -> Tensor:
        """``v recognition``, in the type of the biases."""
        return product(v, self.recognition).to(self.hidden.bias.dtype)

    def input_v_from_h(self, h: Tensor) -> Tensor:
        """``h generative'``."""
        return product(h, self.generative.T).to(self.visible.bias.dtype)

    def config(self) -> dict[str, Any]:
        """What rebuilds the layer (without its parameters), as JSON."""
        return {"visible": self.visible.config(), "hidden": self.hidden.config()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A layer from `config`."""
        return cls(units_from_config(config["visible"]), units_from_config(config["hidden"]))


def weight_up(layer: Layer) -> Tensor:
    """The weights of the way up: (n_visible, n_hidden)."""
    return layer.recognition if isinstance(layer, UntiedLayer) else layer.weight  # type: ignore[attr-defined]


def weight_down(layer: Layer) -> Tensor:
    """The weights of the way down: (n_visible, n_hidden)."""
    return layer.generative if isinstance(layer, UntiedLayer) else layer.weight  # type: ignore[attr-defined]
