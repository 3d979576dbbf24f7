"""Pictures to pictures by convolutions: any two shapes, what a pixel sees, the same network again, sentences."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from deepbelief.errors import InvalidArgumentError
from deepbelief.networks.parts import network_config, network_from_config
from deepbelief.networks.translator import ConvolutionalTranslator
from deepbelief.rng import make_generator

SHAPES = [((1, 8, 8), (1, 8, 8)), ((1, 8, 8), (3, 5, 13)), ((3, 7, 9), (1, 1, 2))]


@pytest.mark.parametrize(("shape", "to_shape"), SHAPES)
def test_any_shape_becomes_any_other_and_every_weight_learns(shape: Any, to_shape: Any) -> None:
    network = ConvolutionalTranslator(shape, to_shape, channels=(4, 6), activation="tanh", generator=make_generator(0))
    x = torch.randn(5, shape[0] * shape[1] * shape[2], generator=make_generator(1))
    y = network(x)
    assert y.shape == (5, to_shape[0] * to_shape[1] * to_shape[2])
    y.square().sum().backward()
    assert all(p.grad is not None and p.grad.ne(0).any() for p in network.parameters())


def test_it_is_the_written_function() -> None:
    network = ConvolutionalTranslator((2, 4, 4), (1, 6, 3), channels=(3, 5), generator=make_generator(0)).double()
    x = torch.randn(3, 32, dtype=torch.float64, generator=make_generator(1))
    (w, b), (w1, b1), (v, c) = ((layer.weight, layer.bias) for layer in network.layers)  # type: ignore[misc]
    h = F.relu(F.conv2d(x.reshape(3, 2, 4, 4), w, b, padding=1))
    h = F.relu(F.conv2d(F.interpolate(h, (6, 3), mode="bilinear"), w1, b1, padding=1))
    torch.testing.assert_close(network(x), F.conv2d(h, v, c, padding=1).flatten(1))


@pytest.mark.parametrize("channels", [(4,), (4, 4)])
def test_a_pixel_sees_as_many_around_it_as_the_page_says(channels: tuple[int, ...]) -> None:
    network = ConvolutionalTranslator(
        (1, 11, 11), (1, 11, 11), channels=channels, activation="tanh", generator=make_generator(0)
    )
    x = torch.randn(1, 121, generator=make_generator(1)).requires_grad_()
    network(x)[0, 5 * 11 + 5].backward()
    assert x.grad is not None
    seen = x.grad.reshape(11, 11).ne(0)
    reach = len(channels) + 1  # 2 n + 3 pixels each way
    wanted = torch.zeros(11, 11, dtype=torch.bool)
    wanted[5 - reach : 6 + reach, 5 - reach : 6 + reach] = True
    assert torch.equal(seen, wanted)


def test_config_and_seed_make_the_network_again() -> None:
    network = ConvolutionalTranslator((1, 4, 4), (2, 4, 3), channels=(3,), activation="silu")
    again = network_from_config(network_config(network))
    again.load_state_dict(network.state_dict())
    x = torch.rand(2, 16, generator=make_generator(1))
    assert torch.equal(again(x), network(x))
    twins = [ConvolutionalTranslator((1, 4, 4), (1, 4, 4), generator=make_generator(3))(x) for _ in range(2)]
    assert torch.equal(*twins)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"shape": (4, 4)}, r"shape must be \(channels, height, width\)"),
        ({"to_shape": (4, 4)}, r"to_shape must be \(channels, height, width\)"),
        ({"channels": ()}, "channels must name at least 1 layer"),
        ({"channels": (0,)}, "every size of shape, to_shape and channels must be at least 1"),
        ({"activation": "rely"}, "Did you mean 'relu'"),
    ],
)
def test_wrong_settings_get_a_sentence(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidArgumentError, match=sentence):
        ConvolutionalTranslator(**{"shape": (1, 4, 4), "to_shape": (1, 4, 4), **wrong})
