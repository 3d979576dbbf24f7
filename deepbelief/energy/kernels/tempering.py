"""Parallel tempering: replica exchange along the path that annealing takes, from independent units to the model.

Rung k has the natural parameters ``(1 - beta_k) base + beta_k model`` with ``0 = beta_0 < ... < beta_R = 1``; the base
model has independent units with the data's means, so rung 0 is drawn anew in every sweep. Hot chains cross from mode to
mode, and swaps carry what they find down to the model (Desjardins et al. 2010; Cho, Raiko & Ilin 2010).

Temperatures: a ladder mixes best when all pairs swap equally often. The sum of the rejection rates up to beta hardly
depends on how the ladder is spaced, so betas at equal steps of that sum equalise them (Syed et al. 2022; `equalised`).
Adapting does not bias the model's chains: a sweep leaves the laws of its rungs as they are whatever the betas are, and
the last beta is always 1. Only the laws of the rungs between shift when betas move, as the model's own does when it
learns; so betas are adapted in the burn-in and then frozen, or slowly while learning.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from deepbelief.energy.kernels.exchange import ExchangeState, Ladder, ReplicaExchange, SwapMeter
from deepbelief.energy.kernels.gibbs import check_chains
from deepbelief.energy.partition.ais import Annealable, Layers
from deepbelief.errors import InvalidArgumentError, check_count
from deepbelief.protocols import Generator
from deepbelief.types import Clamp
from deepbelief.units.base import Units

CHAINS = ("gibbs", "pt")  # the ways to draw from two layers, by name
LEAST_REJECTION = 1e-3  # of a pair, so that betas stay apart where all swaps are accepted


def even_betas(n_replicas: int) -> Tensor:
    """`n_replicas` inverse temperatures from 0 to 1 in even steps: where adaptation starts.

    >>> even_betas(3).tolist()
    [0.0, 0.5, 1.0]
    """
    check_count("n_replicas", n_replicas, low=2)
    return torch.linspace(0, 1, n_replicas, dtype=torch.float64)


def equalised(betas: Tensor, acceptance: Tensor) -> Tensor:
    """The inverse temperatures at which all pairs should reject equally often, from the rates at the present ones.

    The sum of the rejection rates is read as a function of beta, linear between the betas, and cut into equal parts.

    >>> equalised(torch.tensor([0.0, 0.5, 1.0]).double(), torch.tensor([1.0, 0.5]).double())[1] > 0.7
    tensor(True)
    """
    rejection = (1 - acceptance.double()).clamp(LEAST_REJECTION, 1.0)
    barrier = torch.cat([rejection.new_zeros(1), rejection.cumsum(0)])
    wanted = torch.linspace(0, 1, len(betas), dtype=torch.float64)[1:-1] * barrier[-1]
    segment = torch.searchsorted(barrier, wanted, right=True).clamp(1, len(betas) - 1) - 1
    share = (wanted - barrier[segment]) / rejection[segment]
    inner = torch.lerp(betas[segment].double(), betas[segment + 1].double(), share)
    return torch.cat([betas[:1].double(), inner, betas[-1:].double()])


def checked_betas(betas: int | Sequence[float] | Tensor) -> Tensor:
    """Inverse temperatures that rise from 0 to 1; a number gives so many of them, evenly spaced."""
    if np.ndim(betas) == 0:
        return even_betas(betas)  # type: ignore[arg-type]
    ladder = torch.as_tensor(betas, dtype=torch.float64)
    if ladder.ndim != 1 or len(ladder) < 2 or ladder[0] != 0 or ladder[-1] != 1 or not (ladder.diff() > 0).all():
        raise InvalidArgumentError("betas must rise from 0 to 1. Got betas that do not. Use even_betas(n).")
    return ladder


class Rungs(Ladder, Protocol):
    """A ladder of temperatures between a base and a model."""

    betas: Tensor

    def at(self, betas: Tensor) -> Rungs:
        """The same path with its rungs elsewhere."""
        ...


@runtime_checkable
class HasRungs(Protocol):
    """A model that is no pair of layers, and brings its own path from independent units."""

    def temperature_ladder(self, betas: Tensor) -> Rungs: ...


class TemperatureLadder:
    """The rungs between `base` and `model`. All chains share one product with the model's weights: ``beta (v W)``."""

    def __init__(self, model: Annealable, betas: Tensor, base: Layers | None = None) -> None:
        self.model, self.betas = model, betas
        self.base = model.base() if base is None else base
        self.layers: list[tuple[Units, Units]] = [
            (self.base.visible.blend(model.visible, beta), self.base.hidden.blend(model.hidden, beta))
            for beta in betas.tolist()
        ]

    def __len__(self) -> int:
        return len(self.layers)

    def start(self, n: int, generator: Generator) -> Tensor:
        """All replicas from the base model: independent units with the data's means."""
        units = self.base.visible
        check_chains(n * len(self), self.model)  # type: ignore[arg-type]
        return units.sample(torch.zeros(len(self) * n, units.size).to(units.bias), generator).unflatten(0, (-1, n))

    def at(self, betas: Tensor) -> TemperatureLadder:
        """The same path with its rungs elsewhere."""
        return TemperatureLadder(self.model, betas, self.base)

    def draw_v(self, h: Tensor, generator: Generator, clamp: Clamp | None = None) -> Tensor:
        inputs = self.model.input_v_from_h(h.flatten(0, 1)).unflatten(0, h.shape[:2])
        v = torch.stack([layer[0].sample(b * i, generator) for b, layer, i in self._rows(inputs)])
        return v if clamp is None else clamp.apply(v)

    def draw_h(self, v: Tensor, inputs: Tensor, generator: Generator) -> Tensor:
        return torch.stack([layer[1].sample(b * i, generator) for b, layer, i in self._rows(inputs)])

    def inputs(self, v: Tensor, rungs: Sequence[int], known: Tensor | None = None) -> Tensor:
        """``v W`` before it is scaled, so the same for all rungs."""
        return self.model.input_h_from_v(v.flatten(0, 1)).unflatten(0, v.shape[:2]) if known is None else known

    def free_energy(self, v: Tensor, inputs: Tensor, rungs: Sequence[int]) -> Tensor:
        betas = self.betas.tolist()
        return torch.stack([self._free_energy(v[k], inputs[k], betas[r], r) for k, r in enumerate(rungs)])

    def _free_energy(self, v: Tensor, inputs: Tensor, beta: float, rung: int) -> Tensor:
        visible, hidden = self.layers[rung]
        return visible.potential(v).double() - hidden.cumulants(beta * inputs).sum(-1, dtype=torch.float64)

    def _rows(self, inputs: Tensor) -> list[tuple[float, tuple[Units, Units], Tensor]]:
        return list(zip(self.betas.tolist(), self.layers, inputs, strict=True))


