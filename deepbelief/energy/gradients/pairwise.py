"""Ways to the gradient of a pairwise model: exact, by chains, or by the pseudo-likelihood.

For every coupled pair (a, b) of columns, and every bias,

    T d log p / dJ_ab = <x_a x_b>_data - <x_a x_b>_model          T d log p / db_a = <x_a>_data - <x_a>_model

where the data's half has hidden units by their posterior (Ackley, Hinton & Sejnowski 1985). The pseudo-likelihood's
gradient needs no model's half: with ``d = x - <x | all others>``,

    T d PL / dJ_ab = <d_a x_b + x_a d_b>_data                     T d PL / db_a = <d_a>_data          (Besag 1975)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from deepbelief.energy.boltzmann import BoltzmannMachine
from deepbelief.energy.gradients.replicas import Replicas
from deepbelief.energy.kernels.coloured import ColouredGibbs, SiteState
from deepbelief.energy.kernels.gibbs import check_rows
from deepbelief.energy.site_posterior import FEW, hidden_weights, mean_field
from deepbelief.errors import InvalidArgumentError, check_choice, check_count
from deepbelief.protocols import Generator
from deepbelief.types import Clamp

POSTERIORS = ("mean_field", "gibbs", "exact")
MOST_STATES = 1 << 16  # of exact learning: every step visits all of them
Watched = Mapping[str, Tensor]


@dataclass(frozen=True)
class PairMoments:
    """Averages over cases or chains: of every column, (size,), and of every coupled pair, (p,)."""

    x: Tensor
    pairs: Tensor

    def __sub__(self, other: PairMoments) -> PairMoments:
        return PairMoments(self.x - other.x, self.pairs - other.pairs)


def pair_products(model: BoltzmannMachine, left: Tensor, right: Tensor) -> Tensor:
    """``sum over rows of left_a right_b`` for every coupled pair: (p,)."""
    a, b = model.pairs
    if model.plan().patterns:
        return (left[:, a] * right[:, b]).sum(0)
    return (left.T @ right)[a, b]


def pair_moments(model: BoltzmannMachine, rows: Tensor, weight: Tensor | None = None) -> PairMoments:
    """Moments of rows of all columns; `weight` gives rows unequal shares."""
    share = rows.new_full((len(rows),), 1 / len(rows)) if weight is None else (weight / weight.sum()).to(rows)
    return PairMoments(share @ rows, pair_products(model, rows * share.unsqueeze(1), rows))


@dataclass(frozen=True)
class Posterior:
    """How the data's half fills in hidden units.

    "mean_field" takes their mean-field means (then the rule follows a lower bound), "gibbs" a draw after `n_steps`
    clamped sweeps, "exact" all their states (4096 at most). Without hidden units there is nothing to fill in.
    """

    kind: str = "mean_field"
    n_steps: int = 10

    def __post_init__(self) -> None:
        check_choice("posterior", self.kind, POSTERIORS)
        check_count("posterior_steps", self.n_steps, low=1)

    def rows(
        self, model: BoltzmannMachine, x: Tensor, weight: Tensor | None, generator: Generator
    ) -> tuple[Tensor, Tensor | None]:
        """Rows of all columns, with their weights."""
        if model.hidden is None:
            return x, weight
        if self.kind == "mean_field":
            return mean_field(model, x, known=torch.arange(model.size, device=x.device) < x.shape[1]), weight
        if self.kind == "gibbs":
            kernel, clamp = model.kernel(), Clamp(x, torch.ones(x.shape[1], dtype=torch.bool, device=x.device))
            state = kernel.start_at(x, generator=generator)
            for _ in range(self.n_steps):
                state, _ = kernel.step(state, clamp=clamp, generator=generator)
            return state.x, weight
        hidden, log_weights = hidden_weights(model, x)
        p = torch.softmax(log_weights, 1) if weight is None else torch.softmax(log_weights, 1) * weight.unsqueeze(1)
        return torch.cat([x.repeat_interleave(len(hidden), 0), hidden.repeat(len(x), 1)], 1), p.flatten()

    def check(self, model: BoltzmannMachine) -> None:
        """Refuse to list more hidden states than can be listed for every case."""
        if self.kind == "exact" and model.hidden is not None and model.hidden.n_states > FEW:
            raise InvalidArgumentError(
                f"hidden units must have at most {FEW} states for an exact posterior. Got "
                f'{model.hidden.n_states:.3g}. Use posterior="mean_field" instead.'
            )


class PairRule(Protocol):
    """A way to a gradient: its ascent direction (T times it), the data's means, and numbers to watch."""

    name: str

    def start(
        self, model: BoltzmannMachine, first: Tensor, generator: Generator, *, rank: int, world_size: int
    ) -> None:
        """Make what lives from step to step, after checking that the rule fits the model."""

    def ascent(
        self, model: BoltzmannMachine, x: Tensor, weight: Tensor | None, generator: Generator
    ) -> tuple[PairMoments, Tensor, Watched]: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


