"""A belief network unrolled into a deep autoencoder: its way up is the encoder, its way down the decoder.

    code = <h_L | ... <h1 | x>>,        reconstruction = <x | ... <h_{L-1} | code>>

Both are means, so the network is deterministic; the two ways have parameters of their own, to be fine-tuned by
back-propagation. Gaussian units in the last layer make a linear code, as for the published 784-1000-500-250-30.

Hinton & Salakhutdinov 2006, "Reducing the dimensionality of data with neural networks".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from deepbelief.belief.layers import weight_down, weight_up
from deepbelief.belief.stack import BeliefStack
from deepbelief.belief.unrolled import MeanField
from deepbelief.errors import InvalidArgumentError, check
from deepbelief.units.base import Units
from deepbelief.units.catalog import units_from_config


class DeepAutoencoder(nn.Module):
    """Layers of means up to a code and down to a reconstruction.

    `up` are the units of the encoder's layers from the bottom, `down` those of the decoder's from the top; the last of
    `down` are of the data's kind.

    >>> from deepbelief.belief.dbn import DBN
    >>> net = unroll_autoencoder(DBN.of_sizes([6, 4, 2]))
    >>> net.encode(torch.zeros(5, 6)).shape, net(torch.zeros(5, 6)).shape
    (torch.Size([5, 2]), torch.Size([5, 6]))
    """

    def __init__(self, up: Sequence[Units], down: Sequence[Units]) -> None:
        super().__init__()
        check(len(up) >= 1, "up must hold at least 1 layer. Got none.")
        sizes = [down[-1].size if down else 0, *(units.size for units in up)]
        check(
            [units.size for units in down] == sizes[-2::-1],
            f"down must have the sizes of up backwards, {sizes[-2::-1]}. Got {[units.size for units in down]}.",
        )
        self.encoder = nn.ModuleList(MeanField(n, units) for n, units in zip(sizes, up, strict=False))
        self.decoder = nn.ModuleList(MeanField(n, units) for n, units in zip(sizes[::-1], down, strict=False))

    @property
    def ups(self) -> list[MeanField]:
        """The layers of the encoder."""
        return list(self.encoder)  # type: ignore[arg-type]

    @property
    def downs(self) -> list[MeanField]:
        """The layers of the decoder."""
        return list(self.decoder)  # type: ignore[arg-type]

    @property
    def visible(self) -> Units:
        """The units of the data, which end the decoder."""
        return self.downs[-1].units

    def encode(self, x: Tensor) -> Tensor:
        """The code: (n, inputs) -> (n, size of the code)."""
        for layer in self.ups:
            x = layer(x)
        return x

    def decode(self, z: Tensor) -> Tensor:
        """The reconstruction of a code, means of the data's units: (n, size of the code) -> (n, inputs)."""
        return self.visible.mean(self.input_v_from_z(z))

    def input_v_from_z(self, z: Tensor) -> Tensor:
        """What the data's units receive from codes, before their bias: (n, size of the code) -> (n, inputs)."""
        *inner, last = self.downs
        for layer in inner:
            z = layer(z)
        return last.linear(z)

    def reconstruct(self, x: Tensor) -> Tensor:
        """``decode(encode(x))``."""
        return self.decode(self.encode(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.reconstruct(x)

    def log_prob(self, x: Tensor) -> Tensor:
        """``log p(x | code of x)`` in nats, (n, inputs) -> (n,): for bits or grey levels minus the cross-entropy.

        What fine-tuning climbs, taken from the last layer's input and therefore finite far out. It is no likelihood of
        x: the code was made from x itself.
        """
        return self.visible.log_prob(x, self.input_v_from_z(self.encode(x)))

    def config(self) -> dict[str, Any]:
        """What rebuilds the model (without its parameters), as JSON."""
        each = {"up": self.ups, "down": self.downs}
        return {name: [layer.units.config() for layer in layers] for name, layers in each.items()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A model from `config`."""
        up, down = ([units_from_config(units) for units in config[name]] for name in ("up", "down"))
        return cls(up, down)


@torch.no_grad()
def unroll_autoencoder(dbn: BeliefStack) -> DeepAutoencoder:
    """An autoencoder that starts with `dbn`'s own reconstructions, from copies of its parameters.

    Of an `UntiedDBN` the recognition weights go up and the generative ones down.
    """
    if dbn.n_classes:
        raise InvalidArgumentError(
            f"labels must not sit in the top RBM of an autoencoder. Got n_classes={dbn.n_classes}. Leave them out."
        )
    layers = dbn.layers
    down = [layer.visible.empty_like() for layer in layers[::-1]]
    net = DeepAutoencoder([layer.hidden.empty_like() for layer in layers], down).to(dbn.top.weight)
    for own, layer in zip(net.ups, layers, strict=True):
        own.linear.weight.copy_(weight_up(layer).T)
        own.units.load_state_dict(layer.hidden.state_dict())
    for own, layer in zip(net.downs, layers[::-1], strict=True):
        own.linear.weight.copy_(weight_down(layer))
        own.units.load_state_dict(layer.visible.state_dict())
    return net
