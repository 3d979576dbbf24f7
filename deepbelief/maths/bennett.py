"""Bennett's acceptance ratio: the ratio of two partition functions from weights of runs both ways.

    sum over runs both ways of  1 / (1 + (n_reverse / n_forward) exp(w - r))  =  n_forward,     r = log Z_end / Z_start

Of all estimates that use these weights it has the least variance (Bennett 1976; Shirts & Pande 2005). For runs of many
steps the weight of a run is the product of its steps' (Crooks 1999).
"""

from __future__ import annotations

import torch
from scipy.optimize import brentq
from torch import Tensor

from deepbelief.errors import InvalidDataError, check_range


def bennett(forward: Tensor, reverse: Tensor) -> tuple[float, float]:
    """``log Z_end / Z_start`` and its standard error from the log weights of runs both ways.

    `forward` holds ``w`` of runs from start to end, `reverse` those of runs from end to start (each the sum of its own
    increments). The estimate is the root of the equation above; its variance is that of a logistic regression with one
    free number. Each set needs runs that began at draws of their own end.

    >>> value, stderr = bennett(torch.full((5,), 2.0), torch.full((5,), -2.0))
    >>> round(value, 6), round(stderr, 6)
    (2.0, 0.0)

    Raises `InvalidDataError` for weights that are not finite, as of chains that ran away: such a model has no Z.
    """
    check_range("the number of forward weights", len(forward), low=1)
    check_range("the number of reverse weights", len(reverse), low=1)
    w = torch.cat([forward.double(), -reverse.double()]).detach()
    if not w.isfinite().all():
        raise InvalidDataError(
            f"log weights must be finite. Got {int((~w.isfinite()).sum())} of {len(w)} that are not. Where chains run "
            "away Z is infinite: use smaller weights, or units of bounded values in one of two layers."
        )
    n_forward, n_reverse = len(forward), len(reverse)
    shift = torch.tensor(n_reverse / n_forward, dtype=torch.float64).log()

    def excess(r: float) -> float:
        return float(torch.sigmoid(r - w - shift).sum() - n_forward)

    low, high = w.min().item() - 50, w.max().item() + 50
    r = float(brentq(excess, low, high, xtol=1e-10))
    p = torch.sigmoid(r - w - shift)
    variance = 1 / float((p * (1 - p)).sum()) - 1 / n_forward - 1 / n_reverse
    return r, max(variance, 0.0) ** 0.5
