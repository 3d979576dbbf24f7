"""A tiny deep Boltzmann machine known exactly, as one machine of two layers with a block matrix of couplings."""

from __future__ import annotations

import torch
from torch import Tensor

from deepbelief.energy.dbm import DBM
from deepbelief.energy.rbm import RBM
from deepbelief.units.side_by_side import SideBySide
from tests.oracle.joint import Joint
from tests.oracle.zoo import continuous_columns, tiny_units

STACKS = {
    "bernoulli": ["bernoulli", "bernoulli", "bernoulli"],
    "three hidden": ["bernoulli", "spin", "bernoulli", "spin"],
    "mixed": ["categorical", "bernoulli", "spin"],
    "gaussian data": ["gaussian", "bernoulli", "categorical"],
    "with a label": ["side_by_side", "spin", "bernoulli"],
}


@torch.no_grad()
def tiny_dbm(kinds: list[str], generator: torch.Generator, *, scale: float = 0.6) -> DBM:
    """A machine over layers of these kinds, the data's first, with random parameters and offsets."""
    dbm = DBM([tiny_units(kind, generator) for kind in kinds]).double()
    for layer, weight in enumerate(dbm.weights):
        both = continuous_columns(dbm.units[layer]).unsqueeze(1) & continuous_columns(dbm.units[layer + 1])
        draw = scale * torch.randn(weight.shape, generator=generator, dtype=torch.float64)
        weight.copy_(torch.where(both, 0.1 * draw, draw))
    for units, offset in zip(dbm.units, dbm.offsets, strict=True):
        inputs = 0.7 * torch.randn(1, units.size, generator=generator, dtype=torch.float64)
        offset.copy_(units.mean(inputs)[0])
    return dbm


def twin(dbm: DBM) -> RBM:
    """The same law as an RBM of all even and all odd layers, with zeros where layers do not touch."""
    even, odd = dbm.units[0::2], dbm.units[1::2]
    rows = []
    for i in range(len(even)):
        blocks = [_block(dbm, 2 * i, 2 * j + 1) for j in range(len(odd))]
        rows.append(torch.cat(blocks, 1))
    rbm = RBM(SideBySide(even), SideBySide(odd))  # all is in double precision but what it made itself
    rbm.visible_offset, rbm.hidden_offset = rbm.visible_offset.double(), rbm.hidden_offset.double()
    del rbm.weight
    rbm.weight = torch.cat(rows)  # type: ignore[assignment]
    return rbm


def _block(dbm: DBM, even: int, odd: int) -> Tensor:
    if odd == even + 1:
        return dbm.weights[even]
    if odd == even - 1:
        return dbm.weights[odd].T
    return torch.zeros(dbm.units[even].size, dbm.units[odd].size, dtype=torch.float64)


def exact_log_p(dbm: DBM, x: Tensor) -> Tensor:
    """``log p(x)`` in nats by sums over everything hidden: (n, d) -> (n,)."""
    joint = Joint.of(twin(dbm))
    total = joint.log_z
    known = torch.arange(joint.states.shape[1]) < dbm.visible.size
    rows = []
    for row in x:
        values = torch.cat([row, row.new_zeros(joint.states.shape[1] - len(row))])
        rows.append(joint.given(values, known).log_z - total)
    return torch.stack(rows)
