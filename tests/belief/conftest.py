"""Tiny DBNs of several kinds with random parameters, known exactly."""

from __future__ import annotations

import pytest
import torch

from deepbelief.belief.dbn import DBN
from tests.oracle.zoo import tiny_dbn

STACKS = {
    "bernoulli": (["bernoulli", "bernoulli", "bernoulli"], None),
    "three layers": (["spin", "bernoulli", "categorical", "bernoulli"], None),
    "gaussian data": (["gaussian", "spin", "bernoulli"], None),
    "mixed data": (["side_by_side", "bernoulli", "spin"], None),
    "labels": (["bernoulli", "bernoulli", "bernoulli"], 3),
    "labels over three layers": (["categorical", "spin", "bernoulli", "bernoulli"], 2),
    "one layer": (["bernoulli", "spin"], None),
    "one layer with labels": (["spin", "bernoulli"], 3),
}
DISCRETE_STACKS = [name for name in STACKS if name != "gaussian data"]


@pytest.fixture(params=STACKS)
def dbn(request: pytest.FixtureRequest, generator: torch.Generator) -> DBN:
    """Each stack in turn; parametrize it indirectly with names to choose some."""
    kinds, n_classes = STACKS[request.param]
    return tiny_dbn(kinds, n_classes, generator)


@pytest.fixture
def x(dbn: DBN, generator: torch.Generator) -> torch.Tensor:
    """Five cases that the data's units can take."""
    return dbn.visible.sample(torch.randn(5, dbn.visible.size, generator=generator).double(), generator).detach()
