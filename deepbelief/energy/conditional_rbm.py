"""The conditional RBM: an RBM whose biases depend on a context, such as the frames before this one.

    E(v, h | u) = U_v(v) + U_h(h) - v' W h - u' A v - u' B h
    F(v | u)    = U_v(v) - u' A v - Gamma_h(v W + u B)              p(v | u) = exp(-F(v | u)) / Z(u)

A carries the context straight to the visible units (the autoregressive weights), B to the hidden ones. Given u it is an
RBM with other biases, so everything that an RBM can do is done by it: `given` for many contexts at once, `rbm_given`
for one. Taylor, Hinton & Roweis 2007, "Modeling human motion using binary latent variables".
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from deepbelief.energy.conditionals import Conditionals
from deepbelief.energy.kernels.clamped import average_means, check_clamp, run_chain
from deepbelief.energy.kernels.gibbs import BlockGibbs
from deepbelief.energy.partition.choose import QUICK_STATES
from deepbelief.energy.partition.choose import log_z as choose_log_z
from deepbelief.energy.partition.exact import exact_log_z_of_each, is_enumerable, n_enumerated
from deepbelief.energy.rbm import RBM
from deepbelief.errors import InvalidDataError, check_count
from deepbelief.protocols import Generator
from deepbelief.types import Bound, Clamp
from deepbelief.units.base import Units
from deepbelief.units.catalog import units_from_config

EXACT_CHUNK, EXACT_NUMBERS = 1 << 10, 1 << 22  # states and numbers held at a time while enumerating


class GivenContext(Conditionals):
    """A conditional RBM with one context for each row: what a Gibbs kernel or a negative phase takes for an RBM."""

    def __init__(self, model: ConditionalRBM, u: Tensor) -> None:
        self.rbm = model.rbm
        self.visible, self.hidden = self.rbm.visible, self.rbm.hidden
        self.visible_offset, self.hidden_offset = self.rbm.visible_offset, self.rbm.hidden_offset
        self.to_v, self.to_h = u @ model.context_to_v, u @ model.context_to_h  # (n, n_visible), (n, n_hidden)

    def input_h_from_v(self, v: Tensor) -> Tensor:
        """``v W + u B``: (n, n_visible) -> (n, n_hidden)."""
        return self.rbm.input_h_from_v(v) + self.to_h.to(self.hidden.bias.dtype)

    def input_v_from_h(self, h: Tensor) -> Tensor:
        """``h W' + u A``: (n, n_hidden) -> (n, n_visible)."""
        return self.rbm.input_v_from_h(h) + self.to_v.to(self.visible.bias.dtype)

    def free_energy(self, v: Tensor) -> Tensor:
        """``-log sum_h exp(-E(v, h | u))``, the i-th row under the i-th context: (n, n_visible) -> (n,)."""
        return self.visible.potential(v) - (self.to_v * v).sum(-1) - self.hidden.cumulant(self.input_h_from_v(v))

    def free_energy_of_h(self, h: Tensor) -> Tensor:
        """``-log sum_v exp(-E(v, h | u))``, the i-th row under the i-th context: (n, n_hidden) -> (n,)."""
        return self.hidden.potential(h) - (self.to_h * h).sum(-1) - self.visible.cumulant(self.input_v_from_h(h))


