"""What a layer of units must know of its distribution; everything else is written once, over all kinds.

A layer with state ``x`` and input ``I`` has the density ``p(x | I) = exp(-U(x) + I.x - Gamma(I))`` with a potential
``U`` that holds the layer's own parameters. An RBM of any two kinds is then the same code::

    E(v, h) = U_v(v) + U_h(h) - v' W h,      F(v) = U_v(v) - Gamma_h(v W),      Gamma(I) = log sum_x exp(-U(x) + I.x)

A further kind is one file: `potential`, `cumulants`, `mean`, `draw`, `statistics`, and for discrete kinds `bases` and
`from_digits`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from deepbelief.errors import InvalidArgumentError, InvalidDataError, check_choice, check_count
from deepbelief.maths.enumeration import all_digits, n_states


class Units(nn.Module, ABC):
    """A layer of `size` units of one kind; every kind has a ``bias``, which enters its potential as ``-bias.x``."""

    kind: ClassVar[str]
    kinds: ClassVar[dict[str, type[Units]]] = {}  # every kind that was imported, by name
    least: float = 0.0  # the ends of the values of a unit, and so of its mean
    most: float = 1.0
    needs_bounded_partner: bool = False  # whether log Z exists only where the other layer's units are bounded

    def __init_subclass__(cls) -> None:
        if hasattr(cls, "kind"):  # a base of several kinds has none
            Units.kinds[cls.kind] = cls

    def __init__(self, size: int) -> None:
        super().__init__()
        check_count("size", size, low=1)
        self.size = int(size)
        self.bias = nn.Parameter(torch.zeros(size))

    @property
    def bounded(self) -> bool:
        """Whether the values of a unit lie between two numbers."""
        return math.isfinite(self.least) and math.isfinite(self.most)

    # -- the distribution -------------------------------------------------------------------------------------------

    @abstractmethod
    def potential(self, x: Tensor) -> Tensor:
        """``U(x)``, summed over the units: (..., size) -> (...)."""

    @abstractmethod
    def cumulants(self, inputs: Tensor) -> Tensor:
        """The terms of ``Gamma(I)``, one for each independent part of the layer: (..., size) -> (..., parts)."""

    def cumulant(self, inputs: Tensor) -> Tensor:
        """``Gamma(I) = log sum_x exp(-U(x) + I.x)``: (..., size) -> (...)."""
        return self.cumulants(inputs).sum(-1)

    @abstractmethod
    def mean(self, inputs: Tensor) -> Tensor:
        """``<x>`` under ``p(x | I)``, the gradient of `cumulant`: (..., size) -> (..., size)."""

    @abstractmethod
    def draw(self, inputs: Tensor, mean: Tensor, generator: torch.Generator | None) -> Tensor:
        """A draw from ``p(x | I)`` when `mean` is known already (most kinds need nothing else)."""

    def sample(self, inputs: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A draw from ``p(x | I)``: (..., size) -> (..., size)."""
        return self.mean_and_sample(inputs, generator)[1]

    def mean_and_sample(self, inputs: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """The mean under ``p(x | I)`` and a draw from it, which some kinds make in one pass."""
        mean = self.mean(inputs)
        return mean, self.draw(inputs, mean, generator)

    def log_prob(self, x: Tensor, inputs: Tensor) -> Tensor:
        """``log p(x | I) = I.x - U(x) - Gamma(I)``: (..., size), (..., size) -> (...)."""
        return (inputs * x).sum(-1) - self.potential(x) - self.cumulant(inputs)

    # -- learning ---------------------------------------------------------------------------------------------------

    def statistics(self, x: Tensor) -> dict[str, Tensor]:
        """``-dU(x)/dp`` of each parameter p but the bias (whose statistic is x itself), per case: name -> (n, ...)."""
        return {}

    def expected_statistics(self, inputs: Tensor, mean: Tensor) -> dict[str, Tensor]:
        """The mean of `statistics` under ``p(x | I)``."""
        return {}

    def set_gradients(self, bias: Tensor, others: Mapping[str, Tensor]) -> None:
        """Put gradients of the parameters in their ``.grad``: of the bias, and of the others by name."""
        self.bias.grad = bias
        for name, gradient in others.items():
            self.get_parameter(name).grad = gradient

    @abstractmethod
    def match(self, mean: Tensor, variance: Tensor | None = None) -> None:
        """Set the parameters so that, without input, the units have this mean (and variance, where it is free)."""

    def match_data(self, x: Tensor, weight: Tensor | None = None) -> None:
        """Set the parameters to the (weighted) moments of data; Hinton's advice for initial visible biases."""
        share = torch.ones(len(x), dtype=torch.float64, device=x.device) if weight is None else weight.double()
        share, rows = share / share.sum(), x.double()
        mean = share @ rows
        self.match(mean, share @ (rows - mean).square())

    def blend(self, other: Self, beta: float) -> Self:
        """Units with ``U = (1 - beta) U_self + beta U_other``: the path of annealing. Natural parameters are linear."""
        blended = copy(self)  # a fraction of the time of a new module, which annealing would make at every temperature
        with torch.no_grad():
            pairs = zip(self.named_parameters(), other.parameters(), strict=True)
            mixed = {name: torch.lerp(mine, theirs, beta) for (name, mine), theirs in pairs}
        blended._parameters = {name: nn.Parameter(value, requires_grad=False) for name, value in mixed.items()}
        return blended

    def cumulant_change(self, inputs: Tensor, scale: float, there: Units, scale_there: float) -> Tensor:
        """``Gamma_there(scale_there I) - Gamma_self(scale I)`` in float64: what one temperature of annealing needs.

        (n, size) -> (n,).
        """
        terms = there.cumulants(scale_there * inputs) - self.cumulants(scale * inputs)
        return terms.sum(-1, dtype=torch.float64)

    def empty_like(self) -> Self:
        """Units of the same kind, size, type and device with parameters of their own."""
        return type(self).from_config(self.config()).to(self.bias)  # type: ignore[return-value]

    # -- discrete kinds ---------------------------------------------------------------------------------------------

    @property
    def bases(self) -> Sequence[int] | None:
        """The number of values of each independent variable, or None where they are infinitely many."""
        return None

    @property
    def has_states(self) -> bool:
        """Whether a case has a probability rather than a density: discrete units, counts without a limit too."""
        return self.bases is not None

    def from_digits(self, digits: Tensor) -> Tensor:
        """States from digits below `bases`: (n, variables) -> (n, size)."""
        raise InvalidArgumentError(
            f"{self.kind} units cannot be enumerated, for they have infinitely many states. Use ais(...) instead."
        )

    def states(self, chunk: int = 1 << 14) -> Iterator[Tensor]:
        """Every state of the layer, in chunks of rows."""
        for rows in all_digits(self._bases_or_raise(), chunk, self.bias.device):
            yield self.from_digits(rows).to(self.bias.dtype)

    @property
    def n_states(self) -> float:
        """How many states the layer has."""
        return float("inf") if self.bases is None else n_states(self.bases)

    def _bases_or_raise(self) -> Sequence[int]:
        if self.bases is None:
            self.from_digits(torch.empty(0))
        return self.bases or []

    def alternatives(self, x: Tensor, variable: Tensor) -> Tensor:
        """Copies of each case with one variable set to each of its values: (n, size), (n,) -> (values, n, size).

        Used by the pseudo-likelihood. All variables of a layer must have the same number of values.
        """
        raise InvalidArgumentError(
            f"{self.kind} units have no pseudo-likelihood here, for it needs variables of a few values. Use ais(...)."
        )

    # -- checks and storage -----------------------------------------------------------------------------------------

    @abstractmethod
    def check_values(self, x: Tensor, name: str = "X") -> None:
        """Raise `InvalidDataError` if `x` holds values that these units cannot take."""

    def check_known(self, known: Tensor) -> None:
        """Raise `InvalidDataError` if `known`, (..., size), holds a part of a variable that spans several entries."""

    def check_shape(self, x: Tensor, name: str = "X") -> None:
        """Raise `InvalidDataError` unless `x` is (n, size)."""
        if x.ndim != 2 or x.shape[1] != self.size:
            raise InvalidDataError(
                f"{name} must have shape (cases, {self.size}). Got {tuple(x.shape)}. "
                f"Reshape it, or build the model with {name}.shape[1] units."
            )

    def config(self) -> dict[str, Any]:
        """What rebuilds the units (without their parameters), as JSON."""
        return {"kind": self.kind, "size": self.size}

    @staticmethod
    def rebuild(config: Mapping[str, Any]) -> Units:
        """Units of whatever kind from `config`, among the kinds that were imported (`catalog` imports all)."""
        check_choice("kind", config.get("kind"), Units.kinds)
        return Units.kinds[config["kind"]].from_config(config)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Units:
        """Units from `config`."""
        return cls(config["size"])

    def extra_repr(self) -> str:
        return ", ".join(f"{k}={v}" for k, v in self.config().items() if k != "kind")


def check_whole_groups(known: Tensor) -> None:
    """Raise unless the entries of each group, (..., groups, entries), are known together or not at all."""
    if known.numel() and bool((known.any(-1) != known.all(-1)).any()):
        raise InvalidDataError(
            f"known must hold all {known.shape[-1]} entries of a group of units or none: they are one variable. "
            "Got a part of one. Mark the whole group."
        )


def check_unit_interval(x: Tensor, name: str, kind: str) -> None:
    """Values in [0, 1] (probabilities are welcome: they are the mean of a stochastic binarization)."""
    if x.numel() and not (x.min() >= 0 and x.max() <= 1):  # NaN is neither
        worst = (x.max() if x.max() > 1 else x.min()).item()
        raise InvalidDataError(
            f"{name} must lie in [0, 1] for {kind} units. Got a value of {worst:g}: "
            "scale to [0, 1] or use Gaussian units."
        )


def check_non_negative(x: Tensor, name: str, kind: str, remedy: str) -> None:
    """Finite values of at least 0."""
    if x.numel() and not (x.min() >= 0 and x.max() < float("inf")):  # NaN is neither
        worst = (x.min() if x.min() < 0 else x.max()).item()
        raise InvalidDataError(
            f"{name} must be finite and at least 0 for {kind} units. Got a value of {worst:g}: {remedy}."
        )


def check_layers(visible: Units, hidden: Units) -> None:
    """Refuse two layers with weights between them that have no law, whatever the weights."""
    for units, other in ((visible, hidden), (hidden, visible)):
        if units.needs_bounded_partner and not other.bounded:
            raise InvalidArgumentError(
                f"{units.kind} units must stand beside units of bounded values, else log Z is infinite. "
                f"Got {other.kind} units. Use Bernoulli, spin, categorical, binomial or multinomial units."
            )
