"""What every belief network with an undirected top can do, whatever ties its way up to its way down.

The layers below the top generate downwards, ``p(h_l | h_{l+1})``, and are inferred upwards, ``Q(h_{l+1} | h_l)``; the
top is an RBM, with the label beside the features that it sees where there is one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deepbelief.belief.annealed_bound import annealed_bound
from deepbelief.belief.bound import importance_bound, variational_bound
from deepbelief.belief.layers import Layer
from deepbelief.energy.kernels.clamped import check_clamp, to_average
from deepbelief.energy.kernels.tempering import CHAINS
from deepbelief.energy.rbm import RBM
from deepbelief.errors import InvalidArgumentError, InvalidDataError, check, check_choice, check_count, check_range
from deepbelief.protocols import Generator
from deepbelief.types import Bound, Clamp
from deepbelief.units.base import Units

BOUNDS = {"variational": variational_bound, "importance": importance_bound, "annealed": annealed_bound}


class BeliefStack(nn.Module, ABC):
    """The capabilities of a stack of layers under an undirected top; `DBN` and `UntiedDBN` say what the layers are."""

    n_classes: int | None

    # -- parts ------------------------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def layers(self) -> Sequence[Layer]:
        """The layers from the bottom to the top, the top RBM included."""

    @property
    def top(self) -> RBM:
        """The undirected top."""
        return self.layers[-1]  # type: ignore[return-value]

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
        if n_layers is not None:
            check_count("n_layers", n_layers, low=0, high=len(self.layers))
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
        """``F(h, y)`` of the top RBM for each label y, from one product for all: (n, width) -> (n, n_classes)."""
        eye = torch.eye(self._known_classes(), dtype=h.dtype, device=h.device)
        inputs = self.top.input_h_from_v(torch.cat([h, h.new_zeros(len(h), len(eye))], 1))
        of_label = self.top.input_h_from_v(torch.cat([h.new_zeros(len(eye), h.shape[1]), eye], 1))
        free = [
            self.top.visible.potential(torch.cat([h, y.expand(len(h), -1)], 1))
            - self.top.hidden.cumulant(inputs + more)
            for y, more in zip(eye, of_label, strict=True)
        ]
        return torch.stack(free, 1)

    def label_posterior(self, h: Tensor) -> Tensor:
        """``p(y | h)`` in the top RBM: (n, width) -> (n, n_classes)."""
        return torch.softmax(-self.label_free_energies(h), 1)

    def with_labels(self, h: Tensor, y: Tensor | None) -> Tensor:
        """The top RBM's visible layer: `h` beside one-hot labels; a label below 0 is unknown, and is its posterior."""
        n = self._known_classes()
        if y is None:
            raise InvalidDataError(
                "labels sit in the top RBM, so y must be given. Got none. Give y, or n_classes=None."
            )
        one_hot = F.one_hot(y.clamp_min(0).long(), n).to(h)
        unknown = (y < 0).unsqueeze(1)
        return torch.cat([h, torch.where(unknown, self.label_posterior(h), one_hot) if unknown.any() else one_hot], 1)

    def top_free_energy(self, h: Tensor) -> Tensor:
        """The free energy of the layer below the top, with the label summed out if there is one."""
        return -torch.logsumexp(-self.label_free_energies(h), 1) if self.n_classes else self.top.free_energy(h)

    def classify(self, x: Tensor) -> Tensor:
        """``p(y | x)`` by the top RBM's free energies after one deterministic pass up: (n, d) -> (n, n_classes)."""
        return self.label_posterior(self.upward(x))

    # -- capabilities -----------------------------------------------------------------------------------------------

    def encode(self, x: Tensor) -> Tensor:
        """The means of the top hidden layer after a deterministic pass up (a missing label enters by its posterior)."""
        h = self.upward(x)
        if self.n_classes:
            h = torch.cat([h, self.label_posterior(h)], 1)
        return self.top.mean_h_from_v(h)

    def decode(self, z: Tensor) -> Tensor:
        """The means of the data after a deterministic pass down from the top hidden layer."""
        return self.downward(self.without_label(self.top.mean_v_from_h(z)))

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
        method: Literal["gibbs", "pt"] = "gibbs",
    ) -> Tensor:
        """`n` cases: `n_steps` of Gibbs sampling in the top RBM, then one pass of draws down.

        With ``method="pt"`` the top runs parallel tempering at ten temperatures (as `RBM.sample`), at ten times the
        cost, where its chains would stay in one mode.
        `labels` (n,) clamps the label of each chain; `condition` clamps entries of the data, by `complete` with draws.
        ``mean=True`` ends with the means of the data given the layer above, which make smoother pictures.
        """
        check_count("n", n, low=1)
        check_count("n_steps", n_steps, low=1)
        check_choice("method", method, CHAINS)
        if condition is not None:
            check(labels is None, "labels and condition must not both be given. Got both. Give one of them.")
            check(method == "gibbs", f'method must be "gibbs" with a condition. Got method={method!r}. Leave one out.')
            return self._conditioned(n, condition, generator, n_steps)
        clamp = None if labels is None else self._label_clamp(labels, n)
        alone = len(self.layers) == 1  # then the means are the top's own
        options: dict[str, Any] = {"n_steps": n_steps, "mean": mean and alone, "generator": generator}
        v = self.without_label(self.top.sample(n, condition=clamp, method=method, **options))
        return self.downward(v, sample=True, mean_at_end=mean, generator=generator)

    @torch.no_grad()
    def complete(
        self, x: Tensor, known: Tensor, *, generator: Generator = None, n_steps: int = 200, n_average: int | None = None
    ) -> Tensor:
        """Fill the entries of `x` where `known` is False with an average of their means given the rest.

        Each step goes up by draws, once through the top RBM and down by draws, and puts the known entries back; the
        last `n_average` means are averaged. The way up is the recognition model, so this is an approximation of the
        posterior mean (for one layer it is the RBM's exact chain).
        """
        n_average = to_average(n_steps, n_average)
        clamp, total = Clamp(x, known), torch.zeros_like(x)
        check_clamp(self.visible, clamp)
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
        method: Literal["variational", "importance", "annealed"] = "variational",
    ) -> Bound:
        """A lower bound on ``log p(x)``, nats per case, from `n_samples` draws of the hidden layers of each case.

        "variational" averages the log weights of the draws, "importance" takes the log of their average, which is
        tighter the more draws there are (`deepbelief.belief.bound`), "annealed" walks from the draws towards the
        posterior (`deepbelief.belief.annealed_bound`). One layer without labels is an RBM, and has its own number.
        """
        check_choice("method", method, BOUNDS)
        if len(self.layers) == 1 and not self.n_classes:
            return self.top.log_likelihood(x, generator=generator, log_z=log_z)
        return BOUNDS[method](self, x, log_z=log_z, n_samples=n_samples, generator=generator)

    # -- details ----------------------------------------------------------------------------------------------------

    def _known_classes(self) -> int:
        if not self.n_classes:
            raise InvalidArgumentError(
                "labels must sit in the top RBM. Got n_classes=None. Build the DBN with n_classes."
            )
        return self.n_classes

    def without_label(self, v: Tensor) -> Tensor:
        return v[:, : v.shape[1] - self.n_classes] if self.n_classes else v

    def _label_clamp(self, labels: Tensor, n: int) -> Clamp:
        n_classes, width = self._known_classes(), self.top.visible.size
        check_range("labels", int(labels.min()), low=0)
        check_range("labels", int(labels.max()), high=n_classes - 1)
        one_hot = F.one_hot(labels.expand(n), n_classes).to(self.top.weight)
        values = torch.cat([one_hot.new_zeros(n, width - n_classes), one_hot], 1)
        return Clamp(values, torch.arange(width, device=values.device) >= width - n_classes)

    def _around(self, x: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """Up by draws, once through the top, down by draws: a new x and its mean given the layer above."""
        h = self.upward(x, sample=True, generator=generator)
        if self.n_classes:
            p = self.label_posterior(h)
            h = torch.cat([h, self.top.visible.part(1).draw(p, p, generator)], 1)  # type: ignore[operator]
        h_top = self.top.sample_h_from_v(h, generator)
        inputs = self.top.input_v_from_h(h_top)
        mean = self.without_label(self.top.visible.mean(inputs))
        h = self.without_label(self.top.visible.sample(inputs, generator))
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


def check_stacked(layers: Sequence[Layer], n_classes: int | None) -> None:
    """Check that each layer sees the hidden units of the one below, and the top the label beside them."""
    if n_classes is not None:
        check_count("n_classes", n_classes, low=2)
    for i, (below, above) in enumerate(pairwise(layers), start=1):
        extra = n_classes or 0 if i == len(layers) - 1 else 0
        if above.visible.size != below.hidden.size + extra:
            raise InvalidArgumentError(
                f"layer {i + 1} must have {below.hidden.size + extra} visible units, the hidden units of layer {i}"
                f"{' and the label' if extra else ''}. Got {above.visible.size}."
            )
