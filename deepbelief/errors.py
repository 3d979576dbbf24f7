"""Errors that people meet: one sentence with the name, the rule, the value and the remedy.

All are ``ValueError`` or ``RuntimeError`` underneath, so code written for scikit-learn catches them as it always did.
"""

import difflib
import math
from collections.abc import Collection, Iterable, Mapping
from numbers import Integral, Real

NO_END = (None, -math.inf, math.inf)  # of a range


class DeepBeliefError(Exception):
    """The root of every error that this library raises on purpose."""


class InvalidArgumentError(DeepBeliefError, ValueError):
    """An argument breaks a rule: ``n must be at most 20. Got n=40. Use ais(...) instead.``"""


class InvalidDataError(DeepBeliefError, ValueError):
    """Data of the wrong shape, type or range."""


class DataNotFoundError(DeepBeliefError, FileNotFoundError):
    """A named data set or file that is neither here nor to be had; the message says which file to put where."""


class StorageError(DeepBeliefError, RuntimeError):
    """A saved model or checkpoint that is damaged, foreign or newer than this library, or that could not be written."""


class DivergenceError(DeepBeliefError, RuntimeError):
    """Learning left the road (NaN, saturated chains); the message says what to lower."""


class MissingExtraError(DeepBeliefError, ImportError):
    """An optional library is absent; the message gives the command that installs it."""


def check(rule: bool, message: str) -> None:
    """Raise `InvalidArgumentError` with `message` unless `rule` holds."""
    if not rule:
        raise InvalidArgumentError(message)


def check_range(
    name: str, value: float, low: float | None = None, high: float | None = None, *, remedy: str = ""
) -> None:
    """Check ``low <= value <= high`` (a missing end is open) and say so in the house's one sentence form.

    >>> check_range("n_steps", 0, low=1)
    Traceback (most recent call last):
    ...
    deepbelief.errors.InvalidArgumentError: n_steps must be at least 1. Got n_steps=0.
    """
    _check_finite(name, value)
    if (low is not None and value < low) or (high is not None and value > high):
        ends = [f"at least {low}"] * (low not in (None, -math.inf)) + [f"at most {high}"] * (
            high not in (None, math.inf)
        )
        message = f"{name} must be {' and '.join(ends)}. Got {_told(name, str(value))}."
        raise InvalidArgumentError(f"{message} {remedy}".strip())


def check_positive(name: str, value: float, *, remedy: str = "") -> None:
    """Check that `value` is a number above 0.

    >>> check_positive("learning_rate", 0.0)
    Traceback (most recent call last):
    ...
    deepbelief.errors.InvalidArgumentError: learning_rate must be above 0. Got learning_rate=0.0.
    """
    _check_finite(name, value)
    if value <= 0:
        raise InvalidArgumentError(f"{name} must be above 0. Got {_told(name, str(value))}. {remedy}".strip())


def check_fraction(name: str, value: float, *, remedy: str = "") -> None:
    """Check ``0 <= value < 1``, as a momentum, the decay of an average or a share put aside must be.

    >>> check_fraction("momentum", 1.0, remedy="Try 0.9.")
    Traceback (most recent call last):
    ...
    deepbelief.errors.InvalidArgumentError: momentum must be at least 0 and below 1. Got momentum=1.0. Try 0.9.
    """
    _check_finite(name, value)
    if not 0 <= value < 1:
        message = f"{name} must be at least 0 and below 1. Got {_told(name, str(value))}."
        raise InvalidArgumentError(f"{message} {remedy}".strip())


def _check_finite(name: str, value: float) -> None:
    """Refuse text, None, infinity and NaN, which pass some comparisons and make weights that are no numbers."""
    try:
        finite = math.isfinite(value)
    except OverflowError:  # a whole number above all floats
        finite = True
    except TypeError:  # text, None ...
        raise InvalidArgumentError(f"{name} must be a number. Got {_told(name, repr(value))}.") from None
    if not finite:
        raise InvalidArgumentError(f"{name} must be a finite number. Got {_told(name, str(value))}.")


def check_count(name: str, value: float, low: int | None = None, high: int | None = None, *, remedy: str = "") -> None:
    """Check that `value` is a whole number in this range.

    >>> check_count("n_codes", 2.5, low=0)
    Traceback (most recent call last):
    ...
    deepbelief.errors.InvalidArgumentError: n_codes must be a whole number. Got n_codes=2.5. Use n_codes=2.
    """
    if not isinstance(value, Integral) or isinstance(value, bool):
        near = isinstance(value, Real) and abs(value) < math.inf  # neither NaN nor infinity
        hint = f" Use {_told(name, str(max(math.floor(value), low or 0)))}." if near else ""
        raise InvalidArgumentError(f"{name} must be a whole number. Got {_told(name, repr(value))}.{hint}")
    check_range(name, int(value), low, high, remedy=remedy)


def check_choice(name: str, value: object, choices: Iterable[str]) -> None:
    """Check that `value` is one of `choices`; the error names the nearest one.

    >>> check_choice("method", "aiss", ["ais", "exact"])
    Traceback (most recent call last):
    ...
    deepbelief.errors.InvalidArgumentError: method must be one of 'ais', 'exact'. Got method='aiss'. Did you mean 'ais'?
    """
    known = list(choices)
    if value not in known:
        close = difflib.get_close_matches(str(value), known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        told = _told(name, repr(value))
        raise InvalidArgumentError(f"{name} must be one of {', '.join(map(repr, known))}. Got {told}.{hint}")


def check_sequence(name: str, value: object, what: str, length: int | None = None) -> None:
    """Check that `value` is a sequence, of `length` entries where that is said; `what` it holds is for the sentence.

    >>> check_sequence("watch", "drift", "names")
    Traceback (most recent call last):
    ...
    deepbelief.errors.InvalidArgumentError: watch must be a sequence of names. Got watch='drift'. Use watch=['drift'].
    """
    row = isinstance(value, Collection) and not isinstance(value, str | bytes | Mapping)
    if not row or (length is not None and len(value) != length):  # type: ignore[arg-type]
        hint = f" Use {name}=[{value!r}]." if isinstance(value, str) and what == "names" else ""
        many = "" if length is None else f"{length} "
        raise InvalidArgumentError(f"{name} must be a sequence of {many}{what}. Got {_told(name, repr(value))}.{hint}")


def missing_extra(library: str, extra: str, purpose: str) -> MissingExtraError:
    """The error for an absent optional library, with the command that brings it."""
    return MissingExtraError(
        f"{purpose} needs {library}, which is not installed. Run: pip install 'deepbelief[{extra}]'"
    )


def _told(name: str, value: str) -> str:
    """``name=value``, or the value alone where the name is words: "the data set='digts'" reads like a setting."""
    return value if " " in name else f"{name}={value}"
