"""Are the chains that learning leans on in equilibrium? Two numbers, from a short run with the weights held still.

An RBM learned with k sweeps per update is in equilibrium only where k is not small beside the chains' relaxation time,
which grows as it learns (Decelle, Furtlehner & Seoane 2021, "Equilibrium and non-equilibrium regimes in the learning of
restricted Boltzmann machines").
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from deepbelief.energy.kernels.gibbs import BlockGibbs, ChainState
from deepbelief.energy.kernels.traces import FREE_ENERGY, Scalars, run_chains
from deepbelief.energy.kernels.trajectory import Rung
from deepbelief.energy.rbm import RBM
from deepbelief.errors import check_count
from deepbelief.maths.autocorrelation import slowest
from deepbelief.types import Bound

CHAIN_QUANTITIES = ("relaxation_time", "chain_gap")
MOST_CHAINS, SWEEPS = 100, 100


def learning_chains(rbm: Rung, negative: Any, train: Tensor, generator: torch.Generator) -> ChainState:
    """A copy of the states that the model's half of the gradient is taken at, at most `MOST_CHAINS`.

    Persistent chains where there are some, of a tempered rule those of the model itself; else chains that begin at
    training cases and take the k sweeps of contrastive divergence (none under the exact gradient).
    """
    kernel, chains = BlockGibbs(rbm), getattr(negative, "chains", negative)  # fast weights, checkpoints lie around some
    v, h = getattr(chains, "v", None), getattr(chains, "h", None)
    if isinstance(v, Tensor) and len(v):
        v = v[:MOST_CHAINS].clone()
        if isinstance(h, Tensor):
            return ChainState(v, h[:MOST_CHAINS].to(v, copy=True))  # a GPU keeps bytes
        return kernel.start_at(v, generator=generator)
    state = kernel.start_at(train[:MOST_CHAINS], generator=generator)
    for _ in range(getattr(negative, "k", 0)):
        state, _ = kernel.step(state, generator=generator)
    return state


@torch.no_grad()
def measure_chains(
    rbm: RBM,
    negative: Any,
    train: Tensor,
    *,
    quantities: Iterable[str] = CHAIN_QUANTITIES,
    n_sweeps: int = SWEEPS,
    generator: torch.Generator,
) -> dict[str, Bound]:
    """``relaxation_time`` in sweeps, and ``chain_gap`` in nats, of the chains behind `negative` (copies are run).

    The relaxation time is the slowest one of free energy, mean activity and principal components of `train`; where it
    is beyond a run of `n_sweeps`, a lower bound. The gap is what the chains' mean free energy rises while they go on
    with the weights held still, 0 in equilibrium, with the standard error over chains; it sees what relaxes within
    the run, not modes that no chain can reach.
    """
    check_count("n_sweeps", n_sweeps, low=1)
    state = learning_chains(rbm, negative, train, generator)
    scalars = Scalars(rbm.free_energy, train)
    traces = run_chains(BlockGibbs(rbm), state, scalars, n_sweeps, generator=generator)
    found = {}
    for name in quantities:
        found[name] = slowest(traces.values) if name == "relaxation_time" else free_energy_rise(traces.of(FREE_ENERGY))
    return found


def free_energy_rise(free: Tensor) -> Bound:
    """What the mean of (chains, steps) rises from the first state to the mean of the second half of the run."""
    rise = free[:, free.shape[1] // 2 :].mean(1) - free[:, 0]
    error = (rise.std() / len(rise) ** 0.5).item() if len(rise) > 1 else float("nan")
    return Bound(rise.mean().item(), "estimate", error, f"{len(rise)} chains, {free.shape[1] - 1} sweeps")
