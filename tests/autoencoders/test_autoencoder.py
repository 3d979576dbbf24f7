"""Autoencoders: their likelihoods against direct formulas, tied weights, their start, storage, and PCA as the limit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from deepbelief.autoencoders.autoencoder import Autoencoder, real_valued
from deepbelief.belief.deep_autoencoder import DeepAutoencoder
from deepbelief.errors import DeepBeliefError
from deepbelief.networks.dense import DenseNetwork
from deepbelief.protocols import Coder, Storable
from deepbelief.storage import load_model, save_model
from deepbelief.units.bernoulli import Bernoulli
from deepbelief.units.gaussian import Gaussian
from tests.autoencoders.zoo import KINDS, STORED, cases, make

close = torch.testing.assert_close


@pytest.mark.parametrize("kind", KINDS)
def test_what_it_can_do(kind: str, generator: torch.Generator) -> None:
    net = make(kind, generator)
    x = cases(net, 7, generator)
    assert isinstance(net, Coder)
    assert isinstance(net, Storable)
    z = net.encode(x)
    assert z.ndim == 2
    assert net.decode(z).shape == x.shape
    close(net(x), net.decode(z))
    close(net.reconstruct(x), net.decode(z))
    close(net.log_prob(x), net.visible.log_prob(x, net.input_v_from_z(z)))
    assert all(p.grad is None for p in net.parameters())
    net.log_prob(x).sum().backward()
    assert all((p.grad is not None) == p.requires_grad for p in net.parameters())


def test_the_log_prob_of_bits_is_minus_the_cross_entropy(generator: torch.Generator) -> None:
    net = make("deep", generator)
    x = torch.rand(9, 12, generator=generator).double()  # grey levels
    p = net(x)
    close(net.log_prob(x), (x * p.log() + (1 - x) * (1 - p).log()).sum(1))


@pytest.mark.parametrize("kind", ["gaussian", "gaussian, fixed scale"])
def test_the_log_prob_of_real_numbers_is_a_normal_density(kind: str, generator: torch.Generator) -> None:
    net = make(kind, generator)
    assert isinstance(net, Autoencoder)
    assert isinstance(net.visible, Gaussian)
    x = cases(net, 9, generator)
    deviation = torch.exp(-net.visible.log_precision / 2)
    normal = torch.distributions.Normal(net(x), deviation)
    close(net.log_prob(x), normal.log_prob(x).sum(1))
    mean = net.decoder(net.encode(x)) + net.visible.bias * deviation**2
    close(net(x), mean)  # the decoder gives means, whatever the scale
    assert net.visible.log_precision.requires_grad == (kind == "gaussian")


def test_the_log_prob_of_classes_is_that_of_a_softmax(generator: torch.Generator) -> None:
    net = make("categorical", generator)
    x = cases(net, 9, generator)
    scores = (net.input_v_from_z(net.encode(x)) + net.visible.bias).reshape(-1, 3)
    wanted = -F.cross_entropy(scores, x.reshape(-1, 3).argmax(1), reduction="none").reshape(9, 4).sum(1)
    close(net.log_prob(x), wanted)


def test_tied_weights_are_one_parameter_used_twice(generator: torch.Generator) -> None:
    net = make("deep tied", generator)
    assert isinstance(net, Autoencoder)
    x = cases(net, 5, generator)
    first, second, third = (layer.weight for layer in net.encoder.linear_layers)  # type: ignore[union-attr]
    h = net.encode(x)
    for weight, bias in zip((third, second), net.decoder.biases, strict=True):  # type: ignore[arg-type]
        h = torch.sigmoid(h @ weight + bias)
    close(net(x), torch.sigmoid(h @ first + net.visible.bias))
    assert sum(p.ndim == 2 for p in net.parameters()) == 3


@pytest.mark.parametrize("kind", ["deep", "gaussian", "gaussian, fixed scale", "categorical", "mixed"])
def test_it_starts_at_the_moments_of_the_data(kind: str, generator: torch.Generator) -> None:
    net = make(kind, generator)
    assert isinstance(net, Autoencoder)
    x = cases(net, 400, generator)
    for layer in net.decoder.linear_layers:  # type: ignore[union-attr]
        layer.weight.data.zero_()  # the decoder says nothing
    before = [units.log_precision.clone() for units in real_valued(net.visible)]
    net.match_data(x)
    close(net(x[:1])[0], x.mean(0))
    if not net.learned_scale:
        assert all(torch.equal(u.log_precision, b) for u, b in zip(real_valued(net.visible), before, strict=True))
    elif kind == "gaussian":
        close(net.visible.precision, 1 / x.var(0, unbiased=False))


def test_a_linear_autoencoder_at_the_principal_components_is_stationary(generator: torch.Generator) -> None:
    """Baldi & Hornik 1989: the optimum is the projection on the leading eigenvectors."""
    x = torch.randn(50, 12, generator=generator).double() @ torch.randn(12, 12, generator=generator).double()
    x = x - x.mean(0)
    net = Autoencoder.dense(Gaussian(12), [4], tied=True, learned_scale=False, generator=generator).double()
    values, vectors = torch.linalg.eigh(x.T @ x / 50)
    (layer,) = net.encoder.linear_layers  # type: ignore[union-attr]
    layer.weight.data.copy_(vectors[:, -4:].T)
    layer.bias.data.zero_()
    net.log_prob(x).mean().backward()
    assert max(p.grad.abs().max().item() for p in net.parameters() if p.grad is not None) < 1e-12 * values[-1]
    close((x - net(x)).square().sum(1).mean(), values[:-4].sum())


@pytest.mark.parametrize("kind", STORED)
def test_it_comes_back_from_its_folder(kind: str, tmp_path: Path, generator: torch.Generator) -> None:
    net = make(kind, generator).float()
    x = cases(make(kind, generator), 5, generator).float()
    again = load_model(save_model(net, tmp_path / "model"))
    assert type(again) is type(net)
    assert torch.equal(again(x), net(x))
    assert torch.equal(again.log_prob(x), net.log_prob(x))
    assert [p.requires_grad for p in again.parameters()] == [p.requires_grad for p in net.parameters()]


def test_a_dense_decoder_with_a_last_bias_of_its_own_keeps_it(tmp_path: Path) -> None:
    net = Autoencoder(DenseNetwork((6,), output=2), DenseNetwork((2,), output=6), Bernoulli(6))
    again = load_model(save_model(net, tmp_path / "model"))
    assert torch.equal(again(torch.zeros(1, 6)), net(torch.zeros(1, 6)))


def test_what_does_not_fit_gets_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DeepBeliefError, match="sizes must name the code's size at least"):
        Autoencoder.dense(Bernoulli(6), [])
    with pytest.raises(DeepBeliefError, match=r"code must be one of .* Did you mean 'sigmoid'"):
        Autoencoder.dense(Bernoulli(6), [2], code="sigmod")
    with pytest.raises(DeepBeliefError, match="shape must hold 6 pixels"):
        Autoencoder.convolutional(Bernoulli(6), (1, 2, 2), 2)
    net = Autoencoder.dense(Bernoulli(6), [4, 2], tied=True)
    with pytest.raises(DeepBeliefError, match=r"encoder must be a DenseNetwork of sizes \(6, 4, 2\) to be tied"):
        Autoencoder(nn.Linear(6, 2), net.decoder, Bernoulli(6))
    own = Autoencoder(nn.Linear(6, 2), nn.Linear(2, 6), Bernoulli(6))
    with pytest.raises(DeepBeliefError, match=r"encoder must be one of DenseNetwork, .* Got Linear"):
        save_model(own, tmp_path / "own")


def test_a_deep_autoencoder_is_one_too(generator: torch.Generator) -> None:
    net = make("unrolled", generator)
    assert isinstance(net, DeepAutoencoder)
    assert net.visible is net.downs[-1].units
