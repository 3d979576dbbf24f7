"""Learning a conditional RBM: the RBM's rule, and the weights from the context on top of it.

With the context centred on its mean m, in plain parameters (see `procedure` for mu and lambda):

    dA = (u - m)' (v_data - v_model),      dB = (u - m)' (h_data - h_model),      averaged over cases,
    db = (as without a context) - m' dA,      dc = (as without a context) - m' dB

The model's half must be that of the case's own context: contrastive divergence starts at the case, and a persistent
chain belongs to one case (Mnih, Larochelle & Hinton 2011).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from deepbelief.energy.conditional_rbm import ConditionalRBM, GivenContext
from deepbelief.energy.gradients.cd import ContrastiveDivergence
from deepbelief.energy.gradients.moments import Moments, moments
from deepbelief.energy.gradients.negative import NegativePhase, PositivePhase
from deepbelief.energy.gradients.procedure import LikelihoodLearning
from deepbelief.errors import InvalidArgumentError, InvalidDataError, check_count, check_range
from deepbelief.protocols import Generator, StepContext
from deepbelief.types import Batch


class ConditionalExact:
    """The model's half by enumeration of the visible states under every context: a yardstick for small layers."""

    name = "exact"

    def start(self, rbm: Any, first: Tensor, generator: Generator, *, rank: int, world_size: int) -> None:
        """Nothing to make; continuous visible units are refused by their enumeration."""

    def moments(self, rbm: Any, positive: PositivePhase, generator: Generator) -> tuple[Moments, Mapping[str, Tensor]]:
        given: GivenContext = rbm
        states = torch.cat(list(given.visible.states()))
        n, width = len(positive.v), given.visible.size
        v = states.unsqueeze(1).expand(-1, n, -1)  # (states, n, n_visible)
        inputs = given.input_h_from_v(v)
        log_p = (given.to_v * v).sum(-1) - given.visible.potential(v) + given.hidden.cumulant(inputs)
        p = torch.softmax(log_p, 0)
        share = _share(positive)
        mean_h = given.hidden.mean(inputs)
        weight = (p * share).flatten()
        flat_v, flat_h = v.reshape(-1, width), mean_h.flatten(0, 1)
        stats_v = {name: weight @ value for name, value in given.visible.statistics(flat_v).items()}
        stats_h = given.hidden.expected_statistics(inputs.flatten(0, 1), flat_h)
        found = Moments(
            weight @ flat_v,
            weight @ flat_h,
            flat_v,
            weight.unsqueeze(1) * flat_h,
            stats_v,
            {name: weight @ value for name, value in stats_h.items()},
        )
        self.by_case = torch.einsum("sn,snd->nd", p, v), torch.einsum("sn,snd->nd", p, mean_h)
        return found, {}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing lives from step to step."""


class CaseChains:
    """One persistent chain for every case, moved by `k` sweeps whenever a batch holds the case.

    ``batch.y`` numbers the cases, from 0 to `n_cases` - 1. A chain starts at its case the first time that it is seen.
    """

    name = "pcd"

    def __init__(self, n_cases: int, k: int = 1) -> None:
        check_count("n_cases", n_cases, low=1)
        check_count("k", k, low=1)
        self.n_cases, self.k = n_cases, k
        self.h = torch.empty(0)
        self.seen = torch.empty(0, dtype=torch.bool)
        self.cases = torch.empty(0, dtype=torch.int64)

    def start(self, rbm: Any, first: Tensor, generator: Generator, *, rank: int, world_size: int) -> None:
        if world_size > 1:
            raise InvalidArgumentError(
                f"chains of single cases need one process. Got {world_size}. Use contrastive divergence instead."
            )
        self.h = first.new_zeros(self.n_cases, rbm.hidden.size)
        self.seen = torch.zeros(self.n_cases, dtype=torch.bool, device=first.device)

    def choose(self, cases: Tensor | None) -> None:
        """Say whose chains the next batch wants."""
        if cases is None or (len(cases) and not 0 <= int(cases.min()) <= int(cases.max()) < self.n_cases):
            got = "none" if cases is None else f"numbers from {int(cases.min())} to {int(cases.max())}"
            raise InvalidDataError(f"y must number the cases from 0 to {self.n_cases - 1}. Got {got}.")
        self.cases = cases.long()

    @torch.no_grad()
    def moments(self, rbm: Any, positive: PositivePhase, generator: Generator) -> tuple[Moments, Mapping[str, Tensor]]:
        fresh = rbm.hidden.draw(positive.inputs, positive.mean_h, generator)
        h = torch.where(self.seen[self.cases].unsqueeze(1), self.h[self.cases], fresh)
        for _ in range(self.k):
            v = rbm.sample_v_from_h(h, generator)
            inputs = rbm.input_h_from_v(v)
            mean_h = rbm.hidden.mean(inputs)
            h = rbm.hidden.draw(inputs, mean_h, generator)
        self.h[self.cases], self.seen[self.cases] = h, True
        return moments(rbm, v, inputs, mean_h, positive.weight), {}

    def state_dict(self) -> dict[str, Any]:
        return {"h": self.h, "seen": self.seen}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.h, self.seen = state["h"], state["seen"]


class ConditionalLearning:
    """One update of a conditional RBM per batch; a `Procedure`. Rows of ``batch.x`` are a context and then a frame.

    `negative` is `ContrastiveDivergence`, `CaseChains` or `ConditionalExact`. ``context_rate`` scales the steps of the
    weights from the context: autoregressive weights of many correlated inputs want smaller ones. `options` are those of
    `LikelihoodLearning`; ``l2`` acts on all three weight matrices.
    """

    def __init__(
        self,
        model: ConditionalRBM,
        negative: NegativePhase | None = None,
        *,
        context_rate: float = 1.0,
        **options: Any,
    ) -> None:
        check_range("context_rate", context_rate, low=0)
        self.module: torch.nn.Module = model
        self.model, self.context_rate = model, context_rate
        self.negative = ContrastiveDivergence() if negative is None else negative
        self.rule = LikelihoodLearning(model.rbm, self.negative, module=model, **options)

    def start(self, first: Batch, generator: torch.Generator, *, rank: int = 0, world_size: int = 1) -> None:
        """Make room for the chains."""
        self.negative.start(self.model.rbm, self._split(first.x)[1], generator, rank=rank, world_size=world_size)

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Contexts and frames."""
        sizes = [self.model.n_context, self.model.visible.size]
        if x.shape[1] != sum(sizes):
            raise InvalidDataError(
                f"a row must be a context of {sizes[0]} numbers and a frame of {sizes[1]}. Got {x.shape[1]} numbers."
            )
        return tuple(x.split(sizes, 1))

    @torch.no_grad()
    def step(self, batch: Batch, context: StepContext) -> Mapping[str, Tensor | float]:
        """One update."""
        u, v = self._split(batch.x)
        if isinstance(self.negative, CaseChains):
            self.negative.choose(batch.y)
        with context.autocast():
            given = self.model.given(u)
            inputs = given.input_h_from_v(v)
            phase = PositivePhase(v, inputs, given.hidden.mean(inputs), batch.weight)
            negative, watched = self.negative.moments(given, phase, context.generator)
        positive = moments(self.model.rbm, v, phase.inputs, phase.mean_h, batch.weight)
        with torch.autocast(v.device.type, enabled=False):
            pulled = self.rule.sparse(positive, phase)
            self.rule.put_gradients(pulled, negative)
            self._put_context_gradients(u, phase, pulled, negative)
            self.rule.advance(context, positive.v, positive.h)
        return watched

    def _put_context_gradients(self, u: Tensor, phase: PositivePhase, positive: Moments, negative: Moments) -> None:
        """Gradients of the descended objective for A and B, and what centring moves from them into the biases."""
        share = _share(phase).unsqueeze(1)
        model_v, model_h = self._model_half_by_case(phase, negative)
        middle = self.model.context_offset if self.rule.centred else torch.zeros_like(self.model.context_offset)
        centred = u - middle
        steps = []
        for parameter, data, model in (
            (self.model.context_to_v, share * phase.v, model_v),
            (self.model.context_to_h, positive.right, model_h),
        ):
            ascent = centred.T @ (data - model)
            if self.rule.l2:
                ascent.add_(parameter, alpha=-self.rule.l2)
            if self.rule.l1:
                ascent.add_(parameter.sign(), alpha=-self.rule.l1)
            ascent.mul_(self.context_rate)
            parameter.grad = -ascent
            steps.append(middle @ ascent)
        _add_to_bias_gradient(self.model.visible, steps[0])
        _add_to_bias_gradient(self.model.hidden, steps[1])

    def _model_half_by_case(self, phase: PositivePhase, negative: Moments) -> tuple[Tensor, Tensor]:
        """The means of v and h under the model for each case, times the case's share of the batch."""
        share = _share(phase).unsqueeze(1)
        if isinstance(self.negative, ConditionalExact):
            mean_v, mean_h = self.negative.by_case
            return share * mean_v, share * mean_h
        return share * negative.left, negative.right

    def state_dict(self) -> dict[str, Any]:
        return {"optimizer": self.rule.update.state_dict(), "negative": self.negative.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.rule.update.load_state_dict(state["optimizer"])
        self.negative.load_state_dict(state["negative"])


def _share(phase: PositivePhase) -> Tensor:
    """What each case weighs in the batch: (n,)."""
    if phase.weight is None:
        return phase.v.new_full((len(phase.v),), 1 / len(phase.v))
    return (phase.weight / phase.weight.sum()).to(phase.v)


def _add_to_bias_gradient(units: Any, step: Tensor) -> None:
    """Add to the ``.grad`` of a layer's biases, part by part where it has parts."""
    parts = getattr(units, "parts", None)
    if parts is None:
        units.bias.grad = units.bias.grad + step
        return
    for part, piece in zip(parts, step.split([part.size for part in parts]), strict=True):
        _add_to_bias_gradient(part, piece)
