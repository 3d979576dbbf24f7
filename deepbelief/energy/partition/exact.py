"""log Z by enumerating the smaller layer: ``Z = sum_h exp(-F(h))``, in float64."""

from __future__ import annotations

import copy
from typing import Protocol

import torch
from torch import Tensor

from deepbelief.energy.units.base import Units
from deepbelief.errors import InvalidArgumentError
from deepbelief.maths.logspace import StreamingLogSum
from deepbelief.types import Bound

MOST_STATES = 1 << 25


class TwoFreeEnergies(Protocol):
    """A model of two layers, either of which can be summed out in closed form."""

    @property
    def visible(self) -> Units: ...

    @property
    def hidden(self) -> Units: ...

    def free_energy(self, v: Tensor) -> Tensor: ...

    def free_energy_of_h(self, h: Tensor) -> Tensor: ...


def is_enumerable(model: TwoFreeEnergies, most_states: float = MOST_STATES) -> bool:
    """Whether the smaller layer has at most `most_states` states."""
    return min(model.visible.n_states, model.hidden.n_states) <= most_states


@torch.no_grad()
def exact_log_z(model: TwoFreeEnergies, *, most_states: float = MOST_STATES, chunk: int = 1 << 13) -> Bound:
    """``log Z`` in nats, exactly up to rounding, by summing over the states of the smaller layer.

    Raises `InvalidArgumentError` when both layers have more than `most_states` states.

    >>> from deepbelief.energy.rbm import RBM
    >>> round(float(exact_log_z(RBM(3, 2, weight_std=0.0))), 4)  # 2 ** 5 states of equal weight
    3.4657
    """
    n_visible, n_hidden = model.visible.n_states, model.hidden.n_states
    smallest = min(n_visible, n_hidden)
    if smallest > most_states:
        raise InvalidArgumentError(
            f"the smaller layer must have at most {most_states:.3g} states to be enumerated. Got {smallest:.3g}. "
            "Use ais(...) instead."
        )
    twin = copy.deepcopy(model)
    twin.double()  # type: ignore[attr-defined]
    units, free = (twin.hidden, twin.free_energy_of_h) if n_hidden <= n_visible else (twin.visible, twin.free_energy)
    total = StreamingLogSum()
    for states in units.states(chunk):
        total.add(-free(states))
    return Bound(total.value, "exact", method=f"enumeration of {smallest:,} states")
