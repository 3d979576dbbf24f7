"""The classification RBM: one RBM over a case x and its label y, whose class posteriors are exact.

    E(x, y, h) = U_x(x) + U_h(h) - d_y - x' W h - V_y h
    p(y | x)   = softmax_y( d_y + Gamma_h(x W + V_y) )            p(x, y) = exp(-F(x, y)) / Z

The sum over h is closed, so p(y | x) costs n_hidden * n_classes beside one product x W.
Larochelle & Bengio 2008, "Classification using discriminative restricted Boltzmann machines"; Larochelle, Mandel,
Pascanu & Bengio 2012, "Learning algorithms for the classification restricted Boltzmann machine".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deepbelief.energy.partition.choose import log_z as choose_log_z
from deepbelief.energy.rbm import RBM
from deepbelief.errors import InvalidDataError, check_count
from deepbelief.maths.products import product
from deepbelief.protocols import Generator
from deepbelief.types import Bound, Clamp
from deepbelief.units.base import Units
from deepbelief.units.bernoulli import Bernoulli
from deepbelief.units.catalog import units_from_config
from deepbelief.units.categorical import Categorical
from deepbelief.units.side_by_side import SideBySide

UNKNOWN = -1  # the label of a case that has none


class ClassificationRBM(nn.Module):
    """An RBM over any units x beside one softmax label of `n_classes`; an integer means Bernoulli units.

    ``rbm`` is the joint model: its visible layer is x and the one-hot label side by side. Labels are integers; where
    one may be missing, a label below 0 is unknown.

    >>> model = ClassificationRBM(6, 4, 3, generator=torch.Generator().manual_seed(0))
    >>> model.classify(torch.zeros(2, 6)).sum(1)
    tensor([1., 1.], grad_fn=<SumBackward1>)
    >>> model.log_likelihood(torch.zeros(2, 6)).kind
    'exact'
    """

    def __init__(
        self,
        visible: Units | int,
        hidden: Units | int,
        n_classes: int,
        *,
        weight_std: float = 0.01,
        generator: Generator = None,
    ) -> None:
        super().__init__()
        check_count("n_classes", n_classes, low=2)
        units = visible if isinstance(visible, Units) else Bernoulli(visible)
        layer = SideBySide([units, Categorical(1, n_classes)])
        self.rbm = RBM(layer, hidden, weight_std=weight_std, generator=generator)
        self.n_classes, self.n_features = n_classes, units.size

    @property
    def visible(self) -> Units:
        """The units of x."""
        return self.rbm.visible.part(0)  # type: ignore[operator]

    @property
    def hidden(self) -> Units:
        """The hidden units."""
        return self.rbm.hidden

    # -- the label given x ------------------------------------------------------------------------------------------

    def label_inputs(self, x: Tensor) -> Tensor:
        """What the hidden units receive from x and from each label: (n, n_features) -> (n, n_classes, n_hidden)."""
        weight = self.rbm.weight
        return product(x, weight[: self.n_features]).to(weight.dtype).unsqueeze(1) + weight[self.n_features :]

    def scores_of_inputs(self, inputs: Tensor) -> Tensor:
        """``d_y + Gamma_h`` of `label_inputs`: (n, n_classes, n_hidden) -> (n, n_classes)."""
        return self.rbm.visible.part(1).bias + self.hidden.cumulant(inputs)  # type: ignore[operator]

    def label_scores(self, x: Tensor) -> Tensor:
        """``log p(x, y) + U_x(x) + log Z`` for every label y: (n, n_features) -> (n, n_classes)."""
        return self.scores_of_inputs(self.label_inputs(x))

    def log_posterior(self, x: Tensor) -> Tensor:
        """``log p(y | x)`` for every label, exact: (n, n_features) -> (n, n_classes)."""
        return torch.log_softmax(self.label_scores(x), 1)

    def classify(self, x: Tensor) -> Tensor:
        """``p(y | x)``, exact: (n, n_features) -> (n, n_classes)."""
        return torch.softmax(self.label_scores(x), 1)

    # -- energies ---------------------------------------------------------------------------------------------------

    def joined(self, x: Tensor, labels: Tensor) -> Tensor:
        """x beside its one-hot label, a row of `rbm`: (n, n_features), (n,) -> (n, n_features + n_classes).

        Raises `InvalidDataError` for labels that are none of the classes.
        """
        if len(labels) and not (int(labels.min()) >= 0 and int(labels.max()) < self.n_classes):
            raise InvalidDataError(
                f"labels must lie in [0, {self.n_classes - 1}]. Got labels from {int(labels.min())} to "
                f"{int(labels.max())}. Number the classes from 0."
            )
        return torch.cat([x, F.one_hot(labels.long(), self.n_classes).to(x)], 1)

    def free_energy(self, x: Tensor) -> Tensor:
        """``-log sum_y,h exp(-E(x, y, h))`` in nats: (n, n_features) -> (n,)."""
        return self.visible.potential(x) - torch.logsumexp(self.label_scores(x), 1)

    def log_z(self, generator: Generator = None) -> Bound:
        """log Z of the joint model: exact where a layer is small, else bracketed by annealing."""
        return choose_log_z(self.rbm, generator=generator)

    # -- capabilities -----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def log_likelihood(self, x: Tensor, *, generator: Generator = None, log_z: Bound | None = None) -> Bound:
        """``log p(x)``, labels summed out, nats per case; exact when log Z is."""
        z = self.log_z(generator) if log_z is None else log_z
        free = self.free_energy(x).double()
        low, high = (None if end is None else (-free.mean() - end).item() for end in (z.high, z.low))
        return Bound(-free - float(z.value), z.kind, z.stderr, z.method, low, high)

    def joint_log_likelihood(
        self, x: Tensor, labels: Tensor, *, generator: Generator = None, log_z: Bound | None = None
    ) -> Bound:
        """``log p(x, y)``, nats per case; exact when log Z is."""
        return self.rbm.log_likelihood(self.joined(x, labels), generator=generator, log_z=log_z)

    def encode(self, x: Tensor) -> Tensor:
        """``<h>`` given x, an average over the labels' posterior: (n, n_features) -> (n, n_hidden)."""
        inputs = self.label_inputs(x)
        posterior = torch.softmax(self.scores_of_inputs(inputs), 1)
        return torch.einsum("nc,nch->nh", posterior, self.hidden.mean(inputs))

    def decode(self, z: Tensor) -> Tensor:
        """The mean of x given hidden units: (n, n_hidden) -> (n, n_features)."""
        return self.rbm.mean_v_from_h(z)[:, : self.n_features]

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        condition: Clamp | None = None,
        labels: Tensor | None = None,
        generator: Generator = None,
        n_steps: int = 1000,
        mean: bool = False,
        method: Literal["gibbs", "pt"] = "gibbs",
        n_replicas: int = 10,
    ) -> Tensor:
        """`n` cases x: the ends of chains of `n_steps` sweeps over x, y and h, with `method` as for `RBM.sample`.

        `labels` (n,), or one for all, holds the labels (below 0: free); `condition` holds entries of x.
        """
        options: dict[str, Any] = {"n_steps": n_steps, "mean": mean, "method": method, "n_replicas": n_replicas}
        rows = self.sample_joint(n, condition=condition, labels=labels, generator=generator, **options)
        return rows[:, : self.n_features]

    @torch.no_grad()
    def sample_joint(
        self,
        n: int,
        *,
        condition: Clamp | None = None,
        labels: Tensor | None = None,
        generator: Generator = None,
        n_steps: int = 1000,
        mean: bool = False,
        method: Literal["gibbs", "pt"] = "gibbs",
        n_replicas: int = 10,
    ) -> Tensor:
        """`n` cases with their one-hot labels (or label probabilities, with `mean`): (n, n_features + n_classes)."""
        check_count("n", n, low=1)
        clamp = None
        if condition is not None or labels is not None:
            shape = (n, self.n_features)
            nothing = torch.zeros(shape).to(self.rbm.weight)
            x = nothing if condition is None else condition.values.to(nothing).expand(shape)
            known = nothing.bool() if condition is None else condition.known.expand(shape)
            clamp = self._clamp(x, known, None if labels is None else labels.expand(n))
        options: dict[str, Any] = {"n_steps": n_steps, "mean": mean, "method": method, "n_replicas": n_replicas}
        return self.rbm.sample(n, condition=clamp, generator=generator, **options)

    @torch.no_grad()
    def complete(
        self,
        x: Tensor,
        known: Tensor,
        *,
        labels: Tensor | None = None,
        generator: Generator = None,
        n_steps: int = 200,
        n_average: int | None = None,
    ) -> Tensor:
        """Fill the entries of `x` where `known` is False with their mean given the rest, and the label if there is one.

        `labels` (n,) may hold unknown ones (below 0), which are drawn along.
        """
        clamp = self._clamp(x, known.expand(x.shape), labels)
        steps: dict[str, Any] = {"n_steps": n_steps, "n_average": n_average}
        rows = self.rbm.complete(clamp.values, clamp.known, generator=generator, **steps)
        return rows[:, : self.n_features]

    def _clamp(self, x: Tensor, known: Tensor, labels: Tensor | None) -> Clamp:
        """Known entries of x and known labels as entries of the joint model's rows."""
        given = torch.full((len(x),), UNKNOWN, device=x.device) if labels is None else labels
        known_labels = (given >= 0).unsqueeze(1).expand(-1, self.n_classes)
        return Clamp(self.joined(x, given.clamp_min(0)), torch.cat([known, known_labels], 1))

    # -- starting points and storage --------------------------------------------------------------------------------

    @torch.no_grad()
    def match_data(self, x: Tensor, labels: Tensor | None = None, weight: Tensor | None = None) -> None:
        """Start learning from data: the moments of x, and the frequencies of the labels that are known."""
        uniform = torch.full((len(x), self.n_classes), 1 / self.n_classes).to(x)
        if labels is not None and (labels >= 0).any():
            known = labels >= 0
            share = torch.ones(len(x)).to(x) if weight is None else weight.to(x)
            one_hot = self.joined(x[known], labels[known])[:, self.n_features :]
            uniform = (share[known] @ one_hot / share[known].sum()).expand(len(x), -1)
        self.rbm.match_data(torch.cat([x, uniform], 1), weight)

    def config(self) -> dict[str, Any]:
        """What rebuilds the model (without its parameters), as JSON."""
        return {"visible": self.visible.config(), "hidden": self.hidden.config(), "n_classes": self.n_classes}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A model from `config`."""
        units = [units_from_config(config[name]) for name in ("visible", "hidden")]
        return cls(units[0], units[1], config["n_classes"], weight_std=0.0)
