"""A variational autoencoder whose prior is an RBM: bits in two groups above, a decoder (or a whole VAE) below.

    p(s1, s2) = exp(-E(s1, s2)) / Z,    p(x) = sum_s p(s) p(x | s),    q(s | x) = q(s1 | x) q(s2 | x, s1)

where ``p(x | s)`` is one network and a layer of units, or a VAE given s, whose Gaussian codes carry what bits cannot
(Rolfe 2017, Discrete variational autoencoders; Vahdat et al. 2018; Khoshaman & Amin 2018).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deepbelief.autoencoders.importance import importance_weighted
from deepbelief.autoencoders.vae import VAE
from deepbelief.belief.bit_decoder import BitDecoder
from deepbelief.energy.partition.choose import log_z as choose_log_z
from deepbelief.energy.rbm import RBM
from deepbelief.errors import check, check_count
from deepbelief.maths.float32 import quick_float32
from deepbelief.networks.parts import network_config, network_from_config, on_rows
from deepbelief.protocols import Generator
from deepbelief.rng import bernoulli
from deepbelief.types import Bound, Clamp
from deepbelief.units.base import Units


@dataclass(frozen=True)
class Bits:
    """Both groups of bits, soft or hard, and the log-odds that they were drawn with: (..., group size) each."""

    groups: tuple[Tensor, Tensor]
    logits: tuple[Tensor, Tensor]

    def joined(self) -> Tensor:
        """All bits side by side: (..., n_bits)."""
        return torch.cat(self.groups, -1)

    def log_q(self) -> Tensor:
        """``log q(s | x)`` in nats; of soft bits the same expression: (...)."""
        (s1, s2), (a1, a2) = self.groups, self.logits
        return (s1 * a1 + F.logsigmoid(-a1)).sum(-1) + (s2 * a2 + F.logsigmoid(-a2)).sum(-1)


class RBMVAE(nn.Module):
    """A discrete variational autoencoder with an RBM over its bits.

    Parameters
    ----------
    rbm
        The prior: the first group of bits is its visible layer, the second its hidden layer; Bernoulli units.
    encoders
        Two modules: (n, inputs) -> (n, size of group 1) and (n, inputs + size of group 1) -> (n, size of group 2),
        log-odds of the bits.
    below
        ``p(x | s)``: a `BitDecoder`, or a `VAE` whose condition are the bits.

    >>> from deepbelief.belief.rbm_vae_builders import make_rbm_vae
    >>> from deepbelief.units.bernoulli import Bernoulli
    >>> model = make_rbm_vae(Bernoulli(6), (3, 2), hidden=[8])
    >>> model.sample(4, n_steps=5).shape, model.log_likelihood(torch.zeros(2, 6), n_samples=10).kind
    (torch.Size([4, 6]), 'lower_bound')
    """

    def __init__(self, rbm: RBM, encoders: Sequence[nn.Module], below: VAE | BitDecoder) -> None:
        super().__init__()
        n_bits = rbm.visible.size + rbm.hidden.size
        kinds = {rbm.visible.kind, rbm.hidden.kind}
        check(kinds == {"bernoulli"}, f"rbm must have Bernoulli units. Got {', '.join(sorted(kinds))}.")
        check(len(encoders) == 2, f"encoders must be two, one for each group of bits. Got {len(encoders)}.")
        check(
            below.n_condition == n_bits, f"below must have a condition of {n_bits}, the bits. Got {below.n_condition}."
        )
        self.rbm, self.encoders, self.below = rbm, nn.ModuleList(encoders), below

    @property
    def visible(self) -> Units:
        """The units of the data."""
        return self.below.visible

    @property
    def n_bits(self) -> int:
        """Bits in both groups."""
        return self.rbm.visible.size + self.rbm.hidden.size

    # -- the laws ---------------------------------------------------------------------------------------------------

    def infer(self, x: Tensor, n: int = 1, *, temperature: float = 0.0, generator: Generator = None) -> Bits:
        """`n` draws of the bits for every case, (n, cases, size).

        At a temperature above 0 they are soft, ``sigmoid((log-odds + logistic noise) / temperature)``, and gradients
        flow through them (Maddison et al. 2017); at 0 they are bits.
        """
        check_count("n", n, low=1)
        first = on_rows(self.encoders[0], x).expand(n, -1, -1)
        s1 = self._draw(first, temperature, generator)
        second = on_rows(self.encoders[1], torch.cat([x.expand(n, *x.shape), s1], -1))
        return Bits((s1, self._draw(second, temperature, generator)), (first, second))

    @staticmethod
    def _draw(logits: Tensor, temperature: float, generator: Generator) -> Tensor:
        if temperature == 0:
            return bernoulli(torch.sigmoid(logits.detach()), generator)
        u = torch.rand(logits.shape, dtype=logits.dtype, device=logits.device, generator=generator)
        noise = torch.logit(u.clamp(1e-6, 1 - 1e-6))
        return torch.sigmoid((logits + noise) / temperature)

    def log_unnormalized(self, x: Tensor, bits: Bits, generator: Generator = None) -> Tensor:
        """``log p(x | s) - E(s)`` in nats, with a draw of the codes below where there are any: (draws, cases)."""
        return self.log_below(x, bits.joined(), generator) - self.rbm.energy(*bits.groups)

    def log_below(self, x: Tensor, s: Tensor, generator: Generator = None) -> Tensor:
        """``log p(x | s)``, or a draw of the log weight below: (draws, cases, n_bits) -> (draws, cases)."""
        if isinstance(self.below, BitDecoder):
            return self.below.log_prob(x, s)
        rows = x.expand(len(s), *x.shape).flatten(0, 1)
        return self.below.log_weights(rows, c=s.flatten(0, 1), generator=generator)[0].unflatten(0, s.shape[:2])

    # -- capabilities -----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def log_likelihood(
        self, x: Tensor, *, generator: Generator = None, n_samples: int = 500, log_z: Bound | None = None
    ) -> Bound:
        """The importance-weighted lower bound of ``log p(x)`` in nats, with hard bits.

        log Z is enumerated where a group is small, else bracketed by annealing both ways; `low` and `high` are then the
        ends of the mean bound. Pass `log_z` to spare a second estimate.
        """
        check_count("n_samples", n_samples, low=1)
        z = choose_log_z(self.rbm, generator=generator) if log_z is None else log_z

        def draw(cases: slice, draws: slice) -> Tensor:
            rows = x[cases]
            bits = self.infer(rows, draws.stop - draws.start, generator=generator)
            return self.log_unnormalized(rows, bits, generator) - bits.log_q()

        with quick_float32(self, n_samples):  # whatever the number of cases, so that a score is its case's own
            value, noise = importance_weighted(draw, len(x), n_samples)
        low, high = (None if end is None else value.mean().item() - end for end in (z.high, z.low))
        method = f"importance-weighted bound, {n_samples} samples; {z.method}"
        error = math.sqrt(noise**2 + z.stderr**2)
        return Bound(value - float(z.value), "lower_bound", error, method, low, high)

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """How likely each bit is on, the second group given the means of the first: (n, n_bits)."""
        first = torch.sigmoid(on_rows(self.encoders[0], x))
        return torch.cat([first, torch.sigmoid(on_rows(self.encoders[1], torch.cat([x, first], 1)))], 1)

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """The means of the data given bits or their probabilities: (n, n_bits) -> (n, visible.size)."""
        if isinstance(self.below, BitDecoder):
            return self.below.decode(z)
        codes = z.new_zeros(z.shape[0], self.below.sizes[-1])  # the middle of the standard normal codes
        return self.below.decode(codes, condition=z)

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        condition: Clamp | None = None,
        generator: Generator = None,
        n_steps: int = 1000,
        mean: bool = False,
    ) -> Tensor:
        """`n` cases: bits from `n` Gibbs chains of the RBM, then down; the entries of `condition` by `complete`."""
        check_count("n", n, low=1)
        check_count("n_steps", n_steps, low=1)
        if condition is not None:
            x, known = (t.expand(n, self.visible.size) for t in (condition.values, condition.known))
            return self.complete(x, known, generator=generator, n_steps=n_steps, n_average=int(mean))
        s1 = self.rbm.sample(n, n_steps=n_steps, generator=generator)
        bits = torch.cat([s1, self.rbm.sample_h_from_v(s1, generator)], 1)
        return self.below.sample(n, condition=bits, generator=generator, mean=mean)

    @torch.no_grad()
    def complete(
        self, x: Tensor, known: Tensor, *, generator: Generator = None, n_steps: int = 200, n_average: int = 50
    ) -> Tensor:
        """Fill the entries of `x` where `known` is False by pseudo-Gibbs sampling (Rezende et al. 2014).

        Bits from the encoder and data given them in turn, which is as right as the encoder is. Means over the last
        `n_average` steps (averages of the draws where pixels hang on those before them), or the last draw where that
        is 0.
        """
        check_count("n_steps", n_steps, low=1)
        check_count("n_average", n_average, low=0, high=n_steps)
        self.visible.check_known(known)
        clamp = Clamp(x, known)
        state = clamp.apply(self.sample(len(x), generator=generator, n_steps=50))
        total = torch.zeros_like(state)
        for step in range(n_steps):
            state, mean = self._redraw(state, clamp, generator)
            if step >= n_steps - n_average:
                total += mean
        return clamp.apply(total / n_average) if n_average else state

    def _redraw(self, x: Tensor, clamp: Clamp, generator: Generator) -> tuple[Tensor, Tensor]:
        """Bits given data, then what is free of the data given bits: the new data, and what to average."""
        s = self.infer(x, generator=generator).joined()[0]
        if isinstance(self.below, BitDecoder):
            return self.below.redraw(x, s, clamp, generator)
        inputs = self.below.inputs_given(x, s, generator)
        mean = self.visible.mean(inputs)
        return clamp.apply(self.visible.draw(inputs, mean, generator)), mean

    # -- starting and storing ---------------------------------------------------------------------------------------

    def match_data(self, x: Tensor, weight: Tensor | None = None) -> None:
        """Start learning from data: the visible units take its moments."""
        self.visible.match_data(x, weight)

    def config(self) -> dict[str, Any]:
        """What makes this model again; of networks that this library has only."""
        below = {"kind": type(self.below).__name__, **self.below.config()}
        encoders = [network_config(network) for network in self.encoders]
        return {"rbm": self.rbm.config(), "encoders": encoders, "below": below}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The model that `config` describes, with fresh weights."""
        kinds: dict[str, Any] = {"VAE": VAE, "BitDecoder": BitDecoder}
        below = kinds[config["below"]["kind"]].from_config({k: v for k, v in config["below"].items() if k != "kind"})
        return cls(RBM.from_config(config["rbm"]), [network_from_config(c) for c in config["encoders"]], below)