class ConditionalRBM(nn.Module):
    """An RBM of any two kinds of units, conditioned on a context of `n_context` numbers; an integer means Bernoulli.

    ``context_offset`` is the mean context of the data: learning centres on it, and it does not enter the energy.
    Contexts should be of the size of 1 (standardize them as Gaussian data).

    >>> model = ConditionalRBM(4, 3, 8, generator=torch.Generator().manual_seed(0))
    >>> model.sample(torch.zeros(5, 8), n_steps=3).shape
    torch.Size([5, 4])
    >>> model.log_likelihood(torch.zeros(5, 4), torch.zeros(5, 8)).kind
    'exact'
    """

    context_offset: Tensor

    def __init__(
        self,
        visible: Units | int,
        hidden: Units | int,
        n_context: int,
        *,
        weight_std: float = 0.01,
        generator: Generator = None,
    ) -> None:
        super().__init__()
        check_count("n_context", n_context, low=1)
        self.rbm = RBM(visible, hidden, weight_std=weight_std, generator=generator)
        self.n_context = n_context
        n_visible, n_hidden = self.rbm.weight.shape
        self.context_to_v = nn.Parameter(torch.zeros(n_context, n_visible))
        self.context_to_h = nn.Parameter(weight_std * torch.randn(n_context, n_hidden, generator=generator))
        self.register_buffer("context_offset", torch.zeros(n_context))

    @property
    def visible(self) -> Units:
        """The visible units."""
        return self.rbm.visible

    @property
    def hidden(self) -> Units:
        """The hidden units."""
        return self.rbm.hidden

    # -- given a context --------------------------------------------------------------------------------------------

    def given(self, u: Tensor) -> GivenContext:
        """The RBMs of many contexts at once, one a row: (n, n_context)."""
        if u.ndim != 2 or u.shape[1] != self.n_context:
            raise InvalidDataError(f"contexts must have shape (n, {self.n_context}). Got {tuple(u.shape)}.")
        return GivenContext(self, u)

    @torch.no_grad()
    def rbm_given(self, u: Tensor) -> RBM:
        """The ordinary RBM that one context makes of it, with biases ``b + u A`` and ``c + u B``: (n_context,) -> RBM.

        Its offsets are those of the conditional model.
        """
        rbm = self.rbm.empty_like()
        rbm.load_state_dict(self.rbm.state_dict())
        for units, shift in ((rbm.visible, u @ self.context_to_v), (rbm.hidden, u @ self.context_to_h)):
            _shift_bias(units, shift)
        return rbm

    # -- energies ---------------------------------------------------------------------------------------------------

    def energy(self, v: Tensor, h: Tensor, u: Tensor) -> Tensor:
        """``E(v, h | u)`` in nats: (n, n_visible), (n, n_hidden), (n, n_context) -> (n,)."""
        given = self.given(u)
        return self.rbm.energy(v, h) - (given.to_v * v).sum(-1) - (given.to_h * h).sum(-1)

    def free_energy(self, v: Tensor, u: Tensor) -> Tensor:
        """``F(v | u) = -log sum_h exp(-E(v, h | u))`` in nats: (n, n_visible), (n, n_context) -> (n,)."""
        given = self.given(u)
        return self.visible.potential(v) - (given.to_v * v).sum(-1) - self.hidden.cumulant(given.input_h_from_v(v))

    @torch.no_grad()
    def log_likelihood(self, v: Tensor, u: Tensor, *, generator: Generator = None) -> Bound:
        """``log p(v | u)``, nats per case. Every context has a log Z of its own: exact where a layer is small.

        Otherwise each distinct context is annealed, which is for few cases of a small model.
        """
        contexts, which = torch.unique(u, dim=0, return_inverse=True)
        if is_enumerable(self.rbm, QUICK_STATES):
            z = Bound(self._exact_log_z(contexts).to(v.device), "exact", method="enumeration")
        else:
            zs = [choose_log_z(self.rbm_given(row), generator=generator) for row in contexts]
            values = torch.tensor([float(z.value) for z in zs], dtype=torch.float64, device=v.device)
            z = Bound(values, "estimate", max(z.stderr for z in zs), zs[0].method)
        value = -self.free_energy(v, u).double() - z.value[which]  # type: ignore[index]
        return Bound(value, z.kind, z.stderr, f"log Z of {len(contexts)} contexts; {z.method}")

    def _exact_log_z(self, contexts: Tensor) -> Tensor:
        """``log Z(u)`` of each context, by enumerating the smaller layer for many of them at once."""
        twin = copy.deepcopy(self).double()
        numbers = min(n_enumerated(self.rbm), EXACT_CHUNK) * sum(self.rbm.weight.shape)
        rows = max(1, int(EXACT_NUMBERS // numbers))
        parts = contexts.double().unsqueeze(1).split(rows)
        return torch.cat([exact_log_z_of_each(GivenContext(twin, part), chunk=EXACT_CHUNK) for part in parts])

    # -- draws ------------------------------------------------------------------------------------------------------

    def encode(self, v: Tensor, u: Tensor) -> Tensor:
        """``<h>`` given v and u: (n, n_visible), (n, n_context) -> (n, n_hidden)."""
        return self.hidden.mean(self.given(u).input_h_from_v(v))

    @torch.no_grad()
    def sample(
        self,
        u: Tensor,
        *,
        start: Tensor | None = None,
        condition: Clamp | None = None,
        generator: Generator = None,
        n_steps: int = 50,
        mean: bool = False,
    ) -> Tensor:
        """One draw of v for each context, the end of a chain of `n_steps` sweeps: (n, n_context) -> (n, n_visible).

        Chains start at `start` (the last frame is a good place), else at independent units with the data's means.
        """
        check_count("n_steps", n_steps, low=1)
        if condition is not None:
            check_clamp(self.rbm.visible, condition)
        kernel = BlockGibbs(self.given(u))
        if start is None:
            state = kernel.init(len(u), generator=generator)
        else:
            state = kernel.start_at(start, generator=generator)
        state, info = run_chain(kernel, state, n_steps, clamp=condition, generator=generator)
        if not mean:
            return state.v
        return info.mean_v if condition is None else condition.apply(info.mean_v)

    @torch.no_grad()
    def complete(
        self,
        v: Tensor,
        known: Tensor,
        u: Tensor,
        *,
        generator: Generator = None,
        n_steps: int = 200,
        n_average: int | None = None,
    ) -> Tensor:
        """Fill the entries of `v` where `known` is False with their mean given the rest and the context.

        With no entry known it is an estimate of ``<v>`` given u.
        """
        clamp, kernel = Clamp(v, known), BlockGibbs(self.given(u))
        check_clamp(self.rbm.visible, clamp)
        state = kernel.start_at(clamp.apply(self.rbm.visible_offset.expand_as(v)), generator=generator)
        steps: dict[str, Any] = {"n_steps": n_steps, "n_average": n_average, "generator": generator}
        return clamp.apply(average_means(kernel, state, lambda info: info.mean_v, clamp=clamp, **steps))

    @torch.no_grad()
    def continue_sequence(
        self, frames: Tensor, n: int, *, generator: Generator = None, n_steps: int = 30, mean: bool = True
    ) -> Tensor:
        """`n` further frames, each drawn given the ones before: (order, n_visible) or (batch, order, n_visible).

        The context is the last ``order = n_context / n_visible`` frames, the oldest first. Every chain starts at the
        frame before; with `mean`, a frame is the mean that its last draw came from (Taylor et al. do so: less jitter).
        """
        check_count("n", n, low=1)
        width = self.visible.size
        order = self.n_context // width
        single = frames.ndim == 2
        past = frames.unsqueeze(0) if single else frames
        if order * width != self.n_context or past.shape[1] < order or past.shape[2] != width:
            raise InvalidDataError(
                f"frames must be at least {self.n_context / width:g} frames of {width} numbers, a whole context. "
                f"Got shape {tuple(frames.shape)}."
            )
        for _ in range(n):
            u = past[:, past.shape[1] - order :].flatten(1)
            frame = self.sample(u, start=past[:, -1], generator=generator, n_steps=n_steps, mean=mean)
            past = torch.cat([past, frame.unsqueeze(1)], 1)
        return past[0, -n:] if single else past[:, -n:]

    # -- starting points and storage --------------------------------------------------------------------------------

    @torch.no_grad()
    def match_data(self, v: Tensor, u: Tensor, weight: Tensor | None = None) -> None:
        """Start learning from data: visible units take the moments of `v`, offsets the means of both and of `u`."""
        self.rbm.match_data(v, weight)
        share = torch.ones(len(u), dtype=torch.float64, device=u.device) if weight is None else weight.double()
        self.context_offset.copy_(share @ u.double() / share.sum())

    def config(self) -> dict[str, Any]:
        """What rebuilds the model (without its parameters), as JSON."""
        return {"visible": self.visible.config(), "hidden": self.hidden.config(), "n_context": self.n_context}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A model from `config`."""
        units = [units_from_config(config[name]) for name in ("visible", "hidden")]
        return cls(units[0], units[1], config["n_context"], weight_std=0.0)


def _shift_bias(units: Units, shift: Tensor) -> None:
    """Add to the biases of a layer, part by part where it has parts."""
    parts = getattr(units, "parts", None)
    if parts is None:
        units.bias.add_(shift)
        return
    for part, piece in zip(parts, shift.split([part.size for part in parts]), strict=True):
        _shift_bias(part, piece)
