"""Chains that are stuck are told from chains that met by chance or that follow data of one pattern."""

import pytest
import torch

from deepbelief.energy.gradients.negative import PositivePhase
from deepbelief.energy.gradients.pcd import PersistentChains
from deepbelief.energy.rbm import RBM
from deepbelief.errors import DivergenceError


def run(rbm: RBM, data: torch.Tensor, generator: torch.Generator) -> None:
    """500 updates, after which the chains are looked at."""
    chains = PersistentChains(2)
    chains.start(rbm, data, generator, rank=0, world_size=1)
    inputs = rbm.input_h_from_v(data)
    for _ in range(500):
        chains.moments(rbm, PositivePhase(data, inputs, rbm.hidden.mean(inputs)), generator)


def with_bias(bias: float) -> RBM:
    rbm = RBM(2, 2, weight_std=0.0)
    with torch.no_grad():
        rbm.visible.bias.fill_(bias)
        rbm.hidden.bias.fill_(30.0)
    return rbm


def test_stuck_chains_are_a_divergence(generator: torch.Generator) -> None:
    with pytest.raises(DivergenceError, match="all chains are in one state"):
        run(with_bias(30.0), torch.eye(2), generator)


def test_chains_of_data_of_one_pattern_may_agree(generator: torch.Generator) -> None:
    run(with_bias(30.0), torch.ones(4, 2), generator)


def test_chains_may_meet_by_chance(generator: torch.Generator) -> None:
    run(with_bias(4.0), torch.eye(2), generator)  # each unit is on with probability 0.982, so 2 chains mostly agree
