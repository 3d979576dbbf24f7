"""The variational autoencoder: one or more layers of Gaussian codes under a layer of units of any kind.

``p(x, z_1 ... z_L) = p(z_L) p(z_(L-1) | z_L) ... p(z_1 | z_2) p(x | z_1)``, with the encoder
``q(z | x) = q(z_1 | x) q(z_2 | z_1) ...``; all given a condition c where there is one, p(z_L) where the prior takes it
(Kingma & Welling 2014, Rezende et al. 2014, Sohn et al. 2015, Burda et al. 2016).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, Self

import torch
from torch import Tensor, nn

from deepbelief.autoencoders.completion import complete_by_gibbs
from deepbelief.autoencoders.diagonal import Diagonal, Generated, Inferred, normal_noise
from deepbelief.autoencoders.importance import importance_weighted
from deepbelief.autoencoders.priors import Prior, StandardNormal, VampPrior, prior_from_config
from deepbelief.errors import InvalidArgumentError, InvalidDataError, check, check_count
from deepbelief.maths.float32 import quick_float32
from deepbelief.networks.parts import network_config, network_from_config, on_rows
from deepbelief.protocols import Generator
from deepbelief.types import Bound, Clamp
from deepbelief.units.base import Units
from deepbelief.units.catalog import units_from_config
from deepbelief.units.gaussian import Gaussian

Condition = Clamp | Tensor | None


class VAE(nn.Module):
    """A variational autoencoder over `visible` units.

    Parameters
    ----------
    visible
        The law of data given the decoder's outputs: Bernoulli, Gaussian with a learned scale, categorical, or others.
    encoders
        One module for each layer of codes from the bottom: (n, inputs + n_condition) -> (n, 2 sizes[i]), the means and
        log variances. The inputs are those of `visible`, then the codes below.
    decoders
        One for each layer from the bottom: (n, sizes[0] + n_condition) -> (n, visible.size), then
        (n, sizes[i] + n_condition) -> (n, 2 sizes[i - 1]).
    sizes
        Numbers in each layer of codes, from the bottom.
    prior
        The law of the top codes, standard normal by default; a `ConditionalNormal` hangs on the condition.
    n_condition
        Width of the condition (a one-hot label, any vector); 0 for none.

    >>> from deepbelief.autoencoders.vae_builders import dense_vae
    >>> from deepbelief.units.bernoulli import Bernoulli
    >>> vae = dense_vae(Bernoulli(6), [2], hidden=[[8]])
    >>> vae.sample(3).shape, vae.encode(torch.zeros(5, 6)).shape
    (torch.Size([3, 6]), torch.Size([5, 2]))
    """

    def __init__(
        self,
        visible: Units,
        encoders: Sequence[nn.Module],
        decoders: Sequence[nn.Module],
        sizes: Sequence[int],
        *,
        prior: Prior | None = None,
        n_condition: int = 0,
    ) -> None:
        super().__init__()
        check(
            len(sizes) >= 1 and len(encoders) == len(decoders) == len(sizes),
            "encoders, decoders and sizes must have one entry for each layer of codes. "
            f"Got {len(encoders)}, {len(decoders)} and {len(sizes)}.",
        )
        for size in sizes:
            check_count("every size", size, low=1)
        check_count("n_condition", n_condition, low=0)
        self.visible, self.sizes, self.n_condition = visible, tuple(sizes), n_condition
        self.encoders, self.decoders = nn.ModuleList(encoders), nn.ModuleList(decoders)
        self.prior = StandardNormal(sizes[-1]) if prior is None else prior
        check(self.prior.size == sizes[-1], f"prior must be of size {sizes[-1]}, the top codes. Got {self.prior.size}.")
        check(
            self.prior.n_condition in (0, n_condition),
            f"prior must take conditions of n_condition={n_condition} numbers. Got {self.prior.n_condition}.",
        )

    # -- the laws ---------------------------------------------------------------------------------------------------

    def posterior(self, level: int, below: Tensor, c: Tensor | None = None) -> Diagonal:
        """``q(z_(level+1) | what lies below)``: (..., inputs) -> a law of (..., sizes[level])."""
        return Diagonal.from_outputs(on_rows(self.encoders[level], self._joined(below, c)))

    def top_posterior(self, joined: Tensor) -> Diagonal:
        """The top encoder's law at inputs that hold the condition already."""
        return Diagonal.from_outputs(on_rows(self.encoders[-1], joined))

    def below(self, level: int, z: Tensor, c: Tensor | None = None) -> Diagonal:
        """``p(z_level | z_(level+1))`` for a level from 1, as (..., sizes[level - 1])."""
        return Diagonal.from_outputs(on_rows(self.decoders[level], self._joined(z, c)))

    def visible_inputs(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """The inputs of the visible units given the lowest codes: (..., sizes[0]) -> (..., visible.size).

        Gaussian units divide their input by the precision; it is multiplied in, so that the decoder gives means.
        """
        outputs = on_rows(self.decoders[0], self._joined(z, c))
        return outputs * self.visible.precision if isinstance(self.visible, Gaussian) else outputs

    def _joined(self, rows: Tensor, c: Tensor | None) -> Tensor:
        if self.n_condition == 0:
            return rows
        assert c is not None
        return torch.cat([rows, c.to(rows.dtype).expand(*rows.shape[:-1], self.n_condition)], -1)

    def infer(
        self,
        x: Tensor,
        n: int = 1,
        *,
        c: Tensor | None = None,
        generator: Generator = None,
        noises: Sequence[Tensor] | None = None,
        lowest: Diagonal | None = None,
    ) -> Inferred:
        """`n` draws of all codes for every case, or those of given `noises`; gradients flow through them.

        `lowest` spares ``posterior(0, x, c)`` where it is known.
        """
        check_count("n", n, low=1)
        codes: list[Tensor] = []
        drawn, laws = [], []
        for level, size in enumerate(self.sizes):
            known = lowest if level == 0 else None
            law = self.posterior(level, codes[-1] if codes else x, c) if known is None else known
            noise = normal_noise((n, len(x), size), law.mean, generator) if noises is None else noises[level]
            codes.append(law.place(noise))
            drawn.append(noise)
            laws.append(law)
        return Inferred(codes, drawn, laws)

    def generate(self, codes: Sequence[Tensor], c: Tensor | None = None) -> Generated:
        """The laws of everything below the top codes, each given the codes above it."""
        laws = [self.below(level, codes[level], c) for level in range(1, len(self.sizes))]
        return Generated(self.visible_inputs(codes[0], c), laws)

    def inputs_given(self, x: Tensor, c: Tensor | None, generator: Generator = None) -> Tensor:
        """The inputs of the visible units given codes drawn from the encoder at x: one draw of a reconstruction."""
        return self.visible_inputs(self.infer(x, c=c, generator=generator).codes[0][0], c)

    def log_joint(self, x: Tensor, codes: Sequence[Tensor], c: Tensor | None = None) -> Tensor:
        """``log p(x, z | c)`` in nats: codes (..., cases, size) -> (..., cases)."""
        generated = self.generate(codes, c)
        data = self.visible.log_prob(x, generated.inputs)
        return data + generated.log_codes(codes) + self.prior.log_prob(codes[-1], self.top_posterior, c)

    def log_weights(
        self,
        x: Tensor,
        n: int = 1,
        *,
        c: Tensor | None = None,
        generator: Generator = None,
        noises: Sequence[Tensor] | None = None,
        lowest: Diagonal | None = None,
    ) -> Tensor:
        """`n` draws of ``log p(x, z) - log q(z | x)`` per case, whose means are the ELBO: (n, cases)."""
        inferred = self.infer(x, n, c=c, generator=generator, noises=noises, lowest=lowest)
        return self.log_joint(x, inferred.codes, c) - inferred.log_q()

    def settled(self) -> Self:
        """This model for many scores in a row: what its prior asks of the encoder is worked out once.

        It shares all weights, and is right for as long as they do not change.
        """
        prior = self.prior.settled(self.top_posterior)
        if prior is self.prior:
            return self
        twin = copy(self)
        twin._modules = {**self._modules, "prior": prior}
        return twin

    # -- capabilities -----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def log_likelihood(
        self,
        x: Tensor,
        *,
        condition: Condition = None,
        generator: Generator = None,
        n_samples: int = 500,
        shared: bool = False,
    ) -> Bound:
        """The importance-weighted lower bound of ``log p(x | c)`` with `n_samples` draws per case, in nats.

        With `shared` noise all cases see the same random numbers: a score then depends on no other case.
        """
        check_count("n_samples", n_samples, low=1)
        c = self.checked_condition(condition, len(x))
        noises = [normal_noise((n_samples, 1, size), self.visible.bias, generator) for size in self.sizes * shared]

        def draw(cases: slice, draws: slice) -> Tensor:
            rows = x[cases]
            own = [e[draws].expand(-1, len(rows), -1) for e in noises] if shared else None
            given = None if c is None else c[cases]
            return model.log_weights(rows, draws.stop - draws.start, c=given, generator=generator, noises=own)

        with quick_float32(self, n_samples):  # whatever the number of cases, so that a score is its case's own
            model = self.settled()
            value, error = importance_weighted(draw, len(x), n_samples, shared=shared)
        return Bound(value, "lower_bound", error, f"importance-weighted bound, {n_samples} samples")

    @torch.no_grad()
    def elbo(
        self, x: Tensor, *, condition: Condition = None, generator: Generator = None, n_samples: int = 10
    ) -> Bound:
        """The evidence lower bound, ``<log p(x, z) - log q(z | x)>`` over `n_samples` draws per case, in nats."""
        check_count("n_samples", n_samples, low=1)
        c, model = self.checked_condition(condition, len(x)), self.settled()
        draws = torch.stack([model.log_weights(x, c=c, generator=generator)[0].double() for _ in range(n_samples)])
        spread = math.nan if n_samples == 1 else draws.var(0).sum().sqrt().item() / n_samples**0.5 / len(x)
        return Bound(draws.mean(0), "lower_bound", spread, f"ELBO, {n_samples} samples")

    @torch.no_grad()
    def encode(
        self, x: Tensor, *, condition: Condition = None, sample: bool = False, generator: Generator = None
    ) -> Tensor:
        """The top codes' means, each layer at the mean of the one below, or draws of them: (n, sizes[-1])."""
        c, below = self.checked_condition(condition, x.shape[0]), x
        for level in range(len(self.sizes)):
            law = self.posterior(level, below, c)
            below = law.place(normal_noise(tuple(law.mean.shape), x, generator)) if sample else law.mean
        return below

    @torch.no_grad()
    def decode(self, z: Tensor, *, condition: Condition = None) -> Tensor:
        """The means of the data given top codes, each layer at its mean: (n, sizes[-1]) -> (n, visible.size)."""
        c = self.checked_condition(condition, z.shape[0])
        for level in range(len(self.sizes) - 1, 0, -1):
            z = self.below(level, z, c).mean
        return self.visible.mean(self.visible_inputs(z, c))

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        condition: Condition = None,
        generator: Generator = None,
        mean: bool = False,
        n_steps: int = 200,
    ) -> Tensor:
        """`n` cases from the top down; ``mean=True`` gives their means given the lowest codes.

        A model with a condition takes its vectors, (n_condition,) or (n, n_condition), as a tensor or a `Clamp`'s
        values. In another model a `Clamp` holds entries of the data: the rest is drawn by `n_steps` of `complete`.
        """
        check_count("n", n, low=1)
        if isinstance(condition, Clamp) and self.n_condition == 0:
            x, known = (t.expand(n, self.visible.size) for t in (condition.values, condition.known))
            n_average = 1 if mean else 0
            return self.complete(x, known, generator=generator, n_steps=n_steps, n_average=n_average)
        inputs = self.visible_inputs(*self.draw_codes(n, condition, generator))
        return self.visible.mean(inputs) if mean else self.visible.sample(inputs, generator)

    def draw_codes(self, n: int, condition: Condition, generator: Generator) -> tuple[Tensor, Tensor | None]:
        """The lowest codes of `n` new cases, and their condition."""
        codes, c = self.draw_all_codes(n, condition, generator)
        return codes[0], c

    def draw_all_codes(self, n: int, condition: Condition, generator: Generator) -> tuple[list[Tensor], Tensor | None]:
        """The codes of `n` new cases in every layer, lowest first, and their condition."""
        c = self.checked_condition(condition, n)
        codes = [self.prior.sample(n, self.visible.bias, self.top_posterior, generator, c)]
        for level in range(len(self.sizes) - 1, 0, -1):
            law = self.below(level, codes[0], c)
            codes.insert(0, law.place(normal_noise(tuple(law.mean.shape), codes[0], generator)))
        return codes, c

    def noise_of(self, x: Tensor, codes: Sequence[Tensor], c: Tensor | None = None) -> list[Tensor]:
        """The noise from which `infer` would make these codes of `x`, layer by layer."""
        inputs = [x, *codes[:-1]]
        return [self.posterior(level, inputs[level], c).noise_at(z) for level, z in enumerate(codes)]

    @torch.no_grad()
    def complete(
        self,
        x: Tensor,
        known: Tensor,
        *,
        condition: Condition = None,
        generator: Generator = None,
        n_steps: int = 200,
        n_average: int | None = None,
    ) -> Tensor:
        """Fill the entries of `x` where `known` is False given the rest, by `complete_by_gibbs`.

        Their conditional means over the last `n_average` steps (None: three quarters of them), averaged; the last draw
        where that is 0.
        """
        c = self.checked_condition(condition, len(x))
        steps: dict[str, Any] = {"n_steps": n_steps, "n_average": n_average}
        return complete_by_gibbs(self.settled(), x, known, c=c, generator=generator, **steps)

    def checked_condition(self, condition: Condition, n: int) -> Tensor | None:
        """The condition of `n` cases, (n, n_condition), or None for a model without one."""
        values = condition.values if isinstance(condition, Clamp) else condition
        if (values is None) != (self.n_condition == 0):
            wanted = f"vectors of {self.n_condition} numbers" if self.n_condition else "None, for the model has none"
            got = "None" if values is None else tuple(values.shape)
            raise InvalidArgumentError(f"condition must be {wanted}. Got {got}.")
        if values is None:
            return None
        rows = values.shape[0] if values.ndim == 2 else 1  # len() would fix the number of cases of an exported model
        if values.shape[-1] != self.n_condition or values.ndim > 2 or (rows != n and rows != 1):
            raise InvalidDataError(
                f"condition must have shape ({self.n_condition},) or ({n}, {self.n_condition}). "
                f"Got {tuple(values.shape)}. Give one vector for all cases or one for each."
            )
        return values.to(self.visible.bias).expand(n, self.n_condition)

    # -- starting and storing ---------------------------------------------------------------------------------------

    @torch.no_grad()
    def match_data(self, x: Tensor, weight: Tensor | None = None, c: Tensor | None = None) -> None:
        """Start learning from data: the visible units take its moments, a VampPrior its first cases."""
        self.visible.match_data(x, weight)
        if isinstance(self.prior, VampPrior):
            below = x
            for level in range(len(self.sizes) - 1):
                below = self.posterior(level, below, c).mean
            self.prior.start(self._joined(below, c))

    def config(self) -> dict[str, Any]:
        """What makes this model again; of networks that this library has only."""
        return {
            "visible": self.visible.config(),
            "encoders": [network_config(network) for network in self.encoders],
            "decoders": [network_config(network) for network in self.decoders],
            "sizes": list(self.sizes),
            "prior": self.prior.config(),
            "n_condition": self.n_condition,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The model that `config` describes, with fresh weights."""
        encoders, decoders = ([network_from_config(c) for c in config[name]] for name in ("encoders", "decoders"))
        return cls(
            units_from_config(config["visible"]),
            *(encoders, decoders, config["sizes"]),
            prior=prior_from_config(config["prior"]),
            n_condition=config["n_condition"],
        )
