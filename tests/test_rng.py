"""Generators repeat, streams differ, and draws have their law."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from deepbelief.errors import InvalidArgumentError
from deepbelief.rng import bernoulli, make_generator, uniform_like
from tests.oracle.pvalues import FALSE_ALARM, means_p_value


def numbers(*arguments: Any, **options: Any) -> list[float]:
    return torch.rand(4, generator=make_generator(*arguments, **options)).tolist()


@pytest.mark.parametrize("state", [0, 1, 2**31, np.int64(7)])
def test_one_seed_and_stream_repeat(state: int) -> None:
    assert numbers(state) == numbers(state)
    assert numbers(state, stream=3) == numbers(state, stream=3)


def test_seeds_and_streams_differ() -> None:
    drawn = {tuple(numbers(seed, stream=stream)) for seed in range(20) for stream in range(20)}
    assert len(drawn) == 400


def test_no_seed_is_fresh_entropy() -> None:
    assert numbers(None) != numbers(None)


def test_a_numpy_state_is_drawn_from() -> None:
    state = np.random.RandomState(3)
    first, second = numbers(state), numbers(state)
    assert first != second
    assert first == numbers(np.random.RandomState(3))


def test_a_generator_is_returned_as_it_is() -> None:
    generator = torch.Generator()
    assert make_generator(generator) is generator


@pytest.mark.parametrize("state", [-1, 1.5, "zero", torch.zeros(1)])
def test_other_seeds_get_a_sentence(state: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"random_state must be None, an integer of at least 0.*Got"):
        make_generator(state)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_uniform_numbers_are_uniform_and_below_one(dtype: torch.dtype, generator: torch.Generator) -> None:
    drawn = uniform_like(torch.empty(100, 200, dtype=dtype), generator)
    assert (drawn.shape, drawn.dtype) == ((100, 200), dtype)
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert stats.kstest(drawn.flatten().numpy(), "uniform").pvalue > FALSE_ALARM


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bernoulli_draws_have_their_probabilities(dtype: torch.dtype, generator: torch.Generator) -> None:
    p = torch.tensor([0.0, 0.01, 0.3, 0.5, 0.97, 1.0], dtype=dtype)
    drawn = bernoulli(p.expand(50_000, -1), generator)
    assert drawn.dtype == dtype
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert means_p_value(drawn, p) > FALSE_ALARM


def test_draws_leave_the_probabilities_alone(generator: torch.Generator) -> None:
    p = torch.full((5,), 0.5)
    bernoulli(p, generator)
    assert (p == 0.5).all()
