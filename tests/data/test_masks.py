"""Masks of known entries."""

import pytest
import torch

from deepbelief.data.masks import SIDES, half_mask, patch_mask, random_mask
from deepbelief.errors import InvalidArgumentError


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 3)])
def test_opposite_halves_are_complements(shape):
    for one, other in (("left", "right"), ("top", "bottom")):
        assert torch.equal(half_mask(shape, one), ~half_mask(shape, other))


@pytest.mark.parametrize("side", SIDES)
def test_with_an_odd_size_the_smaller_half_is_known(side):
    assert int(half_mask((5, 5), side).sum()) == 10


def test_the_known_side_is_the_one_that_is_named():
    assert half_mask((2, 2), "top").tolist() == [True, True, False, False]
    assert half_mask((2, 2), "right").tolist() == [False, True, False, True]


def test_random_masks_know_the_same_number_in_different_places():
    mask = random_mask(50, 40, 0.25, torch.Generator().manual_seed(0))
    assert mask.sum(1).tolist() == [10] * 50
    assert len({tuple(row) for row in mask.tolist()}) > 1
    assert torch.equal(mask, random_mask(50, 40, 0.25, torch.Generator().manual_seed(0)))


def test_random_masks_favour_no_place():
    n, d, known = 4000, 10, 3
    counts = random_mask(n, d, known / d, torch.Generator().manual_seed(1)).sum(0).double()
    expected = n * known / d
    # without replacement within a case: variance p(1-p)n, and the d counts sum to n * known
    statistic = ((counts - expected) ** 2).sum() / (expected * (1 - known / d)) * (d - 1) / d
    from scipy.stats import chi2

    assert chi2.sf(float(statistic), d - 1) > 1e-6


def test_a_patch_hides_exactly_itself_in_all_channels():
    mask = patch_mask((4, 5, 3), 2, 3, top=1, left=0).view(4, 5, 3)
    assert not mask[1:3, 0:3].any()
    assert int((~mask).sum()) == 2 * 3 * 3


@pytest.mark.parametrize(
    "make",
    [
        lambda: half_mask((4, 4), "lft"),
        lambda: half_mask((16,), "left"),
        lambda: patch_mask((4, 4), 5, 1),
        lambda: patch_mask((4, 4), 2, 2, top=3),
        lambda: random_mask(2, 2, 1.5, torch.Generator()),
    ],
)
def test_impossible_masks_are_refused(make):
    with pytest.raises(InvalidArgumentError):
        make()
