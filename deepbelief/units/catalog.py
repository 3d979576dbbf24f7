"""The kinds of units by name: for estimators and the command line. Importing this file makes every kind known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deepbelief.errors import InvalidArgumentError, check_choice, check_count
from deepbelief.units.base import Units
from deepbelief.units.bernoulli import Bernoulli
from deepbelief.units.binomial import Binomial
from deepbelief.units.categorical import Categorical
from deepbelief.units.gaussian import Gaussian
from deepbelief.units.multinomial import Multinomial
from deepbelief.units.poisson import Poisson
from deepbelief.units.pooled import Pooled
from deepbelief.units.rectified import Rectified
from deepbelief.units.side_by_side import SideBySide
from deepbelief.units.spin import Spin

KINDS: dict[str, type[Units]] = {
    c.kind: c
    for c in (Bernoulli, Spin, Gaussian, Rectified, Categorical, Binomial, Poisson, Multinomial, Pooled, SideBySide)
}


def units_from_config(config: Mapping[str, Any]) -> Units:
    """Units from what `Units.config` gave: the way of saved models, whose kinds nobody may have imported yet."""
    return Units.rebuild(config)


def make_units(kind: str | Units, size: int, *, n_values: int | None = None, name: str = "kind") -> Units:
    """Units of a named kind for rows of `size` numbers.

    `n_values` is the width of a categorical or pooled group, or how many values a count has: binomial units run from 0
    to ``n_values - 1``, and multinomial rows sum to it. `name` is what the caller calls `kind`.

    >>> make_units("bernoulli", 3)
    Bernoulli(size=3)
    >>> make_units("categorical", 6, n_values=3)
    Categorical(n_groups=2, n_values=3)
    >>> make_units("binomial", 6, n_values=3)
    Binomial(size=6, n_trials=2)
    """
    check_count("size", size, low=1)
    if n_values is not None:
        check_count("n_values", n_values)
    if isinstance(kind, Units):
        if kind.size != size:
            raise InvalidArgumentError(f"units must have size {size}, the width of the data. Got size={kind.size}.")
        return kind
    check_choice(name, kind, [k for k in KINDS if k != SideBySide.kind])
    if kind in (Binomial.kind, Multinomial.kind):
        if n_values is None or n_values < 2:
            raise InvalidArgumentError(
                f"n_values must be at least 2 for {kind} units: the largest count and one. Got n_values={n_values}."
            )
        return Binomial(size, n_values - 1) if kind == Binomial.kind else Multinomial(size, n_values - 1)
    if kind not in (Categorical.kind, Pooled.kind):
        return KINDS[kind](size)
    if not n_values or size % n_values:
        raise InvalidArgumentError(f"n_values must divide the width {size} of the data. Got n_values={n_values}.")
    return Categorical(size // n_values, n_values) if kind == Categorical.kind else Pooled(size // n_values, n_values)
