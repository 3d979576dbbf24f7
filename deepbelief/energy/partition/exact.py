"""log Z by enumerating the smaller layer: ``Z = sum_h exp(-F(h))``, in float64."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor

from deepbelief.errors import InvalidArgumentError
from deepbelief.maths.logspace import StreamingLogSum
from deepbelief.types import Bound
from deepbelief.units.base import Units

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
    return n_enumerated(model) <= most_states


def n_enumerated(model: Any) -> float:
    """How many states enumeration visits: those of the smaller layer, or what the model says (``n_enumerated``)."""
    own = getattr(model, "n_enumerated", None)
    return min(model.visible.n_states, model.hidden.n_states) if own is None else own


def log_terms(model: Any, chunk: int) -> Iterator[Tensor]:
    """The logarithms of the terms whose sum is Z, in chunks; a model may list its own (``enumerate``)."""
    if hasattr(model, "enumerate"):
        yield from (weight for _, weight in model.enumerate(chunk))
        return
    smaller_is_hidden = model.hidden.n_states <= model.visible.n_states
    units, free = (model.hidden, model.free_energy_of_h) if smaller_is_hidden else (model.visible, model.free_energy)
    yield from (-free(states) for states in units.states(chunk))


@torch.no_grad()
def exact_log_z(model: TwoFreeEnergies, *, most_states: float = MOST_STATES, chunk: int = 1 << 13) -> Bound:
    """``log Z`` in nats, exactly up to rounding, by summing over the states of the smaller layer.

    Raises `InvalidArgumentError` when both layers have more than `most_states` states.

    >>> from deepbelief.energy.rbm import RBM
    >>> round(float(exact_log_z(RBM(3, 2, weight_std=0.0))), 4)  # 2 ** 5 states of equal weight
    3.4657
    """
    smallest = n_enumerated(model)
    if smallest > most_states:
        raise InvalidArgumentError(
            f"the smaller layer must have at most {most_states:.3g} states to be enumerated. Got {smallest:.3g}. "
            "Use ais(...) instead."
        )
    twin = copy.deepcopy(model)
    twin.double()  # type: ignore[attr-defined]
    total = StreamingLogSum()
    for terms in log_terms(twin, chunk):
        total.add(terms)
    return Bound(total.value, "exact", method=f"enumeration of {smallest:,} states")


@torch.no_grad()
def exact_log_z_of_each(model: TwoFreeEnergies, *, chunk: int = 1 << 10) -> Tensor:
    """``log Z`` in nats of n models side by side, whose free energies of s states are (n, s): (n,)."""
    total: Tensor | None = None
    for terms in log_terms(model, chunk):
        part = torch.logsumexp(terms, -1)
        total = part if total is None else torch.logaddexp(total, part)
    assert total is not None
    return total
