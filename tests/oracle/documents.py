"""Tiny replicated softmaxes known exactly, by the sum over every document of a few words in order."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

from deepbelief.energy.replicated_softmax import ReplicatedSoftmax

WORDS, TOPICS = 3, 2


@torch.no_grad()
def tiny(generator: torch.Generator, scale: float = 0.8) -> ReplicatedSoftmax:
    model = ReplicatedSoftmax(WORDS, TOPICS).double()
    for parameter in model.parameters():
        parameter.copy_(scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    model.visible_offset.copy_(torch.tensor([0.5, 0.2, 0.3]))
    model.hidden_offset.copy_(torch.tensor([0.3, 0.6]))
    return model


def hidden_states() -> Tensor:
    return torch.tensor(list(product((0.0, 1.0), repeat=TOPICS))).double()


def documents(length: int) -> Tensor:
    """Every document of this many words, as one-hot rows in order: (documents, length, WORDS)."""
    return torch.tensor([[[float(k == w) for k in range(WORDS)] for w in words] for words in words_of(length)]).double()


def words_of(length: int) -> list[tuple[int, ...]]:
    return list(product(range(WORDS), repeat=length))


def log_joint(model: ReplicatedSoftmax, length: int, p: dict[str, Tensor] | None = None) -> Tensor:
    """``-E`` of every document and every h from the definition, word by word: (documents, states of h)."""
    own = {"weight": model.weight, "visible.bias": model.visible.bias, "hidden.bias": model.hidden.bias}
    weight, b, c = (p or own).values()
    total = (length * (hidden_states() @ c)).expand(len(words_of(length)), -1)
    for i in range(length):
        word = documents(length)[:, i]
        total = total + (word @ b).unsqueeze(1) + word @ weight @ hidden_states().T
    return total


def draw_many_fast(model: ReplicatedSoftmax, lengths: Tensor, generator: torch.Generator) -> Tensor:
    """Exact draws from ``p_D(h) ~ exp(D a(h))``, which a test above has held to the sum over documents."""
    law = torch.softmax(lengths.unsqueeze(1) * model.word_potential(hidden_states()), 1).detach()
    return hidden_states()[torch.multinomial(law, 1, generator=generator)[:, 0]]
