"""A bracket around log Z by annealing both ways; where its ends disagree, more temperatures, and then tempering.

Forward runs put log Z too low on average and reverse runs too high, so the gap between the two says how far either may
be off, and a longer path narrows it. Where modes are missed it stays wide however long the path is: chains at all
temperatures, which stay and swap, may then do better.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from deepbelief.energy.kernels.gibbs import BlockGibbs
from deepbelief.energy.partition.adaptive import adaptive_betas
from deepbelief.energy.partition.ais import Progress, ais, bracket, reverse_ais
from deepbelief.energy.partition.tempering import tempered_log_z
from deepbelief.energy.partition.whose import can_temper
from deepbelief.protocols import Generator
from deepbelief.training.processes import Processes
from deepbelief.types import Bound

LOOK, LEAST = 10, 1000  # a first look takes one temperature in ten, where at least so many are left of them
SURE = 0.05  # of the tolerance: a look that leaves no more doubt than this is the answer


@dataclass(frozen=True)
class Effort:
    """How much annealing is to cost, and from where the reverse runs start: see `log_z`."""

    n_chains: int
    betas: int
    burn_in: int
    samples: Tensor | None
    generator: Generator
    progress: Progress | None
    processes: Processes | None
    adaptive: bool


def annealed(model: Any, effort: Effort) -> tuple[Bound, Tensor]:
    """The bracket of forward and reverse annealing, and the states that the reverse runs started from."""
    generator = effort.generator
    steps = adaptive_betas(model, effort.betas, generator=generator) if effort.adaptive else effort.betas
    options: dict[str, Any] = {"betas": steps, "generator": generator}
    options |= {"progress": effort.progress, "processes": effort.processes}
    forward = ais(model, n_chains=effort.n_chains, **options)
    kernel = model.kernel() if hasattr(model, "kernel") else BlockGibbs(model)
    state = kernel.start_at(forward.v if effort.samples is None else effort.samples, generator=generator)
    for _ in range(effort.burn_in):
        state, _ = kernel.step(state, generator=generator)
    return bracket(forward, reverse_ais(model, state.v, **options)), state.v


def tempered(model: Any, effort: Effort) -> Bound:
    """Parallel tempering on as many ladders, for twice the burn-in."""
    steps = max(2, 2 * effort.burn_in)
    options: dict[str, Any] = {"start": effort.samples, "generator": effort.generator, "processes": effort.processes}
    return tempered_log_z(model, n_chains=effort.n_chains, n_steps=steps, **options)


def widened(model: Any, effort: Effort, tolerance: float, doublings: int) -> Bound:
    """The narrowest of several brackets, tried one after the other until one is within `tolerance` nats.

    First, unless `doublings` is 0, a look with a tenth of the temperatures, all that many small models need: it is the
    answer where its doubt is at most a twentieth of the tolerance, and otherwise as if it had never been, the numbers
    of the generator included. Then `effort` as it is; then twice the temperatures, up to `doublings` times, with the
    chains that feed the reverse runs moving on; last, if `doublings` allows any further effort at all, parallel
    tempering where the model can take it.
    """
    if doublings and effort.betas // LOOK >= LEAST and (seen := looked(model, effort, SURE * tolerance)) is not None:
        return with_verdict(seen, tolerance)
    found, ends = annealed(model, effort)
    tried = [found]
    while doubt(best := min(tried, key=doubt)) > tolerance and len(tried) <= doublings:
        moved = None if effort.samples is None else ends
        effort = replace(effort, betas=2 * effort.betas, samples=moved)
        found, ends = annealed(model, effort)
        tried.append(found)
    if doubt(best) > tolerance and doublings and can_temper(model):
        tried.append(tempered(model, effort))
    return with_verdict(min(tried, key=doubt), tolerance, len(tried))


def looked(model: Any, effort: Effort, most: float) -> Bound | None:
    """The bracket by a tenth of the temperatures, from chains as long; None where it leaves more doubt than `most`."""
    generator = effort.generator
    before = None if generator is None else generator.get_state()
    found, _ = annealed(model, replace(effort, betas=effort.betas // LOOK))
    if doubt(found) <= most:
        return found
    if generator is not None and before is not None:
        generator.set_state(before)
    return None


def doubt(bound: Bound) -> float:
    """By how many nats the value may be off, as far as the runs can tell: the gap, or the error if that is larger."""
    larger = max(_gap(bound), bound.stderr)
    return math.inf if math.isnan(larger) else larger


def with_verdict(bound: Bound, tolerance: float, attempts: int = 1) -> Bound:
    """`bound` with a method that says how sure it is: "bracket 0.03 nats, error 0.01", and "wide" above `tolerance`.

    >>> with_verdict(Bound(3.0, "estimate", 0.2, "AIS", 2.0, 4.0), tolerance=1.5).method
    'AIS; bracket 2.00 nats, error 0.20: wide'
    """
    words = f"{bound.method}; bracket {_gap(bound):.2f} nats, error {bound.stderr:.2f}"
    words += f", best of {attempts} attempts" if attempts > 1 else ""
    return replace(bound, method=words + (": wide" if doubt(bound) > tolerance else ""))


def _gap(bound: Bound) -> float:
    return 0.0 if bound.low is None or bound.high is None else bound.high - bound.low
