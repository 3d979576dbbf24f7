"""One question, ``log_z(model)``: exact where a layer is small enough, else bracketed by annealing both ways."""

from __future__ import annotations

from typing import Any, Literal

import torch

from deepbelief.energy.kernels.gibbs import BlockGibbs
from deepbelief.energy.partition.adaptive import adaptive_betas
from deepbelief.energy.partition.ais import Progress, ais, bracket, reverse_ais
from deepbelief.energy.partition.exact import exact_log_z, is_enumerable
from deepbelief.energy.partition.tap import mean_field_log_z
from deepbelief.energy.partition.tempering import tempered_log_z
from deepbelief.errors import check_choice, check_count
from deepbelief.protocols import Generator
from deepbelief.training.processes import Processes
from deepbelief.types import Bound

METHODS = ("auto", "exact", "ais", "tempering", "mean_field", "tap")
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
) -> Bound:
    """``log Z`` in nats as a `Bound`: kind "exact", or "estimate" with ``low`` and ``high`` from AIS and reverse AIS.

    method is "auto" (exact when the smaller layer has at most 2^20 states, else "ais"), "exact", "ais", "tempering"
    (`tempered_log_z` of `n_chains` ladders with twice `burn_in` sweeps from `samples`), or one of two quick looks at an
    RBM of Bernoulli units, "mean_field" (a lower bound) and "tap" (an estimate for weak couplings).

    The reverse runs start from `samples` moved by `burn_in` Gibbs steps; without samples, from the forward runs' last
    states. With `processes` the chains are split over them. The `betas` temperatures lie as Salakhutdinov & Murray
    (2008) put them, or where a short pilot run found the model to change ("adaptive"; see `adaptive_betas`).
    """
    check_choice("method", method, METHODS)
    check_choice("schedule", schedule, SCHEDULES)
    check_count("burn_in", burn_in, low=0)
    if method == "exact" or (method == "auto" and is_enumerable(model, QUICK_STATES)):
        return exact_log_z(model)
    if method == "tempering":
        return tempered_log_z(model, n_chains=n_chains, n_steps=2 * burn_in, start=samples, generator=generator)
    if method in ("mean_field", "tap"):
        return mean_field_log_z(model, samples, order=1 if method == "mean_field" else 2)
    steps = betas if schedule == "fixed" else adaptive_betas(model, betas, generator=generator)
    options: dict[str, Any] = {"betas": steps, "generator": generator, "progress": progress, "processes": processes}
    forward = ais(model, n_chains=n_chains, **options)
    kernel = model.kernel() if hasattr(model, "kernel") else BlockGibbs(model)
    state = kernel.start_at(forward.v if samples is None else samples, generator=generator)
    for _ in range(burn_in):
        state, _ = kernel.step(state, generator=generator)
    return bracket(forward, reverse_ais(model, state.v, **options))
