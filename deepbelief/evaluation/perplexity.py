"""Perplexity per word of documents, as topic models report it.

    perplexity = exp(-1/N sum_n log p(v_n) / D_n)

where ``p(v_n)`` is the probability of the D_n words of document n in their order, so that a uniform law over K words
has the perplexity K. The average is over documents, so a short one counts as much as a long one (Salakhutdinov & Hinton
2009); averages over words, which others report, are other numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from deepbelief.energy.partition.lengths import LengthLogZ, log_z_of_lengths
from deepbelief.energy.replicated_softmax import ReplicatedSoftmax
from deepbelief.errors import InvalidDataError
from deepbelief.protocols import Generator
from deepbelief.types import Bound


@torch.no_grad()
def perplexity(
    model: ReplicatedSoftmax, x: Tensor, *, log_z: LengthLogZ | None = None, generator: Generator = None
) -> Bound:
    """The perplexity per word of documents x (n, n_words), exact or an estimate with both ends of log Z's bracket.

    Empty documents, which have no word to be perplexed at, are left out. The standard error is the method's, and taken
    as if the errors of all lengths agreed. `log_z` must hold the lengths of all documents; by default it is computed.
    """
    lengths = model.check_counts(x)
    x, lengths = x[lengths > 0], lengths[lengths > 0]
    if len(x) == 0:
        raise InvalidDataError("X must have at least one document with a word. Got none. Check the vocabulary.")
    z = log_z_of_lengths(model, lengths, generator=generator) if log_z is None else log_z
    free, place = model.free_energy(x).double(), z.place(lengths)
    value = _perplexity(free, z.value[place], lengths)
    error = value * (z.stderr[place] / lengths).mean().item()
    low, high = (None if end is None else _perplexity(free, end[place], lengths) for end in (z.low, z.high))
    return Bound(value, z.kind, error, z.method, low, high)


def _perplexity(free: Tensor, log_z: Tensor, lengths: Tensor) -> float:
    return ((free + log_z) / lengths).mean().exp().item()
