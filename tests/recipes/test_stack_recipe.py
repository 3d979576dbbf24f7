"""The recipe of the stack: what its three models share, and that their bounds are of one kind."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from deepbelief.recipes import vae_stack
from deepbelief.recipes.recipe import Options


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> vae_stack.Models:
    """The three models of the stack's recipe, small."""
    options = Options(seed=3, out=Path(tmp_path_factory.mktemp("trio")), quick=True, progress=False, threads=1)
    return vae_stack.trained(options.load("train"), options)


def test_what_is_on_top_is_all_in_which_the_stack_and_the_dbn_differ(trio: vae_stack.Models) -> None:
    stack, dbn = trio[vae_stack.STACK], trio[vae_stack.DEEP]
    below = stack.below.state_dict()
    assert len(below) > 0
    assert all(torch.equal(value, dbn.state_dict()[name]) for name, value in below.items())
    assert [layer.hidden.size for layer in dbn.layers] == [16, 16, 16]
    assert stack.top.visible.size == dbn.top.visible.size


def test_all_three_have_a_bound_of_the_same_kind(trio: vae_stack.Models) -> None:
    x = (torch.arange(64 * 64).view(64, 64) % 3 == 0).float()
    rows = vae_stack.likelihood_rows(trio, x, Options(quick=True))
    assert [(row.kind, row.model) for row in rows] == [("lower_bound", name) for name in trio]
