"""One update of an RBM against its five bare matrix products, scikit-learn, and loops written in PyTorch by hand.

Every way sees the same rows in the same order; benchmarks/peers.py measures the other libraries. Where the processor
multiplies bfloat16 in hardware, so do further rows: the products, and the tuned loop with float32 weights.

    python benchmarks/rbm_step.py [--rounds 20] [--threads 1]
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

import torch
from _measure import by_onednn, interleaved, parser, print_table, ratio, set_up
from sklearn.neural_network import BernoulliRBM
from torch import Tensor

from deepbelief.energy.gradients.settings import LearningSettings, make_procedure
from deepbelief.energy.rbm import RBM
from deepbelief.maths.float32 import multiplies_bf16, onednn_is_quicker
from deepbelief.protocols import StepContext
from deepbelief.rng import make_generator
from deepbelief.types import Batch

SHAPES = [(784, 500, 100), (784, 128, 100), (784, 1000, 500)]  # visible, hidden, batch
BATCHES = 10
LIMIT = "limit: five bare products"
LIMIT_ONEDNN = "the same products by oneDNN"
LIMIT_BF16 = "the same products in bf16"
PEER_BF16 = "PyTorch by hand, tuned, bf16, CD-1"
Way = Callable[[], object]


def rows(n_visible: int, batch: int) -> list[Tensor]:
    """Batches of bits."""
    return list((torch.rand(BATCHES, batch, n_visible, generator=make_generator(0)) < 0.3).float())


def bare(n_visible: int, n_hidden: int, batch: int, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Way:
    """v W, h W', v W and the two halves of the gradient, into memory that is there already."""
    shapes = (n_visible, n_hidden), (batch, n_visible), (batch, n_hidden)
    w, v, h = (torch.rand(shape, device=device).to(dtype) for shape in shapes)
    to_v, to_h, step = torch.empty_like(v), torch.empty_like(h), torch.empty_like(w)

    def run() -> None:
        for _ in range(BATCHES):
            torch.mm(v, w, out=to_h)
            torch.mm(h, w.T, out=to_v)
            torch.mm(v, w, out=to_h)
            torch.mm(v.T, h, out=step)
            step.addmm_(v.T, h, alpha=-1)

    return run


def ours(learning: str, n_visible: int, n_hidden: int, batch: int, precision: str = "fp32") -> Way:
    """The library's procedure as the loop calls it."""
    autocast = partial(torch.autocast, "cpu", torch.bfloat16) if precision == "bf16" else nullcontext
    data, generator = rows(n_visible, batch), make_generator(1)
    rbm = RBM(n_visible, n_hidden, generator=generator)
    rule = make_procedure(rbm, LearningSettings(learning=learning, n_chains=batch, epochs=1, learning_rate=0.05))
    rule.start(Batch(data[0]), generator)

    def run() -> None:
        for step, x in enumerate(data):
            rule.step(Batch(x), StepContext(step, 0, 0.5, generator, lambda tensors: None, autocast))

    return run


def plain_torch(n_visible: int, n_hidden: int, batch: int) -> Way:
    """CD-1 as a textbook writes it: `torch.bernoulli`, new tensors everywhere, biases, no centring."""
    data = rows(n_visible, batch)
    w, b, c = 0.01 * torch.randn(n_visible, n_hidden), torch.zeros(n_visible), torch.zeros(n_hidden)

    def run() -> None:
        for x in data:
            p = torch.sigmoid(x @ w + c)
            v = torch.bernoulli(torch.sigmoid(torch.bernoulli(p) @ w.T + b))
            q = torch.sigmoid(v @ w + c)
            w.add_(x.T @ p - v.T @ q, alpha=0.05 / batch)
            b.add_((x - v).mean(0), alpha=0.05)
            c.add_((p - q).mean(0), alpha=0.05)

    return run


def tuned_torch(n_visible: int, n_hidden: int, batch: int) -> Way:
    """The same in memory that is there already, by ``uniform_`` and ``lt``, with both halves into the weights."""
    data = rows(n_visible, batch)
    w, b, c = 0.01 * torch.randn(n_visible, n_hidden), torch.zeros(n_visible), torch.zeros(n_hidden)
    p, q, u = (torch.empty(batch, n_hidden) for _ in range(3))
    v, r = torch.empty(batch, n_visible), torch.empty(batch, n_visible)

    def run() -> None:
        for x in data:
            torch.addmm(c, x, w, out=p).sigmoid_()
            torch.addmm(b, u.uniform_().lt_(p), w.T, out=v).sigmoid_()
            torch.addmm(c, r.uniform_().lt_(v), w, out=q).sigmoid_()
            w.addmm_(x.T, p, alpha=0.05 / batch).addmm_(r.T, q, alpha=-0.05 / batch)
            b.add_((x - r).mean(0), alpha=0.05)
            c.add_((p - q).mean(0), alpha=0.05)

    return run


