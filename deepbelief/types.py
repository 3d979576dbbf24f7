"""The few records that travel between floors: `Bound`, `Batch`, `Clamp`, `Result`."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from deepbelief.errors import check_choice

Kind = Literal["exact", "lower_bound", "upper_bound", "estimate", "measured"]
KINDS: tuple[str, ...] = get_args(Kind)


@dataclass(frozen=True)
class Bound:
    """A number that says what it is.

    ``value`` is one number or one per case, ``kind`` says how it relates to the truth, ``stderr`` is the standard error
    of the *method* (Monte-Carlo error, shared by all cases when it comes from log Z; 0 for exact). It does not include
    the spread over test cases. ``low`` and ``high`` bracket the value where a method gives two-sided evidence (forward
    and reverse annealing), and ``method`` names the method in a few words.
    """

    value: Tensor | float
    kind: Kind
    stderr: float = 0.0
    method: str = ""
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, KINDS)

    def mean(self) -> Bound:
        """The average over cases, as one number of the same kind."""
        value = self.value.double().mean().item() if isinstance(self.value, Tensor) else float(self.value)
        return Bound(value, self.kind, self.stderr, self.method, self.low, self.high)

    def __float__(self) -> float:
        return float(self.mean().value)

    def __str__(self) -> str:
        sign = {"exact": "=", "lower_bound": ">=", "upper_bound": "<=", "estimate": "~", "measured": "="}[self.kind]
        error = f" +- {self.stderr:.2g}" if self.stderr else ""
        return f"{sign} {float(self):.2f}{error} ({self.kind})"


@dataclass(frozen=True)
class Result:
    """One row of ``results.json``: a quantity with its kind, error, unit, and the data and model it belongs to."""

    quantity: str
    value: float | None
    kind: Kind
    stderr: float | None
    unit: str
    data: str
    model: str

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, KINDS)

    def to_dict(self) -> dict[str, Any]:
        """A JSON row; NaN and infinities become null, since JSON has no such numbers."""
        row = asdict(self)
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}


@dataclass
class Batch:
    """What a data source yields: cases, and where they exist labels (or targets) and case weights, batch first."""

    x: Tensor
    y: Tensor | None = None
    weight: Tensor | None = None

    def __len__(self) -> int:
        return self.x.shape[0]  # `len` of a tensor takes eight times as long

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        parts = (self.x, self.y, self.weight)
        if all(t is None or t.device == device for t in parts):
            return self
        move = [None if t is None else t.to(device, non_blocking=True) for t in parts]
        return Batch(move[0], move[1], move[2])  # type: ignore[arg-type]


@dataclass(frozen=True)
class Clamp:
    """Entries of a layer that a chain must not change: ``known`` is True where ``values`` hold.

    Both phases of learning, completion, conditioning on a label and inpainting are clamped chains. Shapes broadcast to
    (chains, units).
    """

    values: Tensor
    known: Tensor

    def apply(self, x: Tensor) -> Tensor:
        """`x` with the known entries put back."""
        return torch.where(self.known, self.values.to(x.dtype), x)
