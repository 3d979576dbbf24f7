"""A feed-forward network unrolled from a deep Boltzmann machine, for fine-tuning by back-propagation.

From the bottom up, with ``V_l = 2 W_l`` below the top as it starts, for what the machine hears from above:

    a_l = mean_l(a_{l-1} V_{l-1}),     a_0 = x

so the activities start as the pass up from which mean field starts. With feedback the mean-field means of the upper
hidden layers are inputs beside x, each with weights of its own (Salakhutdinov & Hinton 2009, section 3.3):

    a_1 = mean_1(x V_0 + mu_2 U_1),     a_l = mean_l(a_{l-1} V_{l-1} + mu_{l+1} U_l),     a_L = mean_L(a_{L-1} V_{L-1})

With ``V_l = W_l`` and ``U_l = W_l'``, as it then starts, the activities are the mean-field means themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from deepbelief.energy.dbm import DBM
from deepbelief.errors import InvalidDataError, check_count
from deepbelief.networks.dropout import Dropout
from deepbelief.protocols import Generator
from deepbelief.units.base import Units


class DBMNetwork(nn.Module):
    """A classifier or regressor on top of the machine's pass up, with outputs before softmax.

    With `feedback` it starts as one more round of mean field instead. It then takes rows of x, or for repeated use
    (training) rows of ``augmented(x)``, which hold the means already. Two layers learn about as well either way; under
    three and more the means tell the answers of training cases too well, and the weights below them learn little.
    The machine inside stays as it is.

    >>> net = DBMNetwork(DBM([6, 4, 3]), 2, feedback=True, generator=torch.Generator().manual_seed(0))
    >>> net(torch.zeros(5, 6)).shape, net(net.augmented(torch.zeros(5, 6))).shape
    (torch.Size([5, 2]), torch.Size([5, 2]))
    """

    def __init__(
        self,
        dbm: DBM,
        n_outputs: int,
        *,
        feedback: bool = False,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        output_std: float = 0.01,
        generator: Generator = None,
    ) -> None:
        super().__init__()
        check_count("n_outputs", n_outputs, low=1)
        self.dbm = DBM.from_config(dbm.config()).to(dbm.weights[0])
        self.dbm.load_state_dict(dbm.state_dict())
        self.dbm.requires_grad_(False)
        self.units = nn.ModuleList([units.empty_like() for units in dbm.units[1:]])
        for own, units in zip(self.units, dbm.units[1:], strict=True):
            own.load_state_dict(units.state_dict())
        self.feedback = bool(feedback)
        *lower, last = dbm.weights
        share = 1.0 if self.feedback else 2.0  # of what comes from below
        self.up = nn.ModuleList([*(_linear(share * weight.T) for weight in lower), _linear(last.T)])
        self.down = nn.ModuleList([_linear(weight) for weight in dbm.weights[1:]] if self.feedback else [])
        self.dropout, self.input_dropout = Dropout(dropout), Dropout(input_dropout)
        top = dbm.units[-1].size
        self.output = _linear(output_std * torch.randn(n_outputs, top, generator=generator).to(dbm.weights[0]), True)

    @property
    def n_inputs(self) -> int:
        """The width of x."""
        return self.dbm.visible.size

    def augmented(self, x: Tensor) -> Tensor:
        """x beside the mean-field means of the layers above the first: (n, n_visible) -> (n, wider).

        The means are inputs like x, so no gradient goes back through them. Without feedback this is x.
        """
        if not self.feedback:
            return x
        with torch.no_grad():
            above = self.dbm.infer(x).means[2:]
        return torch.cat([x, *above], 1)

    def activities(self, x: Tensor) -> list[Tensor]:
        """The hidden layers from the bottom to the top."""
        sizes = [units.size for units in self.dbm.units]
        above_first = sizes[2:] if self.feedback else []
        wide = self.n_inputs + sum(above_first)
        if x.shape[1] not in (self.n_inputs, wide):
            raise InvalidDataError(
                f"x must have {self.n_inputs} columns, or {wide} as augmented(x) has. Got {x.shape[1]}."
            )
        x = self.augmented(x) if x.shape[1] == self.n_inputs else x
        below, *above = x.split([sizes[0], *above_first], 1)
        below, found = self.input_dropout(below), []
        for number, (up, units) in enumerate(zip(self.up, self.units, strict=True)):
            inputs = up(below)
            if number < len(self.down):
                inputs = inputs + self.down[number](above[number])
            assert isinstance(units, Units)
            found.append(units.mean(inputs))
            below = self.dropout(found[-1])
        return found

    def features(self, x: Tensor) -> Tensor:
        """The last hidden layer: (n, inputs) -> (n, units)."""
        return self.activities(x)[-1]

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.dropout(self.features(x)))  # (n, units) -> (n, outputs)

    def config(self) -> dict[str, Any]:
        """What rebuilds the model (without its parameters), as JSON."""
        rates = {"dropout": self.dropout.p, "input_dropout": self.input_dropout.p}
        return {"dbm": self.dbm.config(), "n_outputs": self.output.out_features, "feedback": self.feedback, **rates}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A model from `config`."""
        rates = {"dropout": config["dropout"], "input_dropout": config["input_dropout"]}
        feedback = config.get("feedback", True)  # a network saved before there was a choice has it
        return cls(DBM.from_config(config["dbm"]), config["n_outputs"], feedback=feedback, **rates)


def _linear(weight: Tensor, bias: bool = False) -> nn.Linear:
    """A linear map that starts with these weights: (outputs, inputs). The units hold the biases."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias, device=weight.device, dtype=weight.dtype)
    with torch.no_grad():
        layer.weight.copy_(weight)
        if bias:
            layer.bias.zero_()
    return layer
