"""A layer made of several kinds of units side by side: pixels beside a label, counts beside measurements."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from deepbelief.errors import InvalidArgumentError, check
from deepbelief.native.draws import sigmoid_bernoulli, softplus_change
from deepbelief.units.base import Units
from deepbelief.units.bernoulli import Bernoulli


class SideBySide(Units):
    """Parts that share one row, in order; each part keeps its own distribution.

    >>> from deepbelief.units.bernoulli import Bernoulli
    >>> from deepbelief.units.categorical import Categorical
    >>> SideBySide([Bernoulli(4), Categorical(1, 3)]).size
    7
    """

    kind = "side_by_side"

    def __init__(self, parts: Sequence[Units]) -> None:
        check(len(parts) >= 1, "parts must hold at least 1 kind of units. Got none.")
        nn.Module.__init__(self)  # no bias of its own: the parts hold them
        self.parts = nn.ModuleList(parts)
        self.sizes = [part.size for part in parts]
        self.size = sum(self.sizes)
        self.least = min(part.least for part in parts)
        self.most = max(part.most for part in parts)
        self.needs_bounded_partner = any(part.needs_bounded_partner for part in parts)
        self._bits = all(type(part) is Bernoulli for part in parts)  # then all are drawn in one call

    @property
    def bias(self) -> Tensor:  # type: ignore[override]
        """The parts' biases in one row (a copy: set the parts' own)."""
        return torch.cat([part.bias for part in self._parts()])

    def _parts(self) -> list[Units]:
        return list(self.parts)  # type: ignore[arg-type]

    def part(self, index: int) -> Units:
        """Part number `index`."""
        return self._parts()[index]

    def slice_of(self, index: int) -> slice:
        """Where part number `index` sits in a row."""
        start = sum(self.sizes[:index])
        return slice(start, start + self.sizes[index])

    def _each(self, function: Callable[[Units, Tensor], Tensor], x: Tensor) -> list[Tensor]:
        return [function(part, piece) for part, piece in zip(self._parts(), x.split(self.sizes, -1), strict=True)]

    def potential(self, x: Tensor) -> Tensor:
        return torch.stack(self._each(lambda part, piece: part.potential(piece), x)).sum(0)

    def cumulants(self, inputs: Tensor) -> Tensor:
        return torch.cat(self._each(lambda part, piece: part.cumulants(piece), inputs), -1)

    def mean(self, inputs: Tensor) -> Tensor:
        return torch.cat(self._each(lambda part, piece: part.mean(piece), inputs), -1)

    def draw(self, inputs: Tensor, mean: Tensor, generator: torch.Generator | None) -> Tensor:
        pieces = zip(self._parts(), inputs.split(self.sizes, -1), mean.split(self.sizes, -1), strict=True)
        return torch.cat([part.draw(i, m, generator) for part, i, m in pieces], -1)

    def mean_and_sample(self, inputs: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        both = sigmoid_bernoulli(inputs, self.bias, generator) if self._bits else None
        if both is not None:
            return both
        pieces = zip(self._parts(), inputs.split(self.sizes, -1), strict=True)
        # a part's own way may be one pass of a kernel, which wants its numbers side by side in memory
        each = [part.mean_and_sample(piece.contiguous(), generator) for part, piece in pieces]
        return torch.cat([mean for mean, _ in each], -1), torch.cat([drawn for _, drawn in each], -1)

    def cumulant_change(self, inputs: Tensor, scale: float, there: Units, scale_there: float) -> Tensor:
        biases = (scale, self.bias), (scale_there, there.bias)
        change = softplus_change(inputs, *biases) if self._bits else None
        return super().cumulant_change(inputs, scale, there, scale_there) if change is None else change

    def statistics(self, x: Tensor) -> dict[str, Tensor]:
        pieces = zip(self._parts(), x.split(self.sizes, -1), strict=True)
        return {
            f"parts.{i}.{k}": s for i, (part, piece) in enumerate(pieces) for k, s in part.statistics(piece).items()
        }

    def expected_statistics(self, inputs: Tensor, mean: Tensor) -> dict[str, Tensor]:
        pieces = zip(self._parts(), inputs.split(self.sizes, -1), mean.split(self.sizes, -1), strict=True)
        return {
            f"parts.{i}.{k}": s
            for i, (part, a, m) in enumerate(pieces)
            for k, s in part.expected_statistics(a, m).items()
        }

    def set_gradients(self, bias: Tensor, others: Mapping[str, Tensor]) -> None:
        for i, (part, gradient) in enumerate(zip(self._parts(), bias.split(self.sizes, -1), strict=True)):
            mark = f"parts.{i}."
            part.set_gradients(gradient, {k.removeprefix(mark): g for k, g in others.items() if k.startswith(mark)})

    def match(self, mean: Tensor, variance: Tensor | None = None) -> None:
        variances = [None] * len(self.sizes) if variance is None else variance.split(self.sizes, -1)
        for part, m, s in zip(self._parts(), mean.split(self.sizes, -1), variances, strict=True):
            part.match(m, s)

    def blend(self, other: SideBySide, beta: float) -> SideBySide:
        return SideBySide([a.blend(b, beta) for a, b in zip(self._parts(), other._parts(), strict=True)])

    @property
    def bases(self) -> Sequence[int] | None:
        if any(part.bases is None for part in self._parts()):
            return None
        return [base for part in self._parts() for base in part.bases or []]

    def from_digits(self, digits: Tensor) -> Tensor:
        if self.bases is None:
            raise InvalidArgumentError(
                "a layer with a part of infinitely many states cannot be enumerated. Use ais(...) instead."
            )
        widths = [len(part.bases or []) for part in self._parts()]
        pieces = zip(self._parts(), digits.split(widths, -1), strict=True)
        return torch.cat([part.from_digits(piece) for part, piece in pieces], -1)

    def check_values(self, x: Tensor, name: str = "X") -> None:
        for i, part in enumerate(self._parts()):
            place = self.slice_of(i)
            part.check_values(x[:, place], f"{name}[:, {place.start}:{place.stop}]")

    def check_known(self, known: Tensor) -> None:
        for i, part in enumerate(self._parts()):
            part.check_known(known[..., self.slice_of(i)])

    def config(self) -> dict[str, Any]:
        return {"kind": self.kind, "parts": [part.config() for part in self._parts()]}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> SideBySide:
        return cls([Units.rebuild(part) for part in config["parts"]])
