"""What follows from two layers of units and the products between them: energies, conditionals, chains, likelihood.

    E(v, h) = U_v(v) + U_h(h) - I(v).h,        I(v) = v W

Whether the products are those of a matrix or of a convolution is all that models add.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from deepbelief.energy.coupled_layers import CoupledLayers, IndependentLayers, independent_layers
from deepbelief.energy.kernels.clamped import average_means, check_clamp, run_chain
from deepbelief.energy.kernels.gibbs import BlockGibbs
from deepbelief.energy.kernels.tempering import CHAINS, sample_tempered
from deepbelief.energy.partition.choose import log_z as choose_log_z
from deepbelief.errors import check_choice, check_count
from deepbelief.protocols import Generator
from deepbelief.types import Bound, Clamp


class TwoLayers(CoupledLayers):
    """The capabilities of a bipartite model, from its two layers of units and its two products."""

    visible_offset: Tensor
    hidden_offset: Tensor

    # -- energies ---------------------------------------------------------------------------------------------------

    def energy(self, v: Tensor, h: Tensor) -> Tensor:
        """``E(v, h)`` in nats: (n, n_visible), (n, n_hidden) -> (n,)."""
        return self.visible.potential(v) + self.hidden.potential(h) - (self.input_h_from_v(v) * h).sum(-1)

    # -- capabilities -----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        condition: Clamp | None = None,
        generator: Generator = None,
        n_steps: int = 1000,
        mean: bool = False,
        method: Literal["gibbs", "pt"] = "gibbs",
        n_replicas: int = 10,
    ) -> Tensor:
        """`n` cases: the ends of `n` chains of `n_steps` Gibbs sweeps, with the entries of `condition` clamped.

        With ``method="pt"``, of parallel tempering at `n_replicas` temperatures, for models whose chains stay in one
        mode (`sample_tempered`). ``mean=True`` returns the means that the last draws were made from, which make
        smoother pictures ("pt": those given the hidden units at the end).
        """
        check_count("n", n, low=1)
        check_count("n_steps", n_steps, low=1)
        check_choice("method", method, CHAINS)
        if condition is not None:
            check_clamp(self.visible, condition)
        if method == "pt":
            options: dict[str, Any] = {"n_steps": n_steps, "n_replicas": n_replicas, "mean": mean}
            return sample_tempered(self, n, condition=condition, generator=generator, **options)
        kernel = BlockGibbs(self)
        state = kernel.init(n, generator=generator)
        state, info = run_chain(kernel, state, n_steps, clamp=condition, generator=generator)
        if not mean:
            return state.v
        return info.mean_v if condition is None else condition.apply(info.mean_v)

    @torch.no_grad()
    def complete(
        self, x: Tensor, known: Tensor, *, generator: Generator = None, n_steps: int = 200, n_average: int | None = None
    ) -> Tensor:
        """Fill the entries of `x` where `known` is False with their mean given the rest.

        A clamped chain of `n_steps`, of which the conditional means of the last `n_average` (three quarters of them all
        unless told) are averaged: an estimate of the posterior mean. Draws instead of
        means are what ``sample(n, condition=Clamp(x, known))`` gives.
        """
        clamp, kernel = Clamp(x, known), BlockGibbs(self)
        check_clamp(self.visible, clamp)
        state = kernel.start_at(clamp.apply(self.visible_offset.expand_as(x)), generator=generator)
        steps: dict[str, Any] = {"n_steps": n_steps, "n_average": n_average, "generator": generator}
        return clamp.apply(average_means(kernel, state, lambda info: info.mean_v, clamp=clamp, **steps))

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

    def independent(self) -> IndependentLayers:
        """Both layers alone, with the means that the offsets remember."""
        return independent_layers((self.visible, self.visible_offset), (self.hidden, self.hidden_offset))
