"""Learning a Boltzmann machine: one rule's direction, centring, penalties on the couplings, one update.

Centred on running means o of all units (Montavon & Muller 2012), the step in the plain parameters is

    dJ_ab = g_ab - g_a o_b - o_a g_b - decay,          db = g - dJ o

where g is the plain gradient; moving an offset never changes the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from deepbelief.energy.boltzmann import BoltzmannMachine
from deepbelief.energy.gradients.pairwise import (
    ContrastivePairs,
    ExactPairs,
    PairMoments,
    PairRule,
    PersistentPairs,
    Posterior,
    PseudoLikelihoodPairs,
    TemperedPairs,
)
from deepbelief.energy.gradients.settings import LearningSettings
from deepbelief.energy.gradients.update import Factor, Update, check_decays
from deepbelief.errors import check_choice
from deepbelief.protocols import StepContext
from deepbelief.training.schedules import make_schedule
from deepbelief.types import Batch

RULES = ("pcd", "cd", "pt", "exact", "pl")


class PairwiseLearning:
    """One update of a Boltzmann machine per batch, by any rule of `deepbelief.energy.gradients.pairwise`.

    A `Procedure`. ``l2`` and ``l1`` are decays of the couplings (per unit of learning rate); ``offset_rate`` is the
    speed of the running offsets.
    """

    def __init__(
        self,
        model: BoltzmannMachine,
        rule: PairRule,
        *,
        learning_rate: float = 0.05,
        schedule: Factor | None = None,
        momentum: float = 0.0,
        optimizer: Literal["sgd", "adam"] = "sgd",
        l2: float = 0.0,
        l1: float = 0.0,
        centred: bool = True,
        offset_rate: float = 0.01,
    ) -> None:
        check_decays(l2, l1, offset_rate)
        self.module: torch.nn.Module = model
        self.model, self.rule = model, rule
        self.l2, self.l1, self.centred, self.offset_rate = l2, l1, centred, offset_rate
        self.update = Update(
            model, learning_rate=learning_rate, schedule=schedule, momentum=momentum, optimizer=optimizer
        )

    def start(self, first: Batch, generator: torch.Generator, *, rank: int = 0, world_size: int = 1) -> None:
        """Start the rule; the offsets are the model's own (``model.match_data`` sets them from data)."""
        self.rule.start(self.model, first.x, generator, rank=rank, world_size=world_size)

    @torch.no_grad()
    def step(self, batch: Batch, context: StepContext) -> Mapping[str, Tensor | float]:
        """One update; returns what the rule watches."""
        model = self.model
        ascent, data_mean, watched = self.rule.ascent(model, batch.x, batch.weight, context.generator)
        self._set_gradients(ascent)
        model.offset.grad = data_mean
        self.update.apply(context, travellers=(model.offset,))
        model.offset.lerp_(model.offset.grad, self.offset_rate)
        model.offset.grad = None
        return watched

    def _set_gradients(self, ascent: PairMoments) -> None:
        """Put the gradients of *minus* the objective where the optimizer looks for them."""
        model, (a, b) = self.model, self.model.pairs
        offset = model.offset
        pairs, bias = ascent.pairs / model.temperature, ascent.x / model.temperature
        if self.centred:
            pairs = pairs - bias[a] * offset[b] - offset[a] * bias[b]
        pairs = pairs - self.l2 * model.coupling - self.l1 * model.coupling.sign()
        if self.centred:
            back = torch.zeros_like(bias).index_add_(0, a, pairs * offset[b]).index_add_(0, b, pairs * offset[a])
            bias = bias - back
        model.coupling.grad = -pairs
        n_visible = model.visible.size
        model.visible.set_gradients(-bias[:n_visible], {})
        if model.hidden is not None:
            model.hidden.set_gradients(-bias[n_visible:], {})

    def state_dict(self) -> dict[str, Any]:
        return {"optimizer": self.update.state_dict(), "rule": self.rule.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.update.load_state_dict(state["optimizer"])
        self.rule.load_state_dict(state["rule"])


def make_pairwise_procedure(
    model: BoltzmannMachine,
    settings: LearningSettings,
    *,
    posterior: str | None = None,
    posterior_steps: int = 10,
) -> PairwiseLearning:
    """The procedure that `settings` describe; ``learning`` is "pcd", "cd", "pt", "exact" or "pl".

    `posterior` says how hidden units are filled in ("mean_field", "gibbs" or "exact"; None for the rule's own choice:
    mean field for persistent chains, `posterior_steps` clamped sweeps for contrastive divergence).
    """
    check_choice("learning", settings.learning, RULES)
    chosen = {"cd": "gibbs"}.get(settings.learning, "mean_field") if posterior is None else posterior
    filled = Posterior(chosen, posterior_steps)
    rule: PairRule
    if settings.learning == "pcd":
        rule = PersistentPairs(settings.n_chains, settings.k, filled)
    elif settings.learning == "pt":
        rule = TemperedPairs(settings.n_chains, settings.k, filled, n_replicas=settings.n_replicas)
    elif settings.learning == "cd":
        rule = ContrastivePairs(settings.k, filled)
    else:
        rule = ExactPairs() if settings.learning == "exact" else PseudoLikelihoodPairs()
    return PairwiseLearning(
        model,
        rule,
        learning_rate=settings.learning_rate,
        schedule=make_schedule(settings.schedule, 1.0),
        momentum=settings.momentum,
        optimizer=settings.optimizer,
        l2=settings.l2,
        l1=settings.l1,
        centred=settings.centred,
        offset_rate=settings.offset_rate,
    )
