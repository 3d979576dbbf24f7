"""What follows from two layers of units and what each hears from the other: free energies and the base of annealing.

    E(v, h) = U_v(v) + U_h(h) - I(v).h

`TwoLayers` (an RBM, a convolutional one) and `EvenOdd` (the layers of a deep machine by parity) are both of this kind.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor, nn

from deepbelief.energy.conditionals import Conditionals
from deepbelief.units.base import Units


@dataclass(frozen=True)
class IndependentLayers:
    """The base model of annealing: two layers without couplings."""

    visible: Units
    hidden: Units


class CoupledLayers(nn.Module, Conditionals):
    """Two layers of units, each independent within itself given the other."""

    if TYPE_CHECKING:  # buffers of some models, joined on demand by others

        @property
        def visible_offset(self) -> Tensor: ...

        @property
        def hidden_offset(self) -> Tensor: ...

    @property
    @abstractmethod
    def weights(self) -> Sequence[Tensor]:
        """What the products between the layers are made with: matrices, or filters. With zeros both are independent."""

    @abstractmethod
    def base(self) -> IndependentLayers | Self:
        """Independent units with the means that the offsets remember: where annealing starts."""

    @abstractmethod
    def empty_like(self) -> Self:
        """A model of the same layers, type and device with parameters of its own."""

    def free_energy(self, v: Tensor) -> Tensor:
        """``F(v) = -log sum_h exp(-E(v, h))`` in nats: (n, n_visible) -> (n,)."""
        return self.visible.potential(v) - self.hidden.cumulant(self.input_h_from_v(v))

    def free_energy_of_h(self, h: Tensor) -> Tensor:
        """``-log sum_v exp(-E(v, h))`` in nats: (n, n_hidden) -> (n,)."""
        return self.hidden.potential(h) - self.visible.cumulant(self.input_v_from_h(h))


@torch.no_grad()
def independent_layers(visible: tuple[Units, Tensor], hidden: tuple[Units, Tensor]) -> IndependentLayers:
    """Independent units like those of two layers, each layer with the means that are given beside it."""
    layers = []
    for own, mean in (visible, hidden):
        new = own.empty_like()
        new.load_state_dict(own.state_dict())  # keeps the precision of Gaussian units
        new.match(mean)
        layers.append(new)
    return IndependentLayers(*layers)
