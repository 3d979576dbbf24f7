"""Binarization, said out loud: none, threshold, fixed and stochastic are four data sets, two nats and more apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from deepbelief.errors import InvalidDataError, check_choice, check_range
from deepbelief.rng import bernoulli, make_generator

Binarization = Literal["none", "threshold", "fixed", "stochastic"]
BINARIZATIONS: tuple[str, ...] = get_args(Binarization)
_ROWS = 4096  # rows per draw: a fixed draw must not depend on how much memory there is


@dataclass(frozen=True)
class Binarizer:
    """How grey levels in [0, 1] become bits.

    ``none`` leaves them; ``threshold`` sets a bit where x > threshold; ``fixed`` draws each bit once, with probability
    x, from ``seed``; ``stochastic`` draws each bit anew whenever a batch is made. ``inverted`` swaps black and white
    afterwards (1 - x), so the inverted data are the same cases bit for bit.
    """

    name: Binarization = "none"
    threshold: float = 0.5
    inverted: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice("binarization", self.name, BINARIZATIONS)
        check_range("threshold", self.threshold, low=0.0, high=1.0)

    def prepare(self, x: Tensor, scale: float | None = None) -> tuple[Tensor, float | None]:
        """The work done once, at load time: returns the data to keep and the scale that they still need.

        ``threshold`` and ``fixed`` give bytes of 0 and 1 that need no scale; ``none`` and ``stochastic`` give `x` back.
        Raises `InvalidDataError` for values outside [0, 1] (after scaling), except for ``none``.
        """
        if self.name == "none":
            return x, scale
        check_unit_interval(x, scale)
        if self.name == "stochastic":
            return x, scale
        generator = make_generator(self.seed)
        bits = [self._bits(_scaled(rows, scale), generator).to(torch.uint8) for rows in x.split(_ROWS)]
        return torch.cat(bits), None

    @property
    def transform(self) -> _PerBatch | None:
        """What is left to do to each batch of prepared data, or None: the source's ``transform`` hook."""
        done = self.name in ("threshold", "fixed") or (self.name == "none" and not self.inverted)
        return None if done else _PerBatch(self, checked=False)

    @property
    def streaming_transform(self) -> _PerBatch | None:
        """The whole work per batch, checks included, for data that never are in memory at once."""
        if self.name == "fixed":
            raise InvalidDataError(
                "binarization='fixed' must see all data at once. Got data that stream. "
                "Use 'threshold' or 'stochastic', or binarize the file beforehand."
            )
        return None if self.name == "none" and not self.inverted else _PerBatch(self, checked=True)

    def apply(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """`x` (values in [0, 1]) binarized now, in the type of `x`: for evaluation outside a source."""
        check_unit_interval(x) if self.name != "none" else None
        return self._bits(x, make_generator(self.seed) if self.name == "fixed" else generator)

    def _bits(self, x: Tensor, generator: torch.Generator) -> Tensor:
        if self.name == "threshold":
            x = (x > self.threshold).to(x.dtype)
        elif self.name != "none":
            x = bernoulli(x, generator) if generator.device == x.device else _draw_elsewhere(x, generator)
        return 1 - x if self.inverted else x


@dataclass(frozen=True)
class _PerBatch:
    binarizer: Binarizer
    checked: bool

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        if self.checked and self.binarizer.name != "none":
            check_unit_interval(x)
        return self.binarizer._bits(x, generator)


def make_binarizer(
    name: Binarization = "none", threshold: float = 0.5, *, inverted: bool = False, seed: int = 0
) -> Binarizer:
    """A `Binarizer` by name; an unknown name is answered with the nearest known one.

    >>> make_binarizer("threshold").prepare(torch.tensor([[0, 200, 255]], dtype=torch.uint8), 1 / 255)
    (tensor([[0, 1, 1]], dtype=torch.uint8), None)
    """
    return Binarizer(name, threshold, inverted, seed)


def check_unit_interval(x: Tensor, scale: float | None = None, *, name: str = "X") -> None:
    """Raise `InvalidDataError` unless all of `x` (times `scale`) lies in [0, 1], the range of Bernoulli units.

    >>> check_unit_interval(torch.tensor([[0.0, 17.0]]))
    Traceback (most recent call last):
    ...
    deepbelief.errors.InvalidDataError: X must lie in [0, 1]. Got 17: scale to [0, 1] or use Gaussian units.
    """
    low, high = (float(end) * (scale or 1.0) for end in torch.aminmax(x))
    slack = 1e-6  # 255 * (1 / 255) need not be exactly 1
    if not (low >= 0 and high <= 1 + slack):  # written so that NaN fails too
        bad = high if low >= 0 else low
        raise InvalidDataError(f"{name} must lie in [0, 1]. Got {bad:g}: scale to [0, 1] or use Gaussian units.")


def _scaled(x: Tensor, scale: float | None) -> Tensor:
    x = x.to(torch.float32)
    return x if scale is None else x * scale


def _draw_elsewhere(x: Tensor, generator: torch.Generator) -> Tensor:
    """Data on a GPU, generator on the CPU (or the reverse): draw where the generator lives."""
    uniform = torch.rand(x.shape, dtype=x.dtype, device=generator.device, generator=generator)
    return (uniform.to(x.device) < x).to(x.dtype)
