"""Enumeration against itertools."""

from __future__ import annotations

from itertools import product

import torch
from hypothesis import given
from hypothesis import strategies as st

from deepbelief.maths.enumeration import all_digits, digits, n_states

BASES = st.lists(st.integers(1, 4), min_size=0, max_size=5)


@given(bases=BASES, chunk=st.integers(1, 50))
def test_all_states_come_once_and_in_order(bases: list[int], chunk: int) -> None:
    wanted = [list(row) for row in product(*map(range, bases))]
    chunks = list(all_digits(bases, chunk))
    assert torch.cat(chunks).tolist() == wanted
    assert len(wanted) == n_states(bases)
    assert max(map(len, chunks)) <= chunk


def test_states_far_out_are_reached_without_the_others() -> None:
    bases = [2] * 60
    assert digits(2**60 - 1, 2**60, bases).tolist() == [[1] * 60]
    assert digits(5, 6, bases)[0, -3:].tolist() == [1, 0, 1]
