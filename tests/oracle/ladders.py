"""Replica exchange against the joint laws of its rungs, and models whose modes block Gibbs does not leave."""

from __future__ import annotations

import torch
from torch import Tensor

from deepbelief.energy.kernels.exchange import ExchangeInfo, ExchangeState, ReplicaExchange
from deepbelief.energy.kernels.tempering import ParallelTempering
from deepbelief.energy.kernels.trajectory import TrajectoryLadder, TrajectoryTempering, between
from deepbelief.energy.rbm import RBM
from deepbelief.types import Clamp
from tests.oracle.checks import known_parts
from tests.oracle.joint import Joint
from tests.oracle.pvalues import corrected
from tests.oracle.zoo import tiny_rbm

BETAS = [0.0, 0.4, 0.7, 1.0]


def tempered(rbm: RBM) -> tuple[ParallelTempering, list[RBM]]:
    """Parallel tempering of a machine, and the machine of each rung, written from the definition of the path."""
    return ParallelTempering(rbm, BETAS), [rung_by_definition(rbm.base(), rbm, beta) for beta in BETAS]


def trajectory(rbm: RBM, generator: torch.Generator) -> tuple[TrajectoryTempering, list[RBM]]:
    """A ladder of three machines that have nothing in common but their layers."""
    kinds = [layer.config() for layer in (rbm.visible, rbm.hidden)]
    assert all(kind["kind"] != "side_by_side" for kind in kinds)
    others = [tiny_rbm(*(str(kind["kind"]) for kind in kinds), generator) for _ in range(2)]  # type: ignore[arg-type]
    rungs = [*others, rbm]
    return TrajectoryTempering(TrajectoryLadder(rungs)), rungs


@torch.no_grad()
def rung_by_definition(base: RBM, rbm: RBM, beta: float) -> RBM:
    """``(1 - beta) base + beta rbm`` in natural parameters: precisions where there are some, else the parameters."""
    rung = RBM.from_config(rbm.config()).double()
    parameters = zip(base.named_parameters(), rbm.named_parameters(), rung.named_parameters(), strict=True)
    for (name, low), (_, high), (_, out) in parameters:
        if name.endswith("log_precision"):
            out.copy_(((1 - beta) * low.exp() + beta * high.exp()).log())
        else:
            out.copy_((1 - beta) * low + beta * high)
    return rung


def exchange_keeps_the_laws(
    kernel: ReplicaExchange,
    rungs: list[RBM],
    n: int,
    generator: torch.Generator,
    *,
    clamped: bool = False,
    parity: int = 0,
) -> tuple[float, ExchangeInfo]:
    """Chains that start exactly at every rung's (conditional) law have it after a sweep with swaps."""
    joints, clamp = [Joint.of(rbm) for rbm in rungs], None
    if clamped:
        row, known = joints[-1].draw(1, generator)[0], known_parts(rungs[-1])
        clamp = Clamp(row[: rungs[-1].visible.size], known)
        whole = torch.cat([known, torch.zeros(rungs[-1].hidden.size, dtype=torch.bool)])
        joints = [joint.given(row, whole) for joint in joints]
    v, h = (torch.stack(layer) for layer in zip(*(j.halves(j.draw(n, generator)) for j in joints), strict=True))
    from_base = torch.zeros(v.shape[:2], dtype=torch.bool)
    state, info = kernel.step(ExchangeState(v, h, h, from_base, parity), clamp=clamp, generator=generator)
    rows = torch.cat([state.v, state.h], 2)
    return corrected([joint.p_value(z) for joint, z in zip(joints, rows, strict=True)]), info


@torch.no_grad()
def two_modes(depth: float = 2.0, n_visible: int = 8, n_hidden: int = 6) -> RBM:
    """A machine with one mode at all zeros and one at all ones of unequal weight, and almost nothing between them."""
    rbm = RBM(n_visible, n_hidden, weight_std=0.0).double()
    rbm.weight.fill_(depth)
    rbm.visible.bias.fill_(-depth * n_hidden / 2 + 0.08)
    rbm.hidden.bias.fill_(-depth * n_visible / 2)
    rbm.visible_offset.fill_(0.5)
    rbm.hidden_offset.fill_(0.5)
    return rbm


def zeros(rbm: RBM, n: int) -> Tensor:
    """Visible states that are all in the mode of zeros."""
    return torch.zeros(n, rbm.visible.size, dtype=rbm.weight.dtype)


def rungs_between(rbm: RBM, n: int) -> list[RBM]:
    """A trajectory from the base of a machine to the machine."""
    return [*(between(rbm.base(), rbm, k / (n - 1)) for k in range(n - 1)), rbm]
