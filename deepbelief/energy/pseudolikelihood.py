"""The pseudo-likelihood of Besag (1975): each variable given all others, which needs no log Z.

PL(v) = sum_i log p(v_i | v_{-i}),      p(v_i | v_{-i}) = exp(-F(v)) / sum over values s of exp(-F(v with v_i = s))
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from deepbelief.errors import InvalidArgumentError, check_count
from deepbelief.protocols import Generator
from deepbelief.types import Bound
from deepbelief.units.base import Units


class HasFreeEnergy(Protocol):
    """A model of discrete visible units with a free energy."""

    visible: Units

    def free_energy(self, v: Tensor) -> Tensor: ...


def log_conditional(model: HasFreeEnergy, v: Tensor, variable: Tensor) -> Tensor:
    """``log p(v_i | v_{-i})`` for one variable i per case: (n, d), (n,) -> (n,)."""
    energies = torch.stack([model.free_energy(copy) for copy in model.visible.alternatives(v, variable)])
    return -model.free_energy(v) - torch.logsumexp(-energies, 0)


def n_variables_of(model: HasFreeEnergy) -> int:
    """How many discrete variables the visible layer has; a sentence if it has no pseudo-likelihood."""
    bases = model.visible.bases
    if bases is None or len(set(bases)) != 1:
        raise InvalidArgumentError(
            "the pseudo-likelihood needs discrete visible units with one number of values. "
            f"Got {model.visible.kind} units. Use log_likelihood(...) instead."
        )
    return len(bases)


@torch.no_grad()
def pseudo_log_likelihood(
    model: HasFreeEnergy, v: Tensor, *, n_variables: int | None = None, generator: Generator = None
) -> Bound:
    """The log pseudo-likelihood in nats per case.

    With `n_variables`, that many variables are drawn for each case and the sum is scaled up: an unbiased estimate
    (scikit-learn's ``score_samples`` uses one). Without, all variables enter and the number is exact. It is no bound
    on the log-likelihood, and rewards models that are only locally right.
    """
    d = n_variables_of(model)
    if n_variables is None:
        columns = [torch.full((len(v),), i, device=v.device) for i in range(d)]
        total = torch.stack([log_conditional(model, v, column).double() for column in columns]).sum(0)
        return Bound(total, "exact", method="pseudo-likelihood over all variables")
    check_count("n_variables", n_variables, low=1)
    chosen = torch.randint(d, (n_variables, len(v)), device=v.device, generator=generator)
    terms = d * torch.stack([log_conditional(model, v, column).double() for column in chosen])
    spread = terms.var(0).mean() if n_variables > 1 else terms.var()  # one draw a case cannot tell cases from draws
    error = (spread.item() / terms.numel()) ** 0.5 if terms.numel() > 1 else math.nan
    return Bound(terms.mean(0), "estimate", error, f"pseudo-likelihood over {n_variables} drawn variables")
