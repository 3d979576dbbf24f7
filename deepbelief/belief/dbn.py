"""The deep belief network: a stack of RBMs of which the top one stays undirected and the others generate downwards.

    p(v, h1, ..., hL) = p(v | h1) p(h1 | h2) ... p(h_{L-1}, h_L)

Hinton, Osindero & Teh 2006, "A fast learning algorithm for deep belief nets". When labels sit in the top RBM, its
visible layer is h_{L-1} beside one softmax group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Self

import torch
from torch import nn

from deepbelief.belief.stack import BeliefStack, check_stacked
from deepbelief.energy.rbm import RBM
from deepbelief.errors import check, check_count
from deepbelief.protocols import Generator
from deepbelief.units.base import Units
from deepbelief.units.bernoulli import Bernoulli
from deepbelief.units.categorical import Categorical
from deepbelief.units.side_by_side import SideBySide


class DBN(BeliefStack):
    """A deep belief network over RBMs from the bottom to the top; the hidden units of one are visible to the next.

    With `n_classes`, the top RBM's visible layer must end in one categorical group of that many values: the label.

    >>> import torch
    >>> dbn = DBN.of_sizes([6, 4, 3])
    >>> dbn.encode(torch.zeros(2, 6)).shape, dbn.sample(5, n_steps=10).shape
    (torch.Size([2, 3]), torch.Size([5, 6]))
    """

    def __init__(self, rbms: Sequence[RBM], n_classes: int | None = None) -> None:
        super().__init__()
        check(len(rbms) >= 1, "a DBN needs at least 1 RBM. Got none.")
        self.rbms = nn.ModuleList(rbms)
        self.n_classes = n_classes
        check_stacked(rbms, n_classes)

    @classmethod
    def of_sizes(cls, sizes: Sequence[int], n_classes: int | None = None, *, generator: Generator = None) -> DBN:
        """A DBN of Bernoulli units with these layer sizes, the data's first; labels join the top RBM."""
        check(len(sizes) >= 2, f"sizes must name the data and at least 1 layer. Got sizes={list(sizes)}.")
        return cls.of_units([Bernoulli(size) for size in sizes], n_classes, generator=generator)

    @classmethod
    def of_units(cls, layers: Sequence[Units], n_classes: int | None = None, *, generator: Generator = None) -> DBN:
        """A DBN over layers of any kinds of units, the data's first."""
        if n_classes is not None:
            check_count("n_classes", n_classes, low=2)
        rbms = []
        for i, (lower, upper) in enumerate(pairwise(layers)):
            top = i == len(layers) - 2
            own = units_copy(lower)
            visible = SideBySide([own, Categorical(1, n_classes)]) if top and n_classes else own
            rbms.append(RBM(visible, units_copy(upper), generator=generator))
        return cls(rbms, n_classes)

    # -- parts ------------------------------------------------------------------------------------------------------

    @property
    def layers(self) -> list[RBM]:
        """The RBMs from the bottom to the top."""
        return list(self.rbms)  # type: ignore[arg-type]

    # -- storage ----------------------------------------------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        """What rebuilds the model (without its parameters), as JSON."""
        return {"rbms": [rbm.config() for rbm in self.layers], "n_classes": self.n_classes}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A model from `config`."""
        return cls([RBM.from_config(rbm) for rbm in config["rbms"]], config["n_classes"])


@torch.no_grad()
def with_labels_in_top(dbn: DBN, n_classes: int) -> DBN:
    """A DBN with one softmax group of `n_classes` values more in its top RBM, and copies of all else.

    The label's weights and biases are 0: the law of the data is what it was, and every label is as likely as any other,
    until the top learns more. This is how a stack that was learned without labels comes to know them.

    >>> with_labels_in_top(DBN.of_sizes([6, 4, 3]), 2).classify(torch.ones(1, 6)).tolist()
    [[0.5, 0.5]]
    """
    check_count("n_classes", n_classes, low=2)
    check(dbn.n_classes is None, f"dbn must have no labels yet. Got n_classes={dbn.n_classes}. Use it as it is.")
    twin = DBN.from_config(dbn.config()).to(dbn.top.weight)
    twin.load_state_dict(dbn.state_dict())
    below = twin.top
    label = Categorical(1, n_classes).to(below.weight)
    top = RBM(SideBySide([below.visible, label]), below.hidden, weight_std=0.0).to(below.weight)
    top.weight[: below.visible.size] = below.weight
    top.visible_offset.copy_(torch.cat([below.visible_offset, label.mean(torch.zeros_like(label.bias))]))
    top.hidden_offset.copy_(below.hidden_offset)
    return DBN([*twin.layers[:-1], top], n_classes)


def units_copy(units: Units) -> Units:
    """The same kind and size with parameters of its own: a layer is hidden in one RBM and visible in the next."""
    return units.empty_like()
