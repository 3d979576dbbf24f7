"""The norm of the encoder's Jacobian against torch's own Jacobian, its gradient, and bugs that must be seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from deepbelief.autoencoders import jacobian
from deepbelief.autoencoders.autoencoder import Autoencoder
from deepbelief.autoencoders.jacobian import norms_by_rows, squared_jacobian_norms
from deepbelief.autoencoders.learning import AutoencoderLearning
from deepbelief.autoencoders.penalties import Contraction
from deepbelief.networks.dense import ACTIVATIONS
from deepbelief.units.bernoulli import Bernoulli
from tests.autoencoders.zoo import KINDS, cases, make

close = torch.testing.assert_close
Plant = Callable[[pytest.MonkeyPatch], None]


def exact_norms(net: Any, x: Tensor) -> Tensor:
    """From the whole Jacobian of the batch, by another route of torch's."""
    whole = torch.autograd.functional.jacobian(net.encode, x, create_graph=True)  # (n, k, n, inputs)
    return whole.square().sum((1, 2, 3))


def check_exact(net: Any, generator: torch.Generator, *, known: bool = False) -> None:
    """The norm and its gradient, with the codes handed in where they are `known`."""
    x, weight = cases(net, 5, generator), torch.rand(5, generator=generator).double()
    wanted = exact_norms(net, x)
    found = squared_jacobian_norms(net, x, net.encode(x) if known else None)
    close(found, wanted)
    encoder = list(net.encoder.parameters())
    options: dict[str, Any] = {"allow_unused": True, "materialize_grads": True}
    for mine, theirs in zip(
        torch.autograd.grad(weight @ found, encoder, **options),
        torch.autograd.grad(weight @ wanted, encoder, **options),
        strict=True,
    ):
        close(mine, theirs)


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_norm_and_its_gradient_are_exact(kind: str, known: bool, generator: torch.Generator) -> None:
    check_exact(make(kind, generator), generator, known=known)


def of_one_layer(code: str, generator: torch.Generator) -> Autoencoder:
    net = Autoencoder.dense(Bernoulli(12), [4], code=code, generator=generator).double()
    net.encoder.linear_layers[0].weight.data.mul_(3)  # type: ignore[operator, union-attr, index]
    return net


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("code", ACTIVATIONS)
def test_every_squashing_of_one_layer_has_its_slope(code: str, known: bool, generator: torch.Generator) -> None:
    check_exact(of_one_layer(code, generator), generator, known=known)
    with torch.no_grad():
        net = of_one_layer(code, generator).requires_grad_(False)
        x = cases(net, 5, generator)
        close(squared_jacobian_norms(net, x), exact_norms(net, x))


def test_a_contracting_layer_sees_its_cases_once(generator: torch.Generator) -> None:
    net, seen = of_one_layer("sigmoid", generator), []
    net.encoder.register_forward_hook(lambda *_: seen.append(1))
    parts = AutoencoderLearning(net, penalties=[Contraction(0.5)]).objective(cases(net, 5, generator), generator)
    assert len(seen) == 1
    parts["loss"].backward()


def test_codes_are_not_coarse_in_short_numbers(generator: torch.Generator) -> None:
    net = of_one_layer("sigmoid", generator).float()
    x = torch.ones(64, 12)
    net.encoder.linear_layers[0].bias.data.fill_(5.0)  # type: ignore[operator, union-attr, index]
    with torch.autocast("cpu", torch.bfloat16):
        z = net.encode(x)
        raw = net.encoder(x)
    assert (raw.dtype, z.dtype) == (torch.bfloat16, torch.float32)
    close(squared_jacobian_norms(net, x, z), exact_norms(net, x), rtol=0.1, atol=0)  # of sums near 6, 1/32 apart


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
    patch.setitem(jacobian.SLOPES, nn.Sigmoid, lambda z: (z * (1 - z)).sqrt())


def slope_held_constant(patch: pytest.MonkeyPatch) -> None:
    """The right norm with a gradient that forgets the second derivative of the squashing."""
    patch.setitem(jacobian.SLOPES, nn.Sigmoid, lambda z: (z * (1 - z)).detach())


def slope_of_another_squashing(patch: pytest.MonkeyPatch) -> None:
    """That of tanh."""
    patch.setitem(jacobian.SLOPES, nn.Sigmoid, jacobian.SLOPES[nn.Tanh])


def sum_before_square(patch: pytest.MonkeyPatch) -> None:
    """The gradient of the summed code, which mixes the rows of the Jacobian."""

    def norms(layer: Any, squash: Any, x: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        (total,) = torch.autograd.grad(squash(layer(x)).sum(), x, create_graph=True)
        return total.square().sum(1)

    patch.setattr(jacobian, "_norms_of_layer", norms)


PLANTS = {
    no_bug: "sigmoid",
    slope_not_squared: "sigmoid",
    slope_held_constant: "sigmoid",
    slope_of_another_squashing: "sigmoid",
    sum_before_square: "silu",
}


@pytest.mark.parametrize("plant", PLANTS)
def test_planted_bugs_are_seen(plant: Plant, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator) -> None:
    plant(monkeypatch)
    net = of_one_layer(PLANTS[plant], generator)
    if plant is no_bug:
        check_exact(net, generator)
    else:
        with pytest.raises(AssertionError):
            check_exact(net, generator)
