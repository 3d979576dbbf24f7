"""A belief network unrolled into an autoencoder: where it starts, what it keeps, and that it can learn."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from deepbelief.belief.dbn import DBN
from deepbelief.belief.deep_autoencoder import DeepAutoencoder, unroll_autoencoder
from deepbelief.belief.unrolled import UnrolledDBN
from deepbelief.errors import InvalidArgumentError
from deepbelief.protocols import Coder, Storable
from deepbelief.storage import load_model, save_model
from deepbelief.units.bernoulli import Bernoulli
from deepbelief.units.gaussian import Gaussian
from tests.belief.conftest import STACKS
from tests.oracle import untied

close = torch.testing.assert_close
WITHOUT_LABELS = [name for name, (_, n_classes) in STACKS.items() if n_classes is None]


@pytest.mark.parametrize("dbn", WITHOUT_LABELS, indirect=True)
def test_it_starts_with_the_reconstructions_of_the_dbn(dbn: DBN, x: Tensor) -> None:
    net = unroll_autoencoder(dbn)
    assert isinstance(net, Coder)
    assert isinstance(net, Storable)
    close(net.encode(x), dbn.encode(x))
    close(net(x), dbn.reconstruct(x))
    close(net.decode(dbn.encode(x)), dbn.decode(dbn.encode(x)))
    bottom = dbn.layers[0]
    h = dbn.downward(dbn.top.mean_v_from_h(dbn.encode(x))) if len(dbn.layers) == 1 else None
    above = dbn.encode(x) if h is not None else down_to_first(dbn, dbn.encode(x))
    close(net.log_prob(x), bottom.visible.log_prob(x, bottom.input_v_from_h(above)))


def down_to_first(dbn: DBN, code: Tensor) -> Tensor:
    """The means of the first hidden layer given the code."""
    h = dbn.top.mean_v_from_h(code)
    for rbm in dbn.layers[-2:0:-1]:
        h = rbm.mean_v_from_h(h)
    return h


def test_of_untied_ways_each_is_taken(generator: torch.Generator) -> None:
    net = untied.tiny_untied(*STACKS["three layers"], generator)
    x = net.visible.sample(torch.zeros(5, net.visible.size).double(), generator).detach()
    close(unroll_autoencoder(net).encode(x), net.encode(x))
    close(unroll_autoencoder(net)(x), net.reconstruct(x))
    close(UnrolledDBN.from_dbn(net, 2).features(x), net.encode(x))


def test_gaussian_units_make_a_linear_code(generator: torch.Generator) -> None:
    dbn = DBN.of_units([Bernoulli(6), Bernoulli(4), Gaussian(2)], generator=generator)
    net, x = unroll_autoencoder(dbn), torch.rand(9, 6, generator=generator)
    h = dbn.layers[0].mean_h_from_v(x)
    far = net.encoder[1](1e3 * h)
    close(far, 1e3 * dbn.top.mean_h_from_v(h))  # no squashing, and no bias yet
    assert far.abs().max() > 1


def test_the_copies_are_the_networks_own_and_learn(generator: torch.Generator) -> None:
    dbn = DBN.of_sizes([6, 4, 2], generator=generator)
    net, x = unroll_autoencoder(dbn), (torch.rand(20, 6, generator=generator) < 0.5).float()
    before, kept = net.log_prob(x).mean(), {k: v.clone() for k, v in dbn.state_dict().items()}
    optimizer = torch.optim.Adam(net.parameters(), lr=0.05)
    for _ in range(50):
        optimizer.zero_grad()
        (-net.log_prob(x).mean()).backward()
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())
        optimizer.step()
    assert net.log_prob(x).mean() > before
    assert all(torch.equal(v, kept[k]) for k, v in dbn.state_dict().items())


@pytest.mark.parametrize("dbn", ["mixed data"], indirect=True)
def test_it_comes_back_from_its_folder(dbn: DBN, x: Tensor, tmp_path: Path) -> None:
    net = unroll_autoencoder(dbn.float())
    again = load_model(save_model(net, tmp_path / "model"))
    assert type(again) is DeepAutoencoder
    assert torch.equal(again(x.float()), net(x.float()))


def test_what_cannot_be_unrolled_gets_a_sentence() -> None:
    with pytest.raises(InvalidArgumentError, match="labels must not sit in the top RBM"):
        unroll_autoencoder(DBN.of_sizes([6, 4, 2], 3))
    with pytest.raises(InvalidArgumentError, match=r"down must have the sizes of up backwards, \[4, 6\]"):
        DeepAutoencoder([Bernoulli(4), Bernoulli(2)], [Bernoulli(3), Bernoulli(6)])
    with pytest.raises(InvalidArgumentError, match="up must hold at least 1 layer"):
        DeepAutoencoder([], [])
