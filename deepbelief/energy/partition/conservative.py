"""RAISE: a log-likelihood that errs on the low side (Burda, Grosse & Salakhutdinov 2015).

Forward annealing takes log Z too low, and so log-likelihoods too high. RAISE instead scores cases under the *annealing
model*: the law of the last state of a forward annealing run,

    p_ann(x) = sum over runs  p_0(v_0) T_1(v_1 | v_0) ... T_K(x | v_{K-1}),

a directed model with an exact, if intractable, likelihood. A run backwards from x has an importance weight

    w = exp(-F(x)) / Z_0  prod_k exp(-F_k(v_k)) / exp(-F_{k+1}(v_k)),           <w> = p_ann(x),

so by Jensen ``log`` of an average of weights is too low on average: a lower bound on log p_ann. The longer the path,
the closer the annealing model is to the RBM, and from below in practice.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from deepbelief.energy.partition.ais import PathFromBase, Progress, anneal, check_schedule
from deepbelief.energy.rbm import RBM
from deepbelief.errors import check_count
from deepbelief.protocols import Generator
from deepbelief.types import Bound


@torch.no_grad()
def raise_log_likelihood(
    rbm: RBM,
    x: Tensor,
    *,
    n_chains: int = 10,
    betas: int | Sequence[float] | Tensor = 1000,
    generator: Generator = None,
    progress: Progress | None = None,
) -> Bound:
    """``log p_ann(x)`` from below, nats per case: (n, n_visible) -> (n,), kind "lower_bound".

    `n_chains` backward runs for each case, so the cost is ``n * n_chains`` chains: take some hundred cases. The bound
    holds for the annealing model; the standard error is that of the mean over all cases.
    """
    check_count("n_chains", n_chains, low=1)
    schedule, path = check_schedule(betas), PathFromBase(rbm)
    rows = x.repeat_interleave(n_chains, 0)
    start = path.sweep(1.0, path.layers(1.0), path.inputs(rows), generator)  # T_K, backwards
    weights, _ = anneal(path, start, schedule[::-1], generator, progress)
    weights = weights.view(len(x), n_chains)
    log_mean = weights.logsumexp(1) - torch.tensor(float(n_chains), dtype=torch.float64).log()
    value = log_mean - rbm.free_energy(x).double() - path.independent_log_z()
    method = f"RAISE, {n_chains} runs of {len(schedule)} temperatures for each of {len(x)} cases"
    return Bound(value, "lower_bound", _error(weights), method)


def _error(weights: Tensor) -> float:
    """The error of the mean over cases of a log average: the delta method, case by case."""
    if weights.shape[1] == 1:
        return 0.0
    scaled = torch.exp(weights - weights.amax(1, keepdim=True))
    relative = scaled.var(1) / scaled.mean(1).square() / weights.shape[1]
    return float(relative.sum().sqrt() / len(weights))
