"""The update's own descent against torch's optimizer, and a copy of it that goes on from the saved state."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from deepbelief.energy.gradients.update import Update
from tests.oracle.checks import make_context


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_descent_is_that_of_torch(momentum: float) -> None:
    generator = torch.Generator().manual_seed(0)
    own = nn.Linear(3, 2).double()
    peer = copy.deepcopy(own)
    update = Update(own, learning_rate=0.3, schedule=lambda progress: 1 - progress, momentum=momentum)
    sgd = torch.optim.SGD(peer.parameters(), lr=0.3, momentum=momentum)
    for step in range(6):
        for mine, theirs in zip(own.parameters(), peer.parameters(), strict=True):
            left_out = step == 3 and mine.ndim == 1  # a parameter without a gradient stays, and so does its momentum
            mine.grad = None if left_out else torch.randn(mine.shape, generator=generator, dtype=mine.dtype)
            theirs.grad = None if mine.grad is None else mine.grad.clone()
        if step == 4:  # resumed from what was saved
            saved = copy.deepcopy(update.state_dict())
            update = Update(own, learning_rate=0.3, schedule=lambda progress: 1 - progress, momentum=momentum)
            update.load_state_dict(saved)
        update.apply(make_context(generator, progress=step / 6))
        sgd.param_groups[0]["lr"] = 0.3 * (1 - step / 6)
        sgd.step()
        torch.testing.assert_close(dict(own.named_parameters()), dict(peer.named_parameters()))
