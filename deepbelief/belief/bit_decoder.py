"""Data given bits, by one network and one layer of units; pixels drawn all at once, or each given those before it.

    p(x | s) = prod_i p(x_i | f_i(s)),    or with a `PixelCNN` of maps g_0, g_1 ...,

    p(x | s) = prod_i p(x_i | f_i(s) + g_i0(x_<i) + sum_m e_im(s) g_im(x_<i)),    x_<i = (x_1 ... x_(i-1)).

With it the bits say what is where, and the pixels before a pixel what its edges look like (Gulrajani et al. 2017,
PixelVAE); the e_im, numbers of the same network, let the bits choose what those pixels mean. The likelihood is as exact
as without; draws must go through the picture in reading order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deepbelief.errors import check, check_count
from deepbelief.networks.parts import network_config, network_from_config, on_rows
from deepbelief.networks.pixel_cnn import PixelCNN
from deepbelief.protocols import Generator
from deepbelief.rng import uniform_like
from deepbelief.types import Clamp
from deepbelief.units.base import Units
from deepbelief.units.catalog import units_from_config


class BitDecoder(nn.Module):
    """``p(x | s)`` of `visible` units by a `network` from bits: (n, n_condition) -> (n, visible.size * maps).

    Parameters
    ----------
    visible, network
        The units, and the module that turns bits into their inputs f, followed by e_1, e_2 ... of `pixels` with more
        than one map.
    n_condition
        How many bits.
    pixels
        The maps g; None for pixels that are independent given the bits. For Bernoulli units only.

    >>> from deepbelief.units.bernoulli import Bernoulli
    >>> BitDecoder(Bernoulli(4), nn.Linear(3, 4), 3).log_prob(torch.zeros(5, 4), torch.ones(2, 5, 3)).shape
    torch.Size([2, 5])
    """

    def __init__(self, visible: Units, network: nn.Module, n_condition: int, pixels: PixelCNN | None = None) -> None:
        super().__init__()
        check_count("n_condition", n_condition, low=1)
        if pixels is not None:
            check(
                visible.kind == "bernoulli",
                f"pixels must be None unless visible is Bernoulli. Got visible of kind {visible.kind!r}.",
            )
            height, width = pixels.shape
            check(
                height * width == visible.size,
                f"pixels must have a shape of {visible.size} pixels, the visible units. Got {height} x {width}.",
            )
        self.visible, self.network, self.n_condition, self.pixels = visible, network, n_condition, pixels

    def log_prob(self, x: Tensor, s: Tensor) -> Tensor:
        """``log p(x | s)`` in nats: (cases, visible.size), (draws, cases, n_condition) -> (draws, cases)."""
        outputs = on_rows(self.network, s)
        return self.visible.log_prob(x, outputs if self.pixels is None else self._inputs(outputs, x))

    def _inputs(self, outputs: Tensor, x: Tensor) -> Tensor:
        """What the units get: (..., n, visible.size * maps), (n, visible.size) -> (..., n, visible.size)."""
        assert self.pixels is not None
        shape = (self.pixels.maps, self.visible.size)
        g = on_rows(self.pixels, x).unflatten(-1, shape)  # once for all draws of a case
        f_and_e = outputs.unflatten(-1, shape)
        f, e = f_and_e[..., 0, :], f_and_e[..., 1:, :]
        return f + g[..., 0, :] + (e * g[..., 1:, :]).sum(-2)

    def decode(self, s: Tensor) -> Tensor:
        """The means of the data; with `pixels` each given the means before it, as if those were the data."""
        outputs = on_rows(self.network, s)
        return self.visible.mean(outputs) if self.pixels is None else self._in_order(outputs, self.visible.mean)

    def sample(self, n: int, *, condition: Tensor, generator: Generator = None, mean: bool = False) -> Tensor:
        """`n` draws of the data given `n` rows of bits, or their means (of every pixel given those drawn before it)."""
        outputs = on_rows(self.network, condition)
        if self.pixels is None:
            return self.visible.mean(outputs) if mean else self.visible.sample(outputs, generator)
        x = self._drawn_in_order(outputs, generator)
        return self.visible.mean(self._inputs(outputs, x)) if mean else x

    def redraw(self, x: Tensor, s: Tensor, clamp: Clamp, generator: Generator = None) -> tuple[Tensor, Tensor]:
        """One step of a chain over what `clamp` leaves free, given bits: the new data, and what to average over steps.

        Pixels that are independent given the bits are drawn, and their means averaged. With `pixels` a draw in reading
        order does not know the known pixels that come later; Metropolis and Hastings accept it with the ratio of their
        probabilities, and the states themselves are averaged.
        """
        outputs = on_rows(self.network, s)
        if self.pixels is None:
            mean = self.visible.mean(outputs)
            return clamp.apply(self.visible.draw(outputs, mean, generator)), mean
        proposed = self._drawn_in_order(outputs, generator, clamp)
        gain = self._log_prob_of_known(proposed, outputs, clamp) - self._log_prob_of_known(x, outputs, clamp)
        accept = uniform_like(gain, generator).log() < gain
        state = torch.where(accept.unsqueeze(1), proposed, x)
        return state, state

    def _log_prob_of_known(self, x: Tensor, outputs: Tensor, clamp: Clamp) -> Tensor:
        """``sum log p(x_i | x_<i, s)`` over the clamped pixels: (cases,)."""
        logits = self._inputs(outputs, x) + self.visible.bias
        each = -F.binary_cross_entropy_with_logits(logits, x, reduction="none")
        return torch.where(clamp.known, each, 0).sum(-1)

    def _drawn_in_order(self, outputs: Tensor, generator: Generator, clamp: Clamp | None = None) -> Tensor:
        """A draw from pixel to pixel, with the clamped ones at their values."""
        u = uniform_like(outputs[:, : self.visible.size], generator)

        def draw(inputs: Tensor) -> Tensor:
            x = (u < self.visible.mean(inputs)).to(u.dtype)
            return x if clamp is None else clamp.apply(x)

        return self._in_order(outputs, draw)

    def _in_order(self, outputs: Tensor, choose: Callable[[Tensor], Tensor]) -> Tensor:
        """``x_i = choose(inputs of i given x_<i)`` for all i, as the fixed point of all pixels at once.

        After k rounds the first k pixels are right whatever the others are, so visible.size rounds do for certain, and
        far fewer are needed where a pixel hangs on few others (Wiggers & Hoogeboom 2020).
        """
        x = choose(outputs[:, : self.visible.size])
        for _ in range(self.visible.size):
            before, x = x, choose(self._inputs(outputs, x))
            if torch.equal(before, x):
                break
        return x

    def config(self) -> dict[str, Any]:
        """What makes this decoder again."""
        pixels = None if self.pixels is None else network_config(self.pixels)
        own = {"network": network_config(self.network), "n_condition": self.n_condition, "pixels": pixels}
        return {"visible": self.visible.config(), **own}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The decoder that `config` describes, with fresh weights."""
        network, pixels = network_from_config(config["network"]), config.get("pixels")  # older models have none
        built: Any = None if pixels is None else network_from_config(pixels)
        return cls(units_from_config(config["visible"]), network, config["n_condition"], built)
