"""The restricted Boltzmann machine: two layers of any kinds of units, and weights between them.

    E(v, h) = U_v(v) + U_h(h) - v' W h
    F(v)    = U_v(v) - Gamma_h(v W)              p(v) = exp(-F(v)) / Z

Smolensky 1986; Hinton 2002, "Training products of experts by minimizing contrastive divergence".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from deepbelief.energy.kernels.gibbs import BlockGibbs
from deepbelief.energy.partition.choose import log_z as choose_log_z
from deepbelief.energy.units.base import Units, check_layers
from deepbelief.energy.units.bernoulli import Bernoulli
from deepbelief.energy.units.catalog import units_from_config
from deepbelief.errors import check_range
from deepbelief.protocols import Generator
from deepbelief.types import Bound, Clamp


class RBM(nn.Module):
    """A restricted Boltzmann machine of any visible and any hidden kind of units; an integer means Bernoulli units.

    ``visible_offset`` and ``hidden_offset`` are running means of the two layers on the data. They do not enter the
    energy: learning centres its gradient on them (Montavon & Muller 2012; Melchior, Fischer & Wiskott 2016), and
    annealing takes its base model from them.

    >>> rbm = RBM(6, 3, generator=torch.Generator().manual_seed(0))
    >>> rbm.mean_h_from_v(torch.zeros(2, 6)).shape
    torch.Size([2, 3])
    >>> rbm.log_likelihood(torch.zeros(2, 6)).kind
    'exact'
    """

    def __init__(
        self, visible: Units | int, hidden: Units | int, *, weight_std: float = 0.01, generator: Generator = None
    ) -> None:
        super().__init__()
        check_range("weight_std", weight_std, low=0)
        self.visible = Bernoulli(visible) if isinstance(visible, int) else visible
        self.hidden = Bernoulli(hidden) if isinstance(hidden, int) else hidden
        check_layers(self.visible, self.hidden)
        shape = (self.visible.size, self.hidden.size)
        self.weight = nn.Parameter(weight_std * torch.randn(shape, generator=generator))
        self.visible_offset: Tensor
        self.hidden_offset: Tensor
        zero_v, zero_h = torch.zeros(1, shape[0]), torch.zeros(1, shape[1])
        self.register_buffer("visible_offset", self.visible.mean(zero_v).detach()[0])
        self.register_buffer("hidden_offset", self.hidden.mean(zero_h).detach()[0])

    # -- energies ---------------------------------------------------------------------------------------------------

    def energy(self, v: Tensor, h: Tensor) -> Tensor:
        """``E(v, h)`` in nats: (n, n_visible), (n, n_hidden) -> (n,)."""
        return self.visible.potential(v) + self.hidden.potential(h) - (self.input_h_from_v(v) * h).sum(-1)

    def free_energy(self, v: Tensor) -> Tensor:
        """``F(v) = -log sum_h exp(-E(v, h))`` in nats: (n, n_visible) -> (n,)."""
        return self.visible.potential(v) - self.hidden.cumulant(self.input_h_from_v(v))

    def free_energy_of_h(self, h: Tensor) -> Tensor:
        """``-log sum_v exp(-E(v, h))`` in nats: (n, n_hidden) -> (n,)."""
        return self.hidden.potential(h) - self.visible.cumulant(self.input_v_from_h(h))

    # -- conditionals -----------------------------------------------------------------------------------------------

    def input_h_from_v(self, v: Tensor) -> Tensor:
        """``v W``, in the type of the biases (a bf16 product must not make the probabilities coarse)."""
        return (v @ self.weight).to(self.hidden.bias.dtype)

    def input_v_from_h(self, h: Tensor) -> Tensor:
        """``h W'``."""
        return (h @ self.weight.T).to(self.visible.bias.dtype)

    def mean_h_from_v(self, v: Tensor) -> Tensor:
        """``<h>`` given v."""
        return self.hidden.mean(self.input_h_from_v(v))

    def mean_v_from_h(self, h: Tensor) -> Tensor:
        """``<v>`` given h."""
        return self.visible.mean(self.input_v_from_h(h))

    def sample_h_from_v(self, v: Tensor, generator: Generator = None) -> Tensor:
        """A draw of h given v."""
        return self.hidden.sample(self.input_h_from_v(v), generator)

    def sample_v_from_h(self, h: Tensor, generator: Generator = None) -> Tensor:
        """A draw of v given h."""
        return self.visible.sample(self.input_v_from_h(h), generator)

    # -- capabilities -----------------------------------------------------------------------------------------------

    def encode(self, x: Tensor) -> Tensor:
        """The mean of the hidden units: (n, n_visible) -> (n, n_hidden)."""
        return self.mean_h_from_v(x)

    def decode(self, z: Tensor) -> Tensor:
        """The mean of the visible units: (n, n_hidden) -> (n, n_visible)."""
        return self.mean_v_from_h(z)

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        condition: Clamp | None = None,
        generator: Generator = None,
        n_steps: int = 1000,
        mean: bool = False,
    ) -> Tensor:
        """`n` cases: the ends of `n` chains of `n_steps` Gibbs sweeps, with the entries of `condition` clamped.

        ``mean=True`` returns the means that the last draws were made from, which make smoother pictures.
        """
        check_range("n", n, low=1)
        check_range("n_steps", n_steps, low=1)
        kernel = BlockGibbs(self)
        state = kernel.init(n, generator=generator)
        for _ in range(n_steps - 1):
            state, _ = kernel.step(state, clamp=condition, generator=generator)
        state, info = kernel.step(state, clamp=condition, generator=generator)
        if not mean:
            return state.v
        return info.mean_v if condition is None else condition.apply(info.mean_v)

    @torch.no_grad()
    def complete(
        self, x: Tensor, known: Tensor, *, generator: Generator = None, n_steps: int = 200, n_average: int = 50
    ) -> Tensor:
        """Fill the entries of `x` where `known` is False with their mean given the rest.

        A clamped chain of `n_steps`, of which the conditional means of the last `n_average` are averaged: an estimate
        of the posterior mean. Draws instead of means are what ``sample(n, condition=Clamp(x, known))`` gives.
        """
        check_range("n_average", n_average, low=1, high=n_steps)
        clamp, kernel = Clamp(x, known), BlockGibbs(self)
        state = kernel.start_at(clamp.apply(self.visible_offset.expand_as(x)), generator=generator)
        total = torch.zeros_like(x)
        for step in range(n_steps):
            state, info = kernel.step(state, clamp=clamp, generator=generator)
            if step >= n_steps - n_average:
                total += info.mean_v
        return clamp.apply(total / n_average)

    @torch.no_grad()
    def log_likelihood(self, x: Tensor, *, generator: Generator = None, log_z: Bound | None = None) -> Bound:
        """``log p(v) = -F(v) - log Z``, nats per case; exact when log Z is. Pass `log_z` to spare a second estimate."""
        z = choose_log_z(self, generator=generator) if log_z is None else log_z
        free = self.free_energy(x).double()
        low, high = (None if end is None else (-free.mean() - end).item() for end in (z.high, z.low))
        return Bound(-free - float(z.value), z.kind, z.stderr, z.method, low, high)

    # -- starting points --------------------------------------------------------------------------------------------

    @torch.no_grad()
    def match_data(self, x: Tensor, weight: Tensor | None = None) -> None:
        """Start learning from data: visible units take the moments of `x`, offsets the means of both layers."""
        self.visible.match_data(x, weight)
        share = torch.ones(len(x), dtype=torch.float64, device=x.device) if weight is None else weight.double()
        self.visible_offset.copy_(share @ x.double() / share.sum())
        self.hidden_offset.copy_(self.mean_h_from_v(self.visible_offset.unsqueeze(0))[0])

    def base(self) -> Self:
        """Independent units with the means that the offsets remember: where annealing starts (W = 0, log Z known)."""
        base = self.empty_like()
        with torch.no_grad():
            for own, new, mean in (
                (self.visible, base.visible, self.visible_offset),
                (self.hidden, base.hidden, self.hidden_offset),
            ):
                new.load_state_dict(own.state_dict())  # keeps the precision of Gaussian units
                new.match(mean)
            base.weight.zero_()
        return base

    # -- storage ----------------------------------------------------------------------------------------------------

    def empty_like(self) -> Self:
        """An RBM of the same units, type and device with parameters of its own."""
        return type(self).from_config(self.config()).to(self.weight)

    def config(self) -> dict[str, Any]:
        """What rebuilds the model (without its parameters), as JSON."""
        return {"visible": self.visible.config(), "hidden": self.hidden.config()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A model from `config`."""
        return cls(units_from_config(config["visible"]), units_from_config(config["hidden"]), weight_std=0.0)
