"""The deep belief network: a stack of RBMs of which the top one stays undirected and the others generate downwards.

    p(v, h1, ..., hL) = p(v | h1) p(h1 | h2) ... p(h_{L-1}, h_L)

Hinton, Osindero & Teh 2006, "A fast learning algorithm for deep belief nets". When labels sit in the top RBM, its
visible layer is h_{L-1} beside one softmax group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deepbelief.belief.bound import importance_bound, variational_bound
from deepbelief.energy.kernels.gibbs import BlockGibbs
from deepbelief.energy.rbm import RBM
from deepbelief.energy.units.base import Units
from deepbelief.energy.units.bernoulli import Bernoulli
from deepbelief.energy.units.categorical import Categorical
from deepbelief.energy.units.side_by_side import SideBySide
from deepbelief.errors import InvalidArgumentError, check, check_choice, check_range
from deepbelief.protocols import Generator
from deepbelief.types import Bound, Clamp

BOUNDS = {"variational": variational_bound, "importance": importance_bound}


class DBN(nn.Module):
    """A deep belief network over RBMs from the bottom to the top; the hidden units of one are visible to the next.

    With `n_classes`, the top RBM's visible layer must end in one categorical group of that many values: the label.

    >>> dbn = DBN.of_sizes([6, 4, 3])
    >>> dbn.encode(torch.zeros(2, 6)).shape, dbn.sample(5, n_steps=10).shape
    (torch.Size([2, 3]), torch.Size([5, 6]))
    """

    def __init__(self, rbms: Sequence[RBM], n_classes: int | None = None) -> None:
        super().__init__()
        check(len(rbms) >= 1, "a DBN needs at least 1 RBM. Got none.")
        self.rbms = nn.ModuleList(rbms)
        self.n_classes = n_classes
        for i, (below, above) in enumerate(pairwise(rbms), start=1):
            extra = n_classes or 0 if i == len(rbms) - 1 else 0
            if above.visible.size != below.hidden.size + extra:
                raise InvalidArgumentError(
                    f"layer {i + 1} must have {below.hidden.size + extra} visible units, the hidden units of layer {i}"
                    f"{' and the label' if extra else ''}. Got {above.visible.size}."
                )

    @classmethod
    def of_sizes(cls, sizes: Sequence[int], n_classes: int | None = None, *, generator: Generator = None) -> DBN:
        """A DBN of Bernoulli units with these layer sizes, the data's first; labels join the top RBM."""
        check(len(sizes) >= 2, f"sizes must name the data and at least 1 layer. Got sizes={list(sizes)}.")
        return cls.of_units([Bernoulli(size) for size in sizes], n_classes, generator=generator)

    @classmethod
    def of_units(cls, layers: Sequence[Units], n_classes: int | None = None, *, generator: Generator = None) -> DBN:
        """A DBN over layers of any kinds of units, the data's first."""
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

    @property
    def top(self) -> RBM:
        """The undirected top."""
        return self.layers[-1]

    @property
    def visible(self) -> Units:
        """The units of the data."""
        units = self.layers[0].visible
        return units.part(0) if self.n_classes and len(self.layers) == 1 else units  # type: ignore[operator]

    # -- up and down ------------------------------------------------------------------------------------------------

    def upward(
        self, x: Tensor, *, n_layers: int | None = None, sample: bool = False, generator: Generator = None
    ) -> Tensor:
        """The activity `n_layers` up (default: all below the top RBM), by means or by draws."""
        for rbm in self.layers[: len(self.layers) - 1 if n_layers is None else n_layers]:
            x = rbm.sample_h_from_v(x, generator) if sample else rbm.mean_h_from_v(x)
        return x

    def downward(
        self, h: Tensor, *, sample: bool = False, mean_at_end: bool = True, generator: Generator = None
    ) -> Tensor:
        """From the top RBM's visible layer (without the label) down to the data, by means or by draws."""
        below = self.layers[-2::-1] if len(self.layers) > 1 else []
        for i, rbm in enumerate(below):
            draw = sample and not (mean_at_end and i == len(below) - 1)
            h = rbm.sample_v_from_h(h, generator) if draw else rbm.mean_v_from_h(h)
        return h

    def label_free_energies(self, h: Tensor) -> Tensor:
        """``F(h, y)`` of the top RBM for each label y: (n, width) -> (n, n_classes)."""
        if not self.n_classes:
            raise InvalidArgumentError(
                "labels must sit in the top RBM. Got n_classes=None. Build the DBN with n_classes."
            )
        eye = torch.eye(self.n_classes, dtype=h.dtype, device=h.device)
        return torch.stack([self.top.free_energy(torch.cat([h, y.expand(len(h), -1)], 1)) for y in eye], 1)

    def top_free_energy(self, h: Tensor) -> Tensor:
        """The free energy of the layer below the top, with the label summed out if there is one."""
        return -torch.logsumexp(-self.label_free_energies(h), 1) if self.n_classes else self.top.free_energy(h)

    def classify(self, x: Tensor) -> Tensor:
        """``p(y | x)`` by the top RBM's free energies after one deterministic pass up: (n, d) -> (n, n_classes)."""
        return torch.softmax(-self.label_free_energies(self.upward(x)), 1)

    # -- capabilities -----------------------------------------------------------------------------------------------

    def encode(self, x: Tensor) -> Tensor:
        """The means of the top hidden layer after a deterministic pass up (a missing label enters by its posterior)."""
        h = self.upward(x)
        if self.n_classes:
            h = torch.cat([h, torch.softmax(-self.label_free_energies(h), 1)], 1)
        return self.top.mean_h_from_v(h)

    def decode(self, z: Tensor) -> Tensor:
        """The means of the data after a deterministic pass down from the top hidden layer."""
        return self.downward(self._without_label(self.top.mean_v_from_h(z)))

    def reconstruct(self, x: Tensor) -> Tensor:
        """``decode(encode(x))``."""
        return self.decode(self.encode(x))

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
    ) -> Tensor:
        """`n` cases: `n_steps` of Gibbs sampling in the top RBM, then one pass of draws down.

        `labels` (n,) clamps the label of each chain; `condition` clamps entries of the data, by `complete` with draws.
        ``mean=True`` ends with the means of the data given the layer above, which make smoother pictures.
        """
        check_range("n", n, low=1)
        check_range("n_steps", n_steps, low=1)
        if condition is not None:
            check(labels is None, "labels and condition must not both be given. Got both. Give one of them.")
            return self._conditioned(n, condition, generator, n_steps)
        clamp = None if labels is None else self._label_clamp(labels, n)
        kernel = BlockGibbs(self.top)
        state = kernel.init(n, generator=generator)
        info = None
        for _ in range(n_steps):
            state, info = kernel.step(state, clamp=clamp, generator=generator)
        if len(self.layers) == 1 and mean and info is not None:
            return self._without_label(info.mean_v)
        return self.downward(self._without_label(state.v), sample=True, mean_at_end=mean, generator=generator)

    @torch.no_grad()
    def complete(
        self, x: Tensor, known: Tensor, *, generator: Generator = None, n_steps: int = 200, n_average: int = 50
    ) -> Tensor:
        """Fill the entries of `x` where `known` is False with an average of their means given the rest.

        Each step goes up by draws, once through the top RBM and down by draws, and puts the known entries back; the
        last `n_average` means are averaged. The way up is the recognition model, so this is an approximation of the
        posterior mean (for one layer it is the RBM's exact chain).
        """
        check_range("n_average", n_average, low=1, high=n_steps)
        clamp, total = Clamp(x, known), torch.zeros_like(x)
        state = clamp.apply(self.layers[0].visible_offset[: x.shape[1]].expand_as(x))
        for step in range(n_steps):
            state, mean = self._around(state, generator)
            state = clamp.apply(state)
            if step >= n_steps - n_average:
                total += mean
        return clamp.apply(total / n_average)

    @torch.no_grad()
    def log_likelihood(
        self,
        x: Tensor,
        *,
        generator: Generator = None,
        log_z: Bound | None = None,
        n_samples: int = 10,
        method: Literal["variational", "importance"] = "variational",
    ) -> Bound:
        """A lower bound on ``log p(x)``, nats per case, from `n_samples` draws of the hidden layers of each case.

        "variational" averages the log weights of the draws, "importance" takes the log of their average, which is
        tighter the more draws there are (see `deepbelief.belief.bound`). One layer without labels is an RBM and has
        its own, tighter, number.
        """
        check_choice("method", method, BOUNDS)
        if len(self.layers) == 1 and not self.n_classes:
            return self.top.log_likelihood(x, generator=generator, log_z=log_z)
        return BOUNDS[method](self, x, log_z=log_z, n_samples=n_samples, generator=generator)

    # -- details ----------------------------------------------------------------------------------------------------

    def _without_label(self, v: Tensor) -> Tensor:
        return v[:, : v.shape[1] - self.n_classes] if self.n_classes else v

    def _label_clamp(self, labels: Tensor, n: int) -> Clamp:
        if not self.n_classes:
            raise InvalidArgumentError(
                "labels must sit in the top RBM. Got n_classes=None. Build the DBN with n_classes."
            )
        check_range("labels", int(labels.min()), low=0)
        check_range("labels", int(labels.max()), high=self.n_classes - 1)
        width = self.top.visible.size
        one_hot = F.one_hot(labels.expand(n), self.n_classes).to(self.top.weight)
        values = torch.cat([one_hot.new_zeros(n, width - self.n_classes), one_hot], 1)
        return Clamp(values, torch.arange(width, device=values.device) >= width - self.n_classes)

    def _around(self, x: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """Up by draws, once through the top, down by draws: a new x and its mean given the layer above."""
        h = self.upward(x, sample=True, generator=generator)
        if self.n_classes:
            p = torch.softmax(-self.label_free_energies(h), 1)
            h = torch.cat([h, self.top.visible.part(1).draw(p, p, generator)], 1)  # type: ignore[operator]
        h_top = self.top.sample_h_from_v(h, generator)
        inputs = self.top.input_v_from_h(h_top)
        mean = self._without_label(self.top.visible.mean(inputs))
        h = self._without_label(self.top.visible.sample(inputs, generator))
        for rbm in self.layers[-2::-1] if len(self.layers) > 1 else []:
            inputs = rbm.input_v_from_h(h)
            mean = rbm.visible.mean(inputs)
            h = rbm.visible.draw(inputs, mean, generator)
        return h, mean

    def _conditioned(self, n: int, condition: Clamp, generator: Generator, n_steps: int) -> Tensor:
        shape = (n, self.visible.size)
        state = condition.apply(self.layers[0].visible_offset[: shape[1]].expand(shape))
        for _ in range(n_steps):
            state = condition.apply(self._around(state, generator)[0])
        return state

    # -- storage ----------------------------------------------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        """What rebuilds the model (without its parameters), as JSON."""
        return {"rbms": [rbm.config() for rbm in self.layers], "n_classes": self.n_classes}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A model from `config`."""
        return cls([RBM.from_config(rbm) for rbm in config["rbms"]], config["n_classes"])


def units_copy(units: Units) -> Units:
    """The same kind and size with parameters of its own: a layer is hidden in one RBM and visible in the next."""
    return units.empty_like()
