"""Chains with entries that they must not change: conditioning, completion and inpainting are all this."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from torch import Tensor

from deepbelief.errors import InvalidDataError, check_count
from deepbelief.protocols import Generator
from deepbelief.types import Clamp
from deepbelief.units.base import Units

State = TypeVar("State")
Info = TypeVar("Info", covariant=True)


class Steps(Protocol[State, Info]):
    """A Markov chain's kernel."""

    def step(self, state: State, *, clamp: Clamp | None, generator: Generator) -> tuple[State, Info]: ...


def to_average(n_steps: int, n_average: int | None) -> int:
    """How many steps at the end of a chain a completion averages: what is asked for, or three quarters of them all."""
    check_count("n_steps", n_steps, low=1)
    if n_average is None:
        return max(1, 3 * n_steps // 4)
    check_count("n_average", n_average, low=1, high=n_steps)
    return n_average


def check_clamp(units: Units, clamp: Clamp) -> None:
    """Raise `InvalidDataError` unless the clamp is as wide as the layer and holds variables whole."""
    for name, part in (("known", clamp.known), ("values", clamp.values)):
        width = part.shape[-1] if part.ndim else 1
        if width not in (1, units.size):
            raise InvalidDataError(
                f"{name} must have {units.size} columns, one for each visible unit. Got {width}. Use the data's shape."
            )
    units.check_known(clamp.known.expand(*clamp.known.shape[:-1], units.size))


def run_chain(
    kernel: Steps[State, Info], state: State, n_steps: int, *, clamp: Clamp | None = None, generator: Generator
) -> tuple[State, Info]:
    """The state after `n_steps` steps, and what the last of them says."""
    check_count("n_steps", n_steps, low=1)
    for _ in range(n_steps - 1):
        state, _ = kernel.step(state, clamp=clamp, generator=generator)
    return kernel.step(state, clamp=clamp, generator=generator)


def average_means(
    kernel: Steps[State, Info],
    state: State,
    mean_of: Callable[[Info], Tensor],
    *,
    clamp: Clamp,
    n_steps: int,
    n_average: int | None,
    generator: Generator,
) -> Tensor:
    """The average of the conditional means of the last `n_average` of `n_steps` steps (see `to_average`)."""
    n_average = to_average(n_steps, n_average)
    if n_steps > n_average:
        state, _ = run_chain(kernel, state, n_steps - n_average, clamp=clamp, generator=generator)
    state, info = kernel.step(state, clamp=clamp, generator=generator)
    total = mean_of(info).clone()
    for _ in range(n_average - 1):
        state, info = kernel.step(state, clamp=clamp, generator=generator)
        total += mean_of(info)
    return total / n_average
