"""The compiled log-probability of bits: against double precision, with its gradients, and where it must step aside."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from deepbelief.native import library
from deepbelief.native.log_prob import bernoulli_log_prob
from deepbelief.rng import make_generator
from deepbelief.units.bernoulli import Bernoulli

built = pytest.mark.skipif(library.library() is None, reason="the C kernels were not built (no compiler)")
SHAPES = [((100, 61), (100, 61)), ((5, 40, 33), (40, 33)), ((3, 2, 40, 32), (40, 32)), ((5, 40, 30), (5, 40, 30))]


def parts(inputs: tuple[int, ...], x: tuple[int, ...], scale: float = 5.0) -> tuple[Tensor, Tensor, Tensor]:
    """Bits (and a grey level), inputs and biases."""
    generator = make_generator(0)
    bits = (torch.rand(x, generator=generator) < 0.3).float()
    bits[..., 0] = 0.25
    bias = torch.randn(inputs[-1], generator=generator)
    return bits, scale * torch.randn(inputs, generator=generator), bias


def exact(x: Tensor, inputs: Tensor, bias: Tensor) -> Tensor:
    y = inputs.double() + bias.double()
    return (x.double() * y - F.softplus(y)).sum(-1)


@built
@pytest.mark.parametrize(("inputs", "x"), SHAPES)
@pytest.mark.parametrize("scale", [0.1, 5.0, 80.0])
def test_value_and_gradients(
    inputs: tuple[int, ...], x: tuple[int, ...], scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "SMALLEST", 1)
    bits, there, bias = parts(inputs, x, scale)
    ways = []
    for dtype, function in ((torch.float32, bernoulli_log_prob), (torch.float64, exact)):
        leaves = [part.to(dtype).requires_grad_() for part in (there, bias)]
        value = function(bits.to(dtype), *leaves)
        assert value is not None
        weight = torch.linspace(-1, 2, value.numel(), dtype=dtype).view_as(value)
        ways.append([value.detach(), *torch.autograd.grad((weight * value).sum(), leaves)])
    for found, wanted in zip(*ways, strict=True):
        torch.testing.assert_close(found.double(), wanted, rtol=2e-6, atol=2e-6 * float(wanted.abs().max()))


@built
def test_the_same_for_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "GRAIN", 1)
    found = []
    threads = torch.get_num_threads()
    try:
        for n in (1, 3):
            torch.set_num_threads(n)
            found.append(bernoulli_log_prob(*parts((5, 40, 33), (40, 33))))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(found[0], found[1])


def test_units_take_it_or_do_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "SMALLEST", 1)
    x, inputs, bias = parts((5, 40, 33), (40, 33))
    units = Bernoulli(33)
    with torch.no_grad():
        units.bias.copy_(bias)
    wanted = exact(x, inputs, bias)
    for rows, there in ((x, inputs), (x, inputs.double()), (x[:1], inputs), (x.T.contiguous().T, inputs)):
        expected = exact(rows, there, bias) if len(rows) == 1 else wanted
        torch.testing.assert_close(units.log_prob(rows, there).double(), expected, rtol=2e-6, atol=1e-4)
    asked = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(units.log_prob(asked, inputs).sum(), asked)
    torch.testing.assert_close(slope, (inputs + bias).sum(0), rtol=1e-4, atol=1e-3)


@built
def test_a_second_derivative_is_refused_not_wrong() -> None:
    x, inputs, bias = parts((100, 61), (100, 61))
    inputs.requires_grad_()
    value = bernoulli_log_prob(x, inputs, bias)
    assert value is not None
    (slope,) = torch.autograd.grad(value.square().sum(), inputs, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()
