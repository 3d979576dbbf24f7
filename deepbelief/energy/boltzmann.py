"""The Boltzmann machine: discrete units with a coupling on every edge of a graph, perhaps some of them hidden.

    E(x) = -b.x - x' J x / 2                p(x) = exp(-E(x) / T) / Z               x = (v, h), visible units first

J is symmetric, has no entries within one variable, and none off the graph. All units coupled and none or some hidden:
the machine of Ackley, Hinton & Sejnowski (1985). Spins on a grid: the Ising model; categorical units: the Potts model
(`deepbelief.energy.ising` makes both); any other graph: a pairwise Markov random field.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from deepbelief.energy.couplings import DenseInteraction, Interaction, Pattern, SparseInteraction, is_sparse
from deepbelief.energy.graph import Graph
from deepbelief.energy.kernels.clamped import average_means, check_clamp, run_chain
from deepbelief.energy.kernels.coloured import ColouredGibbs, ColouredMetropolis
from deepbelief.energy.kernels.coloured_tempering import PairwiseLadder
from deepbelief.energy.kernels.tempering import tempered_chains
from deepbelief.energy.partition.choose import log_z as choose_log_z
from deepbelief.energy.partition.pairwise import PathFromIndependent
from deepbelief.energy.site_posterior import log_sum_hidden, mean_field
from deepbelief.energy.sites import Block, Key, Layout, all_rows, check_discrete, log_states
from deepbelief.errors import check, check_choice, check_count, check_positive, check_range
from deepbelief.protocols import Generator
from deepbelief.types import Bound, Clamp, Kind
from deepbelief.units.base import Units
from deepbelief.units.bernoulli import Bernoulli
from deepbelief.units.catalog import units_from_config
from deepbelief.units.side_by_side import SideBySide

KERNELS = {"gibbs": ColouredGibbs, "metropolis": ColouredMetropolis}


@dataclass(frozen=True)
class Plan:
    """What follows from the graph alone, on one device and in one type."""

    key: Key
    blocks: list[Block]
    units: Units  # of all columns, without biases
    patterns: list[Pattern]  # of the whole of J, where it is multiplied sparse
    block_patterns: list[Pattern]


class BoltzmannMachine(nn.Module):
    """Discrete units of any kind, pairwise coupled; an integer means Bernoulli units.

    The `graph` is over variables, the visible ones first (a categorical group is one variable); without one, all are
    coupled to all. ``coupling`` holds one number for each coupled pair of columns (``pairs``), so a sparse graph is
    sparse in memory. ``offset`` is the running mean of all units on data; it does not enter the energy.

    >>> machine = BoltzmannMachine(6, generator=torch.Generator().manual_seed(0))
    >>> machine.coupling.shape, machine.log_likelihood(torch.zeros(2, 6)).kind
    (torch.Size([15]), 'exact')
    """

    def __init__(
        self,
        visible: Units | int,
        hidden: Units | int | None = None,
        *,
        graph: Graph | None = None,
        temperature: float = 1.0,
        coupling_std: float = 0.01,
        generator: Generator = None,
    ) -> None:
        super().__init__()
        check_range("coupling_std", coupling_std, low=0)
        check_positive("temperature", temperature)
        self.visible = visible if isinstance(visible, Units) else Bernoulli(visible)
        self.hidden = hidden if hidden is None or isinstance(hidden, Units) else Bernoulli(hidden)
        self.temperature = float(temperature)
        check_discrete(self._layers())
        n_sites = sum(len(layer.bases or []) for layer in self._layers())
        self.layout = Layout(self._layers(), Graph.full(n_sites) if graph is None else graph)
        pairs = self.layout.pairs()
        self.coupling = nn.Parameter(coupling_std * torch.randn(pairs.shape[1], generator=generator))
        self.pairs: Tensor
        self.offset: Tensor
        self.register_buffer("pairs", pairs, persistent=False)
        mean = torch.cat([layer.mean(torch.zeros(1, layer.size))[0] for layer in self._layers()])
        self.register_buffer("offset", mean.detach())
        self._plan: Plan | None = None

    def _layers(self) -> list[Units]:
        return [self.visible] if self.hidden is None else [self.visible, self.hidden]

    @property
    def graph(self) -> Graph:
        """The graph over variables."""
        return self.layout.graph

    @property
    def size(self) -> int:
        """The number of columns, visible and hidden."""
        return self.layout.size

    @property
    def bias(self) -> Tensor:
        """The biases of all columns in one row (a copy: set the layers' own)."""
        return torch.cat([layer.bias for layer in self._layers()])

    def plan(self) -> Plan:
        """Blocks and sparse patterns where the parameters are; made once, and anew after a move."""
        key = (self.coupling.device, self.coupling.dtype)
        if self._plan is None or self._plan.key != key:
            blocks = self.layout.blocks(key)
            whole = SideBySide([layer.empty_like() for layer in self._layers()]).requires_grad_(False)
            sparse = is_sparse(self.pairs.shape[1], self.size)
            patterns = [Pattern.of(self.pairs, self.size)] if sparse else []
            by_block = [Pattern.of(self.pairs, self.size, block.columns) for block in blocks] if sparse else []
            self._plan = Plan(key, blocks, whole, patterns, by_block)
        return self._plan

    def interaction(self) -> Interaction:
        """``J x`` with the couplings as they are now."""
        plan = self.plan()
        if plan.patterns:
            return SparseInteraction(self.coupling, plan.patterns, plan.block_patterns)
        return DenseInteraction(self.coupling, self.pairs, self.size, plan.blocks)

    # -- energies and conditionals ----------------------------------------------------------------------------------

    def energy(self, x: Tensor) -> Tensor:
        """``E(x)`` of whole rows, hidden units included: (n, size) -> (n,). The temperature does not enter."""
        return -(x @ self.bias) - 0.5 * (self.interaction().whole(x) * x).sum(-1)

    def fields(self, x: Tensor) -> Tensor:
        """``(b + J x) / T``: what every unit gets from its bias and all others: (n, size) -> (n, size)."""
        return (self.bias + self.interaction().whole(x)) / self.temperature

    def conditional_mean(self, x: Tensor) -> Tensor:
        """The mean of every variable given all others: (n, size) -> (n, size)."""
        return self.plan().units.mean(self.fields(x))

    def free_energy(self, v: Tensor) -> Tensor:
        """``-log sum_h exp(-E(v, h) / T)`` in nats: (n, n_visible) -> (n,).

        Exact without hidden units, or where they are not coupled among themselves, or are few (4096 states). For
        others it is an upper bound, by mean field.
        """
        return -log_sum_hidden(self, v)[0]

    def pseudo_log_likelihood(self, x: Tensor) -> Bound:
        """``sum_i log p(x_i | all others)`` in nats per case, exact (Besag 1975); for machines without hidden units."""
        self.check_all_visible("pseudo_log_likelihood")
        return Bound(self.plan().units.log_prob(x, self.fields(x)), "exact", method="pseudo-likelihood")

    def check_all_visible(self, what: str) -> None:
        """Refuse `what` for a machine with hidden units."""
        check(
            self.hidden is None,
            f"{what} needs a machine without hidden units. Got {self.hidden}. Use log_likelihood, or learn by pcd.",
        )

    # -- capabilities -----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Mean-field means of the hidden units given the visible: (n, n_visible) -> (n, n_hidden).

        Exact where hidden units are not coupled among themselves.
        """
        check(self.hidden is not None, "encode needs hidden units. Got a machine without. Use conditional_mean(x).")
        return mean_field(self, x, known=torch.arange(self.size) < self.visible.size)[:, self.visible.size :]

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Mean-field means of the visible units given the hidden: (n, n_hidden) -> (n, n_visible)."""
        check(self.hidden is not None, "decode needs hidden units. Got a machine without. Use complete(x, known).")
        return mean_field(self, z, known=torch.arange(self.size) >= self.visible.size)[:, : self.visible.size]

    def kernel(self) -> ColouredGibbs:
        """The chain that completion and annealing run, and samples unless told otherwise."""
        return ColouredGibbs(self)

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        condition: Clamp | None = None,
        generator: Generator = None,
        n_steps: int = 1000,
        mean: bool = False,
        method: Literal["gibbs", "metropolis", "pt"] = "gibbs",
        n_replicas: int = 10,
    ) -> Tensor:
        """`n` cases: visible ends of `n` chains of `n_steps` sweeps, with the entries of `condition` clamped.

        A sweep draws each variable given all others ("gibbs"), or proposes it another value ("metropolis", which moves
        more often where variables have two values), or does the first at `n_replicas` temperatures that swap their
        states ("pt", parallel tempering: between modes that single sites do not cross). ``mean=True`` returns the means
        given all others at the last visit ("pt": given all others at the end).
        """
        check_count("n", n, low=1)
        check_count("n_steps", n_steps, low=1)
        check_choice("method", method, [*KERNELS, "pt"])
        if condition is not None:
            check_clamp(self.visible, condition)
        if method == "pt":
            return self._sample_tempered(n, condition, n_steps, n_replicas, mean, generator)
        kernel = KERNELS[method](self)
        state, n_visible = kernel.init(n, generator=generator), self.visible.size
        state, info = run_chain(kernel, state, n_steps, clamp=condition, generator=generator)
        if not mean:
            return state.x[:, :n_visible]
        rows = info.mean[:, :n_visible]
        return rows if condition is None else condition.apply(rows)

    def _sample_tempered(
        self, n: int, condition: Clamp | None, n_steps: int, n_replicas: int, mean: bool, generator: Generator
    ) -> Tensor:
        steps: dict[str, Any] = {"n_steps": n_steps, "n_replicas": n_replicas, "generator": generator}
        x = tempered_chains(self, n, condition=condition, **steps).v[-1]
        rows = (self.conditional_mean(x) if mean else x)[:, : self.visible.size]
        return rows if condition is None else condition.apply(rows)

    @torch.no_grad()
    def complete(
        self, x: Tensor, known: Tensor, *, generator: Generator = None, n_steps: int = 200, n_average: int | None = None
    ) -> Tensor:
        """Fill the entries of `x` where `known` is False with their mean given the rest.

        A clamped chain of `n_steps`, of which the conditional means of the last `n_average` (three quarters of them all
        unless told) are averaged: an estimate of the posterior mean.
        """
        clamp, kernel, n_visible = Clamp(x, known), self.kernel(), self.visible.size
        check_clamp(self.visible, clamp)
        state = kernel.start_at(clamp.apply(self.offset[:n_visible].expand_as(x)), generator=generator)
        steps: dict[str, Any] = {"n_steps": n_steps, "n_average": n_average, "generator": generator}
        return clamp.apply(average_means(kernel, state, lambda info: info.mean[:, :n_visible], clamp=clamp, **steps))

    @torch.no_grad()
    def log_likelihood(self, x: Tensor, *, generator: Generator = None, log_z: Bound | None = None) -> Bound:
        """``log p(v)`` in nats per case. Pass `log_z` to spare a second estimate.

        Of log Z's kind where `free_energy` is exact; where that is a mean-field bound, a lower bound if log Z is exact,
        and else an estimate with only a lower end.
        """
        z = choose_log_z(self, generator=generator) if log_z is None else log_z
        value, exact = log_sum_hidden(self, x)
        value = value.double()
        low, high = (None if end is None else (value.mean() - end).item() for end in (z.high, z.low))
        if exact:
            return Bound(value - float(z.value), z.kind, z.stderr, z.method, low, high)
        kind: Kind = "lower_bound" if z.kind == "exact" else "estimate"
        return Bound(value - float(z.value), kind, z.stderr, f"mean field; log Z: {z.method}", low)

    # -- log Z ------------------------------------------------------------------------------------------------------

    def annealing_path(self) -> PathFromIndependent:
        """From independent units with the means of ``offset`` to this machine: what `ais` walks along."""
        return PathFromIndependent(self)

    def temperature_ladder(self, betas: Tensor) -> PairwiseLadder:
        """The rungs of parallel tempering between the same two ends, at inverse temperatures from 0 to 1."""
        return PairwiseLadder(self, betas)

    def _summed_and_listed(self) -> tuple[list[Block], list[Block]]:
        """The blocks of the colour with most states, which are summed out in closed form, and the others."""
        blocks = self.plan().blocks
        size = {c: log_states([b for b in blocks if b.colour == c]) for c in {b.colour for b in blocks}}
        most = max(size, key=lambda colour: (size[colour], -colour))
        return [b for b in blocks if b.colour == most], [b for b in blocks if b.colour != most]

    @property
    def n_enumerated(self) -> float:
        """How many states enumeration must visit: all but those of one colour."""
        exponent = log_states(self._summed_and_listed()[1])
        return math.inf if exponent > 500 else round(math.exp(exponent))

    def enumerate(self, chunk: int = 1 << 13) -> Iterator[tuple[Tensor, Tensor]]:
        """Rows that together make the law, with their log weights: (n, size), (n,).

        All states of all colours but one; the units of that one, independent given the others, have their means in the
        row, and their sum in the weight.
        """
        summed, listed = self._summed_and_listed()
        numbers = [next(i for i, b in enumerate(self.plan().blocks) if b is block) for block in summed]
        interaction, bias = self.interaction(), self.bias / self.temperature
        for rows in all_rows(listed, self.size, self.plan().key, chunk):
            weight = rows @ bias + 0.5 * (interaction.whole(rows) * rows).sum(-1) / self.temperature
            for number, block in zip(numbers, summed, strict=True):
                field = bias[block.place] + interaction.on(number, rows) / self.temperature
                weight = weight + block.units.cumulant(field)
                rows[:, block.place] = block.units.mean(field)
            yield rows, weight

    # -- starting points --------------------------------------------------------------------------------------------

    @torch.no_grad()
    def match_data(self, x: Tensor, weight: Tensor | None = None) -> None:
        """Start learning from data: biases give visible units the means of `x`, which the offsets remember."""
        self.visible.match_data(x, weight)
        for parameter in self.visible.parameters():
            parameter.mul_(self.temperature)
        share = torch.ones(len(x), dtype=torch.float64, device=x.device) if weight is None else weight.double()
        self.offset[: self.visible.size] = (share @ x.double() / share.sum()).to(self.offset)

    @torch.no_grad()
    def independent_bias(self) -> Tensor:
        """Biases of uncoupled units at temperature 1 whose means are the offsets: (size,)."""
        units = self.plan().units.empty_like()
        units.match(self.offset)
        return units.bias.detach()

    # -- storage ----------------------------------------------------------------------------------------------------

    def empty_like(self) -> Self:
        """A machine of the same units, graph, type and device with parameters of its own."""
        return type(self).from_config(self.config()).to(self.coupling)

    def config(self) -> dict[str, Any]:
        """What rebuilds the model (without its parameters), as JSON."""
        return {
            "visible": self.visible.config(),
            "hidden": None if self.hidden is None else self.hidden.config(),
            "graph": self.graph.config(),
            "temperature": self.temperature,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A model from `config`."""
        visible = units_from_config(config["visible"])
        hidden = None if config["hidden"] is None else units_from_config(config["hidden"])
        n_sites = len(visible.bases or []) + (0 if hidden is None else len(hidden.bases or []))
        graph = Graph.from_config(config["graph"], n_sites)
        return cls(visible, hidden, graph=graph, temperature=config["temperature"], coupling_std=0.0)
