"""Gibbs sampling of documents of many lengths at once, with swaps of hidden states between neighbouring lengths.

Given h, the words of a document are independent draws; given the words, so are the hidden units. In a replicated
softmax ``p_D(h) ~ exp(D a(h))``, so the length D is an inverse temperature, and chains of lengths D and D' may swap
their hidden states with probability ``min(1, exp((D - D') (a(h') - a(h))))``: parallel tempering (Swendsen & Wang 1986;
Desjardins et al. 2010 for RBMs) over the lengths that are wanted anyway. Short documents mix fast and hand it on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from deepbelief.errors import check_count
from deepbelief.protocols import Generator

if TYPE_CHECKING:
    from deepbelief.energy.replicated_softmax import ReplicatedSoftmax


@torch.no_grad()
def sweep(model: ReplicatedSoftmax, h: Tensor, lengths: Tensor, generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
    """One Gibbs sweep of every chain, h -> v -> h: the new v, the mean of h given it, and the new h."""
    v = model.sample_v_from_h(h, lengths, generator)
    mean_h = model.mean_h_from_v(v)
    return v, mean_h, model.hidden.draw(mean_h, mean_h, generator)


@torch.no_grad()
def swap(model: ReplicatedSoftmax, h: Tensor, lengths: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Offer a swap to every second pair of neighbours in the order of their lengths: the new h, the share accepted."""
    order = lengths.argsort(stable=True)
    first = int(torch.randint(2, (), generator=generator, device=h.device))
    n_pairs = (len(h) - first) // 2
    pairs = order[first : first + 2 * n_pairs].unflatten(0, (n_pairs, 2))
    a, d = model.word_potential(h).double()[pairs], lengths[pairs].double()
    log_ratio = (d[:, 0] - d[:, 1]) * (a[:, 1] - a[:, 0])
    u = torch.rand(n_pairs, dtype=torch.float64, device=h.device, generator=generator)
    accepted = u.log() < log_ratio
    swapped = h.clone()
    swapped[pairs[accepted]] = h[pairs[accepted].flip(1)]
    return swapped, accepted.double().mean()


def spread_lengths(lengths: Tensor, n: int, weight: Tensor | None = None) -> Tensor:
    """`n` lengths that stand for those of some documents: their (weighted) quantiles at (i + 1/2) / n, in order."""
    check_count("n", n, low=1)
    ordered, order = lengths.sort()
    share = torch.ones(len(lengths), dtype=torch.float64, device=lengths.device) if weight is None else weight.double()
    passed = share[order].cumsum(0)
    wanted = (torch.arange(n, dtype=torch.float64, device=lengths.device) + 0.5) * passed[-1] / n
    return ordered[torch.searchsorted(passed, wanted).clamp_max(len(lengths) - 1)]
