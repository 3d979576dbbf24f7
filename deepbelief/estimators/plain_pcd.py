"""Plain persistent contrastive divergence for binary units, in place, without an optimizer (Tieleman 2008).

    W += rate (<v h'>_rows - <v h'>_chains),   b += rate (<v>_rows - <v>_chains),   c += rate (<h>_rows - <h>_chains)

This is `LikelihoodLearning` with `PersistentChains` for one case: no centring, no penalty, a constant rate. Batches are
small, as in scikit-learn's `BernoulliRBM`, so that a step is one call of a kernel; without one, a score of small
operations.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from deepbelief.maths.products import product
from deepbelief.native.products import bits_step
from deepbelief.native.rbm_update import Parts, Rooms, Rule, equal_shares, pays, persistent_update, serves
from deepbelief.rng import bernoulli

WORTH_SHARING = 10_000_000  # multiplications in one product, about 0.1 ms of one core


@dataclass
class PlainPCD:
    """Parameters ``weight`` (d, n_hidden), ``b`` (d,), ``c`` (n_hidden,), and the chains' hidden states ``h``."""

    weight: Tensor
    b: Tensor
    c: Tensor
    h: Tensor

    def __post_init__(self) -> None:
        self._rooms = Rooms()
        self._no_offsets = torch.zeros_like(self.b), torch.zeros_like(self.c)

    @classmethod
    def new(cls, n_visible: int, n_hidden: int, n_chains: int, generator: torch.Generator) -> PlainPCD:
        """Small random weights, zero biases, and chains with all hidden units off, as in scikit-learn."""
        weight = 0.01 * torch.randn(n_visible, n_hidden, generator=generator)
        return cls(weight, torch.zeros(n_visible), torch.zeros(n_hidden), torch.zeros(n_chains, n_hidden))

    @contextmanager
    def threads_that_pay(self, n_rows: int) -> Iterator[None]:
        """One thread for small products: two would wait for each other longer than they work."""
        before = torch.get_num_threads()
        if n_rows * self.weight.numel() < WORTH_SHARING:
            torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    @torch.no_grad()
    def step(self, v: Tensor, rate: float, generator: torch.Generator) -> None:
        """One update from the rows of `v`: means over rows and means over chains, however many of each there are."""
        if self._step_in_one_call(v, rate, generator):
            return
        mean_h = product(v, self.weight).add_(self.c).sigmoid_()
        v_model = bernoulli(product(self.h, self.weight.T).add_(self.b).sigmoid_(), generator)
        h_model = product(v_model, self.weight).add_(self.c).sigmoid_()
        data, model = rate / len(v), -rate / len(v_model)
        nothing = self.b.new_empty(0, len(self.b)), self.c.new_empty(0, len(self.c))
        if not bits_step(self.weight, 1.0, [(v, mean_h, data), (v_model, h_model, model)], *nothing):
            self.weight.addmm_(v.T, mean_h, alpha=data).addmm_(v_model.T, h_model, alpha=model)
        self.b.add_(v.sum(0), alpha=data).add_(v_model.sum(0), alpha=model)
        self.c.add_(mean_h.sum(0), alpha=data).add_(h_model.sum(0), alpha=model)
        self.h = bernoulli(h_model, generator)

    def _step_in_one_call(self, v: Tensor, rate: float, generator: torch.Generator) -> bool:
        parts = Parts(self.weight, (self.b, self.c), self._no_offsets)
        share = equal_shares(v.shape[0])
        if not (serves(parts, v, share) and pays(self.weight, v.shape[0])):
            return False
        room = self._rooms.of(parts, v.shape[0], self.h.shape[0])
        if not room.data.take(v, share):
            room.data.hold(v, share, (v @ self.weight).add_(self.c).sigmoid_())
        rule = Rule(rate, 1.0, centred=False, offset_rate=0.0)  # which moves the biases too
        moved = persistent_update(parts, room, rule, self.h, generator)
        if moved is None:
            return False
        self.h = moved.h
        return True

    def is_finite(self) -> bool:
        """Whether learning is still on the road."""
        return all(bool(torch.isfinite(t).all()) for t in (self.weight, self.b, self.c))
