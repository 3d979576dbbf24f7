"""The laws of corruption, with planted bugs, and that learning sees spoilt cases but answers for clean ones."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from scipy import stats
from torch import Tensor

from deepbelief.autoencoders.corruption import (
    CORRUPTIONS,
    Corruption,
    GaussianNoise,
    Masking,
    SaltAndPepper,
    make_corruption,
)
from deepbelief.autoencoders.learning import AutoencoderLearning
from deepbelief.errors import DeepBeliefError
from tests.autoencoders.zoo import cases, make
from tests.oracle.pvalues import FALSE_ALARM, corrected, counts_p_value

N = 100_000
ROW = torch.tensor([0.25, 0.5, 0.75]).double()


def masking_law(noise: Corruption, generator: torch.Generator) -> float:
    """All 8 patterns of three entries kept or masked, at a rate of 0.3."""
    spoilt = noise(ROW.expand(N, 3), generator)
    kept = (spoilt == ROW).long()
    assert ((spoilt == 0) | (kept == 1)).all()
    counts = torch.bincount(kept @ torch.tensor([4, 2, 1]), minlength=8)
    digits = torch.tensor([[i >> 2 & 1, i >> 1 & 1, i & 1] for i in range(8)])
    return counts_p_value(counts, torch.where(digits == 1, 0.7, 0.3).prod(1))


def salt_and_pepper_law(noise: Corruption, generator: torch.Generator) -> float:
    """All 9 states of two entries: kept, low or high, at a rate of 0.4 between -1 and 2."""
    spoilt = noise(ROW[:2].expand(N, 2), generator)
    state = (spoilt == -1).long() + 2 * (spoilt == 2).long()
    assert ((spoilt == ROW[:2]) | (state > 0)).all()
    each = torch.tensor([0.6, 0.2, 0.2])
    return counts_p_value(torch.bincount(state @ torch.tensor([3, 1]), minlength=9), torch.outer(each, each).flatten())


def gaussian_law(noise: Corruption, generator: torch.Generator) -> float:
    """Standard normal after subtracting the row and dividing by 0.3, and two entries independent."""
    e = (noise(ROW.expand(N // 4, 3), generator) - ROW) / 0.3
    marginals = [float(stats.kstest(column.numpy(), "norm").pvalue) for column in e.T]
    return corrected([*marginals, float(stats.pearsonr(e[:, 0].numpy(), e[:, 1].numpy()).pvalue)])


LAWS: list[tuple[Corruption, Callable[[Corruption, torch.Generator], float], bool]] = [
    (Masking(0.3), masking_law, True),
    (Masking(0.31), masking_law, False),
    (lambda x, g: x * (torch.rand(len(x), 1, generator=g) >= 0.3), masking_law, False),  # whole rows
    (SaltAndPepper(0.4, -1, 2), salt_and_pepper_law, True),
    (lambda x, g: torch.where(torch.rand(x.shape, generator=g) < 0.4, 2.0, x), salt_and_pepper_law, False),  # salt only
    (GaussianNoise(0.3), gaussian_law, True),
    (GaussianNoise(0.3**0.5), gaussian_law, False),  # a variance for a deviation
    (lambda x, g: x + 0.3 * torch.randn(len(x), 1, generator=g), gaussian_law, False),
]


@pytest.mark.parametrize(("noise", "law", "holds"), LAWS)
def test_laws_hold_and_planted_bugs_break_them(
    noise: Corruption, law: Callable[[Corruption, torch.Generator], float], holds: bool, generator: torch.Generator
) -> None:
    assert (law(noise, generator) > FALSE_ALARM) == holds


def test_learning_codes_the_spoilt_case_and_scores_the_clean_one(generator: torch.Generator) -> None:
    net = make("deep", generator)
    x = cases(net, 6, generator)
    spoilt = Masking(0.5)(x, torch.Generator().manual_seed(7))
    assert not torch.equal(spoilt, x)
    found = AutoencoderLearning(net, corruption=Masking(0.5)).objective(x, torch.Generator().manual_seed(7))

    def score(target: Tensor, seen: Tensor) -> Tensor:
        return -net.visible.log_prob(target, net.input_v_from_z(net.encode(seen))).mean()

    torch.testing.assert_close(found["loss"], score(x, spoilt))
    for wrong in (score(x, x), score(spoilt, spoilt), score(spoilt, x)):
        assert abs(float(found["loss"].detach() - wrong.detach())) > 1e-6


def test_by_name() -> None:
    assert [make_corruption(name, 0.5, low=-1.0) for name in CORRUPTIONS] == [
        None,
        Masking(0.5),
        SaltAndPepper(0.5, -1.0, 1.0),
        GaussianNoise(0.5),
    ]
    for wrong, sentence in (
        (lambda: make_corruption("mask", 0.5), "Did you mean 'masking'"),
        (lambda: Masking(1.5), "rate must be at least 0 and at most 1"),
        (lambda: SaltAndPepper(0.5, 1, 0), "low must be at most high"),
        (lambda: GaussianNoise(-1.0), "std must be at least 0"),
    ):
        with pytest.raises(DeepBeliefError, match=sentence):
            wrong()
