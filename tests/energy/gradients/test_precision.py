"""bf16 serves for sampling; gradients, weights and offsets stay float32."""

from __future__ import annotations

import contextlib
from functools import partial

import pytest
import torch

from deepbelief.energy.gradients.settings import LearningSettings, make_procedure
from deepbelief.energy.rbm import RBM
from deepbelief.protocols import StepContext
from deepbelief.types import Batch


def step(precision: str, learning: str, generator: torch.Generator) -> RBM:
    rbm = RBM(20, 10, generator=torch.Generator().manual_seed(3))
    procedure = make_procedure(rbm, LearningSettings(learning=learning, learning_rate=0.5))
    batch = Batch((torch.rand(64, 20, generator=generator) < 0.3).float())
    autocast = partial(torch.autocast, "cpu", torch.bfloat16) if precision == "bf16" else contextlib.nullcontext
    context = StepContext(0, 0, 0.0, generator, lambda _: None, autocast)
    procedure.start(batch, generator)
    procedure.step(batch, context)
    return rbm


@pytest.mark.parametrize("learning", ["cd", "pcd", "exact"])
def test_a_bf16_step_is_a_float32_step_but_for_rounding(learning: str) -> None:
    draws = [torch.Generator().manual_seed(4) for _ in range(2)]
    whole, half = step("fp32", learning, draws[0]), step("bf16", learning, draws[1])
    for (name, a), b in zip(whole.named_parameters(), half.parameters(), strict=True):
        assert b.dtype == torch.float32
        # a few draws may fall on the other side of a probability rounded by 2^-9; a wrong gradient is off by its size
        torch.testing.assert_close(b, a, rtol=0.0, atol=0.03, msg=name)
    assert half.visible_offset.dtype == torch.float32
