"""One question, ``log_z(model)``: exact where a layer is small enough, else bracketed, with how sure the bracket is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import torch

from deepbelief.energy.partition.ais import Progress
from deepbelief.energy.partition.exact import exact_log_z, is_enumerable
from deepbelief.energy.partition.tap import mean_field_log_z
from deepbelief.energy.partition.tempering import tempered_log_z
from deepbelief.energy.partition.whose import METHODS, can_enumerate, check_method, has_products, part_with_log_z
from deepbelief.energy.partition.widening import Effort, annealed, widened, with_verdict
from deepbelief.errors import check_choice, check_count, check_range
from deepbelief.protocols import Generator
from deepbelief.training.processes import Processes
from deepbelief.types import Bound

SCHEDULES = ("fixed", "adaptive")
QUICK_STATES = 1 << 20  # "auto" enumerates below this: a second or so


@torch.no_grad()
def log_z(
    model: Any,
    method: str = "auto",
    *,
    n_chains: int = 100,
    betas: int = 10_000,
    burn_in: int = 1000,
    samples: torch.Tensor | None = None,
    generator: Generator = None,
    progress: Progress | None = None,
    processes: Processes | None = None,
    schedule: Literal["fixed", "adaptive"] = "fixed",
    tolerance: float = 1.0,
    doublings: int = 2,
) -> Bound:
    """``log Z`` in nats as a `Bound`: kind "exact", or "estimate" with ``low`` and ``high`` from AIS and reverse AIS.

    `model` is an RBM of any units, a Boltzmann machine, a deep Boltzmann machine, or a model around an RBM: a deep
    belief network (the log Z is its *top* RBM's, as ``method`` says) or a classification RBM (its joint RBM's).

    method is "auto" (exact when the smaller layer has at most 2^20 states, else "ais" that widens), "exact", "ais",
    "tempering" (`tempered_log_z` of `n_chains` ladders with twice `burn_in` sweeps from `samples`), or one of two quick
    looks at an RBM of Bernoulli units, "mean_field" (a lower bound) and "tap" (an estimate for weak couplings).

    The reverse runs start from `samples` (n, visible units of what has the log Z) moved by `burn_in` Gibbs steps;
    without samples, from the forward runs' last states. With `processes` the chains are split over them. The `betas`
    temperatures lie as Salakhutdinov & Murray (2008) put them, or where a short pilot run found the model to change
    ("adaptive"; see `adaptive_betas`).

    The bound's ``method`` ends in how sure it is: "bracket 0.03 nats, error 0.01". "auto" looks with a tenth of the
    temperatures first (if 1,000 are left), and is content where these leave at most a twentieth of the tolerance in
    doubt, as they do for many small models; they change nothing otherwise. Where the two ends, or the standard
    error, say more than `tolerance` nats, "auto" anneals again with twice the temperatures, up to `doublings` times,
    and then tempers where the model allows it: at most ``2^(doublings + 1) - 1`` times the annealing beside the look,
    and one run of tempering. It keeps the narrowest bracket, and says "wide" if even that is. ``doublings=0`` tries
    once, without a look.

    Raises `InvalidArgumentError` for a model whose log Z depends on the case and for a method that the model cannot
    take; the sentence names what serves.

    >>> from deepbelief.energy.rbm import RBM
    >>> rbm, generator = RBM(6, 3, weight_std=0.0), torch.Generator().manual_seed(0)
    >>> round(float(log_z(rbm)), 3), log_z(rbm).method  # 9 units without couplings have 512 states of equal weight
    (6.238, 'enumeration of 8 states')
    >>> log_z(rbm, "ais", n_chains=2, betas=10, burn_in=1, generator=generator).method.split("; ")[-1]
    'bracket 0.00 nats, error 0.00'
    """
    check_choice("method", method, METHODS)
    check_choice("schedule", schedule, SCHEDULES)
    check_count("burn_in", burn_in, low=0)
    check_range("tolerance", tolerance, low=0)
    check_count("doublings", doublings, low=0)
    part, whose = part_with_log_z(model)
    check_method(part, type(model).__name__, method)
    if samples is not None and has_products(part):
        part.visible.check_shape(samples, "samples")
    adaptive = schedule == "adaptive"
    effort = Effort(n_chains, betas, burn_in, samples, generator, progress, processes, adaptive)
    found = _found(part, method, effort, tolerance, doublings)
    return replace(found, method=f"log Z {whose}: {found.method}") if whose else found


def _found(part: Any, method: str, effort: Effort, tolerance: float, doublings: int) -> Bound:
    quick = method == "auto" and can_enumerate(part) and is_enumerable(part, QUICK_STATES)
    if method == "exact" or quick:
        return exact_log_z(part)
    if method in ("mean_field", "tap"):
        return mean_field_log_z(part, effort.samples, order=1 if method == "mean_field" else 2)
    if method == "tempering":
        options: dict[str, Any] = {"start": effort.samples, "generator": effort.generator}
        options["processes"] = effort.processes
        found = tempered_log_z(part, n_chains=effort.n_chains, n_steps=2 * effort.burn_in, **options)
        return with_verdict(found, tolerance)
    if method == "ais":
        return with_verdict(annealed(part, effort)[0], tolerance)
    return widened(part, effort, tolerance, doublings)
