"""Numbers as a person reads them, and what each kind of number means."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from deepbelief.types import Kind, Result

MEANINGS: dict[Kind, str] = {
    "exact": "computed without approximation, by summing over every state; no error but rounding.",
    "lower_bound": "the truth is at least this; how far above is not known from this number alone.",
    "upper_bound": "the truth is at most this; how far below is not known from this number alone.",
    "estimate": "a random approximation of the truth; the error after ± is that of the method, not of the data.",
    "measured": "counted or averaged on the named data, such as an error rate or a time; nothing is approximated.",
}
MINUS, MISSING = "\N{MINUS SIGN}", "none"


def kind_name(kind: str) -> str:
    """``lower_bound`` as ``lower bound``."""
    return kind.replace("_", " ")


def readable(name: str) -> str:
    """``log_likelihood`` as ``Log likelihood``."""
    words = name.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def format_number(value: float | None, stderr: float | None = None) -> str:
    """As many digits as the error justifies; four where there is no error.

    >>> format_number(86.3412, 0.042), format_number(0.93214), format_number(1284031.0), format_number(None)
    ('86.341', '0.9321', '1,284,031', 'none')
    """
    if value is None or math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    if stderr and math.isfinite(stderr):
        digits = min(max(1 - math.floor(math.log10(abs(stderr))), 0), 8)
    else:
        size = math.floor(math.log10(abs(value))) if value else 0
        digits = min(max(3 - size, 0), 8)
    if value and (abs(value) >= 1e9 or abs(value) < 1e-4) and not stderr:
        return f"{value:.3g}".replace("-", MINUS)
    text = f"{value:,.{digits}f}".replace("-", MINUS)
    return text if stderr or "." not in text else text.rstrip("0").rstrip(".")


def format_error(stderr: float | None) -> str:
    """Two significant digits, or nothing where there is no error to tell.

    >>> format_error(0.0421), format_error(0.0), format_error(12.3)
    ('0.042', '', '12')
    """
    if not stderr or not math.isfinite(stderr):
        return ""
    digits = min(max(1 - math.floor(math.log10(abs(stderr))), 0), 8)
    return f"{stderr:,.{digits}f}"


@dataclass
class NumberRow:
    """A result, ready to be printed."""

    quantity: str
    value: str
    error: str
    unit: str
    kind: str
    kind_name: str
    data: str
    model: str


def number_rows(results: Sequence[Result]) -> list[NumberRow]:
    """Results as rows of text."""
    return [
        NumberRow(
            readable(r.quantity),
            format_number(r.value, r.stderr),
            format_error(r.stderr) if r.value is not None else "",
            "" if r.value is None else r.unit,
            r.kind,
            kind_name(r.kind),
            r.data,
            r.model,
        )
        for r in results
    ]


def headline_results(results: Sequence[Result], names: Sequence[str] | None, most: int = 4) -> list[Result]:
    """The results on top of the page: the first with a value of each name, or else simply the first few."""
    having = [r for r in results if r.value is not None and math.isfinite(r.value)]
    if names is None:
        return having[:most]
    firsts = [next((r for r in having if r.quantity == name), None) for name in names]
    return [r for r in firsts if r is not None]
