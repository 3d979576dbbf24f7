"""The recipes of translation and of digits with labels: what they are made of, and that their numbers can fail."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from deepbelief.data.sets import load_set
from deepbelief.recipes import conditional_gan, cycle_gan_digits


def test_no_digit_is_in_both_sets() -> None:
    sets = cycle_gan_digits.two_sets(load_set("digits", split="train"), load_set("digits", split="test"))
    cases = [{row.tobytes() for row in rows} for rows in (sets.x, 1 - sets.y, sets.test_x)]
    assert [len(part) for part in cases] == [719, 719, 359]
    assert not cases[0] & cases[1]
    assert not cases[2] & (cases[0] | cases[1])
    np.testing.assert_array_equal(sets.test_x, 1 - sets.test_y)


def test_digits_that_change_their_class_are_not_kept() -> None:
    sets = cycle_gan_digits.two_sets(load_set("digits", split="train"), load_set("digits", split="test"))
    right = cycle_gan_digits.rows(sets, sets.test_y, sets.test_x, "inverse")
    mixed = np.roll(np.arange(len(sets.truth)), 1)
    wrong = cycle_gan_digits.rows(sets, sets.test_y[mixed], sets.test_x[mixed], "another digit's")
    there, back, error = (row.value for row in right)
    assert min(there or 0, back or 0) > 95
    assert error == 0
    assert max(row.value or 0 for row in wrong[:2]) < 30
    assert (wrong[2].value or 0) > 0.1


class Reads:
    """A classifier of cases that say in their first ten pixels what they are."""

    def __call__(self, x: Tensor) -> Tensor:
        return x[:, :10]


def test_a_draw_must_show_the_label_that_was_asked_for() -> None:
    train, test = (load_set("digits", split=split) for split in ("train", "test"))
    assert test.y is not None
    networks: Any = [Reads(), Reads()]
    x = torch.nn.functional.one_hot(test.y, 10).float()
    right = conditional_gan.agreement_rows(networks, x, train, test)[0]
    wrong = conditional_gan.agreement_rows(networks, x.roll(1, 1), train, test)[0]
    assert (right.value, wrong.value) == (100, 0)
    assert right.model == conditional_gan.MODEL
