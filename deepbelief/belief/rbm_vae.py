"""A variational autoencoder whose prior is an RBM or a DBN: groups of bits above, a decoder (or a whole VAE) below.

    p(s1, s2) = exp(-E(s1, s2)) / Z,    p(x) = sum_s p(s) p(x | s),    q(s | x) = q(s1 | x) q(s2 | x, s1)

where ``p(x | s)`` is one network and a layer of units, or a VAE given s, whose Gaussian codes carry what bits cannot
(Rolfe 2017, Discrete variational autoencoders; Vahdat et al. 2018; Khoshaman & Amin 2018). With further groups below
the RBM's two, ``p(s) = p(s1 | s2) ... p(s_(L-2) | s_(L-1)) p(s_(L-1), s_L)``, the prior is a deep belief network. The
encoder infers group by group, each from the data and all groups below it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deepbelief.autoencoders.completion import steps_to_average
from deepbelief.autoencoders.importance import importance_weighted
from deepbelief.autoencoders.vae import VAE
from deepbelief.belief.bit_decoder import BitDecoder
from deepbelief.energy.partition.choose import log_z as choose_log_z
from deepbelief.energy.rbm import RBM
from deepbelief.errors import check, check_count
from deepbelief.maths.float32 import quick_float32
from deepbelief.networks.dense import DenseNetwork
from deepbelief.networks.parts import network_config, network_from_config, on_rows
from deepbelief.protocols import Generator
from deepbelief.rng import bernoulli
from deepbelief.types import Bound, Clamp
from deepbelief.units.base import Units


@dataclass(frozen=True)
class Bits:
    """All groups of bits, soft or hard, lowest first, and the log-odds that they were drawn with: (..., size) each."""

    groups: tuple[Tensor, ...]
    logits: tuple[Tensor, ...]

    @property
    def top(self) -> tuple[Tensor, Tensor]:
        """The RBM's two groups."""
        return self.groups[-2], self.groups[-1]

    def joined(self) -> Tensor:
        """All bits side by side: (..., n_bits)."""
        return torch.cat(self.groups, -1)

    def log_q(self) -> Tensor:
        """``log q(s | x)`` in nats; of soft bits the same expression: (...)."""
        log_q = torch.zeros_like(self.groups[-1][..., 0])
        for s, logits in zip(self.groups, self.logits, strict=True):
            log_q = log_q + log_bernoulli(s, logits)
        return log_q


def log_bernoulli(s: Tensor, logits: Tensor) -> Tensor:
    """``sum_i log p(s_i)`` of bits with these log-odds: (..., size) -> (...)."""
    return (s * logits + F.logsigmoid(-logits)).sum(-1)


