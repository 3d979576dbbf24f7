"""A deep belief network whose way up has weights of its own: what wake-sleep learning needs and makes.

    p(v, h1, ..., hL) = p(v | h1) ... p(h_{L-2} | h_{L-1}) p(h_{L-1}, h_L)         generative weights, and the top RBM
    Q(h1, ..., h_{L-1} | v) = Q(h1 | v) ... Q(h_{L-1} | h_{L-2})                    recognition weights

Greedy learning ties each Q to the p of the same RBM; that is right only for the RBM that each was when it was the top.
Hinton, Osindero & Teh 2006, "A fast learning algorithm for deep belief nets", section 5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import nn

from deepbelief.belief.dbn import DBN
from deepbelief.belief.layers import Layer, UntiedLayer
from deepbelief.belief.stack import BeliefStack, check_stacked
from deepbelief.energy.rbm import RBM


class UntiedDBN(BeliefStack):
    """Layers with recognition and generative weights under an undirected top, with labels beside it or without.

    It can do what a `DBN` can: sample, complete, bound the likelihood, classify by free energies. Its bounds use the
    recognition weights as Q, and are bounds whatever these are.

    >>> net = UntiedDBN.from_dbn(DBN.of_sizes([6, 4, 3]))
    >>> net.encode(torch.zeros(2, 6)).shape, net.sample(5, n_steps=10).shape
    (torch.Size([2, 3]), torch.Size([5, 6]))
    """

    def __init__(self, below: Sequence[UntiedLayer], undirected: RBM, n_classes: int | None = None) -> None:
        super().__init__()
        self.below = nn.ModuleList(below)
        self.undirected = undirected
        self.n_classes = n_classes
        check_stacked(self.layers, n_classes)

    @classmethod
    @torch.no_grad()
    def from_dbn(cls, dbn: DBN) -> Self:
        """A network that infers and generates as `dbn` does, with copies of its parameters."""
        top = dbn.top.empty_like()
        top.load_state_dict(dbn.top.state_dict())
        return cls([UntiedLayer.from_rbm(rbm) for rbm in dbn.layers[:-1]], top, dbn.n_classes)

    @property
    def layers(self) -> list[Layer]:
        """The layers from the bottom to the top, the top RBM included."""
        return [*self.untied, self.undirected]

    @property
    def untied(self) -> list[UntiedLayer]:
        """The layers below the top RBM."""
        return list(self.below)  # type: ignore[arg-type]

    # -- storage ----------------------------------------------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        """What rebuilds the model (without its parameters), as JSON."""
        below = [layer.config() for layer in self.untied]
        return {"below": below, "top": self.undirected.config(), "n_classes": self.n_classes}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A model from `config`."""
        below = [UntiedLayer.from_config(layer) for layer in config["below"]]
        return cls(below, RBM.from_config(config["top"]), config["n_classes"])
