"""log Z from parallel tempering: the ratios of neighbouring temperatures, all from one set of chains.

    log Z = log Z_0 + sum_k log (Z_{k+1} / Z_k),        w_k(v) = F_k(v) - F_{k+1}(v)

    <w_k> under law k  <=  log (Z_{k+1} / Z_k)  <=  <w_k> under law k + 1

The two averages are the left and the right sums of thermodynamic integration over the inverse temperature, their mean
is its trapezoid (Kirkwood 1935; Gelman & Meng 1998), and Jensen's inequality makes them bounds; Bennett's acceptance
ratio of the same numbers lies between them, and is far closer (Bennett 1976; Shirts & Chodera 2008). Unlike a run of
annealing, which passes each temperature once, these chains stay and swap, so modes are visited with their weights.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from deepbelief.energy.kernels.exchange import ExchangeState, SwapMeter
from deepbelief.energy.kernels.tempering import HasRungs, ParallelTempering, burn_in
from deepbelief.energy.partition.ais import Annealable, path_to, share_chains
from deepbelief.errors import check_choice, check_count
from deepbelief.maths.bennett import bennett
from deepbelief.protocols import Generator
from deepbelief.training.processes import Processes
from deepbelief.types import Bound

GROUPS = 10  # of chains, for the jackknife


@torch.no_grad()
def tempered_log_z(
    model: Annealable | HasRungs,
    *,
    n_chains: int = 50,
    n_replicas: int = 20,
    n_steps: int = 500,
    start: Tensor | None = None,
    method: Literal["bennett", "thermodynamic"] = "bennett",
    generator: Generator = None,
    processes: Processes | None = None,
) -> Bound:
    """``log Z`` in nats: an estimate, with the left and the right sums as ``low`` and ``high``.

    `n_chains` ladders of `n_replicas` temperatures run for `n_steps` sweeps, of which the first half adapts the
    temperatures and is not looked at. All replicas begin at the base model, or at `start` (n, n_visible): a ladder for
    each of its rows then, whatever `n_chains` is.
    The model has two layers (an RBM, a DBM's ``even_odd()``), or rungs of its own (a Boltzmann machine).
    "thermodynamic" takes the trapezoid instead of Bennett's ratio. The standard error is a jackknife over groups of
    ladders, which never touch each other, so it holds however slowly each of them moves, if all have found the modes.
    With `processes` (all of them must call), each runs its share of the ladders at the temperatures that suit all, and
    all get the same bound: a ladder stays whole, for swaps within it would wait for a message at every sweep.

    >>> from deepbelief.energy.rbm import RBM
    >>> rbm, generator = RBM(6, 3, weight_std=0.0), torch.Generator().manual_seed(0)
    >>> found = tempered_log_z(rbm, n_chains=10, n_steps=20, generator=generator)
    >>> found.kind, round(float(found), 1)  # 9 units without couplings have 512 states of equal weight
    ('estimate', 6.2)
    """
    peers, generator = share_chains(processes, generator)
    n = n_chains if start is None else len(start)
    check_count("n_chains" if start is None else "the rows of start", n, low=max(2, peers.world_size))
    check_count("n_replicas", n_replicas, low=2)
    check_count("n_steps", n_steps, low=2)
    check_choice("method", method, ["bennett", "thermodynamic"])
    kernel = ParallelTempering(model, n_replicas)
    if start is not None and hasattr(model, "kernel"):
        start = model.kernel().start_at(start, generator=generator).v  # the states of all units
    if start is None:
        state = kernel.init(len(range(peers.rank, n, peers.world_size)), generator=generator)
    else:
        state = kernel.start_at(start[peers.rank :: peers.world_size], generator=generator)
    state, _ = burn_in(kernel, state, n_steps // 2, seen=partial(_seen_by_all, peers), generator=generator)
    up, down = [], []
    for _ in range(n_steps - n_steps // 2):
        state, _ = kernel.step(state, generator=generator)
        forward, reverse = works(kernel, state)
        up.append(forward)
        down.append(reverse)
    parts = peers.gather([torch.stack(up, 1), torch.stack(down, 1)])  # (pairs, sweeps, chains)
    forward, reverse = (torch.cat([part[way] for part in parts], 2) for way in (0, 1))
    log_z_0 = path_to(model).independent_log_z()
    joined = _joined if method == "bennett" else _trapezoid
    name = "Bennett's acceptance ratio" if method == "bennett" else "thermodynamic integration"
    left, right = log_z_0 + forward.mean((1, 2)).sum().item(), log_z_0 - reverse.mean((1, 2)).sum().item()
    return Bound(
        log_z_0 + joined(forward, reverse),
        "estimate",
        _jackknife(joined, forward, reverse),
        f"parallel tempering, {name}, {n} ladders of {n_replicas} temperatures, {forward.shape[1]} sweeps",
        min(left, right),  # the two may cross by noise where the model is hardly more than its base
        max(left, right),
    )


def _seen_by_all(processes: Processes, meter: SwapMeter) -> Tensor:
    """The acceptance of each pair over the ladders of every process, so that all move to the same temperatures."""
    parts = processes.gather([meter.total, meter.tried])
    total, tried = (torch.stack([part[k] for part in parts]).sum(0) for k in (0, 1))
    return total / tried


def works(kernel: ParallelTempering, state: ExchangeState) -> tuple[Tensor, Tensor]:
    """``w_k`` of the chains at rung k, and ``-w_k`` of those at rung k + 1, for each pair: (pairs, chains) each."""
    ladder, n = kernel.ladder, len(kernel.ladder)
    own = ladder.free_energy(state.v, state.inputs, range(n))
    above = ladder.free_energy(state.v[:-1], state.inputs[:-1], range(1, n))  # all rungs share one product
    below = ladder.free_energy(state.v[1:], state.inputs[1:], range(n - 1))
    return own[:-1] - above, own[1:] - below


def _joined(forward: Tensor, reverse: Tensor) -> float:
    return sum(bennett(a.flatten(), b.flatten())[0] for a, b in zip(forward, reverse, strict=True))


def _trapezoid(forward: Tensor, reverse: Tensor) -> float:
    return 0.5 * (forward.mean((1, 2)) - reverse.mean((1, 2))).sum().item()


def _jackknife(joined: Callable[[Tensor, Tensor], float], forward: Tensor, reverse: Tensor) -> float:
    """The standard error from leaving out one group of chains at a time."""
    n = forward.shape[2]
    groups = torch.arange(n, device=forward.device) % min(GROUPS, n)
    left = [joined(forward[..., groups != g], reverse[..., groups != g]) for g in range(min(GROUPS, n))]
    values = torch.tensor(left, dtype=torch.float64)
    return ((len(left) - 1) * values.var(correction=0)).sqrt().item()
