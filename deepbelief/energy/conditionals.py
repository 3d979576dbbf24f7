"""The conditionals of two layers of units, from what each gets from the other: means and draws."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from deepbelief.protocols import Generator
from deepbelief.units.base import Units


class Conditionals(ABC):
    """Two layers that are each independent given the other, ``p(h | v)`` and ``p(v | h)``."""

    visible: Units
    hidden: Units

    @abstractmethod
    def input_h_from_v(self, v: Tensor) -> Tensor:
        """What the hidden units get from the visible ones: (n, n_visible) -> (n, n_hidden)."""

    @abstractmethod
    def input_v_from_h(self, h: Tensor) -> Tensor:
        """What the visible units get from the hidden ones: (n, n_hidden) -> (n, n_visible)."""

    def mean_h_from_v(self, v: Tensor) -> Tensor:
        """``<h>`` given v."""
        return self.hidden.mean(self.input_h_from_v(v))

    def mean_v_from_h(self, h: Tensor) -> Tensor:
        """``<v>`` given h."""
        return self.visible.mean(self.input_v_from_h(h))

    def mean_and_sample_h_from_v(self, v: Tensor, generator: Generator = None) -> tuple[Tensor, Tensor]:
        """``<h>`` given v, and a draw of h."""
        return self.hidden.mean_and_sample(self.input_h_from_v(v), generator)

    def mean_and_sample_v_from_h(self, h: Tensor, generator: Generator = None) -> tuple[Tensor, Tensor]:
        """``<v>`` given h, and a draw of v."""
        return self.visible.mean_and_sample(self.input_v_from_h(h), generator)

    def sample_h_from_v(self, v: Tensor, generator: Generator = None) -> Tensor:
        """A draw of h given v."""
        return self.mean_and_sample_h_from_v(v, generator)[1]

    def sample_v_from_h(self, h: Tensor, generator: Generator = None) -> Tensor:
        """A draw of v given h."""
        return self.mean_and_sample_v_from_h(h, generator)[1]
