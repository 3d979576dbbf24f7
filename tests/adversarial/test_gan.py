"""A GAN draws, interpolates, averages, and comes back from a folder; augmentations and watches do what they say."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from deepbelief.adversarial.augmentation import CHANGES, Augmentation, coloured, cut_out, translated
from deepbelief.adversarial.gan import CODE_SCALE, GAN, great_circle
from deepbelief.adversarial.watch import critic_accuracy, diversity
from deepbelief.errors import InvalidArgumentError
from deepbelief.networks.convolutional import ConvolutionalDecoder, ConvolutionalEncoder
from deepbelief.networks.dense import DenseNetwork
from deepbelief.protocols import Coder, Completer, Density, Sampler
from deepbelief.storage import load_model, save_model
from deepbelief.types import Clamp
from tests.oracle.checks import make_context
from tests.oracle.pvalues import FALSE_ALARM, counts_p_value


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def picture_gan(n_classes: int | None = None) -> GAN:
    n = n_classes or 0
    decoder = ConvolutionalDecoder(4 + n, (2, 5, 7), channels=(3, 4), normalization="batch", generator=stream())
    critic = ConvolutionalEncoder((2, 5, 7), n or 1, channels=(3, 4), spectral=True, generator=stream(1))
    return GAN(decoder, critic, 4, values="unit", n_classes=n_classes)


def test_it_samples_and_claims_nothing_else() -> None:
    gan = picture_gan()
    assert isinstance(gan, Sampler)
    assert not isinstance(gan, Density | Coder | Completer)
    x = gan.sample(1500, generator=stream())
    assert x.shape == (1500, 70)
    assert 0 <= float(x.min()) < float(x.max()) <= 1
    assert torch.equal(x, gan.sample(1500, generator=stream()))


def test_codes_stand_beside_the_noise_each_as_often(tmp_path: Path) -> None:
    gan = GAN(DenseNetwork((2 + 5 + 3, 4), output=6), DenseNetwork((6, 4), output=3), 2, n_classes=3, n_codes=5)
    z = gan.latent(5000, stream())
    assert z.shape == (5000, 7)
    assert set(z[:, 2:].unique().tolist()) == {0.0, CODE_SCALE}
    assert (z[:, 2:].sum(1) == CODE_SCALE).all()
    assert counts_p_value((z[:, 2:] > 0).sum(0), torch.full((5,), 0.2)) > FALSE_ALARM
    save_model(gan, tmp_path / "model")
    again = load_model(tmp_path / "model")
    assert torch.equal(
        again.sample(4, labels=torch.tensor(1), generator=stream()),
        gan.sample(4, labels=torch.tensor(1), generator=stream()),
    )
    with pytest.raises(InvalidArgumentError, match="n_codes must be at least 0"):
        GAN(DenseNetwork((2, 4), output=6), DenseNetwork((6, 4), output=1), 2, n_codes=-1)


def test_sampling_leaves_the_mode_and_the_running_statistics_alone() -> None:
    gan = picture_gan().train()
    before = {name: value.clone() for name, value in gan.state_dict().items()}
    gan.sample(5, generator=stream(), averaged=False)
    assert gan.training
    assert gan.generator.training
    assert not gan.averaged.training
    assert all(torch.equal(value, before[name]) for name, value in gan.state_dict().items())


def test_labels_are_drawn_by_their_frequencies() -> None:
    gan = picture_gan(3)
    gan.match_labels(torch.tensor([0, 0, 0, 0, 0, 2, 2, 2, 1, 1]))
    drawn = gan.draw_labels(5000, stream())
    assert drawn is not None
    assert counts_p_value(torch.bincount(drawn, minlength=3), torch.tensor([0.5, 0.2, 0.3])) > FALSE_ALARM


def test_sampling_says_what_it_cannot_do() -> None:
    nothing = Clamp(torch.zeros(70), torch.zeros(70, dtype=torch.bool))
    with pytest.raises(InvalidArgumentError, match="clamps no entries"):
        picture_gan().sample(1, condition=nothing)
    with pytest.raises(InvalidArgumentError, match="learned without labels"):
        picture_gan().sample(1, labels=torch.tensor(0))
    with pytest.raises(InvalidArgumentError, match=r"at most 2\. Got labels=3"):
        picture_gan(3).sample(2, labels=torch.tensor([0, 3]))


def test_saved_and_loaded_it_draws_the_same(tmp_path: Path) -> None:
    gan = picture_gan(3).eval()
    with torch.no_grad():
        for parameter in gan.averaged.parameters():
            parameter.add_(0.1)
    save_model(gan, tmp_path / "gan")
    again = load_model(tmp_path / "gan").eval()
    for averaged in (True, False):
        rows = [model.sample(4, generator=stream(), averaged=averaged) for model in (gan, again)]
        assert torch.equal(*rows)
    x, y = torch.rand(4, 70, generator=stream()), torch.tensor([0, 1, 2, 0])
    assert torch.equal(gan.scores(x, y), again.scores(x, y))


def test_a_persons_own_modules_learn_but_have_no_name_to_be_stored_by(tmp_path: Path) -> None:
    from deepbelief.adversarial.learning import AdversarialLearning
    from deepbelief.types import Batch

    gan = GAN(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 5)), nn.Linear(5, 1), 2)
    AdversarialLearning(gan).step(Batch(torch.rand(6, 5, generator=stream())), make_context(stream()))
    with pytest.raises(InvalidArgumentError, match="Got Sequential"):
        save_model(gan, tmp_path / "gan")


def test_spectral_dense_critic_has_unit_norms_and_is_stored(tmp_path: Path) -> None:
    critic = DenseNetwork((6, 5), output=1, spectral=True, generator=stream()).train()
    for _ in range(300):
        critic(torch.zeros(1, 6))
    norms = [torch.linalg.matrix_norm(layer.weight, 2).item() for layer in critic.linear_layers]
    assert norms == pytest.approx([1, 1], rel=1e-5)
    save_model(critic, tmp_path / "critic")
    x = torch.rand(3, 6, generator=stream())
    assert torch.equal(load_model(tmp_path / "critic").eval()(x), critic.eval()(x))


def test_interpolation_ends_where_it_should_and_keeps_to_the_circle() -> None:
    gan = picture_gan().eval()
    a, b = gan.latent(2, stream())
    for spherical in (True, False):
        path = gan.interpolate(a, b, 5, spherical=spherical)
        assert torch.allclose(path[[0, -1]], gan.generate(torch.stack([a, b])), atol=1e-6)
    share = torch.linspace(0, 1, 9).unsqueeze(1)
    points = great_circle(a, b / b.norm() * a.norm(), share)
    assert torch.allclose(points.norm(dim=1), a.norm())
    steps = points.diff(dim=0).norm(dim=1)
    assert torch.allclose(steps, steps[0])
    assert torch.equal(great_circle(a, a, share), a.expand(9, -1))


# -- augmentation ---------------------------------------------------------------------------------------------------


def test_translations_are_all_moves_by_an_eighth_and_no_others() -> None:
    x = torch.zeros(3000, 2, 8, 16)
    x[:, 1, 4, 8] = 1
    moved = translated(x, stream())
    assert moved[:, 0].count_nonzero() == 0
    places = moved[:, 1].flatten(1).nonzero()
    assert len(places) == 3000
    rows, columns = places[:, 1] // 16 - 4 + 1, places[:, 1] % 16 - 8 + 2
    counts = torch.bincount(5 * rows + columns, minlength=15)
    assert counts_p_value(counts, torch.full((15,), 1 / 15)) > FALSE_ALARM


def test_cutout_takes_at_most_a_square_of_half_the_side() -> None:
    kept = cut_out(torch.ones(500, 3, 8, 8), stream())
    assert torch.equal(kept[:, 0], kept[:, 2])
    missing = 64 - kept[:, 0].sum((1, 2))
    assert float(missing.max()) == 16
    assert float(missing.min()) >= 4
    assert ((kept == 0) | (kept == 1)).all()


def test_colours_change_in_their_ranges() -> None:
    x = torch.rand(400, 3, 4, 4, generator=stream())
    shift = (coloured(x, stream()) - x).mean((1, 2, 3))
    assert -0.5 <= float(shift.min()) < -0.4 < 0.4 < float(shift.max()) <= 0.5
    grey = x[:, :1]
    contrast = coloured(grey, stream()).std((1, 2, 3)) / grey.std((1, 2, 3))
    assert 0.5 <= float(contrast.min()) < 0.55 < 1.45 < float(contrast.max()) <= 1.5


@pytest.mark.parametrize("name", list(CHANGES))
def test_augmentations_pass_gradients_and_need_no_other_stream(name: str) -> None:
    change = Augmentation([name], (6, 6))
    x = torch.rand(4, 36, generator=stream()).requires_grad_()
    out = change(x, stream(1))
    assert torch.equal(out, change(x, stream(1)))
    assert not torch.equal(out, change(x, stream(2)))
    out.sum().backward()
    assert x.grad is not None
    assert float(x.grad.abs().sum()) > 0


# -- watching -------------------------------------------------------------------------------------------------------


def test_diversity_by_hand_and_under_collapse() -> None:
    real = torch.randn(40, 3, generator=stream())
    found = diversity(2 * real, real)
    assert float(found["diversity"]) == pytest.approx(2)
    assert float(found["nearest"]) == pytest.approx(2)
    between = torch.tensor([[float((a - b).norm()) for b in real] for a in real])
    apart = float(between.sum() / (40 * 39))
    nearest = float(between.fill_diagonal_(torch.inf).min(1).values.mean())
    two_modes = real[:2].repeat(20, 1)
    found = diversity(two_modes, real)
    assert float(found["nearest"]) == 0
    assert float(found["diversity"]) == pytest.approx(
        float((real[0] - real[1]).norm()) * 2 * 20 * 20 / (40 * 39) / apart
    )
    assert float(diversity(real + real, two_modes + 0.1 * real)["nearest"]) > 1
    assert nearest > 0


def test_diversity_of_wide_cases_is_that_of_exact_distances() -> None:
    real = 5 + torch.rand(64, 784, generator=stream())
    fake = 5 + 0.3 * torch.rand(64, 784, generator=stream(1))
    found, exact = diversity(fake, real), diversity(fake.double(), real.double())
    for name in ("diversity", "nearest"):
        assert float(found[name]) == pytest.approx(float(exact[name]), rel=1e-4)
    repeated = diversity(real[:2].repeat(32, 1), real)
    assert float(repeated["nearest"]) < 2e-3
    assert 0.4 < float(repeated["diversity"]) < 0.6


def test_accuracy_of_the_critic() -> None:
    real, fake = torch.tensor([1.0, 2.0, -1.0, 3.0]), torch.tensor([-1.0, 0.4])
    assert {k: float(v) for k, v in critic_accuracy(real, fake, 0.0).items()} == {
        "accuracy_real": 0.75,
        "accuracy_generated": 0.5,
    }
    assert float(critic_accuracy(real + 100, fake + 100, None)["accuracy_generated"]) == 1.0
