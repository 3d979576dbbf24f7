"""A deep Boltzmann machine seen as two layers: its even layers side by side, and its odd ones.

Layers of one parity do not touch, so given the others they are independent: what is true of an RBM's two layers is true
of these two. Block Gibbs sampling, annealing, enumeration and persistent chains therefore run on this view unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, Self

import torch
from torch import Tensor

from deepbelief.energy.coupled_layers import CoupledLayers, IndependentLayers, independent_layers
from deepbelief.maths.products import product
from deepbelief.units.base import Units
from deepbelief.units.side_by_side import SideBySide


class Layered(Protocol):
    """Layers of units with couplings between neighbours."""

    @property
    def units(self) -> list[Units]: ...

    @property
    def weights(self) -> Sequence[Tensor]: ...

    @property
    def offsets(self) -> list[Tensor]: ...

    def empty_like(self) -> Self: ...


class EvenOdd(CoupledLayers):
    """Layers 0, 2, ... as "visible" and layers 1, 3, ... as "hidden", sharing all parameters with the machine.

    The machine has ``units`` from the data up, ``weights`` between neighbours, and ``offsets``, their running means.
    """

    def __init__(self, machine: Layered) -> None:
        super().__init__()
        self.machine = machine
        self.visible = SideBySide(machine.units[0::2])
        self.hidden = SideBySide(machine.units[1::2])

    @property
    def weights(self) -> Sequence[Tensor]:
        """The couplings between neighbouring layers, from the data up."""
        return self.machine.weights

    def empty_like(self) -> EvenOdd:
        """The same view of a machine of the same layers, type and device with parameters of its own."""
        return EvenOdd(self.machine.empty_like())

    # -- rows and layers --------------------------------------------------------------------------------------------

    def split(self, even: Tensor, odd: Tensor) -> list[Tensor]:
        """The states of all layers from the data up, from the rows of both parities."""
        parts: list[Tensor] = [even] * (len(self.weights) + 1)
        parts[0::2] = even.split(self.visible.sizes, -1)
        parts[1::2] = odd.split(self.hidden.sizes, -1)
        return parts

    @staticmethod
    def join(states: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The rows of both parities, from the states of all layers."""
        return torch.cat(list(states[0::2]), -1), torch.cat(list(states[1::2]), -1)

    @property
    def visible_offset(self) -> Tensor:
        """Running means of the even layers, in one row (a copy)."""
        return self.join([offset.unsqueeze(0) for offset in self.machine.offsets])[0][0]

    @property
    def hidden_offset(self) -> Tensor:
        """Running means of the odd layers, in one row (a copy)."""
        return self.join([offset.unsqueeze(0) for offset in self.machine.offsets])[1][0]

    # -- what each parity hears -------------------------------------------------------------------------------------

    def input_h_from_v(self, v: Tensor) -> Tensor:
        """What the odd layers get from the even ones: (n, even units) -> (n, odd units)."""
        return self._inputs(v.split(self.visible.sizes, -1), of_parity=1).to(self.hidden.bias.dtype)

    def input_v_from_h(self, h: Tensor) -> Tensor:
        """What the even layers get from the odd ones: (n, odd units) -> (n, even units)."""
        return self._inputs(h.split(self.hidden.sizes, -1), of_parity=0).to(self.visible.bias.dtype)

    def _inputs(self, others: Sequence[Tensor], of_parity: int) -> Tensor:
        rows = []
        for layer in range(of_parity, len(self.weights) + 1, 2):
            terms = []
            if layer > 0:
                terms.append(product(others[(layer - 1) // 2], self.weights[layer - 1]))
            if layer < len(self.weights):
                terms.append(product(others[(layer + 1) // 2], self.weights[layer].T))
            rows.append(terms[0] if len(terms) == 1 else terms[0] + terms[1])
        return torch.cat(rows, -1)

    def base(self) -> IndependentLayers:
        """Independent units with the means that the offsets remember: where annealing starts."""
        return independent_layers((self.visible, self.visible_offset), (self.hidden, self.hidden_offset))
