"""Autoencoders of any depth: a network from cases to codes, one back, and a layer of units that scores the result.

    z = s(encoder(x)),        log p(x | z) = sum_i log p(x_i | decoder(z)_i),        reconstruction = <x | z>

The last layer is one of `deepbelief.units`, so that bits, grey levels, real numbers and classes have their own
likelihood. Hinton & Salakhutdinov 2006; Vincent et al. 2010, "Stacked denoising autoencoders".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from deepbelief.autoencoders.transposed import Transposed
from deepbelief.errors import InvalidArgumentError, check, check_choice
from deepbelief.networks.convolutional import ConvolutionalDecoder, ConvolutionalEncoder
from deepbelief.networks.dense import ACTIVATIONS, DenseNetwork
from deepbelief.units.base import Units
from deepbelief.units.catalog import units_from_config
from deepbelief.units.quadratic import Quadratic

NETWORKS: dict[str, Any] = {
    network.__name__: network for network in (DenseNetwork, Transposed, ConvolutionalEncoder, ConvolutionalDecoder)
}


class Autoencoder(nn.Module):
    """An encoder, a decoder and the units of the data; `dense` and `convolutional` build the usual ones.

    Parameters
    ----------
    encoder, decoder : nn.Module
        Any modules ``(n, visible.size) -> (n, k)`` and ``(n, k) -> (n, visible.size)``. The decoder gives log-odds for
        bits and classes, and means for real-valued units.
    visible : Units
        What the data are: ``Bernoulli(784)``, ``Gaussian(20)``, ``Categorical(5, 4)`` ... They hold the last biases.
    code : "identity", "sigmoid", "tanh" or "relu"
        What squashes the codes.
    learned_scale : bool
        Whether the precision of real-valued units is learned; if not, it stays as it is given, 1 at first.

    Raises `InvalidArgumentError` for an unknown squashing.

    >>> from deepbelief.units.bernoulli import Bernoulli
    >>> net = Autoencoder.dense(Bernoulli(6), [4, 2], code="sigmoid", generator=torch.Generator().manual_seed(0))
    >>> net.encode(torch.zeros(5, 6)).shape, net(torch.zeros(5, 6)).shape
    (torch.Size([5, 2]), torch.Size([5, 6]))
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        visible: Units,
        *,
        code: str = "identity",
        learned_scale: bool = True,
    ) -> None:
        super().__init__()
        check_choice("code", code, ACTIVATIONS)
        if isinstance(decoder, Transposed):
            decoder.check_fits(encoder)
        self.encoder, self.decoder, self.visible = encoder, decoder, visible
        self.code, self.learned_scale = code, learned_scale
        self.squash = ACTIVATIONS[code]()
        for units in real_valued(visible):
            units.log_precision.requires_grad_(learned_scale)

    @classmethod
    def dense(
        cls,
        visible: Units,
        sizes: Sequence[int],
        *,
        activation: str = "relu",
        code: str = "identity",
        tied: bool = False,
        learned_scale: bool = True,
        generator: torch.Generator | None = None,
    ) -> Self:
        """Fully connected layers of `sizes` up to the code, the last of them, and the same ones down.

        ``sizes=[1000, 500, 250, 30]`` over 784 units is the published 784-1000-500-250-30. With `tied`, the way down
        uses the transposed weights of the way up and has only biases of its own.
        """
        check(len(sizes) >= 1, "sizes must name the code's size at least. Got none. Use sizes=[30], for example.")
        up = [visible.size, *sizes]
        encoder = DenseNetwork(up[:-1], activation=activation, output=up[-1], generator=generator)
        decoder: nn.Module
        if tied:
            decoder = Transposed(up[::-1], activation=activation)
        else:
            decoder = DenseNetwork(up[:0:-1], activation=activation, output=up[0], generator=generator)
        return cls(encoder, _without_last_bias(decoder), visible, code=code, learned_scale=learned_scale)

    @classmethod
    def convolutional(
        cls,
        visible: Units,
        shape: Sequence[int],
        n_components: int,
        *,
        channels: Sequence[int] = (32, 64),
        normalization: str = "none",
        activation: str = "relu",
        code: str = "identity",
        learned_scale: bool = True,
        generator: torch.Generator | None = None,
    ) -> Self:
        """Strided convolutions over pictures of `shape` (channels, height, width) to `n_components`, and back.

        Cases are rows, as everywhere. See `deepbelief.networks.convolutional` for the blocks.
        """
        same: dict[str, Any] = {"channels": channels, "normalization": normalization, "activation": activation}
        encoder = ConvolutionalEncoder(shape, n_components, generator=generator, **same)
        check(
            encoder.n_features == visible.size,
            f"shape must hold {visible.size} pixels, the size of visible. Got shape={tuple(shape)}.",
        )
        decoder = ConvolutionalDecoder(n_components, shape, generator=generator, **same)
        return cls(encoder, decoder, visible, code=code, learned_scale=learned_scale)

    # -- the two ways -----------------------------------------------------------------------------------------------

    def encode(self, x: Tensor) -> Tensor:
        """The codes: (n, visible.size) -> (n, k), squashed in the type of `x`, as short numbers near 1 are coarse."""
        return self.squash(self.encoder(x).to(x.dtype))

    def input_v_from_z(self, z: Tensor) -> Tensor:
        """What the units of the data receive from codes: (n, k) -> (n, visible.size).

        Real-valued units receive ``precision * decoder(z)``, so that the decoder gives their mean, whatever the scale
        (not where they stand beside units of other kinds).
        """
        raw = self.decoder(z, self.encoder) if isinstance(self.decoder, Transposed) else self.decoder(z)
        return raw * self.visible.precision if isinstance(self.visible, Quadratic) else raw

    def decode(self, z: Tensor) -> Tensor:
        """The means of the data given codes: (n, k) -> (n, visible.size)."""
        return self.visible.mean(self.input_v_from_z(z))

    def reconstruct(self, x: Tensor) -> Tensor:
        """``decode(encode(x))``."""
        return self.decode(self.encode(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.reconstruct(x)

    def log_prob(self, x: Tensor) -> Tensor:
        """``log p(x | z = encode(x))`` in nats: (n, visible.size) -> (n,).

        It is no likelihood of x: the code was made from x itself, and nothing pays for what the code says.
        """
        return self.visible.log_prob(x, self.input_v_from_z(self.encode(x)))

    def match_data(self, x: Tensor, weight: Tensor | None = None) -> None:
        """Start the biases of the data's units (and a scale that is learned) from the moments of cases."""
        before = [units.log_precision.detach().clone() for units in real_valued(self.visible)]
        self.visible.match_data(x, weight)
        if self.learned_scale:
            return
        with torch.no_grad():
            for units, fixed in zip(real_valued(self.visible), before, strict=True):
                units.bias.mul_((fixed - units.log_precision).exp())  # the mean is bias / precision
                units.log_precision.copy_(fixed)

    # -- storage ----------------------------------------------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        """What rebuilds the model (without its parameters), as JSON; networks of your own have no name to be found by.

        Raises `InvalidArgumentError` for such networks.
        """
        return {
            "encoder": _network_config("encoder", self.encoder),
            "decoder": _network_config("decoder", self.decoder),
            "last_bias": not isinstance(self.decoder, DenseNetwork) or self.decoder.linear_layers[-1].bias is not None,
            "visible": self.visible.config(),
            "code": self.code,
            "learned_scale": self.learned_scale,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A model from `config`."""
        ways = (config["encoder"], config["decoder"])
        encoder, decoder = (NETWORKS[way["network"]].from_config(way["config"]) for way in ways)
        if not config["last_bias"]:
            decoder = _without_last_bias(decoder)
        options = {"code": config["code"], "learned_scale": config["learned_scale"]}
        return cls(encoder, decoder, units_from_config(config["visible"]), **options)


def real_valued(units: Units) -> list[Quadratic]:
    """The units with a scale among `units`, which may be several kinds side by side."""
    return [part for part in units.modules() if isinstance(part, Quadratic)]


def _without_last_bias(decoder: nn.Module) -> nn.Module:
    """The units of the data hold the last biases; a second copy would only learn twice as fast."""
    if isinstance(decoder, DenseNetwork):
        decoder.linear_layers[-1].bias = None  # type: ignore[assignment]
    return decoder


def _network_config(name: str, network: nn.Module) -> dict[str, Any]:
    kind = type(network).__name__
    if NETWORKS.get(kind) is not type(network):
        raise InvalidArgumentError(
            f"{name} must be one of {', '.join(NETWORKS)} to be saved. Got {kind}. Keep its state_dict() yourself."
        )
    return {"network": kind, "config": network.config()}  # type: ignore[operator]
