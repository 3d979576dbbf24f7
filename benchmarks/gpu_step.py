"""On a GPU: one update of an RBM beside its five bare products, and beside the same loop in plain PyTorch.

Products of the limit and of the loops are in bfloat16, ours in bfloat16 and in float32. Without a GPU it says so and
stops. **Not run yet**: no GPU was there.

    python benchmarks/gpu_step.py [--rounds 20]
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import torch
from _measure import interleaved, parser, print_table, ratio
from rbm_step import BATCHES, bare
from torch import Tensor

from deepbelief.energy.gradients.settings import LearningSettings, make_procedure
from deepbelief.energy.rbm import RBM
from deepbelief.protocols import StepContext
from deepbelief.rng import make_generator
from deepbelief.types import Batch

SHAPES = [(784, 4096, 4096), (784, 1000, 500), (784, 500, 100)]  # visible, hidden, batch
GPU, HALF = "cuda", torch.bfloat16
LIMIT, LOOP = "limit: five bare products, bf16", "plain PyTorch, bf16 products, CD-1"
Way = Callable[[], object]


def rows(n_visible: int, batch: int) -> Tensor:
    """A batch of bits."""
    return (torch.rand(batch, n_visible, generator=make_generator(0)) < 0.3).float().to(GPU)


def plain_torch(n_visible: int, n_hidden: int, batch: int) -> Way:
    """CD-1 as a textbook writes it, under autocast."""
    x = rows(n_visible, batch)
    w = 0.01 * torch.randn(n_visible, n_hidden, device=GPU)
    b, c = torch.zeros(n_visible, device=GPU), torch.zeros(n_hidden, device=GPU)

    def run() -> None:
        with torch.autocast("cuda", HALF):
            for _ in range(BATCHES):
                p = torch.sigmoid(x @ w + c)
                v = torch.bernoulli(torch.sigmoid(torch.bernoulli(p) @ w.T + b))
                q = torch.sigmoid(v @ w + c)
                w.add_((x.T @ p - v.T @ q).float(), alpha=0.05 / batch)
                b.add_((x - v).mean(0), alpha=0.05)
                c.add_((p - q).mean(0), alpha=0.05)

    return run


def ours(learning: str, shape: tuple[int, int, int], *, half: bool) -> Way:
    """The library's procedure as the loop calls it."""
    n_visible, n_hidden, batch = shape
    x, generator = rows(n_visible, batch), make_generator(1, GPU)
    rbm = RBM(n_visible, n_hidden, generator=make_generator(2)).to(GPU)
    rule = make_procedure(rbm, LearningSettings(learning=learning, n_chains=batch, epochs=1, learning_rate=0.05))
    rule.start(Batch(x), generator)
    autocast = partial(torch.autocast, "cuda", HALF, enabled=half)

    def run() -> None:
        for step in range(BATCHES):
            rule.step(Batch(x), StepContext(step, 0, 0.5, generator, lambda tensors: None, autocast))

    return run


def clock() -> float:
    """The time when the GPU has done all that it was given."""
    torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    """Measure and print one table for each shape."""
    options = parser("Milliseconds per update of an RBM on a GPU", 20).parse_args()
    if not torch.cuda.is_available():
        print("No GPU here: nothing was measured.")
        return
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    for shape in SHAPES:
        ways = {
            LIMIT: bare(*shape, HALF, GPU),
            "deepbelief PCD-1, bf16 products": ours("pcd", shape, half=True),
            "deepbelief CD-1, bf16 products": ours("cd", shape, half=True),
            "deepbelief PCD-1, float32": ours("pcd", shape, half=False),
            LOOP: plain_torch(*shape),
        }
        seconds = interleaved(ways, options.rounds, clock)
        print_table("RBM {}-{}, batch {}: one update".format(*shape), seconds, limit=LIMIT, per=BATCHES)
        share = 1 / ratio(seconds, "deepbelief PCD-1, bf16 products", LIMIT)
        print(f"  deepbelief PCD-1 runs at {share:.0%} of the bare products' rate (goal 70 % at 784-4096)")
        print(f"  {LOOP} takes {ratio(seconds, LOOP, 'deepbelief CD-1, bf16 products'):.1f} times ours (goal 5)")


if __name__ == "__main__":
    main()
