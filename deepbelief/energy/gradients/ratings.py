"""Learning a ratings RBM: by contrastive divergence, or by the pseudo-likelihood of each rating given the others.

Contrastive divergence climbs ``F(v') - F(v)`` with v' after k sweeps over the same entries (Salakhutdinov, Mnih &
Hinton 2007). The pseudo-likelihood (Besag 1975) climbs ``sum_i log p(v_i | the row's other ratings)``, which is what a
recommender is asked for; every term is closed, so its gradient has no sampling noise. Either way a rating that does not
exist enters nowhere: the gradient of a column that no row of the batch rated is exactly zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from deepbelief.energy.gradients.update import Factor, Update
from deepbelief.energy.ratings_rbm import Entries, RatingsRBM
from deepbelief.errors import check, check_choice, check_count, check_range
from deepbelief.protocols import StepContext
from deepbelief.types import Batch

CHUNK = 1 << 22  # numbers held at once for entries x values x hidden units


class RatingsLearning:
    """One update per batch of rows of codes; a `Procedure`.

    `k` is a number of sweeps, or two numbers between which they grow over the training ("CD-T"). ``l2`` is the decay of
    the columns' own weights and of what rating at all says, ``bias_l2`` that of the columns' biases; both are measured
    against the (weighted) mean gradient of a row. Watches ``pseudo_likelihood``, nats per rating, or
    ``free_energy_difference``.
    """

    def __init__(
        self,
        model: RatingsRBM,
        learning: Literal["pseudo_likelihood", "cd"] = "pseudo_likelihood",
        *,
        k: int | tuple[int, int] = 1,
        learning_rate: float = 0.01,
        schedule: Factor | None = None,
        momentum: float = 0.0,
        optimizer: Literal["sgd", "adam"] = "adam",
        l2: float = 0.0,
        bias_l2: float = 0.0,
    ) -> None:
        check_choice("learning", learning, ["pseudo_likelihood", "cd"])
        check_range("l2", l2, low=0)
        check_range("bias_l2", bias_l2, low=0)
        first, last = k if isinstance(k, (tuple, list)) and len(k) == 2 else (k, k)
        for number in (first, last):
            check_count("k", number, low=1)
        self.k = (int(first), int(last))
        check(self.k[0] <= self.k[1], f"k must not fall. Got k={k}.")
        self.module: torch.nn.Module = model
        self.model, self.learning = model, learning
        self.l2, self.bias_l2 = l2, bias_l2
        self.update = Update(
            model, learning_rate=learning_rate, schedule=schedule, momentum=momentum, optimizer=optimizer
        )

    def start(self, first: Batch, generator: torch.Generator, *, rank: int = 0, world_size: int = 1) -> None:
        """Nothing lives from step to step but the optimizer."""

    def step(self, batch: Batch, context: StepContext) -> Mapping[str, Tensor | float]:
        """One update."""
        for parameter in self.model.parameters():
            parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
        with torch.enable_grad():
            contrast = self.learning == "cd"
            x, n = batch.x, len(batch.x)
            weight = (torch.ones(n) if batch.weight is None else batch.weight).to(self.model.weight)
            share = weight / weight.sum()
            watched = self._contrast(x, share, context) if contrast else self._pseudo_likelihood(x, share)
        self._decay()
        self.update.apply(context)
        return watched

    def _contrast(self, x: Tensor, share: Tensor, context: StepContext) -> dict[str, Tensor]:
        entries = Entries.of(x)
        first, last = self.k
        for _ in range(round(first + (last - first) * context.progress)):
            entries = self.model.resample(entries, context.generator)
        model_x = torch.zeros_like(x)
        model_x[entries.rows, entries.columns] = (entries.values + 1).to(x)
        difference = (share * (self.model.free_energy(x) - self.model.free_energy(model_x))).sum()
        difference.backward()
        return {"free_energy_difference": difference.detach()}

    def _pseudo_likelihood(self, x: Tensor, share: Tensor) -> dict[str, Tensor]:
        """Chunks of entries share the rows' sums; what they say of the sums is gathered and sent on once."""
        entries, total = Entries.of(x), share.new_zeros(())
        sums = self.model.sums(entries)
        received = sums.detach().requires_grad_()
        size = max(1, CHUNK // (len(self.model.ratings) * self.model.hidden.size))
        for part in torch.arange(len(entries), device=x.device).split(size):
            rows, columns, values = entries.rows[part], entries.columns[part], entries.values[part]
            log_p = self.model.log_conditional_of(entries, received, rows, columns, values + 1)
            value = share[rows] @ log_p.gather(1, values.unsqueeze(1)).squeeze(1)
            (-value).backward()
            total += value.detach()
        if received.grad is not None and sums.requires_grad:
            sums.backward(received.grad)
        rated = share @ entries.counts.to(share)
        return {"pseudo_likelihood": total / rated.clamp_min(torch.finfo(share.dtype).tiny)}

    def _decay(self) -> None:
        strengths = [(self.model.weight, self.l2), (self.model.rated, self.l2), (self.model.column_bias, self.bias_l2)]
        for parameter, strength in strengths:
            if parameter is not None and parameter.grad is not None and strength:
                parameter.grad.add_(parameter.detach(), alpha=strength)

    def state_dict(self) -> dict[str, Any]:
        return {"optimizer": self.update.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.update.load_state_dict(state["optimizer"])