def tuned_bf16(n_visible: int, n_hidden: int, batch: int) -> Way:
    """The same with products in bf16: weights, biases and uniform numbers stay float32."""
    data, half = [x.bfloat16() for x in rows(n_visible, batch)], torch.bfloat16
    w, b, c = 0.01 * torch.randn(n_visible, n_hidden), torch.zeros(n_visible), torch.zeros(n_hidden)
    w16, step = torch.empty_like(w, dtype=half), torch.empty_like(w, dtype=half)
    p, q, h = (torch.empty(batch, n_hidden, dtype=half) for _ in range(3))
    v, r = (torch.empty(batch, n_visible, dtype=half) for _ in range(2))
    u_h, u_v = torch.empty(batch, n_hidden), torch.empty(batch, n_visible)

    def run() -> None:
        for x in data:
            w16.copy_(w)
            torch.addmm(c.to(half), x, w16, out=p).sigmoid_()
            h.copy_(u_h.uniform_().lt_(p))
            torch.addmm(b.to(half), h, w16.T, out=v).sigmoid_()
            r.copy_(u_v.uniform_().lt_(v))
            torch.addmm(c.to(half), r, w16, out=q).sigmoid_()
            torch.mm(x.T, p, out=step).addmm_(r.T, q, alpha=-1)
            w.add_(step, alpha=0.05 / batch)
            b.add_((x - r).float().mean(0), alpha=0.05)
            c.add_((p - q).float().mean(0), alpha=0.05)

    return run


def scikit_learn(n_visible: int, n_hidden: int, batch: int) -> Way:
    """PCD-1 of scikit-learn by `partial_fit`, whose weights are float64 whatever the data are."""
    data = [x.double().numpy() for x in rows(n_visible, batch)]
    model = BernoulliRBM(n_hidden, learning_rate=0.05, batch_size=batch, random_state=0)
    return lambda: [model.partial_fit(x) for x in data]


def ways(shape: tuple[int, int, int]) -> dict[str, Way]:
    """All that can be measured here."""
    others: dict[str, Way] = {LIMIT_ONEDNN: by_onednn(bare(*shape), shape[2], shape[:2])} if onednn_is_quicker() else {}
    if multiplies_bf16():
        others |= {LIMIT_BF16: bare(*shape, torch.bfloat16), PEER_BF16: tuned_bf16(*shape)}
    return {
        LIMIT: bare(*shape),
        "deepbelief PCD-1": ours("pcd", *shape),
        "deepbelief CD-1": ours("cd", *shape),
        "deepbelief PCD-1, precision bf16": ours("pcd", *shape, precision="bf16"),
        "deepbelief CD-1, precision bf16": ours("cd", *shape, precision="bf16"),
        **others,
        "PyTorch by hand, tuned, CD-1": tuned_torch(*shape),
        "PyTorch by hand, plain, CD-1": plain_torch(*shape),
        "scikit-learn, PCD-1": scikit_learn(*shape),
    }


def main() -> None:
    """Measure and print one table for each shape."""
    options = parser("Milliseconds per update of an RBM", 20).parse_args()
    set_up(options.threads)
    for shape in SHAPES:
        seconds = interleaved(ways(shape), options.rounds)
        print_table("RBM {}-{}, batch {}: one update".format(*shape), seconds, limit=LIMIT, per=BATCHES)
        limits = [name for name in (LIMIT_ONEDNN, LIMIT_BF16) if name in seconds]
        for limit in limits:
            print(f"  deepbelief PCD-1 takes {ratio(seconds, 'deepbelief PCD-1', limit):.2f} times {limit}")
        for peer in [peer for peer in seconds if peer not in [LIMIT, *limits] and not peer.startswith("deepbelief")]:
            print(f"  {peer} takes {ratio(seconds, peer, 'deepbelief PCD-1'):.1f} times deepbelief PCD-1")
        if PEER_BF16 in seconds:
            own = "deepbelief CD-1, precision bf16"
            print(f"  {PEER_BF16} takes {ratio(seconds, PEER_BF16, own):.2f} times {own}")


if __name__ == "__main__":
    main()