class ParallelTempering(ReplicaExchange):
    """Parallel tempering of a model on many chains at once; the model's own chains are ``state.v[-1]``.

    The model has two layers of units (an RBM, a DBM's ``even_odd()``), or brings its own rungs (``temperature_ladder``:
    a Boltzmann machine, whose ``v`` are states of all units). `betas` are inverse temperatures from 0 to 1, or how many
    (evenly spaced until `adapt` is called). One sweep of all replicas costs what a Gibbs sweep of as many chains does,
    and two cumulants of the hidden layer.

    >>> from deepbelief.energy.rbm import RBM
    >>> kernel, generator = ParallelTempering(RBM(6, 3, weight_std=1.0), 4), torch.Generator().manual_seed(0)
    >>> state, info = kernel.step(kernel.init(5, generator=generator), generator=generator)
    >>> state.v.shape, info.acceptance.shape
    (torch.Size([4, 5, 6]), torch.Size([3]))
    """

    ladder: Rungs

    def __init__(
        self, model: Annealable | HasRungs, betas: int | Sequence[float] | Tensor = 10, *, base: Layers | None = None
    ) -> None:
        rungs = checked_betas(betas)
        if isinstance(model, HasRungs):
            super().__init__(model.temperature_ladder(rungs))
        else:
            super().__init__(TemperatureLadder(model, rungs, base))

    @property
    def betas(self) -> Tensor:
        """The inverse temperatures, from 0 to 1."""
        return self.ladder.betas

    def adapt(self, acceptance: Tensor, rate: float = 1.0) -> None:
        """Move the temperatures towards those that equalise the swaps, given the acceptance at the present ones."""
        if acceptance.isnan().any():
            return  # a pair that had no turn yet says nothing
        self.ladder = self.ladder.at(torch.lerp(self.betas, equalised(self.betas, acceptance), rate))


@torch.no_grad()
def burn_in(
    kernel: ParallelTempering,
    state: ExchangeState,
    n_steps: int,
    *,
    clamp: Clamp | None = None,
    rounds: int = 5,
    seen: Callable[[SwapMeter], Tensor] = lambda meter: meter.acceptance,
    generator: Generator,
) -> tuple[ExchangeState, SwapMeter]:
    """`n_steps` sweeps in `rounds` of doubling length, each followed by an adaptation; and what the last round saw.

    `seen` is the acceptance to adapt by: where ladders are split over processes, that of all.
    """
    check_count("n_steps", n_steps, low=0)
    check_count("rounds", rounds, low=1)
    meter = SwapMeter(len(kernel.ladder) - 1)
    for i in range(rounds):
        meter = SwapMeter(len(kernel.ladder) - 1)
        for _ in range(max(2, n_steps * 2**i // (2**rounds - 1))):
            state, info = kernel.step(state, clamp=clamp, generator=generator)
            meter.add(info, state.v.shape[1])
        if i + 1 < rounds:
            kernel.adapt(seen(meter))
    return state, meter


@torch.no_grad()
def tempered_chains(
    model: Annealable | HasRungs,
    n: int,
    *,
    condition: Clamp | None = None,
    n_steps: int = 1000,
    n_replicas: int = 10,
    generator: Generator = None,
) -> ExchangeState:
    """`n` chains at each of `n_replicas` temperatures after `n_steps` sweeps; the model's own are ``v[-1]``.

    The first half of the sweeps adapts the temperatures. With `condition`, all replicas are clamped.
    """
    check_count("n", n, low=1)
    check_count("n_steps", n_steps, low=1)
    kernel = ParallelTempering(model, n_replicas)
    state = kernel.init(n, generator=generator)
    state, _ = burn_in(kernel, state, n_steps // 2, clamp=condition, generator=generator)
    for _ in range(n_steps - n_steps // 2):
        state, _ = kernel.step(state, clamp=condition, generator=generator)
    return state


@torch.no_grad()
def sample_tempered(
    model: Annealable,
    n: int,
    *,
    condition: Clamp | None = None,
    n_steps: int = 1000,
    n_replicas: int = 10,
    mean: bool = False,
    generator: Generator = None,
) -> Tensor:
    """`n` visible states of a model of two layers by parallel tempering, where plain Gibbs chains stay in one mode.

    `tempered_chains` are run. With `condition` the draws come from the model given it. ``mean=True`` returns the means
    of v given the last hidden states.
    """
    steps: dict[str, Any] = {"n_steps": n_steps, "n_replicas": n_replicas, "generator": generator}
    state = tempered_chains(model, n, condition=condition, **steps)
    if not mean:
        return state.v[-1]
    means = model.visible.mean(model.input_v_from_h(state.h[-1]))
    return means if condition is None else condition.apply(means)
