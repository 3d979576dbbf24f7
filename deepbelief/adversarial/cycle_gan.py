"""`CycleGAN`: two sets of cases and no pairs, a way from each to the other (Zhu, Park, Isola & Efros 2017).

    y = G(x),  x = F(y)             two generators, there and back
    s_y(y),  s_x(x)                 two critics, one in each set

That the way there and back ends where it began, ``F(G(x)) = x``, is what makes G a translation and not just a
generator. The pairing is not identified in general: where laws have a symmetry, any of its maps is as good.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from deepbelief.adversarial.gan import VALUES, averaged_twin, move_average
from deepbelief.errors import check_choice
from deepbelief.networks.parts import network_config, network_from_config

PARTS = ("there", "back", "critic_x", "critic_y")


class CycleGAN(nn.Module):
    """Generators `there`, X to Y, and `back`, Y to X, and a critic for each set; all take and give rows.

    `averaged_there` and `averaged_back` are running averages of the generators, which translate unless asked otherwise;
    `deepbelief.adversarial.cycle_learning` keeps them. Until something learns they are copies.

    `values` is that of both sets: ``unit`` for data in [0, 1], where the generators end in a sigmoid and all networks
    see ``2 x - 1``; ``real`` leaves them as they are. A person's own modules do.

    >>> from deepbelief.networks.dense import DenseNetwork
    >>> ways = [DenseNetwork((2, 4), output=3), DenseNetwork((3, 4), output=2)]
    >>> model = CycleGAN(*ways, DenseNetwork((2, 4), output=1), DenseNetwork((3, 4), output=1))
    >>> model.encode(torch.zeros(5, 2)).shape, model.decode(torch.zeros(5, 3)).shape
    (torch.Size([5, 3]), torch.Size([5, 2]))
    """

    def __init__(
        self, there: nn.Module, back: nn.Module, critic_x: nn.Module, critic_y: nn.Module, *, values: str = "real"
    ) -> None:
        super().__init__()
        check_choice("values", values, VALUES)
        self.there, self.back, self.critic_x, self.critic_y, self.values = there, back, critic_x, critic_y, values
        self.averaged_there, self.averaged_back = averaged_twin(there), averaged_twin(back)

    def train(self, mode: bool = True) -> Self:
        """Training mode for the generators and the critics; the averages are never in it."""
        super().train(mode)
        self.averaged_there.eval()
        self.averaged_back.eval()
        return self

    def encode(self, x: Tensor, *, averaged: bool = True) -> Tensor:
        """Cases of X as cases of Y, by the averaged generator or the one that learns: (n, width of X) -> (n, of Y)."""
        return self._outward((self.averaged_there if averaged else self.there)(self._inward(x)))

    def decode(self, z: Tensor, *, averaged: bool = True) -> Tensor:
        """Cases of Y as cases of X, by the averaged generator or the one that learns: (n, width of Y) -> (n, of X)."""
        return self._outward((self.averaged_back if averaged else self.back)(self._inward(z)))

    def scores_x(self, x: Tensor) -> Tensor:
        """The critic's score of each case of X: (n,)."""
        return self.critic_x(self._inward(x)).squeeze(1)

    def scores_y(self, y: Tensor) -> Tensor:
        """The critic's score of each case of Y: (n,)."""
        return self.critic_y(self._inward(y)).squeeze(1)

    def _inward(self, x: Tensor) -> Tensor:
        return 2 * x - 1 if self.values == "unit" else x

    def _outward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(x) if self.values == "unit" else x

    def update_average(self, decay: float) -> None:
        """``a <- decay a + (1 - decay) w`` for both generators' weights and running statistics."""
        move_average(self.averaged_there, self.there, decay)
        move_average(self.averaged_back, self.back, decay)

    def config(self) -> dict[str, Any]:
        """What rebuilds the model (without its parameters), as JSON."""
        return {"values": self.values, **{name: network_config(getattr(self, name)) for name in PARTS}}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A model from `config`, with fresh weights."""
        return cls(*[network_from_config(config[name]) for name in PARTS], values=config["values"])


def with_unpaired(y: Tensor) -> Callable[[Tensor, torch.Generator], Tensor]:
    """A transform for a data source of X: beside every case one of `y`, drawn at random: (n, width of X and of Y).

    >>> with_unpaired(torch.ones(4, 3))(torch.zeros(2, 1), torch.Generator()).tolist()
    [[0.0, 1.0, 1.0, 1.0], [0.0, 1.0, 1.0, 1.0]]
    """

    def beside(x: Tensor, generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(y), (len(x),), device=generator.device, generator=generator)
        return torch.cat([x, y[rows.to(y.device)].to(x)], 1)

    return beside
