"""Dropout by our own draws has the law of torch's: shares, scale, gradient, and one seed for all threads."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from deepbelief.networks.dropout import Dropout


@pytest.mark.parametrize("p", [0.1, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_numbers_are_dropped_with_probability_p_and_the_others_scaled(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(1)  # global stream: modules draw from it
    x = torch.full((1000, 200), 3.0, dtype=dtype)
    y = Dropout(p)(x)
    assert y.dtype == dtype
    left = y[y != 0]
    torch.testing.assert_close(left, torch.full_like(left, 3.0) * (1 / (1 - p)), rtol=0, atol=0)
    share, n = (y == 0).double().mean().item(), y.numel()
    assert abs(share - p) < 5 * (p * (1 - p) / n) ** 0.5


def test_masks_of_rows_and_columns_are_independent() -> None:
    torch.manual_seed(2)  # global stream: modules draw from it
    kept = (Dropout(0.5)(torch.ones(4000, 60)) != 0).double() - 0.5
    for bits in (kept, kept.view(2000, 120), kept.T.reshape(2000, 120)):
        products = (4 * bits.T @ bits / len(bits)).fill_diagonal_(0.0)
        assert products.abs().max().item() < 5.5 / len(bits) ** 0.5
    again = (Dropout(0.5)(torch.ones(4000, 60)) != 0).double() - 0.5
    assert abs((4 * kept * again).mean().item()) < 5 / kept.numel() ** 0.5


def test_the_gradient_goes_where_the_numbers_went() -> None:
    x = torch.ones(300, 50, requires_grad=True)
    y = Dropout(0.25)(x)
    y.sum().backward()
    torch.testing.assert_close(x.grad, y.detach())


def test_masks_follow_the_seed_and_not_the_threads() -> None:
    def draw(threads: int) -> torch.Tensor:
        torch.manual_seed(3)  # global stream: modules draw from it
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            return Dropout(0.5)(torch.ones(600, 700))
        finally:
            torch.set_num_threads(before)

    assert torch.equal(draw(1), draw(2))


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_the_ends_are_exact(p: float) -> None:
    assert torch.equal(Dropout(p)(torch.ones(100, 100)), torch.full((100, 100), 1 - p))


def test_evaluation_and_shape_are_those_of_torch() -> None:
    x = torch.arange(24.0).view(2, 3, 4)
    assert isinstance(Dropout(0.5), nn.Dropout)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert Dropout(0.5)(torch.ones(20, 30, 40)[:, ::2]).shape == (20, 15, 40)
