"""The classifier two-sample test with an exact binomial p-value (Lopez-Paz & Oquab 2017).

A network learns from one half of two sets to tell them apart. The other half comes in pairs, one case of each set, and
the network names the one of the pair that it takes for a sample. Were both sets of one law, every guess would be right
with probability 1/2, whatever was learned, and guesses of different pairs independent: the number of right ones is
Binomial(pairs, 1/2) exactly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from deepbelief.errors import InvalidDataError
from deepbelief.evaluation.feature_network import train_feature_network
from deepbelief.evaluation.measured import random_rows, seed_from

FEWEST, STEPS = 20, 600


@dataclass(frozen=True)
class PairTest:
    """Right guesses among `pairs`, and the probability of as many or more by chance."""

    right: int
    pairs: int
    p_value: float

    @property
    def accuracy(self) -> float:
        """The share of right guesses: 0.5 where the sets cannot be told apart, 1 where they lie apart."""
        return self.right / self.pairs

    @property
    def stderr(self) -> float:
        """The binomial standard error of `accuracy`."""
        return math.sqrt(self.accuracy * (1 - self.accuracy) / self.pairs)


def pair_test(
    cases: Tensor,
    samples: Tensor,
    *,
    generator: torch.Generator,
    shape: Sequence[int] | None = None,
    max_steps: int = STEPS,
) -> PairTest:
    """Can a small network (convolutional where `shape` = (channels, height, width) is given) tell `samples` apart?

    Both sets are cut to one size. It stands for "no difference that this network can learn from so many cases", never
    for "no difference".
    """
    n = min(len(cases), len(samples))
    if n < FEWEST:
        raise InvalidDataError(f"the two-sample test needs at least {FEWEST} cases of each set. Got {n}. Draw more.")
    x, y = (rows[random_rows(len(rows), n, generator)].float().cpu() for rows in (cases, samples))
    half = n // 2
    learned = torch.cat([x[:half], y[:half]])
    truth = torch.arange(2).repeat_interleave(half)
    epochs = max(1, math.ceil(max_steps * min(100, 2 * half) / (2 * half)))
    seed = seed_from(generator)
    net = train_feature_network(learned, truth, seed=seed, shape=shape, epochs=min(epochs, 20), max_steps=max_steps)
    return count_right(_score(net, x[half:]), _score(net, y[half:]), generator=generator)


def count_right(of_cases: Tensor, of_samples: Tensor, *, generator: torch.Generator) -> PairTest:
    """The test from one score for each half of every pair, higher for "a sample"; ties are settled by a coin.

    >>> test = count_right(torch.zeros(10), torch.ones(10), generator=torch.Generator())
    >>> test.right, round(test.p_value * 1024, 9)
    (10, 1.0)
    """
    from scipy.stats import binom

    coins = torch.randint(0, 2, of_cases.shape, generator=generator).bool()
    right = int(torch.where(of_samples == of_cases, coins, of_samples > of_cases).sum())
    return PairTest(right, len(of_cases), float(binom.sf(right - 1, len(of_cases), 0.5)))


@torch.no_grad()
def _score(net: torch.nn.Module, x: Tensor) -> Tensor:
    odds = torch.cat([net(rows) for rows in x.split(2000)])
    return odds[:, 1] - odds[:, 0]
