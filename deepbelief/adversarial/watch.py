"""Mode collapse as it happens: how sure the critic is, and how far the cases of one batch are from each other."""

from __future__ import annotations

import torch
from torch import Tensor

MOST = 64  # cases of a batch that are looked at
WIDE = 64  # features from which on distances come from one product: a fifteenth of a DCGAN's step was spent here


@torch.no_grad()
def critic_accuracy(real: Tensor, fake: Tensor, middle: float | None) -> dict[str, Tensor]:
    """The shares of data and of generated cases on the right side of `middle` (None: halfway between the means)."""
    between = 0.5 * (real.mean() + fake.mean()) if middle is None else middle
    return {"accuracy_real": (real > between).double().mean(), "accuracy_generated": (fake < between).double().mean()}


@torch.no_grad()
def diversity(fake: Tensor, real: Tensor) -> dict[str, Tensor]:
    """Distances within a batch of generated cases over those within a batch of data; 1 where both are alike.

    ``diversity`` is the ratio of the mean distances of all pairs: it falls when one mode is left. ``nearest`` is that
    of the mean distances to the nearest other case: it falls to 0 when cases repeat, however many modes they sit on.
    """
    (all_fake, near_fake), (all_real, near_real) = (_distances(x[:MOST]) for x in (fake, real))
    tiny = torch.finfo(all_real.dtype).tiny
    return {"diversity": all_fake / all_real.clamp_min(tiny), "nearest": near_fake / near_real.clamp_min(tiny)}


def _distances(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean distance of the pairs, and mean distance to the nearest other case.

    Of wide cases to about a thousandth of the largest; narrow ones, whose modes may be much narrower, to all digits.
    """
    product = "use_mm_for_euclid_dist" if x.shape[1] > WIDE else "donot_use_mm_for_euclid_dist"
    centred = x - x.mean(0)  # a distance from a product is a difference of squares
    between = torch.cdist(centred, centred, compute_mode=product)
    n = max(len(x), 2)
    mean = between.sum() / (n * (n - 1))
    return mean, between.fill_diagonal_(torch.inf).min(1).values.nan_to_num(posinf=0.0).mean()
