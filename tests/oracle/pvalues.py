"""p-values for tests of laws: each test of this project accepts one false alarm in a million, `FALSE_ALARM`.

Where one call looks at many numbers, the smallest p-value is multiplied by how many there are (Bonferroni).
"""

from __future__ import annotations

import torch
from scipy import stats
from torch import Tensor

FALSE_ALARM = 1e-6
FEWEST_EXPECTED = 25  # rarer states are gathered in one cell, so that the chi-square law holds far out in its tail


def corrected(p_values: list[float]) -> float:
    """The p-value of several tests together."""
    return min(1.0, len(p_values) * min(p_values))


def counts_p_value(counts: Tensor, probabilities: Tensor) -> float:
    """Pearson's chi-square test that counts come from these probabilities."""
    counts, expected = counts.double(), probabilities.double() * counts.sum()
    if (counts[expected == 0] > 0).any():
        return 0.0
    rare = expected < FEWEST_EXPECTED
    seen = torch.cat([counts[~rare], counts[rare].sum().reshape(1)])
    wanted = torch.cat([expected[~rare], expected[rare].sum().reshape(1)])
    if wanted[-1] < FEWEST_EXPECTED and len(wanted) > 1:
        seen, wanted = merge_last(seen), merge_last(wanted)
    if len(wanted) == 1:
        return 1.0
    return float(stats.chi2.sf(((seen - wanted) ** 2 / wanted).sum().item(), len(wanted) - 1))


def merge_last(cells: Tensor) -> Tensor:
    """The last cell joined to the one before it."""
    return torch.cat([cells[:-2], cells[-2:].sum().reshape(1)])


def t_values(draws: Tensor, expected: Tensor | float) -> Tensor:
    """How many standard errors each column's mean lies above `expected`; columns that never vary must be exact."""
    columns = draws.detach().double().reshape(len(draws), -1)
    gap = columns.mean(0) - torch.as_tensor(expected, dtype=torch.float64).detach().reshape(-1)
    error = columns.std(0) / len(columns) ** 0.5
    rounding = 1e-9 * (1 + columns.abs().amax(0))
    still = error <= rounding / len(columns) ** 0.5
    exact = torch.where(gap.abs() <= rounding, torch.zeros_like(gap), gap.sign() * torch.inf)
    return torch.where(still, exact, gap / error.clamp_min(1e-300))


def means_p_value(draws: Tensor, expected: Tensor | float) -> float:
    """Student's two-sided test that independent rows of `draws` have the mean `expected`, over all columns at once."""
    t = t_values(draws, expected)
    return corrected((2 * stats.t.sf(t.abs().numpy(), len(draws) - 1)).tolist())


def at_most_p_value(draws: Tensor, limit: Tensor | float) -> float:
    """Student's one-sided test that the mean of `draws` is at most `limit`: small where it is above."""
    return corrected(stats.t.sf(t_values(draws, limit).numpy(), len(draws) - 1).tolist())
