"""Wider vectors change the speed and nothing else: the same draws and the same products, bit for bit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from deepbelief.native import draws, library, products
from deepbelief.native.library import Kernels
from deepbelief.native.products import bits_product, bits_step
from deepbelief.rng import make_generator
from tests.native.widths import kernels_of, widths

pytestmark = pytest.mark.skipif(widths() != [8, 16], reason="no kernels, or vectors of one width alone here")


@pytest.fixture(autouse=True)
def width(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both widths in each test, however small the layers."""
    monkeypatch.setattr(library, "SMALLEST", 1)
    monkeypatch.setattr(products, "SMALLEST", 1)
    monkeypatch.setattr(products, "FEWEST", 1)


def lanes() -> int:
    """What the kernels at hand hold in a vector."""
    kernels = library.library()
    assert isinstance(kernels, Kernels)
    return kernels.lanes


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=make_generator(seed))


@pytest.mark.parametrize("n", [1, 31, 32, 33, 64, 100, 1024, 5003])
def test_the_draws(n: int) -> None:
    found = []
    for wanted in (8, 16):
        with kernels_of(wanted):
            assert lanes() == wanted
            p = torch.rand(n, generator=make_generator(1))
            found.append((draws.bernoulli(p, make_generator(2)), make_generator(2)))
    assert torch.equal(found[0][0], found[1][0])


@pytest.mark.parametrize("shape", [(3, 7), (5, 32), (9, 100), (4, 784)])
@pytest.mark.parametrize("threads", [1, 2])
def test_the_draws_of_an_activation_on_any_number_of_threads(shape: tuple[int, int], threads: int) -> None:
    before, found = torch.get_num_threads(), []
    inputs, bias = 2 * normal(*shape), normal(shape[1], seed=1)
    try:
        for wanted in (8, 16):
            torch.set_num_threads(threads)
            with kernels_of(wanted), pytest.MonkeyPatch.context() as patch:
                patch.setattr(library, "GRAIN", 32)  # so that small ones are shared too, at odd places
                found.append(draws.sigmoid_bernoulli(inputs, bias, make_generator(3)))
    finally:
        torch.set_num_threads(before)
    (means, x), (other_means, other_x) = found
    torch.testing.assert_close(means, other_means, rtol=3e-7, atol=0)
    assert torch.equal(x, other_x)


@pytest.mark.parametrize("shape", [(8, 33, 250), (100, 784, 37), (31, 64, 64), (1100, 40, 3)])
@pytest.mark.parametrize("turned", [False, True])
def test_products_of_bits(shape: tuple[int, int, int], turned: bool) -> None:
    n, n_in, n_out = shape
    x, found = (normal(n, n_in) > 0).float(), []
    for wanted in (8, 16):
        with kernels_of(wanted):
            found.append(bits_product(x, normal(n_out, n_in).T if turned else normal(n_in, n_out)))
    assert torch.equal(found[0], found[1])


def test_steps_of_weights() -> None:
    found = []
    for wanted in (8, 16):
        with kernels_of(wanted):
            w, x = normal(70, 45), (normal(33, 70) > 0).float()
            none = torch.empty(0)
            assert bits_step(w, 0.9, [(x, normal(33, 45, seed=1), 0.3)], none.view(0, 70), none.view(0, 45))
            found.append(w)
    assert torch.equal(found[0], found[1])