class RBMVAE(nn.Module):
    """A discrete variational autoencoder with an RBM, or a DBN, over its bits.

    Parameters
    ----------
    rbm
        The prior, or its top: the last group of bits but one is its visible layer, the last its hidden layer;
        Bernoulli units.
    encoders
        A module for each group, lowest first: (n, inputs + sizes of the groups before) -> (n, size of the group),
        log-odds of the bits.
    below
        ``p(x | s)``: a `BitDecoder`, or a `VAE` whose condition are the bits of all groups.
    layers
        The rest of a DBN, lowest first: networks from each group to the log-odds of the one below it; none for an RBM.

    >>> from deepbelief.belief.rbm_vae_builders import make_rbm_vae
    >>> from deepbelief.units.bernoulli import Bernoulli
    >>> model = make_rbm_vae(Bernoulli(6), (3, 2), hidden=[8])
    >>> model.sample(4, n_steps=5).shape, model.log_likelihood(torch.zeros(2, 6), n_samples=10).kind
    (torch.Size([4, 6]), 'lower_bound')
    """

    def __init__(
        self, rbm: RBM, encoders: Sequence[nn.Module], below: VAE | BitDecoder, layers: Sequence[DenseNetwork] = ()
    ) -> None:
        super().__init__()
        kinds = {rbm.visible.kind, rbm.hidden.kind}
        check(kinds == {"bernoulli"}, f"rbm must have Bernoulli units. Got {', '.join(sorted(kinds))}.")
        self.rbm, self.encoders, self.below = rbm, nn.ModuleList(encoders), below
        self.layers, self.sizes = nn.ModuleList(layers), _sizes(rbm, layers)
        check(
            len(encoders) == len(self.sizes),
            f"encoders must be {len(self.sizes)}, one for each group of bits. Got {len(encoders)}.",
        )
        n_bits = self.n_bits
        check(
            below.n_condition == n_bits, f"below must have a condition of {n_bits}, the bits. Got {below.n_condition}."
        )

    @property
    def visible(self) -> Units:
        """The units of the data."""
        return self.below.visible

    @property
    def n_bits(self) -> int:
        """Bits in all groups."""
        return sum(self.sizes)

    # -- the laws ---------------------------------------------------------------------------------------------------

    def infer(self, x: Tensor, n: int = 1, *, temperature: float = 0.0, generator: Generator = None) -> Bits:
        """`n` draws of the bits for every case, (n, cases, size).

        At a temperature above 0 they are soft, ``sigmoid((log-odds + logistic noise) / temperature)``, and gradients
        flow through them (Maddison et al. 2017); at 0 they are bits.
        """
        check_count("n", n, low=1)
        logits = [on_rows(self.encoders[0], x).expand(n, -1, -1)]
        groups = [self._draw(logits[0], temperature, generator)]
        for encoder in list(self.encoders)[1:]:
            logits.append(on_rows(encoder, torch.cat([x.expand(n, *x.shape), *groups], -1)))
            groups.append(self._draw(logits[-1], temperature, generator))
        return Bits(tuple(groups), tuple(logits))

    @staticmethod
    def _draw(logits: Tensor, temperature: float, generator: Generator) -> Tensor:
        if temperature == 0:
            return bernoulli(torch.sigmoid(logits.detach()), generator)
        u = torch.rand(logits.shape, dtype=logits.dtype, device=logits.device, generator=generator)
        noise = torch.logit(u.clamp(1e-6, 1 - 1e-6))
        return torch.sigmoid((logits + noise) / temperature)

    def log_unnormalized(self, x: Tensor, bits: Bits, generator: Generator = None) -> Tensor:
        """``log p(x, s) + log Z`` in nats, with a draw of the codes below where there are any: (draws, cases)."""
        return self.log_below(x, bits.joined(), generator) + self.log_prior(bits.groups)

    def log_prior(self, groups: Sequence[Tensor]) -> Tensor:
        """``sum_l log p(s_l | s_(l+1)) - E(s_(L-1), s_L)``, log p(s) but for the RBM's log Z: (..., size) -> (...)."""
        log_p = -self.rbm.energy(groups[-2], groups[-1])
        for layer, s, above in zip(self.layers, groups, groups[1:], strict=False):
            log_p = log_p + log_bernoulli(s, on_rows(layer, above))
        return log_p

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
    def encode(self, x: Tensor, *, sample: bool = False, generator: Generator = None) -> Tensor:
        """How likely each bit is on, each group given the means of those before it: (n, n_bits).

        With `sample` draws of the bits instead, each group given the draws of those before it.
        """
        if sample:
            return self.infer(x, generator=generator).joined()[0]
        found = [x]
        for encoder in self.encoders:
            found.append(torch.sigmoid(on_rows(encoder, torch.cat(found, 1))))
        return torch.cat(found[1:], 1)

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
        s = self.rbm.sample(n, n_steps=n_steps, generator=generator)
        groups = [s, self.rbm.sample_h_from_v(s, generator)]
        for layer in list(self.layers)[::-1]:
            groups.insert(0, bernoulli(torch.sigmoid(on_rows(layer, groups[0])), generator))
        return self.below.sample(n, condition=torch.cat(groups, 1), generator=generator, mean=mean)

    @torch.no_grad()
    def complete(
        self, x: Tensor, known: Tensor, *, generator: Generator = None, n_steps: int = 200, n_average: int | None = None
    ) -> Tensor:
        """Fill the entries of `x` where `known` is False by pseudo-Gibbs sampling (Rezende et al. 2014).

        Bits from the encoder and data given them in turn, which is as right as the encoder is. Means over the last
        `n_average` steps, three quarters of them by default (averages of the draws where pixels hang on those before
        them), or the last draw where that is 0.
        """
        n_average = steps_to_average(n_steps, n_average)
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
        encoders, layers = ([network_config(part) for part in parts] for parts in (self.encoders, self.layers))
        return {"rbm": self.rbm.config(), "encoders": encoders, "below": below, "layers": layers}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The model that `config` describes, with fresh weights."""
        kinds: dict[str, Any] = {"VAE": VAE, "BitDecoder": BitDecoder}
        below = kinds[config["below"]["kind"]].from_config({k: v for k, v in config["below"].items() if k != "kind"})
        encoders = [network_from_config(c) for c in config["encoders"]]
        layers: list[Any] = [network_from_config(c) for c in config.get("layers", [])]  # older models have none
        return cls(RBM.from_config(config["rbm"]), encoders, below, layers)


def _sizes(rbm: RBM, layers: Sequence[DenseNetwork]) -> tuple[int, ...]:
    """The sizes of all groups, lowest first, where each layer leads from one to the one below it."""
    sizes = [rbm.visible.size, rbm.hidden.size]
    for i in range(len(layers) - 1, -1, -1):
        below, above = layers[i].output, layers[i].sizes[0]
        check(
            below is not None and above == sizes[0],
            f"layers[{i}] must lead from the {sizes[0]} bits above it to log-odds. Got inputs of {above}, "
            f"output={below}.",
        )
        sizes.insert(0, int(below or 0))
    return tuple(sizes)
