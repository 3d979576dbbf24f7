"""What every argument that counts something must refuse, and how."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from deepbelief.errors import InvalidArgumentError

Count = tuple[str, int, Callable[[Any], Any]]  # what the sentence calls it, the least, and who takes it


def check_refusals(name: str, least: int, take: Callable[[Any], Any]) -> None:
    """What is no whole number, and a number below the least, get one sentence."""
    for value in (2.5, "3", True, float("nan")):
        sentence = rf"^{name} must be a whole number\. Got {told(name)}{re.escape(repr(value))}\."
        with pytest.raises(InvalidArgumentError, match=sentence):
            take(value)
    with pytest.raises(InvalidArgumentError, match=rf"^{name} must be at least {least}.*Got {told(name)}{least - 1}\b"):
        take(least - 1)


def told(name: str) -> str:
    """What stands before a value: words are no setting."""
    return "" if " " in name else f"{name}="
