"""What chains do over time: a few numbers of every state, kept while a kernel runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from deepbelief.errors import InvalidDataError, check_count
from deepbelief.protocols import Generator, Kernel
from deepbelief.types import Clamp

FREE_ENERGY, ACTIVITY = "free energy", "mean activity"


class Scalars:
    """Numbers of a visible state that are slow when chains are: free energy, mean activity, principal components.

    The components are those of data, (cases, units), in which clusters lie apart: a chain that is caught in one cluster
    keeps its components. `free_energy` is the model's method, or None for a kernel that has none.

    >>> scalars = Scalars(None, torch.eye(4), n_components=2)
    >>> scalars.names, scalars(torch.zeros(3, 4)).shape
    (['mean activity', 'component 1', 'component 2'], torch.Size([3, 3]))
    """

    def __init__(self, free_energy: Callable[[Tensor], Tensor] | None, data: Tensor, *, n_components: int = 5) -> None:
        check_count("n_components", n_components, low=0)
        if len(data) < 2:
            raise InvalidDataError(f"principal components need at least 2 cases. Got {len(data)}.")
        self.free_energy = free_energy
        self.mean = data.mean(0)
        covariance = torch.cov(data.double().T).reshape(data.shape[1], -1)
        self.components = torch.linalg.eigh(covariance).eigenvectors.flip(1)[:, :n_components].to(data)
        self.names = [FREE_ENERGY] * (free_energy is not None) + [ACTIVITY]
        self.names += [f"component {i}" for i in range(1, self.components.shape[1] + 1)]

    @torch.no_grad()
    def __call__(self, v: Tensor) -> Tensor:
        """(n, units) -> (n, numbers), in double precision."""
        first = [] if self.free_energy is None else [self.free_energy(v).double()]
        first.append(v.double().mean(1))
        return torch.cat([torch.stack(first, 1), ((v - self.mean) @ self.components).double()], 1)


@dataclass(frozen=True)
class Traces:
    """`values` (chains, steps, numbers) by `names`, the share of visible entries that change per step, the last state.

    ``values[:, 0]`` is the state that the run began with.
    """

    values: Tensor
    names: list[str]
    flip_rate: float
    state: Any

    def of(self, name: str) -> Tensor:
        """One number along all chains: (chains, steps)."""
        return self.values[:, :, self.names.index(name)]


@torch.no_grad()
def run_chains(
    kernel: Kernel,
    state: Any,
    scalars: Scalars,
    n_steps: int,
    *,
    clamp: Clamp | None = None,
    generator: Generator,
    visible: Callable[[Any], Tensor] = lambda state: state.v,
) -> Traces:
    """Run any kernel for `n_steps` from `state`, keeping `scalars` of each state and counting changed entries.

    `visible` gives the visible layer (chains, units) of the kernel's state.
    """
    check_count("n_steps", n_steps, low=1)
    v = visible(state)
    rows, changed = [scalars(v)], torch.zeros((), dtype=torch.float64, device=v.device)
    for _ in range(n_steps):
        state, _ = kernel.step(state, clamp=clamp, generator=generator)
        changed += (visible(state) != v).double().mean()
        v = visible(state)
        rows.append(scalars(v))
    return Traces(torch.stack(rows, 1), scalars.names, float(changed) / n_steps, state)