class _Stateless:
    def start(
        self, model: BoltzmannMachine, first: Tensor, generator: Generator, *, rank: int, world_size: int
    ) -> None:
        """Nothing lives from step to step."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing lives from step to step."""


class ExactPairs(_Stateless):
    """Both halves by enumeration; watches ``log_likelihood``. For machines of some 16 binary units."""

    name = "exact"

    def __init__(self) -> None:
        self.posterior = Posterior("exact")

    def start(
        self, model: BoltzmannMachine, first: Tensor, generator: Generator, *, rank: int, world_size: int
    ) -> None:
        """Check that all states can be visited at every step."""
        self.posterior.check(model)
        if model.n_enumerated > MOST_STATES:
            raise InvalidArgumentError(
                f"the machine must have at most {MOST_STATES} states to enumerate for exact learning. "
                f'Got {model.n_enumerated:.3g}. Use learning="pcd" instead.'
            )

    def ascent(
        self, model: BoltzmannMachine, x: Tensor, weight: Tensor | None, generator: Generator
    ) -> tuple[PairMoments, Tensor, Watched]:
        data = pair_moments(model, *self.posterior.rows(model, x, weight, generator))
        rows, log_weights = (torch.cat(parts) for parts in zip(*model.enumerate(), strict=True))
        law = pair_moments(model, rows, torch.softmax(log_weights.double(), 0))
        log_z = torch.logsumexp(log_weights.double(), 0)
        free = model.free_energy(x)
        mean = free.mean() if weight is None else (weight.to(free) @ free) / weight.sum()
        return data - law, data.x, {"log_likelihood": -mean - log_z}


class PersistentPairs:
    """The model's half by `n_chains` chains that are never restarted, `k` sweeps per update (Tieleman 2008)."""

    name = "pcd"

    def __init__(self, n_chains: int = 100, k: int = 1, posterior: Posterior | None = None) -> None:
        check_count("n_chains", n_chains, low=1)
        check_count("k", k, low=1)
        self.n_chains, self.k, self.posterior = n_chains, k, posterior or Posterior()
        self.x = torch.empty(0)

    @torch.no_grad()
    def start(
        self, model: BoltzmannMachine, first: Tensor, generator: Generator, *, rank: int, world_size: int
    ) -> None:
        """Chains at independent units with the data's means."""
        self.posterior.check(model)
        check_count("n_chains", self.n_chains, low=world_size, remedy="Each process needs a chain of its own.")
        mine = len(range(rank, self.n_chains, world_size))
        check_rows(mine, model.size, model.offset)
        self.x = model.kernel().init(mine, generator=generator).x

    def ascent(
        self, model: BoltzmannMachine, x: Tensor, weight: Tensor | None, generator: Generator
    ) -> tuple[PairMoments, Tensor, Watched]:
        data = pair_moments(model, *self.posterior.rows(model, x, weight, generator))
        state, moved = _sweeps(model, self.x, self.k, generator)
        self.x = state.x
        return data - pair_moments(model, self.x), data.x, {"moved": moved}

    def state_dict(self) -> dict[str, Any]:
        return {"x": self.x}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.x = state["x"]


