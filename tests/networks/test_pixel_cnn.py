"""Masked convolutions: no pixel sees itself or a later one, every one sees those before it within reach."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from deepbelief.errors import InvalidArgumentError
from deepbelief.networks import pixel_cnn
from deepbelief.networks.parts import network_config, network_from_config
from deepbelief.networks.pixel_cnn import PixelCNN


def lively(**options: object) -> PixelCNN:
    """Smooth in its pixels, with a last layer that is not 0."""
    network = PixelCNN((4, 5), generator=torch.Generator().manual_seed(0), **{"channels": 3, **options}).double()  # type: ignore[arg-type]
    nn.init.normal_(network.last.weight, generator=torch.Generator().manual_seed(1))
    return network


def seen(network: PixelCNN, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """Which outputs hang on which pixels: (20, 20), by derivatives of an activation that has one everywhere."""
    monkeypatch.setattr(pixel_cnn.F, "relu", torch.tanh)
    x = torch.rand(1, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    jacobian: Tensor = torch.autograd.functional.jacobian(network, x)[0, :, 0]
    return jacobian != 0


@pytest.mark.parametrize("window", [3, 5, 7])
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_a_pixel_hangs_on_those_before_it_alone(window: int, depth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    hangs = seen(lively(window=window, depth=depth), monkeypatch)
    assert not bool(hangs.triu().any())
    left, above = torch.arange(1, 20), torch.arange(5, 20)
    assert bool(hangs[left, left - 1][left % 5 != 0].all())  # the neighbour on the left
    assert bool(hangs[above, above - 5].all())  # and the one above
    if window == 7 and depth == 3:
        before = torch.ones(20, 20, dtype=torch.bool).tril(-1)
        assert bool(hangs[19][before[19]].all())


def test_a_kernel_that_reads_its_own_pixel_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    network = lively()
    network.first.seen[3, 3] = True
    assert bool(seen(network, monkeypatch).triu().any())


def test_it_starts_at_nothing_and_is_made_again() -> None:
    network = PixelCNN((4, 5), maps=2, channels=3, window=5, depth=2)
    assert torch.equal(network(torch.rand(7, 20)), torch.zeros(7, 40))
    twin = network_from_config(network_config(network))
    assert isinstance(twin, PixelCNN)
    assert twin.config() == network.config() == {"shape": [4, 5], "maps": 2, "channels": 3, "window": 5, "depth": 2}
    twin.load_state_dict(network.state_dict())
    assert torch.equal(twin.first.weight, network.first.weight)


def test_series_are_pictures_of_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    network = PixelCNN((1, 20), channels=2, window=9, depth=0).double()
    nn.init.normal_(network.last.weight)
    hangs = seen(network, monkeypatch)
    assert torch.equal(hangs, torch.ones(20, 20, dtype=torch.bool).tril(-1).triu(-4))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"shape": (1, 4, 5)}, r"shape must be \(height, width\). Got shape=\(1, 4, 5\)"),
        ({"shape": (4, 0)}, "every size of shape must be at least 1"),
        ({"maps": 0}, "maps must be at least 1"),
        ({"channels": 0}, "channels must be at least 1"),
        ({"window": 4}, "window must be odd. Got window=4. Use 5."),
        ({"window": 1}, "window must be at least 3"),
        ({"depth": -1}, "depth must be at least 0"),
    ],
)
def test_wrong_use_is_told(wrong: dict[str, object], sentence: str) -> None:
    with pytest.raises(InvalidArgumentError, match=sentence):
        PixelCNN(**{"shape": (4, 5), **wrong})  # type: ignore[arg-type]
