"""Learning of a replicated softmax by contrastive divergence or persistent chains over documents of all lengths.

Written in shares of words ``x = v / D``, the gradient of ``log p(v) / D`` is that of an RBM,

    dW = <x h'>_data - <x h'>_model,      db = <x>_data - <x>_model,      dc = <h>_data - <h>_model,

where the model's half runs over documents of the same lengths, and centring (see `procedure`) is as for the RBM. This
is the objective "word", the logarithm of the published perplexity. "document" weights each document by its length,
which gives the gradient of log p(v) itself: there a few long documents make most of the gradient.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from deepbelief.energy.gradients.moments import Moments
from deepbelief.energy.gradients.procedure import LikelihoodLearning
from deepbelief.energy.gradients.sparsity import check_no_groups
from deepbelief.energy.kernels.lengths import spread_lengths, swap, sweep
from deepbelief.energy.replicated_softmax import ReplicatedSoftmax
from deepbelief.errors import DivergenceError, check_choice, check_count
from deepbelief.protocols import Generator, StepContext
from deepbelief.rng import bernoulli
from deepbelief.types import Batch


class DocumentPhase(Protocol):
    """The model's half: documents that stand for the model, their topics' means, and numbers to watch.

    ``paired`` says that each of them belongs to a document of the batch, and has its weight.
    """

    paired: bool

    def start(
        self, model: ReplicatedSoftmax, first: Tensor, generator: Generator, *, rank: int, world_size: int
    ) -> None: ...

    def draw(
        self, model: ReplicatedSoftmax, v: Tensor, mean_h: Tensor, weight: Tensor | None, generator: Generator
    ) -> tuple[Tensor, Tensor, Mapping[str, Tensor]]: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


class DocumentDivergence:
    """CD-k: each document's own topics, k Gibbs sweeps away. Watches ``reconstruction_error`` in shares of words."""

    paired = True

    def __init__(self, k: int = 1) -> None:
        check_count("k", k, low=1)
        self.k = k

    def start(
        self, model: ReplicatedSoftmax, first: Tensor, generator: Generator, *, rank: int, world_size: int
    ) -> None:
        """Chains start anew at every batch."""

    @torch.no_grad()
    def draw(
        self, model: ReplicatedSoftmax, v: Tensor, mean_h: Tensor, weight: Tensor | None, generator: Generator
    ) -> tuple[Tensor, Tensor, Mapping[str, Tensor]]:
        lengths = lengths_of(v)
        h = model.hidden.draw(mean_h, mean_h, generator)
        errors = (shares(v) - model.word_probabilities(h)).square().sum(-1)
        error = errors.mean() if weight is None else (errors * weight).sum() / weight.sum()
        for _ in range(self.k):
            drawn, mean, h = sweep(model, h, lengths, generator)
        return drawn, mean, {"reconstruction_error": error}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing lives from step to step."""


class DocumentChains:
    """PCD-k with `n_chains` chains that stand in order of length and swap topics with their neighbours.

    At every update chain i takes the length of that quantile of the batch's documents, so that both halves of the
    gradient run over the same lengths; from one batch to the next it hardly changes. Below them `n_ladder` helpers of
    0, 1, 2, ... words carry fresh topics up. Without helpers (0) there are no swaps either, and learning soon builds
    modes of long documents, of one word over and over, that its chains never see (and annealing from the data's means
    does not see either). Watches ``swaps``, the share accepted.
    """

    paired = False

    def __init__(self, n_chains: int = 100, k: int = 1, *, n_ladder: int = 20) -> None:
        check_count("n_chains", n_chains, low=1)
        check_count("k", k, low=1)
        check_count("n_ladder", n_ladder, low=0)
        self.n_chains, self.k, self.n_ladder = n_chains, k, n_ladder
        self.h = torch.empty(0)

    @torch.no_grad()
    def start(
        self, model: ReplicatedSoftmax, first: Tensor, generator: Generator, *, rank: int, world_size: int
    ) -> None:
        check_count("n_chains", self.n_chains, low=world_size, remedy="Each process needs a chain of its own.")
        mine = len(range(rank, self.n_chains, world_size))
        order = lengths_of(first).argsort()
        rows = order[spread_lengths(torch.arange(len(first), device=first.device), mine)]
        ladder = first.new_full((self.n_ladder, model.hidden.size), 0.5)
        self.h = torch.cat([bernoulli(ladder, generator), model.sample_h_from_v(first[rows], generator)])

    @torch.no_grad()
    def draw(
        self, model: ReplicatedSoftmax, v: Tensor, mean_h: Tensor, weight: Tensor | None, generator: Generator
    ) -> tuple[Tensor, Tensor, Mapping[str, Tensor]]:
        own, accepted = self.n_ladder, []
        lengths = spread_lengths(lengths_of(v), len(self.h) - own, weight)
        lengths = torch.cat([torch.arange(own, device=v.device), lengths])
        for _ in range(self.k):
            if own:
                self.h, share = swap(model, self.h, lengths, generator)
                accepted.append(share)
            drawn, mean, self.h = sweep(model, self.h, lengths, generator)
        if not torch.isfinite(mean).all():
            raise DivergenceError("learning diverged: chains hold NaN or infinity. Lower learning_rate (a tenth).")
        return drawn[own:], mean[own:], {"swaps": torch.stack(accepted).mean()} if accepted else {}

    def state_dict(self) -> dict[str, Any]:
        return {"h": self.h}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.h = state["h"]


def lengths_of(v: Tensor) -> Tensor:
    """How many words each document has, at least one (fractional counts are rounded): (n, n_words) -> (n,)."""
    return v.sum(-1).round().long().clamp_min(1)


def shares(v: Tensor) -> Tensor:
    """``v / D``; an empty document has none."""
    return v / v.sum(-1, keepdim=True).clamp_min(1)


class TopicLearning:
    """One update of a replicated softmax per batch of counts; a `Procedure`.

    ``objective`` is "word" (every document counts alike: the published perplexity) or "document" (every word does).
    Empty documents say nothing and are passed over. `options` are those of `LikelihoodLearning`, without groups.
    """

    def __init__(
        self, model: ReplicatedSoftmax, negative: DocumentPhase, *, objective: str = "word", **options: Any
    ) -> None:
        check_choice("objective", objective, ["word", "document"])
        check_no_groups(options, "topics")
        self.module: torch.nn.Module = model
        self.model, self.negative, self.objective = model, negative, objective
        self.rule = LikelihoodLearning(cast(Any, model), cast(Any, negative), **options)  # it looks at weights, units

    def start(self, first: Batch, generator: torch.Generator, *, rank: int = 0, world_size: int = 1) -> None:
        """Start the chains; the offsets are the model's own (``model.match_data`` sets them from data)."""
        self.negative.start(self.model, first.x, generator, rank=rank, world_size=world_size)

    @torch.no_grad()
    def step(self, batch: Batch, context: StepContext) -> Mapping[str, Tensor | float]:
        """One update; returns what the negative phase watches."""
        there = batch.x.any(-1)
        v, weight = batch.x[there], None if batch.weight is None else batch.weight[there]
        if len(v) == 0:
            return self._pass_over(context)
        with context.autocast():
            mean_h = self.model.mean_h_from_v(v)
            drawn, mean, watched = self.negative.draw(self.model, v, mean_h, weight, context.generator)
        positive = self._moments(v, mean_h, weight)
        self.rule.put_gradients(positive, self._moments(drawn, mean, weight if self.negative.paired else None))
        self.rule.advance(context, positive.v, positive.h)
        return watched

    def _pass_over(self, context: StepContext) -> Mapping[str, Tensor | float]:
        """No document here: nothing alone, and among several processes a zero in the average that others wait for."""
        if context.world_size > 1:
            nothing, offsets = (
                torch.zeros_like(self.model.weight),
                (self.model.visible_offset, self.model.hidden_offset),
            )
            zero = Moments(nothing[:, 0], nothing[0], nothing[:, :1].T, nothing[:1], {}, {})
            self.rule.put_gradients(zero, zero)
            self.rule.advance(context, *(offset.clone() for offset in offsets))
        return {}

    def _moments(self, v: Tensor, mean_h: Tensor, weight: Tensor | None) -> Moments:
        share = v.new_ones(len(v)) if weight is None else weight.to(v)
        if self.objective == "document":
            share = share * v.sum(-1)
        share = share / share.sum()
        left, right = shares(v), mean_h.to(v) * share.unsqueeze(1)
        return Moments(share @ left, right.sum(0), left, right, {}, {})

    def state_dict(self) -> dict[str, Any]:
        return self.rule.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.rule.load_state_dict(state)
