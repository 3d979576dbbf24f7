"""RBMs below, a variational autoencoder on top: a deep belief network whose top is a VAE.

    p(x, h1 ... hL, z) = p(x | h1) p(h1 | h2) ... p(hL | z) p(z)

Each RBM is learned as in a DBN and then generates downwards by its own weights; the VAE is learned on draws of the top
hidden units, in the place of the last RBM (Hinton, Osindero & Teh 2006, whose argument holds for any model on top that
raises the bound).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from deepbelief.autoencoders.elbo import ELBO
from deepbelief.autoencoders.importance import importance_weighted
from deepbelief.autoencoders.vae import VAE
from deepbelief.belief.dbn import DBN
from deepbelief.belief.greedy import LayerReport, LayerSource, start_layer, train_greedily
from deepbelief.belief.stack_completion import complete_by_chain
from deepbelief.energy.gradients.settings import LearningSettings
from deepbelief.errors import check, check_count
from deepbelief.protocols import BatchSource, Generator
from deepbelief.rng import make_generator
from deepbelief.training.checkpoint import LATEST
from deepbelief.training.record import TrainingRecord
from deepbelief.training.trainer import Trainer
from deepbelief.types import Bound, Clamp
from deepbelief.units.base import Units


class VAEStack(nn.Module):
    """The RBMs of `below`, all of them directed downwards, under `top`, a VAE over the last hidden units.

    >>> from deepbelief.autoencoders.vae_builders import dense_vae
    >>> from deepbelief.units.bernoulli import Bernoulli
    >>> stack = VAEStack(DBN.of_sizes([6, 5, 4]), dense_vae(Bernoulli(4), [2], hidden=[[8]]))
    >>> stack.sample(3).shape, stack.encode(torch.zeros(2, 6)).shape
    (torch.Size([3, 6]), torch.Size([2, 2]))
    """

    def __init__(self, below: DBN, top: VAE) -> None:
        super().__init__()
        last = below.layers[-1].hidden
        check(not below.n_classes, "below must be a DBN without labels. Got one with them.")
        check(top.n_condition == 0, f"top must be a VAE without a condition. Got n_condition={top.n_condition}.")
        check(
            (top.visible.kind, top.visible.size) == (last.kind, last.size),
            f"top must have {last.size} {last.kind} visible units, the hidden units of the last RBM. "
            f"Got {top.visible.size} {top.visible.kind}.",
        )
        self.below, self.top = below, top

    @property
    def visible(self) -> Units:
        """The units of the data."""
        return self.below.visible

    def log_weights(self, x: Tensor, n: int = 1, *, generator: Generator = None) -> Tensor:
        """`n` draws of ``log p(x, h, z) - log q(h, z | x)`` per case, going up as `encode` does: (n, cases)."""
        check_count("n", n, low=1)
        state, total = x.expand(n, *x.shape).flatten(0, 1), x.new_zeros(n * len(x))
        for rbm in self.below.layers:
            inputs = rbm.input_h_from_v(state)
            h = rbm.hidden.sample(inputs, generator)
            total = total + rbm.visible.log_prob(state, rbm.input_v_from_h(h)) - rbm.hidden.log_prob(h, inputs)
            state = h
        return (total + self.top.log_weights(state, generator=generator)[0]).unflatten(0, (n, len(x)))

    @torch.no_grad()
    def log_likelihood(self, x: Tensor, *, generator: Generator = None, n_samples: int = 500) -> Bound:
        """The importance-weighted lower bound of ``log p(x)`` with `n_samples` draws per case, in nats."""

        def draw(cases: slice, draws: slice) -> Tensor:
            return self.log_weights(x[cases], draws.stop - draws.start, generator=generator)

        value, error = importance_weighted(draw, len(x), n_samples)
        return Bound(value, "lower_bound", error, f"importance-weighted bound, {n_samples} samples")

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """The top codes' means, each layer at the mean of the one below: (n, visible.size) -> (n, codes)."""
        for rbm in self.below.layers:
            x = rbm.mean_h_from_v(x)
        return self.top.encode(x)

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """The means of the data given codes, each layer at its mean."""
        h = self.top.decode(z)
        for rbm in reversed(list(self.below.layers)):
            h = rbm.mean_v_from_h(h)
        return h

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        condition: Clamp | None = None,
        generator: Generator = None,
        mean: bool = False,
        n_steps: int = 200,
    ) -> Tensor:
        """`n` cases, drawn from the top down; ``mean=True`` gives their means given the lowest hidden units.

        A `condition` holds entries of the data: the rest is drawn by `n_steps` of `complete`.
        """
        check_count("n", n, low=1)
        if condition is not None:
            x, known = (t.expand(n, self.visible.size) for t in (condition.values, condition.known))
            return self.complete(x, known, generator=generator, n_steps=n_steps, n_average=int(mean))
        h = self.top.sample(n, generator=generator)
        layers = list(self.below.layers)
        for rbm in layers[:0:-1]:
            h = rbm.sample_v_from_h(h, generator)
        return layers[0].mean_v_from_h(h) if mean else layers[0].sample_v_from_h(h, generator)

    @torch.no_grad()
    def complete(
        self,
        x: Tensor,
        known: Tensor,
        *,
        generator: Generator = None,
        n_steps: int = 200,
        n_average: int | None = None,
        exact: bool = False,
    ) -> Tensor:
        """Fill the entries of `x` where `known` is False given the rest, by `complete_by_chain`.

        Their means given the lowest hidden units over the last `n_average` steps (None: three quarters of them),
        averaged; the last draw where that is 0. Pseudo-Gibbs sampling, which approximates the law given the known
        entries as well as the way up does; with `exact` a chain that has this law, and needs more steps in wide stacks.
        """
        steps: dict[str, Any] = {"n_steps": n_steps, "n_average": n_average, "exact": exact}
        return complete_by_chain(self, x, known, generator=generator, **steps)

    def config(self) -> dict[str, Any]:
        """What makes this stack again."""
        return {"below": self.below.config(), "top": self.top.config()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The stack that `config` describes, with fresh weights."""
        return cls(DBN.from_config(config["below"]), VAE.from_config(config["top"]))


def train_vae_stack(
    stack: VAEStack,
    source: BatchSource,
    settings: LearningSettings | Sequence[LearningSettings],
    *,
    top_epochs: int = 10,
    top: Mapping[str, Any] | None = None,
    trainer_options: Mapping[str, Any] | None = None,
    averaging: float | None = None,
    seed: int = 0,
    checkpoint_dir: str | Path | None = None,
    resume: bool = False,
) -> tuple[list[LayerReport], TrainingRecord]:
    """Train the RBMs from the bottom up by `train_greedily`, then the VAE on draws of the last hidden units, in place.

    `top` are arguments of `ELBO` (``k``, ``beta``, ``learning_rate``, ...), `averaging` is the top's. With
    `checkpoint_dir`, layers are kept in ``layer-l/`` and the top in ``top/``; with `resume` the unfinished one
    continues. Returns the layers' reports and the record of the top.
    """
    check_count("top_epochs", top_epochs, low=0)
    options: dict[str, Any] = dict(trainer_options or {})
    below = {"trainer_options": options, "seed": seed, "checkpoint_dir": checkpoint_dir, "resume": resume}
    reports = train_greedily(stack.below, source, settings, **below)  # type: ignore[arg-type]
    n_layers = len(stack.below.layers)
    top_source = LayerSource(source, stack.below, n_layers)
    folder = None if checkpoint_dir is None else Path(checkpoint_dir) / "top"
    saved = folder / LATEST if folder is not None and resume and (folder / LATEST).exists() else None
    if saved is None:
        start_layer(stack.top, top_source, make_generator(seed, stack.top.visible.bias.device, stream=n_layers))
    plan = {"epochs": top_epochs, "seed": seed + n_layers, "averaging": averaging, "checkpoint_dir": folder, **options}
    record = Trainer(**plan).fit(ELBO(stack.top, **(top or {})), top_source, resume_from=saved)
    return reports, record
