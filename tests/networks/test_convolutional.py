"""Convolutional networks: any size, the same again from their configuration, and gradients through every weight."""

from __future__ import annotations

import pytest
import torch

from deepbelief.errors import InvalidArgumentError
from deepbelief.networks.convolutional import NORMALIZATIONS, ConvolutionalDecoder, ConvolutionalEncoder
from deepbelief.rng import make_generator

SHAPES = [(1, 28, 28), (3, 7, 9), (2, 1, 5), (1, 20, 28)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_any_picture_goes_in_and_comes_out(shape: tuple[int, int, int], normalization: str) -> None:
    n = shape[0] * shape[1] * shape[2]
    encoder = ConvolutionalEncoder(
        shape, 6, channels=(4, 8, 8), normalization=normalization, n_extra=2, generator=make_generator(1)
    )
    decoder = ConvolutionalDecoder(
        6, shape, channels=(4, 8, 8), normalization=normalization, generator=make_generator(2)
    )
    x = torch.randn(5, n + 2, generator=make_generator(0))
    z = encoder(x)
    assert z.shape == (5, 6)
    assert decoder(z).shape == (5, n)
    decoder(z).square().sum().backward()
    for part in (encoder, decoder):
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in part.parameters())


@pytest.mark.parametrize("shape", SHAPES[:2])
def test_every_pixel_reaches_the_code_and_comes_from_it(shape: tuple[int, int, int]) -> None:
    n = shape[0] * shape[1] * shape[2]
    encoder = ConvolutionalEncoder(
        shape, 6, channels=(4, 8), activation="tanh", generator=torch.Generator().manual_seed(0)
    )
    x = torch.randn(1, n, generator=make_generator(0)).requires_grad_()
    encoder(x).sum().backward()
    assert x.grad is not None
    assert x.grad.ne(0).all()
    decoder = ConvolutionalDecoder(
        6, shape, channels=(4, 8), activation="tanh", generator=torch.Generator().manual_seed(0)
    )
    assert decoder(torch.randn(1, 6, generator=make_generator(0))).ne(0).all()


def test_config_and_seed_make_the_network_again() -> None:
    for make in (
        lambda g: ConvolutionalEncoder((1, 8, 8), 3, channels=(4,), spectral=True, generator=g),
        lambda g: ConvolutionalDecoder(3, (1, 8, 8), channels=(4,), generator=g),
    ):
        one, two = (make(torch.Generator().manual_seed(1)) for _ in range(2))
        net_start = {name: value.clone() for name, value in one.state_dict().items()}
        twin = type(one).from_config(one.config())
        twin.load_state_dict(one.state_dict())
        x = torch.randn(2, 64 if isinstance(one, ConvolutionalEncoder) else 3, generator=make_generator(0))
        assert torch.equal(one.eval()(x), twin.eval()(x))
        again = two.state_dict()
        assert all(torch.equal(value, again[name]) for name, value in net_start.items())


def test_a_spectral_layer_stretches_nothing() -> None:
    encoder = ConvolutionalEncoder((1, 8, 8), 3, channels=(4,), spectral=True, generator=make_generator(1))
    generator = make_generator(0)
    for _ in range(50):  # the power iteration goes one step at every pass
        encoder(torch.randn(4, 64, generator=generator))
    assert torch.linalg.matrix_norm(encoder.eval().last.weight, 2).item() == pytest.approx(1, rel=1e-2)


def test_bad_shapes_are_named() -> None:
    with pytest.raises(InvalidArgumentError, match=r"shape must be \(channels, height, width\)"):
        ConvolutionalEncoder((28, 28), 3)
    with pytest.raises(InvalidArgumentError, match="channels must name"):
        ConvolutionalDecoder(3, (1, 8, 8), channels=())
