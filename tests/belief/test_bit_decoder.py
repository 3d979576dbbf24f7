"""Data given bits, pixel after pixel: a distribution, the draws from it, and chains that leave it as it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from deepbelief.belief.bit_decoder import BitDecoder
from deepbelief.belief.rbm_vae import RBMVAE
from deepbelief.belief.rbm_vae_builders import make_rbm_vae
from deepbelief.errors import InvalidArgumentError
from deepbelief.networks.pixel_cnn import PixelCNN
from deepbelief.storage import load_model, save_model
from deepbelief.types import Clamp
from deepbelief.units.bernoulli import Bernoulli
from deepbelief.units.gaussian import Gaussian
from tests.oracle.pvalues import FALSE_ALARM, counts_p_value, means_p_value
from tests.oracle.variational import all_bits

Plant = Callable[[pytest.MonkeyPatch], None]
ALL = all_bits(6)


def lively(n_bits: int = 3) -> PixelCNN:
    """Of 2 x 3 pixels that hang on one another by several nats."""
    network = PixelCNN((2, 3), maps=2, channels=4, window=3, generator=torch.Generator().manual_seed(0)).double()
    nn.init.normal_(network.last.weight, std=3, generator=torch.Generator().manual_seed(n_bits))
    return network


def decoder() -> BitDecoder:
    network = nn.Linear(3, 12).double()
    nn.init.normal_(network.weight, std=1.5, generator=torch.Generator().manual_seed(1))
    nn.init.zeros_(network.bias)
    return BitDecoder(Bernoulli(6), network, 3, lively()).double()


def exact(model: BitDecoder, s: Tensor) -> Tensor:
    """``p(x | s)`` of all 64 pictures, a pixel at a time: (64,)."""
    assert model.pixels is not None
    p = torch.ones(64, dtype=torch.float64)
    for i in range(6):
        seen = ALL.clone()
        seen[:, i:] = 0.5  # nothing that comes later is read
        (f, e), (g0, g1) = model.network(s).view(2, 6), model.pixels(seen).view(64, 2, 6).unbind(1)
        on = torch.sigmoid(f + g0 + e * g1 + model.visible.bias)[:, i]
        p = p * torch.where(ALL[:, i] == 1, on, 1 - on)
    return p.detach()


def number(x: Tensor) -> Tensor:
    """The place of each picture in `ALL`."""
    return (x.unsqueeze(1) == ALL).all(-1).nonzero()[:, 1]


S = torch.tensor([[1.0, 0.0, 1.0]], dtype=torch.float64)


def no_bug(patch: pytest.MonkeyPatch) -> None:
    """Nothing planted: the check must be content."""


def one_round(patch: pytest.MonkeyPatch) -> None:
    """All pixels drawn at once, from what the first round has."""
    patch.setattr(BitDecoder, "_in_order", lambda self, outputs, choose: choose(outputs[:, :6]))


def always_accepted(patch: pytest.MonkeyPatch) -> None:
    """Draws that do not know the known pixels after them."""
    patch.setattr(BitDecoder, "_log_prob_of_known", lambda self, x, outputs, clamp: x[:, 0] * 0)


def test_it_is_a_distribution() -> None:
    model = decoder()
    found = model.log_prob(ALL, S.expand(1, 64, 3))[0].exp()
    torch.testing.assert_close(found, exact(model, S))
    assert found.sum().item() == pytest.approx(1)
    torch.testing.assert_close(model.log_prob(ALL, S.expand(5, 64, 3))[4].exp(), found)


@pytest.mark.parametrize("plant", [no_bug, one_round])
def test_draws_have_its_law(plant: Plant, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator) -> None:
    model = decoder()
    plant(monkeypatch)
    draws = model.sample(40_000, condition=S.expand(40_000, 3), generator=generator)
    counts = torch.bincount(number(draws), minlength=64)
    assert (counts_p_value(counts, exact(model, S)) > FALSE_ALARM) == (plant is no_bug)


def test_all_at_once_until_nothing_changes_is_one_after_the_other(generator: torch.Generator) -> None:
    model = decoder()
    outputs = model.network(S).detach().expand(50, 12)
    mean = torch.full((50, 6), 0.5, dtype=torch.float64)
    u = torch.rand(50, 6, dtype=torch.float64, generator=generator)
    state = mean.clone()
    with torch.no_grad():
        for i in range(6):
            mean[:, i] = model.visible.mean(model._inputs(outputs, mean))[:, i]
            state[:, i] = (u < model.visible.mean(model._inputs(outputs, state)))[:, i].double()
        torch.testing.assert_close(model.decode(S.expand(50, 3)), mean)
        found = model._in_order(outputs, lambda inputs: (u < model.visible.mean(inputs)).double())
    assert torch.equal(found, state)


def test_means_are_those_given_the_pixels_drawn_before(generator: torch.Generator) -> None:
    model, many = decoder(), S.expand(20_000, 3)
    again = generator.get_state()
    means = model.sample(20_000, condition=many, generator=generator, mean=True).detach()
    generator.set_state(again)
    draws = model.sample(20_000, condition=many, generator=generator)
    assert float(means.std(0)[1:].min()) > 0
    for i in range(6):
        assert means_p_value(draws[:, i] - means[:, i], 0.0) > FALSE_ALARM


@pytest.mark.parametrize("plant", [no_bug, always_accepted])
@pytest.mark.parametrize("free", [[0, 1, 2], [1, 3], [5]])
def test_a_step_leaves_the_law_of_the_free_pixels(
    free: list[int], plant: Plant, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    model, x = decoder(), ALL[0b101101].expand(40_000, 6)
    known = torch.ones(6, dtype=torch.bool)
    known[free] = False
    fits = (ALL[0b101101] == ALL)[:, known].all(1)
    p = exact(model, S) * fits
    p = p / p.sum()
    start = ALL[torch.multinomial(p, 40_000, replacement=True, generator=generator)]
    plant(monkeypatch)
    state, _ = model.redraw(start, S.expand(40_000, 3), Clamp(x, known), generator)
    moved = bool((state != start).any())
    ok = counts_p_value(torch.bincount(number(state), minlength=64), p) > FALSE_ALARM
    assert moved
    assert ok == (plant is no_bug or free == [5])  # after the last pixel nothing is known


def test_the_bound_of_a_model_with_pixels_comes_to_its_likelihood(generator: torch.Generator) -> None:
    model = make_rbm_vae(Bernoulli(6), (2, 1), hidden=[4], generator=torch.Generator().manual_seed(4), pixels=lively())
    model = model.double()
    s, below = all_bits(3), model.below
    assert isinstance(below, BitDecoder)
    prior = torch.softmax(-model.rbm.energy(s[:, :2], s[:, 2:]), 0).tolist()
    p = sum(weight * exact(below, row.unsqueeze(0)) for weight, row in zip(prior, s, strict=True))
    found = model.log_likelihood(ALL.repeat(20, 1), n_samples=2000, generator=generator)
    assert isinstance(p, Tensor)
    assert abs(float(found.mean()) - float(p.log().mean())) < 6 * found.stderr
    draws = model.sample(40_000, n_steps=30, generator=generator)
    assert counts_p_value(torch.bincount(number(draws), minlength=64), p) > FALSE_ALARM


def test_completion_keeps_what_is_known(generator: torch.Generator) -> None:
    model = make_rbm_vae(Bernoulli(6), (2, 1), hidden=[4], generator=torch.Generator().manual_seed(4), pixels=lively())
    known = torch.tensor([True, False, True, False, False, True])
    filled = model.double().complete(ALL, known, n_steps=30, n_average=10, generator=generator)
    assert torch.equal(filled[:, known], ALL[:, known])
    assert bool(((filled >= 0) & (filled <= 1)).all())
    drawn = model.complete(ALL, known, n_steps=5, n_average=0, generator=generator)
    assert bool(((drawn == 0) | (drawn == 1)).all())


def test_it_is_stored_and_older_models_are_read(tmp_path: Path) -> None:
    model = make_rbm_vae(Bernoulli(6), (2, 1), hidden=[4], pixels=lively().float())
    save_model(model, tmp_path / "model")
    twin = load_model(tmp_path / "model")
    assert isinstance(twin, RBMVAE)
    torch.testing.assert_close(twin.state_dict(), model.state_dict(), rtol=0, atol=0)
    assert torch.equal(twin.decode(torch.ones(2, 3)), model.decode(torch.ones(2, 3)))
    older = BitDecoder(Bernoulli(6), make_rbm_vae(Bernoulli(6), (2, 1), hidden=[4]).below.network, 3).config()  # type: ignore[union-attr, arg-type]
    del older["pixels"]
    assert BitDecoder.from_config(older).pixels is None


def test_wrong_use_is_told() -> None:
    with pytest.raises(InvalidArgumentError, match=r"pixels must be None unless visible is Bernoulli.*'gaussian'"):
        BitDecoder(Gaussian(6), nn.Linear(3, 6), 3, lively())
    with pytest.raises(InvalidArgumentError, match=r"pixels must have a shape of 5 pixels.* Got 2 x 3"):
        BitDecoder(Bernoulli(5), nn.Linear(3, 5), 3, lively())
    with pytest.raises(InvalidArgumentError, match=r"pixels must be None with codes below. Got n_codes=2"):
        make_rbm_vae(Bernoulli(6), (2, 1), n_codes=2, pixels=lively())
