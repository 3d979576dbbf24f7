"""Adam: bit for bit torch's own, with groups, absent gradients and changing rates; resumed, and without its import."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn

from deepbelief.rng import make_generator
from deepbelief.training.adam import AdamW
from deepbelief.training.optimization import make_optimizer


def parameters(dtype: torch.dtype = torch.float32) -> list[nn.Parameter]:
    """A matrix, a vector, and one that never has a gradient."""
    generator = make_generator(0)
    return [nn.Parameter(torch.randn(shape, generator=generator, dtype=dtype)) for shape in ((30, 7), (7,), (3,))]


def walk(optimizer: Any, own: list[nn.Parameter], steps: range) -> None:
    """Steps along gradients that hang on the step alone; the second parameter sits some of them out."""
    for step in steps:
        generator = make_generator(step + 1)
        optimizer.zero_grad(set_to_none=True)
        for p in own[: 1 if step % 3 == 1 else 2]:
            p.grad = torch.randn(p.shape, generator=generator, dtype=p.dtype)
        for group in optimizer.param_groups:
            group["lr"] = 0.1 / (step + 1)
        optimizer.step()


def groups(own: list[nn.Parameter]) -> list[dict[str, Any]]:
    """Decay for the matrix alone."""
    return [{"params": own[:1], "weight_decay": 0.3}, {"params": own[1:], "weight_decay": 0.0}]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_steps_are_torch_s_bit_for_bit(dtype: torch.dtype) -> None:
    ours, theirs = parameters(dtype), parameters(dtype)
    walk(AdamW(groups(ours), 0.1, betas=(0.8, 0.99)), ours, range(10))
    walk(torch.optim.AdamW(groups(theirs), lr=0.1, betas=(0.8, 0.99), fused=True), theirs, range(10))
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert not torch.equal(ours[0], parameters(dtype)[0])
    assert torch.equal(ours[2], parameters(dtype)[2])


def test_resumed_is_never_stopped() -> None:
    straight, stopped = parameters(), parameters()
    walk(AdamW(groups(straight), 0.1), straight, range(10))
    first = AdamW(groups(stopped), 0.1)
    walk(first, stopped, range(4))
    second = AdamW(groups(stopped), 0.1)
    second.load_state_dict(first.state_dict())
    walk(first, parameters(), range(1))  # the state was copied
    walk(second, stopped, range(4, 10))
    assert all(torch.equal(a, b) for a, b in zip(straight, stopped, strict=True))


def test_gradients_can_be_zeroed_in_place() -> None:
    own = parameters()
    adam = make_optimizer(own)
    own[0].grad = torch.ones_like(own[0])
    adam.zero_grad(set_to_none=False)
    assert torch.equal(own[0].grad, torch.zeros_like(own[0]))
    assert own[1].grad is None


def test_a_step_imports_no_compiler() -> None:
    """Torch's first optimizer of a process imports one for two seconds."""
    code = (
        "import sys, torch\nfrom deepbelief.training.optimization import make_optimizer\n"
        "p = torch.nn.Parameter(torch.ones(3))\nadam = make_optimizer([p])\np.grad = torch.ones(3)\nadam.step()\n"
        "print('torch._dynamo' in sys.modules, p.tolist() != [1.0] * 3)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False True\n"
