"""Adversarial learning: K steps of the critic for each step of the generator (Goodfellow et al. 2014, algorithm 1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from deepbelief.adversarial.gan import GAN
from deepbelief.adversarial.losses import LOSSES, gradient_penalty, slope_penalty
from deepbelief.adversarial.watch import critic_accuracy, diversity
from deepbelief.errors import (
    InvalidDataError,
    check,
    check_choice,
    check_count,
    check_fraction,
    check_positive,
    check_range,
)
from deepbelief.protocols import StepContext
from deepbelief.training.averaging import decay_after
from deepbelief.training.optimization import Descent
from deepbelief.training.schedules import Schedule, make_schedule
from deepbelief.types import Batch

Augmentation = Callable[[Tensor, torch.Generator, float], Tensor]
CRITIC_STEPS = {"wgan": 5, "wgan-gp": 5}  # for each step of the generator; 1 for the others


class AdversarialLearning:
    """Every batch makes a step of the critic; after every `n_critic` of them the generator makes one.

    Parameters
    ----------
    loss
        ``minimax``, ``ns`` (non-saturating), ``lsgan``, ``wgan`` (critic's weights clipped to +- `clip`), ``wgan-gp``
        (`penalty` times ``E (|grad s| - 1)^2``), ``hinge`` or ``rpgan`` (of pairs of data and generated cases); see
        `deepbelief.adversarial.losses`.
    n_critic
        Steps of the critic for each of the generator; None takes 5 for the Wasserstein losses, else 1.
    critic_learning_rate
        None takes `learning_rate`, which is the generator's.
    r1, r2
        Weights of ``E |grad s|^2 / 2`` on data and on generated cases, for any loss. The two together make "rpgan"
        converge (Huang et al. 2024).
    slope_every
        Every so many steps of the critic `r1` and `r2` count, and then that many times: slopes on both sides cost half
        of what the rest of a step costs (lazy regularization, Karras et al. 2020).
    pack
        Cases that the critic sees at once, side by side (its inputs are that many times as wide), all of the data or
        all generated: a generator that lacks modes then shows it in every pair (Lin, Khetan, Fanti & Oh 2018, PacGAN).
        For a GAN without labels; cases of a batch that fill no row are left out.
    augment
        ``augment(x, generator, progress)``: a random, differentiable change of the cases that the critic sees, data and
        generated alike (Zhao et al. 2020). `progress` runs from 0 to 1 over the training.
    averaging
        Decay of the running average of the generator, which draws the samples; 0 keeps the generator itself.

    Watched: both losses, the critic's accuracy on data and on generated cases, ``diversity`` and ``nearest`` of a batch
    (`deepbelief.adversarial.watch`), and the mean norm of the critic's gradient where there is a penalty on it.
    """

    def __init__(
        self,
        gan: GAN,
        *,
        loss: str = "ns",
        n_critic: int | None = None,
        learning_rate: float = 2e-4,
        critic_learning_rate: float | None = None,
        optimizer: str = "adam",
        betas: tuple[float, float] = (0.5, 0.999),
        schedule: str | Schedule = "constant",
        penalty: float = 10.0,
        clip: float = 0.01,
        r1: float = 0.0,
        r2: float = 0.0,
        slope_every: int = 1,
        pack: int = 1,
        augment: Augmentation | None = None,
        averaging: float = 0.999,
        max_gradient_norm: float | None = None,
    ) -> None:
        check_choice("loss", loss, LOSSES)
        self.n_critic = CRITIC_STEPS.get(loss, 1) if n_critic is None else n_critic
        check_count("n_critic", self.n_critic, low=1)
        check_range("penalty", penalty, low=0)
        check_range("r1", r1, low=0)
        check_range("r2", r2, low=0)
        check_count("slope_every", slope_every, low=1)
        check_count("pack", pack, low=1)
        check(
            pack == 1 or gan.n_classes is None,
            f"pack must be 1 for a GAN with labels: cases of several classes would share a row. Got pack={pack}.",
        )
        check_positive("clip", clip)
        check_fraction("averaging", averaging, remedy="Try 0.999.")
        self.gan = gan
        self.module: nn.Module = gan
        self.loss, self.penalty, self.clip = loss, penalty if loss == "wgan-gp" else 0.0, clip
        self.r1, self.r2, self.slope_every = r1, r2, slope_every
        self.pack, self.augment, self.averaging, self.learning_rate = pack, augment, averaging, learning_rate
        self._mixes = has_batch_norm(gan.critic)
        check(
            not (self._mixes and (self.penalty or r1 or r2)),
            "a gradient penalty asks for a critic that scores each case by itself. Got one with batch normalisation. "
            "Use group normalisation, or another loss.",
        )
        of_critic = learning_rate if critic_learning_rate is None else critic_learning_rate

        def descent(network: nn.Module, rate: float) -> Descent:
            rates = schedule if callable(schedule) else make_schedule(schedule, rate)
            how: dict[str, Any] = {"betas": betas, "momentum": 0.0, "max_gradient_norm": max_gradient_norm}
            return Descent(network.parameters(), optimizer=optimizer, learning_rate=rate, schedule=rates, **how)

        self.generator_descent, self.critic_descent = (
            descent(gan.generator, learning_rate),
            descent(gan.critic, of_critic),
        )
        self.critic_steps = self.generator_steps = 0

    def start(self, first: Batch, generator: torch.Generator, *, rank: int = 0, world_size: int = 1) -> None:
        """Check that one batch fits the networks, before any step is made; the average begins at the generator."""
        if self.gan.n_classes is not None:
            check_labels(first.y, self.gan.n_classes)
        self.gan.eval()
        self.gan.update_average(0.0)
        labels = None if self.gan.n_classes is None else first.y
        made = self.gan.sample(2, labels=None if labels is None else labels[:1], generator=generator)
        if made.shape[1:] != first.x.shape[1:]:
            raise InvalidDataError(
                f"cases must have {made.shape[1]} columns, as the generator makes them. Got {first.x.shape[1]}."
            )
        rows = packed(first.x[:1].repeat(2 * self.pack, 1), self.pack)
        try:
            shape = tuple(self.gan.critic(rows).shape[1:])
        except RuntimeError as error:
            raise InvalidDataError(
                f"the critic must take rows of {rows.shape[1]} columns, {self.pack} of {first.x.shape[1]}. {error}"
            ) from error
        check(
            shape == (self.gan.n_classes or 1,),
            f"the critic must give {self.gan.n_classes or 1} scores for each case. Got outputs of shape {shape}.",
        )

    def step(self, batch: Batch, context: StepContext) -> Mapping[str, Tensor | float]:
        """One step of the critic, and of the generator where it is its turn; returns what is watched."""
        if not self.gan.training:
            self.gan.train()
        fewest = max(2, self.pack)  # one case has no spread to normalise by, and too few fill no row
        batch = _repeated(batch, fewest) if len(batch) < fewest else batch
        metrics = self._critic_step(batch, context)
        self.critic_steps += 1
        if self.critic_steps % self.n_critic == 0:
            metrics |= self._generator_step(batch, context)
        return metrics

    # -- the critic -------------------------------------------------------------------------------------------------

    def _critic_step(self, batch: Batch, context: StepContext) -> dict[str, Tensor]:
        labels = self._labels(batch)
        with torch.no_grad():
            fake = self._seen(self._generated(len(batch), labels, context), context)
            real = self._seen(batch.x, context)
        counts = 0 if self.critic_steps % self.slope_every else self.slope_every
        r1, r2 = counts * self.r1, counts * self.r2
        real, fake = real.detach().requires_grad_(r1 > 0), fake.requires_grad_(r2 > 0)
        with nullcontext() if r1 or r2 else context.autocast():  # slopes of short numbers would be noise
            of_real, of_fake = self._both_scores(real, fake, labels)
        loss = self.critic_loss(of_real, of_fake, self._weight_of_rows(batch.weight))
        metrics = {"critic_loss": loss.detach(), **critic_accuracy(of_real, of_fake, LOSSES[self.loss].middle)}
        if self.penalty:
            term, norm = gradient_penalty(self._score_of(labels), real, fake, generator=context.generator)
            loss = loss + self.penalty * term
            metrics["gradient_norm"] = norm
        for weight, scores, x in ((r1, of_real, real), (r2, of_fake, fake)):
            loss = loss + weight * slope_penalty(scores, x) if weight else loss
        self.critic_descent.step(loss, context)
        if self.loss == "wgan":
            self._clip()
        return metrics

    def critic_loss(self, of_real: Tensor, of_fake: Tensor, weight: Tensor | None = None) -> Tensor:
        """The mean loss on data, by the case weights, and that on generated cases."""
        kind = LOSSES[self.loss]
        of_real, of_fake = _summable(of_real), _summable(of_fake)
        on_data = kind.real(of_real - of_fake if kind.paired else of_real)
        mean = on_data.mean() if weight is None else (on_data * weight).sum() / weight.sum()
        return mean + kind.fake(of_fake).mean()

    def _both_scores(self, real: Tensor, fake: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """Scores of data and of generated cases; batch normalisation must not see them as one batch.

        Nor need slopes of one half go back through the other.
        """
        if self._mixes or real.requires_grad or fake.requires_grad:
            return self.gan.scores(real, labels), self.gan.scores(fake, labels)
        twice = None if labels is None else torch.cat([labels, labels])
        both = self.gan.scores(torch.cat([real, fake]), twice)
        return both[: len(real)], both[len(real) :]

    def _score_of(self, labels: Tensor | None) -> Callable[[Tensor], Tensor]:
        return lambda x: self.gan.scores(x, labels)

    @torch.no_grad()
    def _clip(self) -> None:
        for parameter in self.gan.critic.parameters():
            parameter.clamp_(-self.clip, self.clip)

    # -- the generator ----------------------------------------------------------------------------------------------

    def _generator_step(self, batch: Batch, context: StepContext) -> dict[str, Tensor]:
        labels = self._labels(batch)
        made, kind = self._generated(len(batch), labels, context), LOSSES[self.loss]
        with context.autocast():
            scores = _summable(self.gan.scores(self._seen(made, context), labels))
            if kind.paired:
                with torch.no_grad():
                    of_real = self.gan.scores(self._seen(batch.x, context), labels)
                scores = _summable(of_real) - scores
        loss = kind.generator(scores).mean()
        self.generator_descent.step(loss, context)
        self.generator_steps += 1
        self.gan.update_average(decay_after(self.averaging, self.generator_steps) if self.averaging else 0.0)
        return {"generator_loss": loss.detach(), **diversity(made.detach().to(batch.x.dtype), batch.x)}

    def _generated(self, n: int, labels: Tensor | None, context: StepContext) -> Tensor:
        z = self.gan.latent(n, context.generator)
        with context.autocast():
            return self.gan.generate(z, labels, averaged=False).to(z.dtype)

    def _seen(self, x: Tensor, context: StepContext) -> Tensor:
        """Cases as the critic sees them: changed at random, and several to a row."""
        seen = x if self.augment is None else self.augment(x, context.generator, context.progress)
        return packed(seen, self.pack)

    def _weight_of_rows(self, weight: Tensor | None) -> Tensor | None:
        return None if weight is None else packed(weight.unsqueeze(1), self.pack).mean(1)

    def _labels(self, batch: Batch) -> Tensor | None:
        """Generated cases get the labels of the batch: their law is then that of the data."""
        return None if self.gan.n_classes is None else batch.y

    # -- storage ----------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Both optimizers and both counters; the averaged generator is part of the module."""
        return {
            "generator": self.generator_descent.state_dict(),
            "critic": self.critic_descent.state_dict(),
            "critic_steps": self.critic_steps,
            "generator_steps": self.generator_steps,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`."""
        self.generator_descent.load_state_dict(state["generator"])
        self.critic_descent.load_state_dict(state["critic"])
        self.critic_steps, self.generator_steps = state["critic_steps"], state["generator_steps"]


def _summable(scores: Tensor) -> Tensor:
    """Scores in a type in which losses can be summed, whatever the precision of the networks."""
    return scores if scores.dtype == torch.float64 else scores.float()


def has_batch_norm(network: nn.Module) -> bool:
    """Whether a case's output depends on the others of its batch."""
    return any(isinstance(part, _BatchNorm) for part in network.modules())


def check_labels(y: Tensor | None, n_classes: int) -> None:
    """Refuse batches whose labels a conditional GAN cannot use."""
    if y is None:
        raise InvalidDataError("batches must have labels y for a conditional GAN. Got none. Give y to the data source.")
    if int(y.min()) < 0 or int(y.max()) >= n_classes:
        raise InvalidDataError(
            f"y must hold class numbers from 0 to {n_classes - 1}. Got {int(y.min())} to {int(y.max())}."
        )


def packed(x: Tensor, m: int) -> Tensor:
    """Cases side by side, `m` to a row: (n, columns) -> (n // m, m * columns). Channel upon channel, for pictures."""
    n = len(x) // m
    return x if m == 1 else x[: n * m].reshape(n, m * x.shape[1])


def _repeated(batch: Batch, n: int) -> Batch:
    """`n` cases out of fewer, each repeated in its turn."""
    rows = torch.arange(n, device=batch.x.device) % len(batch)
    x, y, weight = (None if part is None else part[rows] for part in (batch.x, batch.y, batch.weight))
    assert x is not None
    return Batch(x, y, weight)
