"""Learning by lower bounds of the likelihood: the ELBO, with beta and free bits, and the importance-weighted bound."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from deepbelief.autoencoders.diagonal import Inferred
from deepbelief.autoencoders.priors import StandardNormal
from deepbelief.autoencoders.vae import VAE
from deepbelief.errors import InvalidDataError, check, check_choice, check_count, check_range
from deepbelief.protocols import StepContext
from deepbelief.training.optimization import Descent, joint_mean
from deepbelief.types import Batch

GRADIENTS = ("reparameterized", "dreg")


class ELBO:
    """Raise a lower bound of ``log p(x)`` (or of ``log p(x | y)`` where the model has a condition).

    ``k = 1``: ``<log p(x | z)> - beta KL(q(z | x) || p(z))``, the KL in closed form where it has one (Kingma & Welling
    2014; Higgins et al. 2017). ``k > 1``: ``<log 1/k sum_i w_i>``, ``w = p(x, z) / q(z | x)`` (Burda et al. 2016).

    Parameters
    ----------
    k
        Draws of the codes for each case.
    beta
        Weight of the codes' part; the objective is a bound of the likelihood for 1 only (and whatever is above).
    warmup
        Part of the training over which beta rises from 0 (Bowman et al. 2016).
    free_bits
        Nats per code unit below which its KL, averaged over the batch by the case weights, is not lowered (Kingma et
        al. 2016); for ``k = 1``, one layer of codes and the standard normal prior.
    gradient
        "reparameterized", or "dreg": the encoder's gradient without the score term, whose noise does not drown the
        signal as k grows (Tucker et al. 2019); for one layer of codes and ``beta = 1``.
    descent
        The arguments of `Descent`: ``learning_rate``, ``optimizer``, ``schedule``, ``betas``, ...
    """

    def __init__(
        self,
        module: VAE,
        *,
        k: int = 1,
        beta: float = 1.0,
        warmup: float = 0.0,
        free_bits: float = 0.0,
        gradient: str = "reparameterized",
        **descent: Any,
    ) -> None:
        check_count("k", k, low=1)
        check_range("beta", beta, low=0)
        check_range("warmup", warmup, low=0, high=1)
        check_range("free_bits", free_bits, low=0)
        check_choice("gradient", gradient, GRADIENTS)
        single = len(module.sizes) == 1
        check(
            gradient == "reparameterized" or (single and beta == 1 and warmup == 0),
            "gradient 'dreg' must have one layer of codes, beta=1 and warmup=0. Use 'reparameterized'.",
        )
        check(
            free_bits == 0 or (single and k == 1 and isinstance(module.prior, StandardNormal)),
            "free_bits must be 0 unless k=1, with one layer of codes and the standard normal prior. "
            f"Got free_bits={free_bits}.",
        )
        self.module: torch.nn.Module = module
        self.vae, self.k, self.beta, self.warmup = module, k, beta, warmup
        self.free_bits, self.gradient = free_bits, gradient
        self.descent = Descent(module.parameters(), **descent)

    def start(self, first: Batch, generator: torch.Generator, *, rank: int = 0, world_size: int = 1) -> None:
        """Check that a batch fits the model."""
        self.vae.visible.check_shape(first.x, "x")
        self.vae.visible.check_values(first.x, "x")
        self.condition(first)

    def condition(self, batch: Batch) -> Tensor | None:
        """The batch's condition: its y, as class numbers or vectors, where the model has one."""
        n = self.vae.n_condition
        if n == 0:
            return None
        if batch.y is None:
            raise InvalidDataError("batches must have y, the condition of the model. Got none. Give y to the source.")
        return one_hot(batch.y, n).to(batch.x.dtype)

    def step(self, batch: Batch, context: StepContext) -> Mapping[str, Tensor | float]:
        """One step up the bound; returns the loss, the bound in nats per case and the codes' part of it."""
        if not self.module.training:
            self.module.train()
        beta = self.beta * (min(1.0, context.progress / self.warmup) if self.warmup else 1.0)
        objective, bound, codes_part = self.objective(batch.x, self.condition(batch), beta, context, batch.weight)
        loss = -_weighted(objective, batch.weight)
        self.descent.step(loss, context)
        with torch.no_grad():
            bound, codes_part = _weighted(bound, batch.weight), _weighted(codes_part, batch.weight)
        return {"loss": loss.detach(), "bound": bound, "kl": codes_part}

    def objective(
        self, x: Tensor, c: Tensor | None, beta: float, context: StepContext, weight: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The objective of each case, its bound (for ``beta = 1``), and ``<log q(z | x) - log p(z)>``: (cases,) each.

        The networks run in the precision of the training, sums of logarithms in that of the data.
        """
        with context.autocast():
            inferred = self.vae.infer(x, self.k, c=c, generator=context.generator)
            if self.gradient == "dreg":
                inferred = detached_laws(inferred)
            generated = self.vae.generate(inferred.codes, c)
        data = self.vae.visible.log_prob(x, generated.inputs)  # (k, cases)
        kl = self._codes_part(inferred, generated.log_codes(inferred.codes), c)
        if self.k == 1:
            free = self._free_nats(inferred, weight, context)
            return (data - beta * kl + free)[0], (data - kl).detach()[0], kl.detach()[0]
        log_w = data - beta * kl
        with torch.no_grad():
            bound = torch.logsumexp(data - kl, 0) - math.log(self.k)
        if self.gradient == "dreg":
            return doubly_reparameterized(log_w, inferred.codes[0]), bound, kl.detach().mean(0)
        return torch.logsumexp(log_w, 0) - math.log(self.k), bound, kl.detach().mean(0)

    def _codes_part(self, inferred: Inferred, log_lower: Tensor, c: Tensor | None) -> Tensor:
        """``log q(z | x) - log p(z)`` of each draw, its top layer by its mean where that is known: (k, cases)."""
        top = self.vae.prior.kl(inferred.laws[-1], c) if self.k == 1 else None
        if top is not None:
            return top + inferred.log_q(len(inferred.codes) - 1) - log_lower
        log_p = self.vae.prior.log_prob(inferred.codes[-1], self.vae.top_posterior, c)
        if self.gradient == "dreg":
            return inferred.laws[0].log_prob(inferred.codes[0]) - log_p
        return inferred.log_q() - log_lower - log_p

    def _free_nats(self, inferred: Inferred, weight: Tensor | None, context: StepContext) -> Tensor | float:
        """What gives back the KL of units below the allowance: nothing to the value's users, all to the gradient."""
        if self.free_bits == 0:
            return 0.0
        terms = inferred.laws[0].kl_terms()
        share = torch.ones_like(terms[:, 0]) if weight is None else weight.to(terms.dtype)
        per_unit = joint_mean(share @ terms / share.sum().clamp_min(torch.finfo(terms.dtype).tiny), context)
        return (per_unit - per_unit.clamp_min(self.free_bits)).sum()

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's state: nothing else lasts from step to step."""
        return {"descent": self.descent.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`."""
        self.descent.load_state_dict(state["descent"])


def detached_laws(inferred: Inferred) -> Inferred:
    """The same codes, beside laws that are constants: ``log q`` then depends on the encoder through the codes alone."""
    return Inferred(inferred.codes, inferred.noises, [law.detached() for law in inferred.laws])


def doubly_reparameterized(log_w: Tensor, codes: Tensor) -> Tensor:
    """A surrogate with DReG's gradient: sum of ``w~ dlog w`` for the model, of ``w~^2 dlog w/dz dz`` for the encoder.

    `log_w` (k, cases) must depend on the encoder through `codes` (k, cases, size) alone; ``w~`` are the weights that
    sum to 1.
    """
    share = torch.softmax(log_w.detach(), 0)
    if codes.requires_grad:
        codes.register_hook(lambda gradient: gradient * share.unsqueeze(-1))
    return (share * log_w).sum(0)


def one_hot(y: Tensor, n: int) -> Tensor:
    """Conditions as vectors of `n` numbers: class numbers become one-hot, vectors stay."""
    if y.ndim == 1 and n == 1:  # a source keeps one column as a vector
        return y.unsqueeze(1)
    if y.ndim == 1 and not y.is_floating_point():
        if len(y) and not y.is_cuda and not 0 <= int(y.min()) <= int(y.max()) < n:
            raise InvalidDataError(
                f"y must hold class numbers from 0 to {n - 1}. Got {int(y.min())} to {int(y.max())}."
            )
        return torch.nn.functional.one_hot(y.long(), n)
    if y.ndim != 2 or y.shape[1] != n:
        raise InvalidDataError(f"y must be class numbers or vectors of {n} numbers. Got shape {tuple(y.shape)}.")
    return y


def _weighted(values: Tensor, weight: Tensor | None) -> Tensor:
    """The mean over the cases with their weights."""
    if weight is None:
        return values.mean()
    weight = weight.to(values.dtype)
    return (values * weight).sum() / weight.sum().clamp_min(torch.finfo(values.dtype).tiny)
