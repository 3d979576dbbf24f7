"""What a critic lets through follows the data's law, where the critic is right; against exact laws on a few points."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from deepbelief.adversarial.gan import GAN
from deepbelief.adversarial.rejection import CriticRejection
from deepbelief.errors import InvalidArgumentError, InvalidDataError
from deepbelief.networks.dense import DenseNetwork
from deepbelief.protocols import Sampler
from tests.oracle.pvalues import FALSE_ALARM, counts_p_value

P, Q = torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.tensor([0.4, 0.3, 0.2, 0.1])  # of the data, of the generator


class Points(nn.Module):
    """Normal noise to the numbers of four points, with probabilities Q."""

    def forward(self, z: Tensor) -> Tensor:
        return torch.bucketize(torch.special.ndtr(z[:, :1].double()), Q.double().cumsum(0)[:-1]).float()


class Scores(nn.Module):
    """``(log p / q - 3) / 2`` of a point: an optimal critic, but for its scale and zero."""

    def forward(self, x: Tensor) -> Tensor:
        return ((P / Q).log()[x.long()] - 3) / 2


def draws(law: Tensor, n: int, seed: int) -> Tensor:
    return (
        torch.multinomial(law, n, replacement=True, generator=torch.Generator().manual_seed(seed)).unsqueeze(1).float()
    )


def fitted(n: int = 100_000) -> CriticRejection:
    return CriticRejection.fitted(
        GAN(Points(), Scores(), 2), draws(P, n, 1), generator=torch.Generator().manual_seed(2), n=n
    )


def counts(x: Tensor) -> Tensor:
    return torch.bincount(x[:, 0].long(), minlength=4)


def test_the_fit_finds_the_scale_and_the_zero_of_the_critic() -> None:
    found = fitted()
    assert abs(found.slope - 2) < 0.05  # 100,000 cases of each: an error of about 0.01
    assert abs(found.offset - 3) < 0.1
    assert found.log_bound == pytest.approx(math.log(4), abs=0.05)
    assert found.rate == pytest.approx(1 / 4, abs=0.02)


def test_what_passes_follows_the_law_of_the_data() -> None:
    exact = CriticRejection(GAN(Points(), Scores(), 2), 2.0, 3.0, math.log(4))
    assert isinstance(exact, Sampler)
    x = exact.sample(20_000, generator=torch.Generator().manual_seed(3))
    assert len(x) == 20_000
    assert counts_p_value(counts(x), P) > FALSE_ALARM
    assert counts_p_value(counts(exact.gan.sample(20_000, generator=torch.Generator().manual_seed(3))), P) < FALSE_ALARM


@pytest.mark.parametrize("bug", [{"slope": 1.0}, {"log_bound": 0.0}])
def test_planted_bugs_are_seen(bug: dict[str, float]) -> None:
    right = {"slope": 2.0, "offset": 3.0, "log_bound": math.log(4)}
    wrong = CriticRejection(GAN(Points(), Scores(), 2), **(right | bug))
    x = wrong.sample(20_000, generator=torch.Generator().manual_seed(3))
    assert counts_p_value(counts(x), P) < FALSE_ALARM


def test_cases_of_a_class_and_what_is_refused() -> None:
    gan = GAN(DenseNetwork((2 + 3, 4), output=6), DenseNetwork((6, 4), output=3), 2, n_classes=3)
    x, labels = torch.randn(30, 6, generator=torch.Generator().manual_seed(0)), torch.arange(30) % 3
    passing = CriticRejection.fitted(gan, x, labels=labels, generator=torch.Generator().manual_seed(0), n=100)
    drawn = [passing.sample(7, labels=torch.tensor(1), generator=torch.Generator().manual_seed(1)) for _ in range(2)]
    assert drawn[0].shape == (7, 6)
    assert torch.equal(*drawn)
    with pytest.raises(InvalidArgumentError, match="labels must be given"):
        CriticRejection.fitted(gan, x)
    with pytest.raises(InvalidDataError, match="at least 10 held-out cases"):
        CriticRejection.fitted(gan, x[:5], labels=labels[:5])
    with pytest.raises(InvalidArgumentError, match="labels must be None"):
        CriticRejection(GAN(Points(), Scores(), 2), 2.0, 3.0, 1.0).sample(2, labels=torch.tensor(0))
    with pytest.raises(InvalidArgumentError, match="labels must be one class for all"):
        passing.sample(3, labels=torch.tensor([0, 1, 2]))
    nothing = CriticRejection(GAN(Points(), Scores(), 2), 2.0, 3.0, 60.0)
    with pytest.raises(InvalidDataError, match="must let some draws pass"):
        nothing.sample(2, generator=torch.Generator().manual_seed(1))
