"""Learning of any autoencoder by back-propagation: plain, denoising, sparse, contractive, or all of these at once.

    loss = - mean_n w_n log p(x_n | encode(x~_n)) + sum of penalties of the codes,        x~ = corrupted x

Vincent et al. 2010; Ng 2011 (CS294A); Rifai et al. 2011; Hinton & Salakhutdinov 2006 for a belief network unrolled.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from deepbelief.autoencoders.autoencoder import real_valued
from deepbelief.autoencoders.corruption import Corruption
from deepbelief.autoencoders.penalties import Joint, Penalty, itself
from deepbelief.errors import check, check_choice
from deepbelief.protocols import Generator, StepContext
from deepbelief.training.optimization import Descent, joint_mean
from deepbelief.types import Batch
from deepbelief.units.base import Units
from deepbelief.units.quadratic import SMALLEST_VARIANCE

LOSSES = ("log_prob", "squared_error")


class ScoredDecoder(Protocol):
    """What is learned: codes, and what the units of the data receive from codes."""

    @property
    def visible(self) -> Units:
        """The units of the data, which score a case given their input."""
        ...

    def encode(self, x: Tensor) -> Tensor: ...

    def input_v_from_z(self, z: Tensor) -> Tensor: ...


class AutoencoderLearning:
    """One step of an optimizer per batch down the loss above; a `Procedure`.

    Parameters
    ----------
    module : Autoencoder, DeepAutoencoder or any module with `visible`, `encode` and `input_v_from_z`
    corruption
        How cases are spoilt before they are coded (draws from the trainer's generator); None for not at all.
    penalties
        `L1Codes`, `RateKL`, `Contraction`: prices of the codes of what the encoder saw.
    loss : "log_prob" or "squared_error"
        The likelihood of the data's units, or the squared error of their means, summed over a case.
    optimizer, learning_rate, schedule, weight_decay, momentum, betas, max_gradient_norm
        See `deepbelief.training.optimization.Descent`.

    A scale that is learned never falls below a variance of 1e-4 in the data's units: a column that is reconstructed
    exactly would have an infinite density.

    >>> from deepbelief.autoencoders.autoencoder import Autoencoder
    >>> from deepbelief.autoencoders.corruption import Masking
    >>> from deepbelief.units.bernoulli import Bernoulli
    >>> learning = AutoencoderLearning(Autoencoder.dense(Bernoulli(6), [2]), corruption=Masking(0.3))
    >>> sorted(learning.objective(torch.zeros(5, 6), torch.Generator()))
    ['loss', 'reconstruction']
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        corruption: Corruption | None = None,
        penalties: Sequence[Penalty] = (),
        loss: str = "log_prob",
        **descent: Any,
    ) -> None:
        check_choice("loss", loss, LOSSES)
        names = [penalty.name for penalty in penalties]
        check(len(set(names)) == len(names), f"penalties must be of different kinds. Got {names}. Name each once.")
        for wanted in ("visible", "encode", "input_v_from_z"):
            check(
                hasattr(module, wanted),
                f"module must have {wanted}. Got {type(module).__name__}. Use Autoencoder(encoder, decoder, units).",
            )
        self.module, self.corruption, self.penalties, self.loss = module, corruption, tuple(penalties), loss
        self.descent = Descent(module.parameters(), **descent)

    @property
    def _net(self) -> ScoredDecoder:
        return cast(ScoredDecoder, self.module)

    def start(self, first: Batch, generator: torch.Generator, *, rank: int = 0, world_size: int = 1) -> None:
        """Check that a batch fits the networks, and the penalties the codes, before any step is made."""
        net = self._net
        net.visible.check_shape(first.x)
        self.module.eval()
        with torch.no_grad():
            z = net.encode(first.x)
            check(z.ndim == 2 and len(z) == len(first.x), f"codes must be (cases, k). Got {tuple(z.shape)}.")
            inputs = net.input_v_from_z(z)
        wanted, found = tuple(first.x.shape), tuple(inputs.shape)
        check(found == wanted, f"decoder must give {wanted}, as the data. Got {found}. Change its last layer.")
        for penalty in self.penalties:
            penalty.check_fits(self.module, z)

    def objective(
        self,
        x: Tensor,
        generator: Generator,
        weight: Tensor | None = None,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
        joint: Joint = itself,
    ) -> dict[str, Tensor]:
        """The loss of a batch and its parts: ``loss = reconstruction + sum of weight * penalty``."""
        net = self._net
        share = torch.ones(len(x), dtype=x.dtype, device=x.device) if weight is None else weight.to(x)
        share = share / share.sum().clamp_min(torch.finfo(x.dtype).tiny)
        seen = x if self.corruption is None else self.corruption(x, generator)
        with autocast():
            z = net.encode(seen)
            inputs = net.input_v_from_z(z)
        z, inputs = z.to(x.dtype), inputs.to(x.dtype)  # scores are never computed in half precision
        parts = {"reconstruction": share @ self._case_losses(x, inputs)}
        parts |= {penalty.name: penalty.price(self.module, seen, z, share, joint) for penalty in self.penalties}
        paid = sum((p.weight * parts[p.name] for p in self.penalties), start=parts["reconstruction"])
        return {"loss": paid, **parts}

    def _case_losses(self, x: Tensor, inputs: Tensor) -> Tensor:
        units = self._net.visible
        if self.loss == "log_prob":
            return -units.log_prob(x, inputs)
        return (x - units.mean(inputs)).square().sum(1)

    def step(self, batch: Batch, context: StepContext) -> Mapping[str, Tensor | float]:
        """One step; watches the loss, the reconstruction's part and every penalty (not yet times its weight)."""
        if not self.module.training:
            self.module.train()
        with torch.enable_grad():
            joint = partial(joint_mean, context=context)
            parts = self.objective(batch.x, context.generator, batch.weight, context.autocast, joint)
        self.descent.step(parts["loss"], context)
        self._bound_scale()
        return {name: value.detach() for name, value in parts.items()}

    @torch.no_grad()
    def _bound_scale(self) -> None:
        for units in real_valued(self._net.visible):
            if units.log_precision.requires_grad:
                units.log_precision.clamp_(max=-math.log(SMALLEST_VARIANCE))

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's state; the rest is in the module and the trainer's generators."""
        return {"optimizer": self.descent.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`."""
        self.descent.load_state_dict(state["optimizer"])
