"""log Z by annealed importance sampling, forward and in reverse, so that the two bracket it.

Between a base model of independent units (log Z_0 known) and the model lie K models with natural parameters
``(1 - beta) base + beta model``. A run draws v from the base and moves it through all of them, one Gibbs sweep each;

    log w = sum_k  F_{k-1}(v_k) - F_k(v_k),          Z_K / Z_0 = <w>.

By Jensen's inequality the logarithm of an average of w is too low on average (so log-likelihoods come out too high).
The same runs backwards, from states of the model to the base, give log Z too high on average, if their starting states
are draws of the model. The truth lies between, and the gap says how far to trust either (Neal 2001; Salakhutdinov &
Murray 2008; Burda, Grosse & Salakhutdinov 2015; Grosse, Ghahramani & Adams 2015).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from deepbelief.errors import InvalidArgumentError, check_count, check_range
from deepbelief.maths.bennett import bennett
from deepbelief.maths.logspace import log_mean_exp
from deepbelief.protocols import Generator
from deepbelief.rng import spawn
from deepbelief.training.processes import Processes
from deepbelief.types import Bound
from deepbelief.units.base import Units

Progress = Callable[[int, int], None]  # (temperatures done, temperatures in all)
CHAINS = 10_000  # that run side by side: more of them run in turns, so that memory stays bounded
Inputs = Any  # a path's own: one tensor, or several


class Layers(Protocol):
    """The two layers of units of a bipartite model."""

    @property
    def visible(self) -> Units: ...

    @property
    def hidden(self) -> Units: ...


class Annealable(Layers, Protocol):
    """A bipartite model that knows a base model of independent units."""

    def base(self) -> Layers: ...

    def input_h_from_v(self, v: Tensor) -> Tensor: ...

    def input_v_from_h(self, h: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class AISResult:
    """``log_z`` with its standard error, the effective sample size of the runs, their log weights and last states.

    ``direction`` is "forward" (too low on average) or "reverse" (too high on average, given draws of the model).
    """

    log_z: float
    stderr: float
    effective_size: float
    log_weights: Tensor
    v: Tensor
    direction: str


def linear_betas(n_temperatures: int) -> Tensor:
    """Inverse temperatures from 0 to 1, denser towards 1 as in Salakhutdinov & Murray (2008): half the steps above 0.9.

    A twentieth of the steps covers [0, 0.5], nine twentieths [0.5, 0.9], and half [0.9, 1].

    >>> linear_betas(100)[[0, -1]].tolist()
    [0.0, 1.0]
    """
    check_count("n_temperatures", n_temperatures, low=2)
    knots = torch.tensor([0.0, 0.05, 0.5, 1.0], dtype=torch.float64), torch.tensor([0.0, 0.5, 0.9, 1.0]).double()
    place = torch.linspace(0, 1, n_temperatures, dtype=torch.float64)
    segment = torch.bucketize(place, knots[0][1:-1], right=True)
    share = (place - knots[0][segment]) / (knots[0][segment + 1] - knots[0][segment])
    betas = torch.lerp(knots[1][segment], knots[1][segment + 1], share)
    betas[-1] = 1.0
    return betas


class Path(Protocol):
    """The models between two ends, one inverse temperature at a time; `Inputs` are computed once per state."""

    def inputs(self, v: Tensor) -> Inputs:
        """What every model on the path needs of `v`: the product(s) with the weights."""
        ...

    def layers(self, beta: float) -> tuple[Any, Any]:
        """The visible and the hidden units at `beta`."""
        ...

    def increment(self, v: Tensor, inputs: Inputs, here: tuple[float, Units], there: tuple[float, Units]) -> Tensor:
        """``F_here(v) - F_there(v)``, where a place is (beta, hidden units there)."""
        ...

    def sweep(self, beta: float, layers: tuple[Units, Units], inputs: Inputs, generator: Generator) -> Tensor:
        """One Gibbs sweep v -> h -> v of the model at `beta`, which leaves that model as it is."""
        ...


class PathFromBase:
    """From independent units to the model: one product per state, scaled by beta, since the base has no weights."""

    def __init__(self, model: Annealable) -> None:
        self.target, self.base = model, model.base()

    def independent_log_z(self) -> float:
        zeros = [torch.zeros(1, units.size).to(units.bias) for units in (self.base.visible, self.base.hidden)]
        terms = [
            u.cumulants(z).double().sum() for u, z in zip((self.base.visible, self.base.hidden), zeros, strict=True)
        ]
        return float((terms[0] + terms[1]).detach())

    def draw_base(self, n: int, generator: Generator) -> Tensor:
        units = self.base.visible
        return units.sample(torch.zeros(n, units.size).to(units.bias), generator)

    def layers(self, beta: float) -> tuple[Units, Units]:
        return (
            self.base.visible.blend(self.target.visible, beta),
            self.base.hidden.blend(self.target.hidden, beta),
        )

    def inputs(self, v: Tensor) -> Tensor:
        return self.target.input_h_from_v(v)

    def increment(self, v: Tensor, inputs: Tensor, here: tuple[float, Units], there: tuple[float, Units]) -> Tensor:
        """Potentials are linear in beta, so their difference is taken before rounding."""
        (beta, hidden), (beta_next, hidden_next) = here, there
        visible = (beta_next - beta) * (self.base.visible.potential(v) - self.target.visible.potential(v)).double()
        return visible + hidden.cumulant_change(inputs, beta, hidden_next, beta_next)

    def sweep(self, beta: float, layers: tuple[Units, Units], inputs: Tensor, generator: Generator) -> Tensor:
        h = layers[1].sample(beta * inputs, generator)
        return layers[0].sample(beta * self.target.input_v_from_h(h), generator)


class StartedPath(Path, Protocol):
    """A path whose first model is of independent units: its log Z and draws of it are at hand."""

    def independent_log_z(self) -> float: ...

    def draw_base(self, n: int, generator: Generator) -> Tensor: ...


def path_to(model: Any) -> StartedPath:
    """The path from independent units to `model`: its own if it has one (`annealing_path`), else that of two layers."""
    return model.annealing_path() if hasattr(model, "annealing_path") else PathFromBase(model)


def check_schedule(betas: int | Sequence[float] | Tensor) -> list[float]:
    """The inverse temperatures of a path; `linear_betas` for a number; a schedule must rise from 0 to 1."""
    if np.ndim(betas) == 0:
        return linear_betas(betas).tolist()  # type: ignore[arg-type]
    path = torch.as_tensor(betas, dtype=torch.float64)
    if path[0] != 0 or path[-1] != 1 or (path.diff() < 0).any():
        raise InvalidArgumentError("betas must rise from 0 to 1. Got a schedule that does not. Use linear_betas(n).")
    return path.tolist()


def anneal(
    path: Path, v: Tensor, schedule: list[float], generator: Generator, progress: Progress | None
) -> tuple[Tensor, Tensor]:
    """Move `v` along the schedule, whichever way it runs, and return the log weights and the last states.

    One loop serves both directions: the sweep v -> h -> v is its own reversal, for it satisfies detailed balance on v.
    """
    log_weights = torch.zeros(len(v), dtype=torch.float64, device=v.device)
    beta, layers = schedule[0], path.layers(schedule[0])
    for k, beta_next in enumerate(schedule[1:], start=1):
        inputs, layers_next = path.inputs(v), path.layers(beta_next)
        log_weights += path.increment(v, inputs, (beta, layers[1]), (beta_next, layers_next[1]))
        beta, layers = beta_next, layers_next
        if k + 1 < len(schedule):
            v = path.sweep(beta, layers, inputs, generator)
        if progress is not None:
            progress(k, len(schedule) - 1)
    return log_weights, v


def _in_turns(
    path: Path, starts: Iterable[Tensor], turns: int, schedule: list[float], generator: Generator, told: Progress | None
) -> tuple[Tensor, Tensor]:
    """`anneal` for each of `turns` sets of chains after the other, joined."""
    done = []
    for turn, v in enumerate(starts):
        tell = None if told is None else _of_all(told, turn, turns)
        done.append(anneal(path, v, schedule, generator, tell))
    return torch.cat([weights for weights, _ in done]), torch.cat([v for _, v in done])


def _of_all(progress: Progress, turn: int, turns: int) -> Progress:
    return lambda k, total: progress(turn * total + k, turns * total)


def share_chains(processes: Processes | None, generator: Generator) -> tuple[Processes, Generator]:
    """Who runs which chains: all here, or each process its own share with its own random numbers."""
    if processes is None or processes.world_size == 1:
        return Processes(torch.device("cpu")), generator
    return processes, spawn(generator, stream=processes.rank)


def _gather(processes: Processes, log_weights: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    parts = processes.gather([log_weights, v])
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


@torch.no_grad()
def ais(
    model: Annealable,
    *,
    n_chains: int = 100,
    betas: int | Sequence[float] | Tensor = 10_000,
    generator: Generator = None,
    progress: Progress | None = None,
    processes: Processes | None = None,
) -> AISResult:
    """Forward annealed importance sampling: an estimate of log Z that is too low on average.

    `betas` is the number of temperatures or a schedule from 0 to 1; one temperature costs two matrix products. With
    `processes` (all of them must call), each runs its share of the chains and all get the whole result.
    """
    check_count("n_chains", n_chains, low=2)
    schedule, path = check_schedule(betas), path_to(model)
    peers, generator = share_chains(processes, generator)
    mine = len(range(peers.rank, n_chains, peers.world_size))
    sizes = [min(CHAINS, mine - first) for first in range(0, mine, CHAINS)] or [0]
    starts = (path.draw_base(n, generator) for n in sizes)
    log_weights, v = _gather(peers, *_in_turns(path, starts, len(sizes), schedule, generator, progress))
    mean = log_mean_exp(log_weights)
    log_z = path.independent_log_z() + mean.value
    return AISResult(log_z, mean.stderr, mean.effective_size, log_weights, v, "forward")


@torch.no_grad()
def reverse_ais(
    model: Annealable,
    samples: Tensor,
    *,
    betas: int | Sequence[float] | Tensor = 10_000,
    generator: Generator = None,
    progress: Progress | None = None,
    processes: Processes | None = None,
) -> AISResult:
    """Annealing from draws of the model back to the base: an estimate of log Z that is too high on average.

    `samples` (n_chains, n_visible) should be draws of the model: long chains, best started at data, whose modes the
    forward runs may have missed.
    """
    check_range("the number of samples", len(samples), low=2)
    schedule, path = check_schedule(betas), path_to(model)
    peers, generator = share_chains(processes, generator)
    starts = samples[peers.rank :: peers.world_size].split(CHAINS)
    log_weights, v = _gather(peers, *_in_turns(path, starts, len(starts), schedule[::-1], generator, progress))
    mean = log_mean_exp(log_weights)
    log_z = path.independent_log_z() - mean.value
    return AISResult(log_z, mean.stderr, mean.effective_size, log_weights, v, "reverse")


def bracket(forward: AISResult, reverse: AISResult) -> Bound:
    """The two estimates as one: Bennett's acceptance ratio of all runs, with the two as its ends.

    ``value`` has the least variance if the reverse runs began at draws of the model. The standard error is the larger
    of the two ends', and so errs on the safe side for the value; the gap ``high - low`` is the honest measure.
    """
    low, high = min(forward.log_z, reverse.log_z), max(forward.log_z, reverse.log_z)
    method = f"AIS forward {forward.log_z:.2f}, reverse {reverse.log_z:.2f}, {len(forward.log_weights)} chains"
    method += f" (effective {forward.effective_size:.0f} and {reverse.effective_size:.0f})"
    error = max(forward.stderr, reverse.stderr)
    start = forward.log_z - log_mean_exp(forward.log_weights).value
    ratio, _ = bennett(forward.log_weights, reverse.log_weights)
    return Bound(min(max(start + ratio, low), high), "estimate", error, method, low, high)
