"""What the critic sees: cases with noise on them, and several cases to a row."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from scipy.stats import norm
from torch import Tensor

from deepbelief.adversarial.augmentation import InstanceNoise
from deepbelief.adversarial.gan import GAN
from deepbelief.adversarial.learning import AdversarialLearning, packed
from deepbelief.adversarial.rejection import CriticRejection
from deepbelief.data.source import ArraySource
from deepbelief.errors import InvalidArgumentError, InvalidDataError
from deepbelief.networks.dense import DenseNetwork
from deepbelief.training.trainer import Trainer
from deepbelief.types import Batch
from tests.adversarial.test_learning import TINY_RATE, small_batch, small_gan
from tests.oracle.checks import make_context
from tests.oracle.pvalues import FALSE_ALARM

# -- instance noise ---------------------------------------------------------------------------------------------------


def test_the_noise_has_the_moments_of_its_widths_and_lets_gradients_through() -> None:
    n, scale, power = 40_000, 0.7, 3.0
    x = torch.zeros(n, 2, dtype=torch.float64, requires_grad=True)
    seen = InstanceNoise(scale, power=power)(x, torch.Generator().manual_seed(0))
    seen.sum().backward()
    assert x.grad is not None
    assert bool((x.grad == 1).all())
    squares = seen.detach().square().mean(1)  # of one case: width^2 times a mean of two chi-squares
    second, fourth = scale**2 / (2 * power + 1), 2 * scale**4 / (4 * power + 1)
    deviation = (float(squares.mean()) - second) / ((fourth - second**2) / n) ** 0.5
    assert 2 * norm.sf(abs(deviation)) > FALSE_ALARM
    for wrong in (1.0, 2.0):
        off = (float(squares.mean()) - scale**2 / (2 * wrong + 1)) / ((fourth - second**2) / n) ** 0.5
        assert 2 * norm.sf(abs(off)) < FALSE_ALARM


def test_the_noise_fades_over_the_training() -> None:
    x = torch.zeros(50, 2)
    at = lambda progress, **how: InstanceNoise(0.7, **how)(x, torch.Generator().manual_seed(0), progress)
    torch.testing.assert_close(at(1 / 3), 0.75 * at(0.0))
    torch.testing.assert_close(at(2 / 3), 0.25 * at(0.0))
    assert bool((at(1.0) == 0).all())
    torch.testing.assert_close(at(1.0, last=0.2), 0.2 * at(0.0))
    torch.testing.assert_close(at(0.5, last=0.2), 0.6 * at(0.0))
    torch.testing.assert_close(at(0.5, last=1.0), at(0.0))


def test_what_changes_the_cases_is_told_the_progress_of_the_training() -> None:
    told: list[float] = []

    def change(x: Tensor, generator: torch.Generator, progress: float) -> Tensor:
        told.append(progress)
        return x

    x = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    source = ArraySource(x, batch_size=10)
    Trainer(epochs=2, progress=False, device="cpu").fit(
        AdversarialLearning(small_gan().float(), augment=change), source
    )
    assert told == [progress for progress in (0.0, 0.25, 0.5, 0.75) for _ in ("generated", "data", "generator's")]


def test_noise_of_no_width_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="scale must be above 0"):
        InstanceNoise(0.0)
    with pytest.raises(InvalidArgumentError, match="power must be above 0"):
        InstanceNoise(0.5, power=0.0)
    with pytest.raises(InvalidArgumentError, match="last must be at least 0 and at most 1"):
        InstanceNoise(0.5, last=1.5)


# -- several cases to a row -----------------------------------------------------------------------------------------


def packed_gan(m: int) -> GAN:
    generator = torch.Generator().manual_seed(0)
    networks = (
        DenseNetwork((3, 6), activation="tanh", output=2, generator=generator),
        DenseNetwork((2 * m, 5), activation="tanh", output=1, generator=generator),
    )
    return GAN(*networks, 3).double()


@torch.no_grad()
def rows_of(batch: Batch, n: int) -> tuple[Tensor, Tensor]:
    """`n` cases of the batch in their turns, and their weights."""
    assert batch.weight is not None
    which = torch.arange(n) % len(batch)
    return batch.x[which], batch.weight[which]


@pytest.mark.parametrize(("m", "n"), [(2, 8), (3, 8), (3, 2)])
def test_a_packed_critic_sees_rows_of_one_kind(m: int, n: int) -> None:
    gan, batch = packed_gan(m), small_batch(weighted=True, n=n)
    rule = AdversarialLearning(gan, loss="hinge", pack=m, learning_rate=TINY_RATE, optimizer="sgd")
    rule.start(batch, torch.Generator().manual_seed(0))
    watched = rule.step(batch, make_context(torch.Generator().manual_seed(5)))
    n_rows = max(n, m) // m
    z = torch.randn((max(n, m), 3), dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    (cases, share), made = rows_of(batch, max(n, m)), gan.generate(z, averaged=False).detach()
    lost, total, fooled = 0.0, 0.0, 0.0
    for own in (slice(row * m, (row + 1) * m) for row in range(n_rows)):
        of_real, of_fake = (gan.critic(torch.cat(list(x[own])).unsqueeze(0)).detach() for x in (cases, made))
        lost += float(share[own].mean() * F.relu(1 - of_real))
        total += float(share[own].mean())
        fooled += float(F.relu(1 + of_fake)) / n_rows
    assert float(watched["critic_loss"]) == pytest.approx(lost / total + fooled, rel=1e-12)


def test_a_packed_critic_tells_copies_from_data_that_no_single_case_betrays() -> None:
    """The generated cases have the data's law one by one, yet come in equal pairs."""
    gan = packed_gan(2)
    x = torch.randn(4000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    critic = torch.optim.Adam(gan.critic.parameters(), lr=0.02)
    for _ in range(300):
        pairs = packed(x, 2)
        copies = packed(x.repeat_interleave(2, 0), 2)
        loss = F.softplus(-gan.critic(pairs)).mean() + F.softplus(gan.critic(copies)).mean()
        critic.zero_grad()
        loss.backward()
        critic.step()
    assert float(loss.detach()) < 1.0 < 2 * torch.log(torch.tensor(2.0))  # a critic of single cases stays at 2 log 2


def test_what_cannot_be_packed_is_said() -> None:
    with pytest.raises(InvalidArgumentError, match="pack must be 1 for a GAN with labels"):
        AdversarialLearning(small_gan(3), pack=2)
    with pytest.raises(InvalidArgumentError, match="pack must be at least 1"):
        AdversarialLearning(small_gan(), pack=0)
    with pytest.raises(InvalidDataError, match="the critic must take rows of 4 columns, 2 of 2"):
        AdversarialLearning(small_gan(), pack=2).start(small_batch(), torch.Generator())
    with pytest.raises(InvalidArgumentError, match="gan must have a critic of single cases"):
        CriticRejection.fitted(packed_gan(2), small_batch(n=20).x, n=20)
