"""Hidden units of a Boltzmann machine given the visible ones: sums where they can be taken, mean field elsewhere.

    log sum_h exp(-E(v, h) / T)  >=  <-E(v, h) / T>_q + H(q),         q(h) = prod_i q_i(h_i)

with equality where hidden units are not coupled among themselves. The best factor given the others has the field
``(b + J m) / T`` at the means m; blocks of one colour are set together, so every round raises the bound.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from deepbelief.errors import check_count

if TYPE_CHECKING:
    from deepbelief.energy.boltzmann import BoltzmannMachine

FEW = 1 << 12  # hidden states that are summed one by one
MOST_ROUNDS = 200
TOLERANCE = 1e-6  # of the means, at which the iteration stops
CHUNK = 256  # cases at a time where all hidden states are listed


def mean_field(model: BoltzmannMachine, given: Tensor, *, known: Tensor, n_rounds: int = MOST_ROUNDS) -> Tensor:
    """Means of all columns, where the `known` ones, (size,), hold the values `given` in order: (n, size)."""
    check_count("n_rounds", n_rounds, low=1)
    known = known.to(given.device)
    x = model.offset.to(given).expand(len(given), -1).clone()
    x[:, known] = given
    blocks, interaction = model.plan().blocks, model.interaction()
    bias = model.bias.detach() / model.temperature
    free = [(i, block) for i, block in enumerate(blocks) if not bool(known[block.columns].all())]
    moving = torch.ones(len(x), 1, dtype=torch.bool, device=x.device)
    for _ in range(n_rounds):
        change = x.new_zeros(len(x), 1)
        for number, block in free:
            old = x[:, block.place]
            new = block.units.mean(bias[block.place] + interaction.on(number, x) / model.temperature)
            change = torch.maximum(change, (new - old).abs().amax(1, keepdim=True))
            x[:, block.place] = torch.where(moving, new, old)  # a case that has settled waits for no other
        moving = moving & (change >= TOLERANCE)
        if not moving.any():
            break
    return x


def hidden_are_independent(model: BoltzmannMachine) -> bool:
    """Whether no edge joins two hidden variables."""
    n_visible = len(model.visible.bases or [])
    return not bool((model.graph.edges >= n_visible).all(1).any())


def log_sum_hidden(model: BoltzmannMachine, v: Tensor) -> tuple[Tensor, bool]:
    """``log sum_h exp(-E(v, h) / T)`` for each row of v, and whether it is exact (else a lower bound)."""
    if model.hidden is None:
        return -model.energy(v) / model.temperature, True
    if not hidden_are_independent(model) and model.hidden.n_states <= FEW:
        return torch.cat([torch.logsumexp(hidden_weights(model, rows)[1], 1) for rows in v.split(CHUNK)]), True
    n_visible = v.shape[1]
    known = torch.arange(model.size, device=v.device) < n_visible
    with torch.no_grad():
        x = mean_field(model, v, known=known)
    field = model.fields(x)[:, n_visible:]
    hidden = model.hidden.empty_like()
    h = hidden.mean(field)
    x = torch.cat([v, h], 1)
    entropy = hidden.cumulant(field) - (field * h).sum(-1)
    return entropy - model.energy(x) / model.temperature, hidden_are_independent(model)


def hidden_weights(model: BoltzmannMachine, v: Tensor) -> tuple[Tensor, Tensor]:
    """Every state of the hidden units, (states, n_hidden), and ``-E(v, h) / T`` of each row with each: (n, states)."""
    assert model.hidden is not None
    hidden = torch.cat(list(model.hidden.states())).to(v)
    nothing = torch.zeros_like(v[:1]).expand(len(hidden), -1)
    alone = -model.energy(torch.cat([nothing, hidden], 1))
    rows = torch.cat([v, v.new_zeros(len(v), hidden.shape[1])], 1)
    across = model.interaction().whole(rows)[:, v.shape[1] :] @ hidden.T
    return hidden, (across + alone - model.energy(rows).unsqueeze(1)) / model.temperature
