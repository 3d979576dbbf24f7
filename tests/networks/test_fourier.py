"""A dense network beside waves of its inputs."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from deepbelief.errors import InvalidArgumentError
from deepbelief.networks.fourier import FourierNetwork
from deepbelief.networks.parts import network_config, network_from_config


def network(**settings: Any) -> FourierNetwork:
    how = {"n_waves": 3, "bandwidth": 2.0, "output": 1, "generator": torch.Generator().manual_seed(0)} | settings
    return FourierNetwork((2, 6), **how)


def test_it_is_a_dense_network_of_inputs_and_waves() -> None:
    net, x = network(activation="tanh"), torch.randn(5, 2, generator=torch.Generator().manual_seed(1))
    angles = [[sum(float(x[i, k] * net.frequencies[k, j]) for k in range(2)) for j in range(3)] for i in range(5)]
    phase = torch.tensor(angles)
    first, last = net.dense.linear_layers
    seen = torch.cat([x, phase.sin(), phase.cos()], 1)
    wanted = torch.tanh(seen @ first.weight.T + first.bias) @ last.weight.T + last.bias
    torch.testing.assert_close(net(x), wanted)


def test_settings_and_weights_make_the_same_network_again() -> None:
    net = network(spectral=True)
    twin = network_from_config(network_config(net))
    twin.load_state_dict(net.state_dict())
    x = torch.randn(4, 2, generator=torch.Generator().manual_seed(1))
    assert torch.equal(twin.eval()(x), net.eval()(x))
    assert network_config(twin) == network_config(net)


def test_a_narrow_peak_is_learned_that_a_plain_network_of_the_same_width_blurs() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand((512, 2), generator=generator) * 2 - 1
    y = torch.exp(-(x[:, :1].square() / (2 * 0.03**2)))
    losses = []
    for bandwidth in (20.0, 1e-9):  # waves of no frequency are constants
        net = network(n_waves=32, bandwidth=bandwidth, generator=torch.Generator().manual_seed(2))
        adam = torch.optim.Adam(net.parameters(), lr=0.01)
        for _ in range(150):
            loss = (net(x) - y).square().mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
        losses.append(float(loss.detach()))
    assert losses[0] < 0.5 * losses[1]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [({"n_waves": 0}, "n_waves must be at least 1"), ({"bandwidth": 0.0}, "bandwidth must be above 0")],
)
def test_what_cannot_be_is_said(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidArgumentError, match=sentence):
        network(**settings)