class TemperedPairs:
    """PT-k: the model's half by parallel tempering, `n_chains` chains at each of `n_replicas` temperatures.

    An update makes `k` sweeps with swaps. Watches ``swap_acceptance``, the mean over all pairs, and ``round_trips`` per
    chain and update.
    """

    name = "pt"

    def __init__(
        self, n_chains: int = 100, k: int = 1, posterior: Posterior | None = None, *, n_replicas: int = 10
    ) -> None:
        self.replicas, self.posterior = Replicas(n_chains, k, n_replicas), posterior or Posterior()

    @torch.no_grad()
    def start(
        self, model: BoltzmannMachine, first: Tensor, generator: Generator, *, rank: int, world_size: int
    ) -> None:
        """Chains of all temperatures at independent units with the data's means."""
        self.posterior.check(model)
        self.replicas.start(model, generator, None, rank=rank, world_size=world_size)

    def ascent(
        self, model: BoltzmannMachine, x: Tensor, weight: Tensor | None, generator: Generator
    ) -> tuple[PairMoments, Tensor, Watched]:
        data = pair_moments(model, *self.posterior.rows(model, x, weight, generator))
        watched = self.replicas.advance(model, generator)
        return data - pair_moments(model, self.replicas.v), data.x, watched

    def state_dict(self) -> dict[str, Any]:
        return self.replicas.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.replicas.load_state_dict(state)


class ContrastivePairs(_Stateless):
    """CD-k: `k` sweeps from the data stand in for the model (Hinton 2002). Cheap, of low variance, biased."""

    name = "cd"

    def __init__(self, k: int = 1, posterior: Posterior | None = None) -> None:
        check_count("k", k, low=1)
        self.k, self.posterior = k, posterior or Posterior("gibbs")

    def start(
        self, model: BoltzmannMachine, first: Tensor, generator: Generator, *, rank: int, world_size: int
    ) -> None:
        """Check the posterior, and that its rows are states to start a chain from."""
        self.posterior.check(model)
        if model.hidden is not None and self.posterior.kind != "gibbs":
            raise InvalidArgumentError(
                f'posterior must be "gibbs" for contrastive divergence, whose chains start there. '
                f'Got posterior={self.posterior.kind!r}. Use learning="pcd" instead.'
            )

    def ascent(
        self, model: BoltzmannMachine, x: Tensor, weight: Tensor | None, generator: Generator
    ) -> tuple[PairMoments, Tensor, Watched]:
        rows, weight = self.posterior.rows(model, x, weight, generator)
        data = pair_moments(model, rows, weight)
        state, moved = _sweeps(model, rows, self.k, generator)
        return data - pair_moments(model, state.x, weight), data.x, {"moved": moved}


class PseudoLikelihoodPairs(_Stateless):
    """Each variable given all others: no chains, and consistent; watches ``pseudo_likelihood``. No hidden units."""

    name = "pl"

    def start(
        self, model: BoltzmannMachine, first: Tensor, generator: Generator, *, rank: int, world_size: int
    ) -> None:
        """Check that all units are visible."""
        model.check_all_visible("the pseudo-likelihood")

    def ascent(
        self, model: BoltzmannMachine, x: Tensor, weight: Tensor | None, generator: Generator
    ) -> tuple[PairMoments, Tensor, Watched]:
        share = x.new_full((len(x),), 1 / len(x)) if weight is None else (weight / weight.sum()).to(x)
        fields = model.fields(x)
        left, apart = x * share.unsqueeze(1), x - model.plan().units.mean(fields)
        pairs = pair_products(model, left, apart) + pair_products(model, apart * share.unsqueeze(1), x)
        watched = share @ model.plan().units.log_prob(x, fields)
        return PairMoments(share @ apart, pairs), share @ x, {"pseudo_likelihood": watched}


def _sweeps(model: BoltzmannMachine, x: Tensor, k: int, generator: Generator) -> tuple[SiteState, Tensor]:
    kernel, state = ColouredGibbs(model), SiteState(x)
    for _ in range(k):
        state, info = kernel.step(state, generator=generator)
    return state, info.moved
