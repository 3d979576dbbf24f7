"""One sentence: the name, the rule, the value, the remedy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from deepbelief import errors
from deepbelief.errors import (
    InvalidArgumentError,
    check,
    check_choice,
    check_fraction,
    check_range,
    check_sequence,
    missing_extra,
)


def test_every_error_is_ours_and_one_that_others_catch() -> None:
    ours = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.DeepBeliefError)
    ]
    common = (ValueError, RuntimeError, FileNotFoundError, ImportError)
    assert len(ours) == 7
    assert all(issubclass(kind, common) for kind in ours if kind is not errors.DeepBeliefError)


def test_check_raises_its_message() -> None:
    check(True, "never said")
    with pytest.raises(InvalidArgumentError, match=r"^n must be even. Got n=3.$"):
        check(False, "n must be even. Got n=3.")


@pytest.mark.parametrize(
    ("value", "ends", "sentence"),
    [
        (0, {"low": 1}, "n must be at least 1. Got n=0."),
        (9, {"high": 8}, "n must be at most 8. Got n=9."),
        (9, {"low": 1, "high": 8}, "n must be at least 1 and at most 8. Got n=9."),
        (float("nan"), {"low": 0}, "n must be a finite number. Got n=nan."),
        (float("inf"), {"low": 0}, "n must be a finite number. Got n=inf."),
        (10**400, {"high": 1}, f"n must be at most 1. Got n={10**400}."),
        ("a", {"low": 1}, "n must be a number. Got n='a'."),
        (None, {"high": 1}, "n must be a number. Got n=None."),
        (40, {"high": 20, "remedy": "Use ais(...) instead."}, "n must be at most 20. Got n=40. Use ais(...) instead."),
    ],
)
def test_a_value_out_of_range_gets_a_sentence(value: Any, ends: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        check_range("n", value, **ends)
    assert str(caught.value) == sentence


@pytest.mark.parametrize("value", [-0.1, 1, 1.0, 2.5])
def test_a_fraction_is_below_1(value: float) -> None:
    check_fraction("momentum", 0)
    check_fraction("momentum", 0.999)
    with pytest.raises(InvalidArgumentError) as caught:
        check_fraction("momentum", value, remedy="Try 0.9.")
    assert str(caught.value) == f"momentum must be at least 0 and below 1. Got momentum={value}. Try 0.9."


@pytest.mark.parametrize("value", ["drift", None, 3, {"drift": 1}])
def test_what_is_no_sequence_gets_a_sentence(value: Any) -> None:
    for row in (["drift"], ("drift",), np.zeros(3), torch.zeros(3)):
        check_sequence("watch", row, "names")
    hint = " Use watch=['drift']." if value == "drift" else ""
    with pytest.raises(InvalidArgumentError) as caught:
        check_sequence("watch", value, "names")
    assert str(caught.value) == f"watch must be a sequence of names. Got watch={value!r}.{hint}"


def test_a_sequence_may_have_to_be_so_long() -> None:
    check_sequence("betas", (0.5, 0.9), "numbers", 2)
    with pytest.raises(InvalidArgumentError, match=r"^betas must be a sequence of 2 numbers. Got betas=\[0.5\].$"):
        check_sequence("betas", [0.5], "numbers", 2)


def test_an_open_end_is_not_told() -> None:
    with pytest.raises(InvalidArgumentError, match=r"^n must be at least 0. Got n=-1.$"):
        check_range("n", -1, low=0, high=float("inf"))


@pytest.mark.parametrize("value", [1, 4.5, 8])
def test_both_ends_belong_to_the_range(value: float) -> None:
    check_range("n", value, low=1, high=8)
    check_range("n", value)


def test_an_unknown_name_gets_the_nearest_one() -> None:
    check_choice("method", "ais", iter(["ais", "exact"]))
    with pytest.raises(
        InvalidArgumentError, match=r"one of 'ais', 'exact'. Got method='exat'. Did you mean 'exact'\?$"
    ):
        check_choice("method", "exat", ["ais", "exact"])
    with pytest.raises(InvalidArgumentError, match=r"Got method=3.$"):
        check_choice("method", 3, ["ais", "exact"])


def test_a_missing_library_gets_the_command_that_installs_it() -> None:
    error = missing_extra("onnx", "onnx", "ONNX export")
    assert isinstance(error, ImportError)
    assert str(error) == "ONNX export needs onnx, which is not installed. Run: pip install 'deepbelief[onnx]'"


def test_a_name_of_words_is_no_setting() -> None:
    with pytest.raises(InvalidArgumentError, match=r"^the data set must be one of 'a'. Got 'b'.$"):
        check_choice("the data set", "b", ["a"])
    with pytest.raises(InvalidArgumentError, match=r"^every size must be at least 1. Got 0.$"):
        check_range("every size", 0, low=1)
