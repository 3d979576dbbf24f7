"""What a critic and a generator lower, each a function from scores to one number per case.

A critic gives a case x a score s(x), high for data. Each `AdversarialLoss` is three functions: the critic's loss on
data, its loss on generated cases, and the generator's loss on generated cases. What they find at their best:

=========  =======================================================  ==================================================
name       best critic, for data p and generated q                  what the generator then lowers
=========  =======================================================  ==================================================
minimax    s = log(p / q)                                           2 JS(p, q) - log 4
ns         the same                                                 ``E_q log(1 + q / p)`` (never flat where q is bad)
lsgan      s = p / (p + q)                                          a distance of f-divergence kind
wgan(-gp)  a 1-Lipschitz potential                                  Wasserstein-1, the earth mover's distance
hinge      s = sign(p - q)                                          minus the critic's mean score: total variation
rpgan      s = log(p / q) + any number                              ``E softplus(s(x) - s(g))``, x of p and g of q
=========  =======================================================  ==================================================

The last scores pairs, a case of the data and a generated one: each generated case is compared with data, not with one
level for all, so that no region of the data can be given up for another (Jolicoeur-Martineau 2019; Sun et al. 2020).
Its best critic finds JS of (p, q) against (q, p), the two orders of a pair.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Score = Callable[[Tensor], Tensor]
Losses = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class AdversarialLoss:
    """The three losses, and `middle`, the score where a critic is undecided (None: it has no such point).

    With `paired` they are of pairs: `real` and `generator` take the score of a case of the data less that of a
    generated one, and `fake` adds nothing.
    """

    real: Losses
    fake: Losses
    generator: Losses
    middle: float | None
    paired: bool = False


def negated(scores: Tensor) -> Tensor:
    """``-s``: the loss of whoever wants high scores."""
    return -scores


def itself(scores: Tensor) -> Tensor:
    """``s``: the loss of whoever wants low scores."""
    return scores


def log_not_sigmoid(scores: Tensor) -> Tensor:
    """``log(1 - sigmoid(s))``: what the generator lowers in the minimax game (Goodfellow et al. 2014, equation 1)."""
    return -F.softplus(scores)


def minus_log_sigmoid(scores: Tensor) -> Tensor:
    """``-log sigmoid(s)``, of a critic on data, and of the non-saturating generator (Goodfellow et al. 2014)."""
    return F.softplus(-scores)


def minus_log_not_sigmoid(scores: Tensor) -> Tensor:
    """``-log(1 - sigmoid(s))``, of a critic on generated cases."""
    return F.softplus(scores)


def squared_to(goal: float) -> Losses:
    """``(s - goal)^2 / 2`` (Mao et al. 2017)."""
    return lambda scores: 0.5 * (scores - goal).square()


def least_squares(low: float = 0.0, high: float = 1.0, goal: float = 1.0) -> AdversarialLoss:
    """Least squares with the goals a, b, c of Mao et al. 2017.

    ``b - a = 2`` and ``b - c = 1`` makes the generator's loss, with the same square on data added, half of Pearson's
    chi-square between p + q and 2 q.
    """
    return AdversarialLoss(squared_to(high), squared_to(low), squared_to(goal), 0.5 * (low + high))


def hinge_above(scores: Tensor) -> Tensor:
    """``max(0, 1 - s)``, of a critic on data (Lim & Ye 2017, Miyato et al. 2018)."""
    return F.relu(1.0 - scores)


def hinge_below(scores: Tensor) -> Tensor:
    """``max(0, 1 + s)``, of a critic on generated cases."""
    return F.relu(1.0 + scores)


LOSSES: dict[str, AdversarialLoss] = {
    "minimax": AdversarialLoss(minus_log_sigmoid, minus_log_not_sigmoid, log_not_sigmoid, 0.0),
    "ns": AdversarialLoss(minus_log_sigmoid, minus_log_not_sigmoid, minus_log_sigmoid, 0.0),
    "lsgan": least_squares(),
    "wgan": AdversarialLoss(negated, itself, negated, None),
    "wgan-gp": AdversarialLoss(negated, itself, negated, None),
    "hinge": AdversarialLoss(hinge_above, hinge_below, negated, 0.0),
    "rpgan": AdversarialLoss(minus_log_sigmoid, torch.zeros_like, minus_log_not_sigmoid, None, paired=True),
}


def gradient_penalty(
    score: Score, real: Tensor, fake: Tensor, *, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """``E (|grad s(x)| - 1)^2`` and ``E |grad s(x)|`` at points drawn between data and generated cases.

    ``x = e real + (1 - e) fake``, e uniform (Gulrajani et al. 2017). `real` and `fake` are (n, n_features), and
    `score` must score each case by itself.
    """
    share = torch.rand((len(real), 1), dtype=real.dtype, device=real.device, generator=generator)
    between = torch.lerp(fake, real, share).detach().requires_grad_()
    norms = _gradient_of(score(between), between).norm(dim=1)
    return (norms - 1.0).square().mean(), norms.detach().mean()


def slope_penalty(scores: Tensor, x: Tensor) -> Tensor:
    """``E |grad s(x)|^2 / 2`` from the scores of the cases `x`, (n, n_features), which ask for a gradient.

    On data it is R1, on generated cases R2 (Mescheder, Geiger & Nowozin 2018).
    """
    return 0.5 * _gradient_of(scores, x).square().sum(1).mean()


def _gradient_of(scores: Tensor, x: Tensor) -> Tensor:
    """The gradient of each case's score with respect to the case, itself open to differentiation."""
    return torch.autograd.grad(scores.sum(), x, create_graph=True)[0]
