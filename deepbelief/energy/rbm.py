"""The restricted Boltzmann machine: two layers of any kinds of units, and weights between them.

    E(v, h) = U_v(v) + U_h(h) - v' W h
    F(v)    = U_v(v) - Gamma_h(v W)              p(v) = exp(-F(v)) / Z

Smolensky 1986; Hinton 2002, "Training products of experts by minimizing contrastive divergence".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from deepbelief.energy.two_layers import TwoLayers
from deepbelief.errors import check_range
from deepbelief.maths.products import product
from deepbelief.native import gpu
from deepbelief.protocols import Generator
from deepbelief.units.base import Units, check_layers
from deepbelief.units.bernoulli import Bernoulli
from deepbelief.units.catalog import units_from_config


class RBM(TwoLayers):
    """A restricted Boltzmann machine of any visible and any hidden kind of units; an integer means Bernoulli units.

    ``visible_offset`` and ``hidden_offset`` are running means of the two layers on the data. They do not enter the
    energy: learning centres its gradient on them (Montavon & Muller 2012; Melchior, Fischer & Wiskott 2016), and
    annealing takes its base model from them.

    >>> rbm = RBM(6, 3, generator=torch.Generator().manual_seed(0))
    >>> rbm.mean_h_from_v(torch.zeros(2, 6)).shape
    torch.Size([2, 3])
    >>> rbm.log_likelihood(torch.zeros(2, 6)).kind
    'exact'
    """

    def __init__(
        self, visible: Units | int, hidden: Units | int, *, weight_std: float = 0.01, generator: Generator = None
    ) -> None:
        super().__init__()
        check_range("weight_std", weight_std, low=0)
        self.visible = visible if isinstance(visible, Units) else Bernoulli(visible)
        self.hidden = hidden if isinstance(hidden, Units) else Bernoulli(hidden)
        check_layers(self.visible, self.hidden)
        shape = (self.visible.size, self.hidden.size)
        self.weight = nn.Parameter(weight_std * torch.randn(shape, generator=generator))
        zero_v, zero_h = torch.zeros(1, shape[0]), torch.zeros(1, shape[1])
        self.register_buffer("visible_offset", self.visible.mean(zero_v).detach()[0])
        self.register_buffer("hidden_offset", self.hidden.mean(zero_h).detach()[0])

    @property
    def weights(self) -> list[Tensor]:
        """The couplings between neighbouring layers: here one, as `DBM.weights` are several."""
        return [self.weight]

    # -- products -----------------------------------------------------------------------------------------------

    def input_h_from_v(self, v: Tensor) -> Tensor:
        """``v W``, in the type of the biases (a bf16 product must not make the probabilities coarse)."""
        return product(v, self.weight).to(self.hidden.bias.dtype)

    def input_v_from_h(self, h: Tensor) -> Tensor:
        """``h W'``."""
        return product(h, self.weight.T).to(self.visible.bias.dtype)

    # -- draws: on a GPU, bits in one kernel with their product ---------------------------------------------------

    def mean_and_sample_h_from_v(self, v: Tensor, generator: Generator = None) -> tuple[Tensor, Tensor]:
        """``<h>`` given v, and a draw of h."""
        both = gpu.draw(v, self.weight, self.hidden.bias, generator) if type(self.hidden) is Bernoulli else None
        return super().mean_and_sample_h_from_v(v, generator) if both is None else both

    def mean_and_sample_v_from_h(self, h: Tensor, generator: Generator = None) -> tuple[Tensor, Tensor]:
        """``<v>`` given h, and a draw of v."""
        both = gpu.draw(h, self.weight.T, self.visible.bias, generator) if type(self.visible) is Bernoulli else None
        return super().mean_and_sample_v_from_h(h, generator) if both is None else both

    # -- capabilities -----------------------------------------------------------------------------------------------

    def encode(self, x: Tensor) -> Tensor:
        """The mean of the hidden units: (n, n_visible) -> (n, n_hidden)."""
        return self.mean_h_from_v(x)

    def decode(self, z: Tensor) -> Tensor:
        """The mean of the visible units: (n, n_hidden) -> (n, n_visible)."""
        return self.mean_v_from_h(z)

    # -- starting points --------------------------------------------------------------------------------------------

    def base(self) -> Self:
        """Independent units with the means that the offsets remember: where annealing starts (W = 0, log Z known)."""
        base = self.empty_like()
        with torch.no_grad():
            for own, new, mean in (
                (self.visible, base.visible, self.visible_offset),
                (self.hidden, base.hidden, self.hidden_offset),
            ):
                new.load_state_dict(own.state_dict())  # keeps the precision of Gaussian units
                new.match(mean)
            base.weight.zero_()
        return base

    # -- storage ----------------------------------------------------------------------------------------------------

    def empty_like(self) -> Self:
        """An RBM of the same units, type and device with parameters of its own."""
        return type(self).from_config(self.config()).to(self.weight)

    def config(self) -> dict[str, Any]:
        """What rebuilds the model (without its parameters), as JSON."""
        return {"visible": self.visible.config(), "hidden": self.hidden.config()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A model from `config`."""
        return cls(units_from_config(config["visible"]), units_from_config(config["hidden"]), weight_std=0.0)
