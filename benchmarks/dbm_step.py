"""One update of a deep Boltzmann machine against its bare products and against the same by hand; its AIS and samples.

    python benchmarks/dbm_step.py [--rounds 10]

784-500-1000, 100 cases, 100 persistent chains of 5 steps, 5 rounds of mean field: the setting of `dbm_bound`, centred.
All take their turns in every round; processor time, medians, and ratios.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext

import torch
from _measure import by_onednn, interleaved, parser, print_table, set_up
from torch import Tensor

from deepbelief.energy.dbm import DBM
from deepbelief.energy.gradients.deep import DBMLearning
from deepbelief.energy.gradients.pcd import PersistentChains
from deepbelief.energy.kernels.gibbs import BlockGibbs
from deepbelief.energy.partition.ais import ais
from deepbelief.maths.float32 import multiplies_bf16, onednn_is_quicker, quick_float32
from deepbelief.protocols import StepContext
from deepbelief.rng import make_generator
from deepbelief.types import Batch

PIXELS, LOW, TOP, CASES, STEPS, ROUNDS, RATE = 784, 500, 1000, 100, 5, 5, 0.05
BETAS = 50
LIMIT, LIMIT_ONEDNN, LIMIT_BF16 = "limit: bare products", "the same products by oneDNN", "the same products in bf16"
Way = Callable[[], object]


def bits() -> Tensor:
    """A batch of digits' density."""
    return (torch.rand(CASES, PIXELS, generator=make_generator(0)) < 0.2).float()


def machine() -> DBM:
    """A machine whose layers know the data's means."""
    dbm = DBM([PIXELS, LOW, TOP], generator=make_generator(1))
    dbm.match_data(bits())
    return dbm


class Bare:
    """The products of an update, of a step of Gibbs sampling and of a temperature, into memory that is there."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        shapes = (PIXELS, LOW), (LOW, TOP), (CASES, PIXELS), (CASES, LOW), (CASES, TOP)
        self.w, self.u, self.v, self.h, self.t = (torch.rand(shape).to(dtype) for shape in shapes)
        self.to_w, self.to_u, self.to_v, self.to_h, self.to_t = (torch.empty(shape, dtype=dtype) for shape in shapes)

    def sweep(self, times: int) -> None:
        """Both even layers given the odd one, and back."""
        for _ in range(times):
            torch.mm(self.h, self.w.T, out=self.to_v)
            torch.mm(self.h, self.u, out=self.to_t)
            torch.mm(self.v, self.w, out=self.to_h)
            torch.mm(self.t, self.u.T, out=self.to_h)

    def update(self) -> None:
        """Mean field from one pass up, the chains' sweeps, and both halves of both gradients."""
        torch.mm(self.v, self.w, out=self.to_h)
        torch.mm(self.h, self.u, out=self.to_t)
        for _ in range(ROUNDS):
            torch.mm(self.t, self.u.T, out=self.to_h)
            torch.mm(self.h, self.u, out=self.to_t)
        self.sweep(STEPS)
        torch.mm(self.v.T, self.h, out=self.to_w).addmm_(self.v.T, self.h, alpha=-1)
        torch.mm(self.h.T, self.t, out=self.to_u).addmm_(self.h.T, self.t, alpha=-1)


def by_hand() -> Way:
    """The update as a textbook writes it: `torch.bernoulli`, new tensors everywhere, no centring."""
    x, w, u = bits(), 0.01 * torch.randn(PIXELS, LOW), 0.01 * torch.randn(LOW, TOP)
    b, c, d = torch.zeros(PIXELS), torch.zeros(LOW), torch.zeros(TOP)
    chains = [x, torch.bernoulli(torch.full((CASES, LOW), 0.5)), torch.bernoulli(torch.full((CASES, TOP), 0.5))]

    def run() -> None:
        h = torch.sigmoid(2 * (x @ w) + c)
        t = torch.sigmoid(h @ u + d)
        for _ in range(ROUNDS):
            h = torch.sigmoid(x @ w + t @ u.T + c)
            t = torch.sigmoid(h @ u + d)
        v, k, s = chains
        for _ in range(STEPS):
            v, s = torch.bernoulli(torch.sigmoid(k @ w.T + b)), torch.bernoulli(torch.sigmoid(k @ u + d))
            k = torch.bernoulli(torch.sigmoid(v @ w + s @ u.T + c))
        chains[:] = v, k, s
        w.add_(x.T @ h - v.T @ k, alpha=RATE / CASES)
        u.add_(h.T @ t - k.T @ s, alpha=RATE / CASES)
        for bias, data, model in ((b, x, v), (c, h, k), (d, t, s)):
            bias.add_((data - model).mean(0), alpha=RATE)

    return run


def update() -> Way:
    """`DBMLearning.step` with the products that the trainer takes."""
    dbm, x, generator = machine(), bits(), make_generator(2)
    rule = DBMLearning(dbm, PersistentChains(CASES, STEPS), mean_field_steps=ROUNDS, learning_rate=RATE)
    rule.start(Batch(x), generator)
    context = StepContext(0, 0, 0.5, generator, lambda tensors: None, nullcontext)

    def run() -> None:
        with quick_float32(dbm, CASES):
            rule.step(Batch(x), context)

    return run


def sampling() -> Way:
    """Sweeps of chains."""
    dbm, generator = machine(), make_generator(2)
    kernel = BlockGibbs(dbm.even_odd())
    states = [kernel.init(CASES, generator=generator)]

    def run() -> None:
        for _ in range(BETAS):
            states[0], _info = kernel.step(states[0], generator=generator)

    return run


def annealing() -> Way:
    """Forward AIS of the machine as its even and odd layers."""
    view = machine().even_odd()
    return lambda: ais(view, n_chains=CASES, betas=BETAS, generator=make_generator(2))


def main() -> None:
    """Measure and print three tables."""
    options = parser("Milliseconds per update of a DBM", 10).parse_args()
    set_up(options.threads)
    bare = Bare()
    half = Bare(torch.bfloat16) if multiplies_bf16() else None
    for title, plain, way, per in (
        ("one update", Bare.update, update(), 1),
        ("one sweep of 100 chains", lambda own: own.sweep(BETAS), sampling(), BETAS),
        ("one temperature of AIS, 100 chains", lambda own: own.sweep(BETAS), annealing(), BETAS),
    ):
        ways: dict[str, Way] = {LIMIT: lambda plain=plain: plain(bare), "deepbelief": way}
        if onednn_is_quicker():
            ways[LIMIT_ONEDNN] = by_onednn(ways[LIMIT], CASES, (PIXELS, LOW))
        if half is not None:
            ways[LIMIT_BF16] = lambda plain=plain, half=half: plain(half)
        if title == "one update":
            ways["PyTorch by hand, plain"] = by_hand()
        seconds = interleaved(ways, options.rounds, time.process_time)
        print_table(f"DBM {PIXELS}-{LOW}-{TOP}: {title}, processor time", seconds, limit=LIMIT, per=per)


if __name__ == "__main__":
    main()
