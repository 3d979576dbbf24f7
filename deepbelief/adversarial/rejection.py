"""Draws of a GAN that its own critic lets through: rejection sampling towards the law of the data.

    s(x) the critic's score,    log p(x) / q(x) = a + b s(x),    kept with probability min(1, exp(a + b s(x)) / M)

An optimal critic of the loss "ns" or "minimax" knows ``log p / q`` of the data's law p and the generator's q (b = 1);
for any other critic that ranks cases rightly, a and b are fitted by telling held-out data from generated cases. What is
kept follows p as far as the critic is right, and q has mass wherever p has: nothing brings back a mode that is lost.
Azadi, Olsson, Darrell, Goodfellow & Odena 2019, "Discriminator rejection sampling"; Turner, Hung, Frank, Saatci &
Yosinski 2019, "Metropolis-Hastings generative adversarial networks" (the fit on held-out data).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from deepbelief.adversarial.gan import CHUNK, GAN
from deepbelief.errors import InvalidArgumentError, InvalidDataError, check, check_count
from deepbelief.protocols import Generator
from deepbelief.rng import uniform_like
from deepbelief.types import Clamp

FEWEST = 10  # held-out cases below which nothing can be fitted
MOST_ROUNDS = 1000


class CriticRejection:
    """A GAN whose draws must pass its critic; make it by `CriticRejection.fitted`.

    ``log_ratio(x) = offset + slope * s(x)`` and ``log_bound``, the highest log ratio among `n` draws: the envelope is
    estimated, so the few draws above it are kept as often as those at it.
    """

    def __init__(self, gan: GAN, slope: float, offset: float, log_bound: float) -> None:
        self.gan, self.slope, self.offset, self.log_bound = gan, slope, offset, log_bound

    @classmethod
    @torch.no_grad()
    def fitted(
        cls, gan: GAN, x: Tensor, *, labels: Tensor | None = None, generator: Generator = None, n: int = 10_000
    ) -> CriticRejection:
        """Fit the log ratio on `x`, cases that the GAN has not learned from (with their labels), and on `n` draws."""
        from sklearn.linear_model import LogisticRegression

        check_count("n", n, low=FEWEST)
        if len(x) < FEWEST:
            raise InvalidDataError(f"x must hold at least {FEWEST} held-out cases. Got {len(x)}. Give more.")
        check(
            (labels is None) == (gan.n_classes is None), "labels must be given to a GAN with labels, and to no other."
        )
        named = gan.draw_labels(n, generator)
        made = gan.sample(n, labels=named, generator=generator)
        try:
            gan.critic(made[:1])
        except RuntimeError as error:
            raise InvalidArgumentError(
                f"gan must have a critic of single cases. Got one of other than {made.shape[1]} columns. Use pack=1."
            ) from error
        scores = torch.cat([_scores(gan, x, labels), _scores(gan, made, named)]).unsqueeze(1)
        real = (torch.arange(len(scores)) < len(x)).numpy()
        # no penalty to speak of; the classes' sizes enter the offset, and are taken out of it again
        fit = LogisticRegression(C=1e6).fit(scores.double().cpu().numpy(), real)
        slope, offset = float(fit.coef_[0, 0]), float(fit.intercept_[0]) - math.log(len(x) / n)
        return cls(gan, slope, offset, float((offset + slope * scores[len(x) :]).max()))

    def log_ratio(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """``log p(x) / q(x)`` as the critic sees it: (n, n_features) -> (n,)."""
        return self.offset + self.slope * _scores(self.gan, x, labels)

    @property
    def rate(self) -> float:
        """About the share of draws that is kept, ``1 / M``."""
        return math.exp(-max(self.log_bound, 0.0))

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        condition: Clamp | None = None,
        labels: Tensor | None = None,
        generator: Generator = None,
    ) -> Tensor:
        """`n` cases that passed, of one class if `labels` names it; `InvalidDataError` where nearly none passes."""
        check_count("n", n, low=1)
        check(
            labels is None or labels.numel() == 1,
            "labels must be one class for all cases, since draws are refused one by one. Got several. Sample by class.",
        )
        check(
            labels is None or self.gan.n_classes is not None,
            "labels must be None. Got some. This GAN has learned without labels.",
        )
        kept, missing = [], n
        for _ in range(MOST_ROUNDS):
            size = min(10 * CHUNK, math.ceil(1.2 * missing / max(self.rate, 0.01)) + 1)
            named = self.gan.draw_labels(size, generator) if labels is None else labels.reshape(1).expand(size)
            x = self.gan.sample(size, condition=condition, labels=named, generator=generator)
            chance = torch.exp((self.log_ratio(x, named) - self.log_bound).double())
            kept.append(x[uniform_like(chance, generator) < chance][:missing])
            missing -= len(kept[-1])
            if missing == 0:
                return torch.cat(kept)
        raise InvalidDataError(
            f"the critic must let some draws pass. It let {n - missing} of {n} pass in {MOST_ROUNDS} rounds. "
            "Train on, or sample without it."
        )


def _scores(gan: GAN, x: Tensor, labels: Tensor | None) -> Tensor:
    """The critic's scores, in evaluation mode and in chunks."""
    training = gan.training
    gan.eval()
    rows = [slice(first, first + CHUNK) for first in range(0, len(x), CHUNK)]
    found = torch.cat([gan.scores(x[i], None if labels is None else labels[i]) for i in rows])
    gan.train(training)
    return found
