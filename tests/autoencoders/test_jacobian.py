"""The norm of the encoder's Jacobian against torch's own Jacobian, its gradient, and bugs that must be seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from deepbelief.autoencoders import jacobian
from deepbelief.autoencoders.jacobian import norms_by_rows, squared_jacobian_norms
from tests.autoencoders.zoo import KINDS, cases, make

close = torch.testing.assert_close
Plant = Callable[[pytest.MonkeyPatch], None]


def exact_norms(net: Any, x: Tensor) -> Tensor:
    """From the whole Jacobian of the batch, by another route of torch's."""
    whole = torch.autograd.functional.jacobian(net.encode, x, create_graph=True)  # (n, k, n, inputs)
    return whole.square().sum((1, 2, 3))


@pytest.mark.parametrize("kind", KINDS)
def test_the_norm_and_its_gradient_are_exact(kind: str, generator: torch.Generator) -> None:
    net = make(kind, generator)
    x, weight = cases(net, 5, generator), torch.rand(5, generator=generator).double()
    wanted = exact_norms(net, x)
    found = squared_jacobian_norms(net, x)
    close(found, wanted)
    encoder = list(net.encoder.parameters())
    options: dict[str, Any] = {"allow_unused": True, "materialize_grads": True}
    for mine, theirs in zip(
        torch.autograd.grad(weight @ found, encoder, **options),
        torch.autograd.grad(weight @ wanted, encoder, **options),
        strict=True,
    ):
        close(mine, theirs)


def test_both_routes_agree_in_pieces_too(monkeypatch: pytest.MonkeyPatch, generator: torch.Generator) -> None:
    net = make("one layer", generator)
    x = cases(net, 5, generator)
    closed = squared_jacobian_norms(net, x)
    close(norms_by_rows(net.encode, x), closed)
    monkeypatch.setattr(jacobian, "LARGEST_ROWS", 2 * x.numel() + 1)
    close(norms_by_rows(net.encode, x), closed)


def no_bug(patch: pytest.MonkeyPatch) -> None:
    """Nothing planted."""


def slope_not_squared(patch: pytest.MonkeyPatch) -> None:
    """``s'`` for ``s'^2``."""

    def norms(layer: Any, squash: Any, x: Tensor) -> Tensor:
        a = layer(x)
        (slope,) = torch.autograd.grad(squash(a).sum(), a, create_graph=True)
        return slope @ layer.weight.square().sum(1)

    patch.setattr(jacobian, "_norms_of_layer", norms)


def slope_held_constant(patch: pytest.MonkeyPatch) -> None:
    """The right norm with a gradient that forgets the second derivative of the squashing."""

    def norms(layer: Any, squash: Any, x: Tensor) -> Tensor:
        a = layer(x).detach().requires_grad_()
        (slope,) = torch.autograd.grad(squash(a).sum(), a)
        return slope.square() @ layer.weight.square().sum(1)

    patch.setattr(jacobian, "_norms_of_layer", norms)


def sum_before_square(patch: pytest.MonkeyPatch) -> None:
    """The gradient of the summed code, which mixes the rows of the Jacobian."""

    def norms(layer: Any, squash: Any, x: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        (total,) = torch.autograd.grad(squash(layer(x)).sum(), x, create_graph=True)
        return total.square().sum(1)

    patch.setattr(jacobian, "_norms_of_layer", norms)


@pytest.mark.parametrize("plant", [no_bug, slope_not_squared, slope_held_constant, sum_before_square])
def test_planted_bugs_are_seen(plant: Plant, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator) -> None:
    plant(monkeypatch)
    if plant is no_bug:
        test_the_norm_and_its_gradient_are_exact("one layer", generator)
    else:
        with pytest.raises(AssertionError):
            test_the_norm_and_its_gradient_are_exact("one layer", generator)
