"""Layers that add to what they got, under layer normalization."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from deepbelief.errors import InvalidArgumentError
from deepbelief.networks.dense import DenseNetwork
from deepbelief.networks.parts import feed_forward, network_config, network_from_config
from deepbelief.networks.residual import ResidualNetwork


def stream(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network(sizes: tuple[int, ...] = (2, 6, 6, 6), **settings: Any) -> ResidualNetwork:
    how: dict[str, Any] = {"output": 3, "generator": stream(0)} | settings
    return ResidualNetwork(sizes, **how)


def normalized(h: Tensor) -> Tensor:
    centred = h - h.mean(1, keepdim=True)
    return centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt()


@pytest.mark.parametrize("sizes", [(2, 6, 6, 6), (2, 6, 6, 4, 4, 6), (2, 6)])
def test_every_layer_adds_to_what_it_got_where_it_is_as_wide(sizes: tuple[int, ...]) -> None:
    net, x = network(sizes), torch.randn(5, 2, generator=stream(1))
    h = x @ net.first.weight.T + net.first.bias
    for norm, _, linear in [*net.blocks, net.last]:
        with torch.no_grad():  # scales and offsets are learned
            norm.weight.uniform_(0.5, 2, generator=stream(2))
            norm.bias.uniform_(-1, 1, generator=stream(3))
        z = normalized(h) * norm.weight + norm.bias
        added = (z * torch.sigmoid(z)) @ linear.weight.T + linear.bias
        h = added if linear is net.last[2] or h.shape != added.shape else h + added
    torch.testing.assert_close(net(x), h)


def test_settings_and_weights_make_the_same_network_again() -> None:
    net = network(activation="tanh")
    twin = network_from_config(network_config(net))
    twin.load_state_dict(net.state_dict())
    x = torch.randn(4, 2, generator=stream(1))
    assert torch.equal(twin(x), net(x))
    assert network_config(twin) == network_config(net)


def test_twenty_layers_start_as_alive_as_two_where_a_dense_network_dies() -> None:
    x = torch.randn(64, 8, generator=stream(1))

    def spread(net: torch.nn.Module) -> float:
        return float(net(x).detach().std(0).mean())  # how much the outputs tell the cases apart

    sizes = {depth: (8, *[32] * depth) for depth in (2, 20)}
    residual = [spread(network(sizes[depth])) for depth in sizes]
    dense = [spread(DenseNetwork(sizes[depth], activation="silu", output=3, generator=stream(0))) for depth in sizes]
    assert residual[1] > 0.5 * residual[0]
    assert dense[1] < 0.01 * dense[0]


def test_by_name_with_the_usual_activation() -> None:
    dense, residual = (feed_forward(kind, (2, 4), output=1) for kind in ("dense", "residual"))
    assert isinstance(dense, DenseNetwork)
    assert dense.activation == "tanh"
    assert isinstance(residual, ResidualNetwork)
    assert residual.activation == "silu"
    with pytest.raises(InvalidArgumentError, match="network must be"):
        feed_forward("convolutional", (2, 4), output=1)


@pytest.mark.parametrize(
    ("sizes", "settings", "sentence"),
    [
        ((2,), {}, "sizes must give inputs and one layer"),
        ((2, 6), {"output": 0}, "every size must be at least 1"),
        ((2, 6), {"activation": "leaky_relu"}, "activation must be"),
    ],
)
def test_what_cannot_be_is_said(sizes: tuple[int, ...], settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidArgumentError, match=sentence):
        network(sizes, **settings)
