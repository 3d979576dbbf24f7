"""The replicated softmax: an RBM over word counts, with a law of its own for every length of document.

A document v of counts over K words has the length ``D = sum_k v_k``. Its D words share weights and biases, and the
hidden biases grow with D, so that they keep pace with the words:

    E(v, h) = -v' W h - b' v - D c' h
    F(v)    = -b' v - sum_j log(1 + exp(D c_j + (v W)_j))           p(v) = exp(-F(v)) / Z_D

``p(v)`` is the probability of the words in their order (which does not matter to the model); the probability of the
counts alone is ``D! / prod_k v_k!`` times that. Documents of different lengths have different partition functions,

    Z_D = sum_h exp(D a(h)),           a(h) = c' h + log sum_k exp(b_k + (W h)_k)

so the length is an inverse temperature of ``p_D(h) ~ exp(D a(h))``: chains of neighbouring lengths may swap their
hidden states, and annealing may run from D = 0, where h is uniform, through all lengths at once.

Salakhutdinov & Hinton 2009, "Replicated softmax: an undirected topic model".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from deepbelief.energy.partition.lengths import LengthLogZ, log_z_of_lengths
from deepbelief.energy.rbm import RBM
from deepbelief.errors import InvalidArgumentError, InvalidDataError, check_count, check_range
from deepbelief.maths.products import product
from deepbelief.protocols import Generator
from deepbelief.types import Bound, Clamp
from deepbelief.units.bernoulli import Bernoulli
from deepbelief.units.categorical import Categorical
from deepbelief.units.multinomial import Multinomial, draw_counts

RAREST = 0.1  # occurrences that a word is given which the data never show, so that its bias is finite


class ReplicatedSoftmax(nn.Module):
    """Topics from word counts: `n_words` visible values, `n_hidden` binary topics.

    ``visible`` is the law of one word and ``hidden`` that of the topics of a document of one word;
    ``visible_offset`` (shares of the words) and ``hidden_offset`` are running means on the data, on which learning
    centres its gradient.

    >>> model = ReplicatedSoftmax(5, 3, generator=torch.Generator().manual_seed(0))
    >>> counts = torch.tensor([[2.0, 0.0, 1.0, 0.0, 0.0], [0.0, 7.0, 0.0, 0.0, 1.0]])
    >>> model.encode(counts).shape, model.log_likelihood(counts).kind
    (torch.Size([2, 3]), 'exact')
    """

    def __init__(self, n_words: int, n_hidden: int, *, weight_std: float = 0.01, generator: Generator = None) -> None:
        super().__init__()
        check_count("n_words", n_words, low=2)
        check_range("weight_std", weight_std, low=0)
        self.visible, self.hidden = Categorical(1, n_words), Bernoulli(n_hidden)
        self.weight = nn.Parameter(weight_std * torch.randn(n_words, n_hidden, generator=generator))
        self.visible_offset: Tensor
        self.hidden_offset: Tensor
        self.register_buffer("visible_offset", torch.full((n_words,), 1 / n_words))
        self.register_buffer("hidden_offset", torch.full((n_hidden,), 0.5))

    # -- energies ---------------------------------------------------------------------------------------------------

    def energy(self, v: Tensor, h: Tensor) -> Tensor:
        """``E(v, h)`` in nats: (n, n_words), (n, n_hidden) -> (n,)."""
        return self.visible.potential(v) - (self.field_of_h(v) * h).sum(-1)

    def free_energy(self, v: Tensor) -> Tensor:
        """``F(v) = -log sum_h exp(-E(v, h))`` in nats: (n, n_words) -> (n,)."""
        return self.visible.potential(v) - nn.functional.softplus(self.field_of_h(v)).sum(-1)

    def word_potential(self, h: Tensor) -> Tensor:
        """``a(h)``: ``-log sum_v exp(-E(v, h))`` is ``-D a(h)`` for documents of D words: (n, n_hidden) -> (n,)."""
        return h @ self.hidden.bias + self.visible.cumulant(self.input_v_from_h(h))

    # -- conditionals -----------------------------------------------------------------------------------------------

    def field_of_h(self, v: Tensor) -> Tensor:
        """``v W + D c``, whose sigmoid is the mean of h."""
        return (v @ self.weight).to(self.hidden.bias.dtype) + v.sum(-1, keepdim=True) * self.hidden.bias

    def input_v_from_h(self, h: Tensor) -> Tensor:
        """``h W'``."""
        return product(h, self.weight.T).to(self.visible.bias.dtype)

    def mean_h_from_v(self, v: Tensor) -> Tensor:
        """``<h>`` given v."""
        return torch.sigmoid(self.field_of_h(v))

    def word_probabilities(self, h: Tensor) -> Tensor:
        """``softmax(b + W h)``, the law of every word given h: (n, n_hidden) -> (n, n_words)."""
        return self.visible.mean(self.input_v_from_h(h))

    def sample_h_from_v(self, v: Tensor, generator: Generator = None) -> Tensor:
        """A draw of h given v."""
        mean = self.mean_h_from_v(v)
        return self.hidden.draw(mean, mean, generator)

    def sample_v_from_h(self, h: Tensor, lengths: Tensor, generator: Generator = None) -> Tensor:
        """Documents of these lengths given h: (n, n_hidden), (n,) -> (n, n_words)."""
        return draw_counts(self.word_probabilities(h), lengths, generator)

    # -- capabilities -----------------------------------------------------------------------------------------------

    def encode(self, x: Tensor) -> Tensor:
        """The mean of the topics: (n, n_words) -> (n, n_hidden)."""
        return self.mean_h_from_v(x)

    def decode(self, z: Tensor) -> Tensor:
        """The probabilities of the words: (n, n_hidden) -> (n, n_words)."""
        return self.word_probabilities(z)

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        condition: Clamp | None = None,
        generator: Generator = None,
        length: int = 100,
        n_steps: int = 1000,
    ) -> Tensor:
        """`n` documents of `length` words: the ends of `n` chains of `n_steps` Gibbs sweeps."""
        check_count("n", n, low=1)
        check_count("length", length, low=1)
        check_count("n_steps", n_steps, low=1)
        if condition is not None:
            raise InvalidArgumentError(
                "condition must be None, for a document's words share their topics and cannot be held one by one. "
                "Got a clamp. Encode the known words, and decode."
            )
        lengths = torch.full((n,), length, device=self.weight.device)
        v = draw_counts(self.visible_offset.expand(n, -1), lengths, generator)
        for _ in range(n_steps):
            v = self.sample_v_from_h(self.sample_h_from_v(v, generator), lengths, generator)
        return v

    @torch.no_grad()
    def log_likelihood(self, x: Tensor, *, generator: Generator = None, log_z: LengthLogZ | None = None) -> Bound:
        """``log p(v) = -F(v) - log Z_D`` of the words in order, nats per document; exact where the log Z are.

        Pass `log_z` of all lengths of `x` to spare a second estimate. For the counts alone, add `log_orders`.
        """
        lengths = self.check_counts(x)
        z = log_z_of_lengths(self, lengths, generator=generator) if log_z is None else log_z
        free, place = self.free_energy(x).double(), z.place(lengths)
        ends = [None if end is None else (-free - end[place]).mean().item() for end in (z.high, z.low)]
        return Bound(-free - z.value[place], z.kind, z.stderr[place].mean().item(), z.method, *ends)

    def check_counts(self, x: Tensor, name: str = "X") -> Tensor:
        """The lengths of documents, (n,) integers, after checking that `x` holds counts of this model's words."""
        self.visible.check_shape(x, name)
        if x.numel() and not (x.min() >= 0 and x.max() < float("inf") and (x == x.round()).all()):
            wrong = x[~((x >= 0) & (x == x.round()) & (x < float("inf")))][0].item()
            raise InvalidDataError(
                f"{name} must hold counts: whole numbers of at least 0. Got a value of {wrong:g}. "
                "Give word counts, not frequencies or tf-idf weights."
            )
        return x.sum(-1).round().long()

    # -- its relatives ----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def at_length(self, length: int) -> RBM:
        """The RBM of multinomial and Bernoulli units that documents of one length obey (a copy).

        Its laws are those of counts: its log Z is log Z_D here, its log p is higher by `log_orders`.
        """
        check_count("length", length, low=1)
        rbm = RBM(Multinomial(self.visible.size, length), Bernoulli(self.hidden.size), weight_std=0.0).to(self.weight)
        rbm.weight.copy_(self.weight)
        rbm.visible.bias.copy_(self.visible.bias)
        rbm.hidden.bias.copy_(length * self.hidden.bias)
        rbm.visible_offset.copy_(length * self.visible_offset)
        rbm.hidden_offset.copy_(self.hidden_offset)
        return rbm

    @torch.no_grad()
    def match_data(self, x: Tensor, weight: Tensor | None = None) -> None:
        """Start learning from data: word biases take the shares of the words in `x`, offsets follow."""
        share = torch.ones(len(x), dtype=torch.float64, device=x.device) if weight is None else weight.double()
        totals = (share @ x.double()).clamp_min(RAREST)
        shares = totals / totals.sum()
        self.visible_offset.copy_(shares)
        self.visible.bias.copy_(shares.log() - shares.log().mean())
        self.hidden_offset.copy_(self.hidden.mean(torch.zeros_like(self.hidden_offset)))

    # -- storage ----------------------------------------------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        """What rebuilds the model (without its parameters), as JSON."""
        return {"n_words": self.visible.size, "n_hidden": self.hidden.size}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A model from `config`."""
        return cls(config["n_words"], config["n_hidden"], weight_std=0.0)


def log_orders(v: Tensor) -> Tensor:
    """``log(D! / prod_k v_k!)``: in how many orders the words of a document may come: (n, n_words) -> (n,)."""
    return torch.lgamma(v.sum(-1) + 1) - torch.lgamma(v + 1).sum(-1)
