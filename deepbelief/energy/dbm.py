"""The deep Boltzmann machine: layers of units with couplings between neighbours, all of them undirected.

    E(v, h1, ..., hL) = U_v(v) + sum_l U_l(h_l) - v' W_0 h1 - sum_l h_l' W_l h_{l+1}

Salakhutdinov & Hinton 2009, "Deep Boltzmann machines". Unlike in a deep belief network, every hidden layer hears the
one above as well as the one below, in inference as in generation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from deepbelief.energy.collapsed import collapsed_bound
from deepbelief.energy.even_odd import EvenOdd
from deepbelief.energy.kernels.clamped import average_means, check_clamp, run_chain
from deepbelief.energy.kernels.gibbs import BlockGibbs
from deepbelief.energy.kernels.tempering import CHAINS, sample_tempered
from deepbelief.energy.mean_field import MOST_STEPS, Posterior, bound, infer
from deepbelief.energy.partition.choose import log_z as choose_log_z
from deepbelief.errors import check, check_choice, check_count, check_range
from deepbelief.maths.float32 import quick_float32
from deepbelief.protocols import Generator
from deepbelief.types import Bound, Clamp
from deepbelief.units.base import Units, check_layers
from deepbelief.units.bernoulli import Bernoulli
from deepbelief.units.catalog import units_from_config

ROWS = 1000  # at once, as far as the choice of the products goes


class DBM(nn.Module):
    """A deep Boltzmann machine over layers of any kinds of units, the data's first; integers mean Bernoulli units.

    ``offsets`` are running means of the layers on the data. They do not enter the energy: learning centres its gradient
    on them (Montavon & Muller 2012), and annealing takes its base model from them.

    >>> dbm = DBM([6, 4, 3], generator=torch.Generator().manual_seed(0))
    >>> dbm.encode(torch.zeros(2, 6)).shape, dbm.sample(5, n_steps=10).shape
    (torch.Size([2, 3]), torch.Size([5, 6]))
    >>> dbm.log_likelihood(torch.zeros(2, 6)).kind
    'lower_bound'
    """

    def __init__(self, layers: Sequence[Units | int], *, weight_std: float = 0.01, generator: Generator = None) -> None:
        super().__init__()
        check(len(layers) >= 3, f"layers must be the data and at least 2 hidden ones. Got {len(layers)}. Use an RBM.")
        check_range("weight_std", weight_std, low=0)
        self.layers = nn.ModuleList([units if isinstance(units, Units) else Bernoulli(units) for units in layers])
        for lower, upper in pairwise(self.units):
            check_layers(lower, upper)
        sizes = [units.size for units in self.units]
        shapes = pairwise(sizes)
        self.couplings = nn.ParameterList([weight_std * torch.randn(shape, generator=generator) for shape in shapes])
        for number, units in enumerate(self.units):
            self.register_buffer(f"offset_{number}", units.mean(torch.zeros(1, units.size)).detach()[0])

    # -- parts ------------------------------------------------------------------------------------------------------

    @property
    def units(self) -> list[Units]:
        """The layers of units from the data up."""
        return list(self.layers)  # type: ignore[arg-type]

    @property
    def weights(self) -> list[Tensor]:
        """The couplings between neighbouring layers from the data up: (size, size above) each."""
        return list(self.couplings)

    @property
    def offsets(self) -> list[Tensor]:
        """The running means of the layers from the data up, which learning moves in place."""
        return [self.get_buffer(f"offset_{number}") for number in range(len(self.layers))]

    @property
    def visible(self) -> Units:
        """The units of the data."""
        return self.units[0]

    def even_odd(self) -> EvenOdd:
        """The machine as two layers, on which samplers and estimates of log Z run; it shares all parameters.

        >>> from deepbelief.energy.partition.choose import log_z
        >>> log_z(DBM([6, 4, 3])).kind  # which takes the machine as these two layers
        'exact'
        """
        return EvenOdd(self)

    # -- energies and inference -------------------------------------------------------------------------------------

    def energy(self, states: Sequence[Tensor]) -> Tensor:
        """``E`` in nats, of the states of all layers from the data up: each (n, size) -> (n,)."""
        total = torch.stack([units.potential(x) for units, x in zip(self.units, states, strict=True)]).sum(0)
        for (lower, upper), weight in zip(pairwise(states), self.weights, strict=True):
            total = total - ((lower @ weight) * upper).sum(-1)
        return total

    def infer(self, x: Tensor, *, n_steps: int = MOST_STEPS) -> Posterior:
        """The mean-field posterior of the hidden layers given x (see `deepbelief.energy.mean_field`)."""
        return self._mean_field(x, n_steps=n_steps)

    def _mean_field(self, x: Tensor, **options: Any) -> Posterior:
        """`infer` by the quicker float32 products, but where a file of fixed operations is made of it."""
        if torch.compiler.is_compiling():
            return infer(self.units, self.weights, x, **options)
        with quick_float32(self, ROWS):  # whatever the number of cases, so that the means are the case's own
            return infer(self.units, self.weights, x, **options)

    # -- capabilities -----------------------------------------------------------------------------------------------

    def encode(self, x: Tensor) -> Tensor:
        """The mean-field means of the top layer: (n, n_visible) -> (n, n_top)."""
        return self.infer(x).means[-1]

    def decode(self, z: Tensor) -> Tensor:
        """The mean-field means of the data given those of the top layer: (n, n_top) -> (n, n_visible)."""
        start = [offset.expand(z.shape[0], -1) for offset in self.offsets]
        start[-1] = z
        top = len(self.weights)
        return self._mean_field(start[0], means=start, held=(top,)).means[0]

    def reconstruct(self, x: Tensor) -> Tensor:
        """``decode(encode(x))``."""
        return self.decode(self.encode(x))

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

        With ``method="pt"``, of parallel tempering at `n_replicas` temperatures, whose swaps carry the states of all
        layers between modes that plain chains do not leave.
        ``mean=True`` returns the means that the last draws were made from ("pt": those given the odd layers at the
        end), which make smoother pictures.
        """
        check_count("n", n, low=1)
        check_count("n_steps", n_steps, low=1)
        check_choice("method", method, CHAINS)
        view, clamp = self.even_odd(), None if condition is None else self._widened(condition)
        if method == "pt":
            steps: dict[str, Any] = {"n_steps": n_steps, "n_replicas": n_replicas, "generator": generator}
            return sample_tempered(view, n, condition=clamp, mean=mean, **steps)[:, : self.visible.size]
        kernel = BlockGibbs(view)
        state, info = run_chain(kernel, kernel.init(n, generator=generator), n_steps, clamp=clamp, generator=generator)
        if not mean:
            return state.v[:, : self.visible.size]
        means = info.mean_v[:, : self.visible.size]
        return means if condition is None else condition.apply(means)

    @torch.no_grad()
    def complete(
        self, x: Tensor, known: Tensor, *, generator: Generator = None, n_steps: int = 200, n_average: int | None = None
    ) -> Tensor:
        """Fill the entries of `x` where `known` is False with their mean given the rest.

        A clamped chain of `n_steps`, of which the conditional means of the last `n_average` (three quarters of them all
        unless told) are averaged: an estimate of the posterior mean.
        """
        data = Clamp(x, known)
        clamp, view, width = self._widened(data), self.even_odd(), self.visible.size
        kernel = BlockGibbs(view)
        state = kernel.start_at(clamp.apply(view.visible_offset.expand(len(x), -1)), generator=generator)
        steps: dict[str, Any] = {"n_steps": n_steps, "n_average": n_average, "generator": generator}
        return data.apply(average_means(kernel, state, lambda info: info.mean_v[:, :width], clamp=clamp, **steps))

    @torch.no_grad()
    def log_likelihood(
        self,
        x: Tensor,
        *,
        generator: Generator = None,
        log_z: Bound | None = None,
        n_steps: int = MOST_STEPS,
        n_samples: int = 0,
    ) -> Bound:
        """The variational lower bound on ``log p(x)`` by mean field, nats per case: (n, n_visible) -> (n,).

        With `n_samples`, the tighter bound that sums the odd layers out and draws the even ones that often (see
        `deepbelief.energy.collapsed`). `log_z` is that of ``even_odd()``. Where it is an estimate, its *high* end
        (reverse annealing) is used, so that the error falls on the safe side; ``high`` is the bound with the low end.
        """
        check_count("n_samples", n_samples, low=0)
        z = choose_log_z(self.even_odd(), generator=generator) if log_z is None else log_z
        safe = float(z.value) if z.high is None else z.high
        posterior, noise = self.infer(x, n_steps=n_steps), 0.0
        if n_samples:
            total, noise = collapsed_bound(self, posterior, n_samples, generator)
        else:
            total = bound(self.units, self.weights, posterior).double()
        value = total - safe
        high = None if z.low is None else value.mean().item() + safe - z.low
        how = f"odd layers summed out, {n_samples} draws of the even ones" if n_samples else "mean field"
        error = math.hypot(noise, z.stderr)
        return Bound(value, "lower_bound", error, f"{how}; log Z: {z.method}", value.mean().item(), high)

    # -- details ----------------------------------------------------------------------------------------------------

    def _widened(self, condition: Clamp) -> Clamp:
        """A condition on the data as one on all even layers, the others free."""
        check_clamp(self.visible, condition)
        extra = sum(units.size for units in self.units[2::2])
        values, known = torch.broadcast_tensors(condition.values, condition.known)
        values, free = values.to(self.weights[0]), (*known.shape[:-1], extra)
        return Clamp(torch.cat([values, values.new_zeros(free)], -1), torch.cat([known, known.new_zeros(free)], -1))

    @torch.no_grad()
    def match_data(self, x: Tensor, weight: Tensor | None = None) -> None:
        """Start learning from data: visible units take the moments of `x`, the offsets the means of all layers."""
        self.visible.match_data(x, weight)
        share = torch.ones(len(x), dtype=torch.float64, device=x.device) if weight is None else weight.double()
        self.offsets[0].copy_(share @ x.double() / share.sum())
        for offset, mean in zip(self.offsets[1:], self.infer(self.offsets[0].unsqueeze(0)).means[1:], strict=True):
            offset.copy_(mean[0])

    # -- storage ----------------------------------------------------------------------------------------------------

    def empty_like(self) -> Self:
        """A machine of the same layers, type and device with parameters of its own."""
        return type(self).from_config(self.config()).to(self.weights[0])

    def config(self) -> dict[str, Any]:
        """What rebuilds the model (without its parameters), as JSON."""
        return {"layers": [units.config() for units in self.units]}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A model from `config`."""
        return cls([units_from_config(units) for units in config["layers"]], weight_std=0.0)
