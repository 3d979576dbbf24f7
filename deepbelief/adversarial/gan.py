"""A generator and a critic: `GAN` (Goodfellow et al. 2014), with labels or without (Mirza & Osindero 2014).

    z ~ N(0, I),   x = g(z, y)          the generator, from noise (and a label) to a case
    z ~ N(0, I) beside c e_k            the same with codes: one of several places on, each equally likely
    s(x, y)                             the critic's score, high for data

A GAN draws cases and has no density: nothing here is a likelihood.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepbelief.errors import InvalidArgumentError, check, check_choice, check_count, check_range
from deepbelief.networks.parts import network_config, network_from_config
from deepbelief.protocols import Generator
from deepbelief.types import Clamp

VALUES = ("real", "unit")
CODE_SCALE = 8.0  # how far on a code is, beside noise of unit variance: far enough that codes hardly overlap
CHUNK = 1000  # cases generated at a time


class GAN(nn.Module):
    """A generator, its running average, and a critic, all on rows of numbers.

    Parameters
    ----------
    generator
        Any module from (n, n_latent + n_codes + n_classes) to (n, n_features): noise beside a one-hot label.
    critic
        Any module from (n, n_features) to (n, 1), or to (n, n_classes): with labels, each class has a score of its own,
        linear in the critic's last features (Miyato & Koyama 2018), and that of the case's label counts.
    values
        ``unit`` for data in [0, 1], where the generator's outputs go through a sigmoid and the critic sees
        ``2 x - 1``; ``real`` leaves both as they are.
    n_codes
        Codes beside the normal noise, none by default. A continuous generator of normal noise alone must draw bridges
        between modes that stand apart; with a code more for every mode it need not (Gurumurthy, Sarvadevabhatla & Babu
        2017, "DeLiGAN", learn a mixture for the noise, which the first layer's weights of the codes are here).

    >>> from deepbelief.networks.dense import DenseNetwork
    >>> gan = GAN(DenseNetwork((4, 8), output=2), DenseNetwork((2, 8), output=1), 4)
    >>> gan.sample(3, generator=torch.Generator().manual_seed(0)).shape
    torch.Size([3, 2])
    """

    label_prior: Tensor

    def __init__(
        self,
        generator: nn.Module,
        critic: nn.Module,
        n_latent: int,
        *,
        values: str = "real",
        n_classes: int | None = None,
        n_codes: int = 0,
    ) -> None:
        super().__init__()
        check_count("n_latent", n_latent, low=1)
        check_count("n_codes", n_codes, low=0)
        check_choice("values", values, VALUES)
        if n_classes is not None:
            check_count("n_classes", n_classes, low=2)
        self.n_latent, self.values, self.n_classes, self.n_codes = n_latent, values, n_classes, n_codes
        self.generator, self.critic = generator, critic
        self.averaged = averaged_twin(generator)
        n = n_classes or 0
        self.register_buffer("label_prior", torch.full((n,), 1 / max(n, 1)))

    def train(self, mode: bool = True) -> Self:
        """Training mode for the generator and the critic; the average is never in it."""
        super().train(mode)
        self.averaged.eval()
        return self

    # -- the two networks -------------------------------------------------------------------------------------------

    def generate(self, z: Tensor, labels: Tensor | None = None, *, averaged: bool = True) -> Tensor:
        """Cases from noise, by the averaged generator or the one that learns: (n, noise) -> (n, n_features)."""
        inputs = z if self.n_classes is None else torch.cat([z, self._one_hot(labels, z.shape[0]).to(z.dtype)], 1)
        x = (self.averaged if averaged else self.generator)(inputs)
        return torch.sigmoid(x) if self.values == "unit" else x

    def decoder(self) -> nn.Module:
        """The averaged generator as a module from noise to cases, (n, n_latent) -> (n, n_features).

        So that the density of its draws with noise around them can be estimated (`deepbelief.evaluation.decoder`).
        Raises `InvalidArgumentError` for a GAN whose noise is not all normal.
        """
        check(
            self.n_classes is None and not self.n_codes,
            "decoder() needs noise that is normal alone. Got a GAN with labels or codes. Fit one without.",
        )
        return nn.Sequential(self.averaged, nn.Sigmoid()) if self.values == "unit" else self.averaged

    def scores(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """The critic's score of each case: (n, n_features) -> (n,)."""
        scores = self.critic(2 * x - 1 if self.values == "unit" else x)
        if self.n_classes is None:
            return scores.squeeze(1)
        return (scores * self._one_hot(labels, x.shape[0]).to(scores.dtype)).sum(1)

    def _one_hot(self, labels: Tensor | None, n: int) -> Tensor:
        assert self.n_classes is not None
        if labels is None:
            raise InvalidArgumentError("labels must be given to a conditional GAN. Got none. Give one for each case.")
        return F.one_hot(labels.expand(n), self.n_classes)

    # -- draws ------------------------------------------------------------------------------------------------------

    def latent(self, n: int, generator: Generator = None) -> Tensor:
        """Standard normal noise, and a code where there are codes: (n, n_latent + n_codes)."""
        check_count("n", n, low=1)
        like = self.label_prior
        z = torch.randn((n, self.n_latent), dtype=like.dtype, device=like.device, generator=generator)
        if not self.n_codes:
            return z
        codes = torch.randint(self.n_codes, (n,), device=like.device, generator=generator)
        return torch.cat([z, CODE_SCALE * F.one_hot(codes, self.n_codes).to(z.dtype)], 1)

    def draw_labels(self, n: int, generator: Generator = None) -> Tensor | None:
        """Labels from their frequencies in the data, or None for a GAN without labels."""
        check_count("n", n, low=1)
        if self.n_classes is None:
            return None
        return torch.multinomial(self.label_prior, n, replacement=True, generator=generator)

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        condition: Clamp | None = None,
        labels: Tensor | None = None,
        generator: Generator = None,
        averaged: bool = True,
    ) -> Tensor:
        """`n` cases by the averaged generator; `labels`, (n,) or one for all, are drawn where none are given.

        `condition` must be None: a generator fills in nothing. Raises `InvalidArgumentError`.
        """
        check(condition is None, "condition must be None. Got a clamp. A GAN clamps no entries: give labels instead.")
        check_count("n", n, low=1)
        labels = self.draw_labels(n, generator) if labels is None else self._checked(labels).expand(n)
        z, training = self.latent(n, generator), self.training
        rows = [slice(first, first + CHUNK) for first in range(0, n, CHUNK)]
        self.eval()
        parts = [self.generate(z[i], None if labels is None else labels[i], averaged=averaged) for i in rows]
        self.train(training)
        return torch.cat(parts)

    @torch.no_grad()
    def interpolate(
        self, start: Tensor, end: Tensor, n: int, *, labels: Tensor | None = None, spherical: bool = True
    ) -> Tensor:
        """Cases on the way from noise `start` to `end`, rows of `latent`, in `n` equal steps: (n, n_features).

        On the great circle by default: points on the chord are shorter than any noise the generator has learned on.
        """
        check_count("n", n, low=2)
        share = torch.linspace(0, 1, n, dtype=start.dtype, device=start.device).unsqueeze(1)
        path = great_circle(start, end, share) if spherical else torch.lerp(start, end, share)
        return self.generate(path, labels)

    def _checked(self, labels: Tensor) -> Tensor:
        check(self.n_classes is not None, "labels must be None. Got some. This GAN has learned without labels.")
        check_range("labels", int(labels.min()), low=0)
        check_range("labels", int(labels.max()), high=(self.n_classes or 1) - 1)
        return labels

    # -- what learning needs beside gradients -----------------------------------------------------------------------

    @torch.no_grad()
    def match_labels(self, labels: Tensor) -> None:
        """Take the frequencies of the labels from data, for draws without a label."""
        counts = torch.bincount(self._checked(labels), minlength=len(self.label_prior))
        self.label_prior.copy_(counts / counts.sum())

    @torch.no_grad()
    def update_average(self, decay: float) -> None:
        """``a <- decay a + (1 - decay) w`` for the averaged generator's weights and its running statistics."""
        move_average(self.averaged, self.generator, decay)

    # -- storage ----------------------------------------------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        """What rebuilds the model (without its parameters), as JSON."""
        return {
            "generator": network_config(self.generator),
            "critic": network_config(self.critic),
            "n_latent": self.n_latent,
            "values": self.values,
            "n_classes": self.n_classes,
            "n_codes": self.n_codes,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A model from `config`, with fresh weights."""
        networks = [network_from_config(config[name]) for name in ("generator", "critic")]
        rest = {name: config[name] for name in ("values", "n_classes", "n_codes")}
        return cls(networks[0], networks[1], config["n_latent"], **rest)


def averaged_twin(network: nn.Module) -> nn.Module:
    """A copy that learns nothing by itself and is never in training mode: where a running average begins.

    >>> averaged_twin(nn.Linear(2, 1)).weight.requires_grad
    False
    """
    return copy.deepcopy(network).requires_grad_(False).eval()


@torch.no_grad()
def move_average(averaged: nn.Module, network: nn.Module, decay: float) -> None:
    """``a <- decay a + (1 - decay) w`` for all weights and running statistics; what counts steps is copied.

    >>> zeros, ones = (nn.Linear(1, 1).requires_grad_(False) for _ in range(2))
    >>> _ = zeros.weight.fill_(0.0), ones.weight.fill_(1.0)
    >>> move_average(zeros, ones, 0.75)
    >>> float(zeros.weight)
    0.25
    """
    pairs: list[tuple[Tensor, Tensor]] = list(zip(averaged.parameters(), network.parameters(), strict=True))
    for mean, own in zip(averaged.buffers(), network.buffers(), strict=True):
        if mean.is_floating_point():
            pairs.append((mean, own))
        else:
            mean.copy_(own)
    if pairs:
        torch._foreach_lerp_([mean.data for mean, _ in pairs], [own.data for _, own in pairs], 1.0 - decay)


def great_circle(start: Tensor, end: Tensor, share: Tensor) -> Tensor:
    """Points between two vectors at a constant speed of angle and, beside it, of length (White 2016).

    >>> round(great_circle(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 3.0]), torch.tensor([[0.5]])).norm().item(), 6)
    2.0
    """
    lengths = start.norm(), end.norm()
    a, b = start / lengths[0], end / lengths[1]
    angle = torch.arccos((a * b).sum().clamp(-1, 1))
    if float(angle.sin()) < 1e-6:  # the same or the opposite direction, which have no one circle between them
        return torch.lerp(start, end, share)
    direction = (torch.sin((1 - share) * angle) * a + torch.sin(share * angle) * b) / torch.sin(angle)
    return torch.lerp(lengths[0], lengths[1], share) * direction
