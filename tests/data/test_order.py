"""Orders, shares and held-out cases, for all sizes at once."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deepbelief.data.order import count_batches, epoch_order, holdout, share
from deepbelief.errors import InvalidArgumentError

SIZES = st.integers(1, 60)


@given(n=SIZES, batch_size=SIZES, world_size=st.integers(1, 5))
def test_shares_of_all_ranks_partition_every_batch(n, batch_size, world_size):
    if batch_size < world_size:
        return
    for batch in range(count_batches(n, batch_size, world_size)):
        shares = [share(batch, n, batch_size, rank, world_size) for rank in range(world_size)]
        sizes = [stop - first for first, stop in shares]
        assert min(sizes) >= 1
        assert max(sizes) - min(sizes) <= 1
        assert [i for first, stop in shares for i in range(first, stop)] == list(
            range(batch * batch_size, min((batch + 1) * batch_size, n))
        )


@given(n=SIZES, batch_size=SIZES, world_size=st.integers(1, 5))
def test_only_a_tail_too_small_for_the_ranks_is_dropped(n, batch_size, world_size):
    covered = min(n, count_batches(n, batch_size, world_size) * batch_size)
    assert n - covered < world_size


def test_an_order_is_a_permutation_that_seed_and_epoch_determine():
    order = epoch_order(500, seed=3, epoch=7)
    assert order.sort().values.tolist() == list(range(500))
    assert torch.equal(order, epoch_order(500, seed=3, epoch=7))
    assert not torch.equal(order, epoch_order(500, seed=3, epoch=8))
    assert not torch.equal(order, epoch_order(500, seed=4, epoch=7))


def test_holdout_keeps_classes_in_proportion():
    labels = torch.arange(200) % 4
    kept, held = holdout(200, 0.25, seed=1, labels=labels)
    assert sorted(kept.tolist() + held.tolist()) == list(range(200))
    assert torch.bincount(labels[held]).tolist() == [12, 12, 12, 12]
    assert torch.equal(held, holdout(200, 0.25, seed=1, labels=labels)[1])
    assert not torch.equal(held, holdout(200, 0.25, seed=2, labels=labels)[1])


@pytest.mark.parametrize(("n", "fraction"), [(10, 0.0), (10, 1.0), (1, 0.5), (10, 0.01)])
def test_a_holdout_without_cases_on_a_side_is_refused(n, fraction):
    with pytest.raises(InvalidArgumentError):
        holdout(n, fraction)
