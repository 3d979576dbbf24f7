"""What the top layer of a DBN adds to the bound: a difference that is far more certain than either of the two bounds.

The stack without its top has the bound ``E_Q[ ... + log p_below(h)]``, the whole stack ``E_Q[ ... + log p_top(h)]``,
with the same Q and the same other terms, where h is the layer that the two RBMs share. So

    gain = E_Q[ F_below(h) - F_top(h) ]  -  (log Z_top - log Z_below)

For two layers the bound of the stack without its top is the RBM's log-likelihood itself, for its Q is exact: the gain
is then by how much (at least, since the DBN's own number is a bound) the DBN is better than its first RBM.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from deepbelief.belief.dbn import DBN
from deepbelief.belief.greedy import tie_to_below
from deepbelief.energy.partition.bridge import log_z_ratio
from deepbelief.energy.rbm import RBM
from deepbelief.errors import InvalidArgumentError, check_count
from deepbelief.protocols import Generator
from deepbelief.types import Bound


@torch.no_grad()
def tied_start(top: RBM, below: RBM) -> RBM:
    """The RBM of the shape of `top` that models h as `below` does: its transpose, with idle units for the rest."""
    start = top.empty_like()
    for parameter in start.parameters():
        parameter.zero_()
    tie_to_below(start, below)
    return start


@torch.no_grad()
def gain_of_top(
    dbn: DBN,
    x: Tensor,
    samples_below: Tensor,
    samples_top: Tensor,
    *,
    betas: int = 200,
    n_samples: int = 10,
    generator: Generator = None,
) -> Bound:
    """By how much the top RBM raises the variational bound on `x`, nats per case: (n, d) -> (n,), a lower bound.

    The ratio of partition functions comes from Bennett's acceptance ratio between the top and the transpose of the RBM
    below, so the top must be of a kind that could have been tied (see `tie_to_below`), and is best one that was.
    `samples_below` and `samples_top` (n_chains, width) are draws of the layer that both share, from long chains of the
    one and of the other. The standard error joins that of the ratio and of the draws of h, not the spread over cases.
    """
    check_count("n_samples", n_samples, low=1)
    check_count("betas", betas, low=2)
    if len(dbn.layers) < 2 or dbn.n_classes:
        raise InvalidArgumentError(
            f"a gain needs at least 2 layers and no labels in the top. Got {len(dbn.layers)} layers, "
            f"n_classes={dbn.n_classes}. Use log_likelihood(...) instead."
        )
    start = tied_start(dbn.top, dbn.layers[-2])
    ratio = log_z_ratio(start, dbn.top, samples_below, samples_top, betas=betas, generator=generator)
    draws = torch.stack([_difference(dbn, start, x, generator) for _ in range(n_samples)])
    noise = draws.var(0).mean().item() / draws.numel() if n_samples > 1 else 0.0
    mean = draws.mean(0)
    low, high = (None if end is None else mean.mean().item() - end for end in (ratio.high, ratio.low))
    error = math.sqrt(noise + ratio.stderr**2)
    return Bound(mean - float(ratio), "lower_bound", error, f"{n_samples} draws; log Z: {ratio.method}", low, high)


def _difference(dbn: DBN, start: RBM, x: Tensor, generator: Generator) -> Tensor:
    h = dbn.upward(x, sample=True, generator=generator)
    return (start.free_energy(h) - dbn.top.free_energy(h)).double()
