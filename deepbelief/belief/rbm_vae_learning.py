"""Learning a VAE with an RBM or a DBN as its prior: the importance-weighted bound, bits and all.

Two ways to the encoder's gradient. "relaxed" bits are soft while they learn, so that one network's pass gives it with
little noise; the bound of soft bits is another function than that of bits (Khoshaman & Amin 2018, GumBolt), and every
score that the model gives is of hard bits. "vimco" is the gradient of the very bound, unbiased and noisier: a score
function whose baseline for each draw are the other draws (Mnih & Rezende 2016); chosen over single-draw estimators
since it raises the same k-draw bound that is reported, for any k from 2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from deepbelief.belief.rbm_vae import RBMVAE
from deepbelief.energy.gradients.pcd import PersistentChains
from deepbelief.energy.gradients.update import move_offsets
from deepbelief.energy.partition.exact import log_terms
from deepbelief.errors import check_choice, check_count, check_positive, check_range
from deepbelief.protocols import StepContext
from deepbelief.training.optimization import Descent
from deepbelief.types import Batch

GRADIENTS = ("relaxed", "vimco")
NEGATIVES = ("pcd", "exact")


class RBMVAELearning:
    """Raise ``<log 1/k sum_i p(x, s_i) / q(s_i | x)>``; a `Procedure`.

    Parameters
    ----------
    k
        Draws of the bits for each case.
    gradient, temperature
        "relaxed" with soft bits at this temperature (above 0), or "vimco".
    warmup
        Part of the training over which the weight of the bits' part rises from 0 to 1.
    negative, n_chains, n_steps
        The gradient of log Z: "pcd" by `n_chains` persistent chains (in all processes together), each moved by
        `n_steps` sweeps of Gibbs sampling per batch (Tieleman 2008), or "exact" by enumeration.
    offset_rate
        Speed of the RBM's running means, from which annealing starts; they do not enter the model.
    descent
        The arguments of `Descent`.
    """

    def __init__(
        self,
        module: RBMVAE,
        *,
        k: int = 5,
        gradient: str = "relaxed",
        temperature: float = 0.5,
        warmup: float = 0.0,
        negative: str = "pcd",
        n_chains: int = 100,
        n_steps: int = 10,
        offset_rate: float = 0.01,
        **descent: Any,
    ) -> None:
        check_choice("gradient", gradient, GRADIENTS)
        check_choice("negative", negative, NEGATIVES)
        check_count("k", k, low=2 if gradient == "vimco" else 1)
        check_count("n_chains", n_chains, low=1)
        check_count("n_steps", n_steps, low=1)
        check_positive("temperature", temperature)
        check_range("warmup", warmup, low=0, high=1)
        check_range("offset_rate", offset_rate, low=0, high=1)
        self.module: torch.nn.Module = module
        self.model, self.k, self.gradient, self.warmup = module, k, gradient, warmup
        self.temperature = temperature if gradient == "relaxed" else 0.0
        self.offset_rate = offset_rate
        self.chains = PersistentChains(n_chains, n_steps) if negative == "pcd" else None
        self.descent = Descent(module.parameters(), **descent)

    def start(self, first: Batch, generator: torch.Generator, *, rank: int = 0, world_size: int = 1) -> None:
        """Check that a batch fits the model, and start the chains at independent bits."""
        self.model.visible.check_shape(first.x, "x")
        self.model.visible.check_values(first.x, "x")
        if self.chains is not None:
            self.chains.start(self.model.rbm, first.x, generator, rank=rank, world_size=world_size)

    def step(self, batch: Batch, context: StepContext) -> Mapping[str, Tensor | float]:
        """One step up the bound. ``bound_without_log_z`` is in nats per case: log Z of the moment is unknown."""
        if not self.module.training:
            self.module.train()
        beta = min(1.0, context.progress / self.warmup) if self.warmup else 1.0
        objective, s1, s2 = self.objective(batch.x, beta, context)
        value = _weighted(objective, batch.weight)
        loss = beta * self.log_z_surrogate(s1, context.generator) - value
        rbm = self.model.rbm
        rbm.visible_offset.grad, rbm.hidden_offset.grad = (s.flatten(0, -2).mean(0) for s in (s1, s2))
        self.descent.step(loss, context, travellers=[rbm.visible_offset, rbm.hidden_offset])
        move_offsets(rbm, self.offset_rate)
        return {"loss": loss.detach(), "bound_without_log_z": value.detach()}

    def objective(self, x: Tensor, beta: float, context: StepContext) -> tuple[Tensor, Tensor, Tensor]:
        """The bound of each case plus log Z, (cases,), and the bits of the RBM; the gradient is as `gradient` says."""
        with context.autocast():
            bits = self.model.infer(x, self.k, temperature=self.temperature, generator=context.generator)
            below = self.model.log_below(x, bits.joined(), context.generator)
        log_q = bits.log_q()
        log_w = below + beta * (self.model.log_prior(bits.groups) - log_q)
        bound = torch.logsumexp(log_w, 0) - math.log(self.k)
        if self.gradient == "vimco":
            credit = (bound - leave_one_out(log_w)).detach()
            value = bound + (credit * log_q).sum(0)
            bound = value - (value - bound).detach()  # the bound's value, with the score function's gradient
        s1, s2 = bits.top
        return bound, s1.detach(), s2.detach()

    def log_z_surrogate(self, s1: Tensor, generator: torch.Generator) -> Tensor:
        """A number whose gradient is that of log Z: ``-<F(v)>`` over the chains, or log Z itself."""
        rbm = self.model.rbm
        if self.chains is None:
            terms = torch.cat(list(log_terms(rbm, 1 << 14)))
            return torch.logsumexp(terms, 0)
        with torch.no_grad():
            self.chains.advance(rbm, s1.flatten(0, -2), generator)
        return -rbm.free_energy(self.chains.v).mean()

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's state and the chains."""
        chains = None if self.chains is None else self.chains.state_dict()
        return {"descent": self.descent.state_dict(), "chains": chains}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`."""
        self.descent.load_state_dict(state["descent"])
        if self.chains is not None:
            self.chains.load_state_dict(state["chains"])


def leave_one_out(log_w: Tensor) -> Tensor:
    """VIMCO's baseline: the bound where the geometric mean of the other weights stands for a draw's: (k, cases).

    >>> leave_one_out(torch.zeros(3, 1)).flatten().tolist()
    [0.0, 0.0, 0.0]
    """
    k = len(log_w)
    others = (log_w.sum(0) - log_w) / (k - 1)
    own = torch.eye(k, dtype=torch.bool, device=log_w.device).unsqueeze(-1)  # (left out, draw, 1)
    return torch.logsumexp(torch.where(own, others.unsqueeze(1), log_w.unsqueeze(0)), 1) - math.log(k)


def _weighted(values: Tensor, weight: Tensor | None) -> Tensor:
    """The mean over the cases with their weights."""
    if weight is None:
        return values.mean()
    weight = weight.to(values.dtype)
    return (values * weight).sum() / weight.sum().clamp_min(torch.finfo(values.dtype).tiny)
