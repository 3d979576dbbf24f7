"""One step of our VAE against a plain PyTorch one and against its networks' bare forward and backward passes.

    python benchmarks/vae_step.py [--rounds 20]

All three take their turns in every round, ten steps each: a training makes one step after the other, and the first
after another way's finds the core's caches full of the other's. Processor time, medians, and ratios. With tanh, one
draw, Adam. What a step adds (the draw, the likelihood, the optimizer's pass over the weights) costs the same whatever
the networks cost, so small networks and small batches pay most for it: hence four of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
import torch.nn.functional as F
from _measure import interleaved, parser, print_table, set_up

from deepbelief.autoencoders.elbo import ELBO
from deepbelief.autoencoders.vae import VAE
from deepbelief.autoencoders.vae_builders import convolutional_vae, dense_vae
from deepbelief.maths.float32 import quick_float32
from deepbelief.protocols import StepContext
from deepbelief.types import Batch
from deepbelief.units.bernoulli import Bernoulli

LIMIT = "limit: bare forward and backward passes"
OURS = "deepbelief"
PIXELS, CODES = 784, 50
STEPS = 10  # of a way before the next takes its turn


def dense(width: int) -> VAE:
    """A VAE of two hidden layers each way."""
    return dense_vae(Bernoulli(PIXELS), [CODES], hidden=[[width, width]], generator=torch.Generator().manual_seed(0))


def convolutional() -> VAE:
    """A VAE of two strided convolutions each way."""
    return convolutional_vae(Bernoulli(PIXELS), CODES, (1, 28, 28), generator=torch.Generator().manual_seed(0))


CASES: dict[str, tuple[Callable[[], VAE], int]] = {
    "784-200-200-50, batch 100": (lambda: dense(200), 100),
    "784-500-500-50, batch 100": (lambda: dense(500), 100),
    "784-500-500-50, batch 500": (lambda: dense(500), 500),
    "convolutional, 32 and 64 channels, batch 100": (convolutional, 100),
}


def bare(vae: VAE, x: torch.Tensor) -> Callable[[], None]:
    """Both networks forward and backward with given gradients: no draw, no likelihood, no optimizer."""
    encoder, decoder = vae.encoders[0], vae.decoders[0]
    seed, parameters = torch.ones_like(x), [*encoder.parameters(), *decoder.parameters()]

    def step() -> None:
        for parameter in parameters:
            parameter.grad = None
        decoder(encoder(x)[:, :CODES]).backward(seed)

    return step


def plain(vae: VAE, x: torch.Tensor) -> Callable[[], None]:
    """The whole step in plain PyTorch with the same networks: draw, binary cross-entropy, KL, fused Adam."""
    encoder, decoder = vae.encoders[0], vae.decoders[0]
    optimizer = torch.optim.AdamW([*encoder.parameters(), *decoder.parameters()], lr=1e-3, fused=True)

    def step() -> None:
        mean, log_variance = encoder(x).chunk(2, 1)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        fit = F.binary_cross_entropy_with_logits(decoder(z), x, reduction="sum")
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum()
        optimizer.zero_grad(set_to_none=True)
        ((fit + kl) / len(x)).backward()
        optimizer.step()

    return step


def ours(vae: VAE, x: torch.Tensor) -> Callable[[], None]:
    """`ELBO.step` as the trainer calls it."""
    procedure = ELBO(vae)
    generator = torch.Generator().manual_seed(0)
    context = StepContext(0, 0, 0.0, generator, average=lambda parameters: None, autocast=nullcontext)
    return lambda: procedure.step(Batch(x), context)


def repeated(step: Callable[[], None], products: Callable[[], AbstractContextManager[None]]) -> Callable[[], None]:
    """`STEPS` of them by these `products`."""

    def run() -> None:
        with products():
            for _ in range(STEPS):
                step()

    return run


def main() -> None:
    """Time the three in turns, for networks small and large."""
    options = parser("Milliseconds per step of a VAE", 20).parse_args()
    set_up(options.threads)
    for name, (make, n) in CASES.items():
        x = (torch.rand(n, PIXELS, generator=torch.Generator().manual_seed(0)) < 0.13).float()
        steps = {LIMIT: bare(make(), x), "plain PyTorch": plain(make(), x), OURS: ours(make(), x)}
        quick = partial(quick_float32, make(), n)  # the trainer's, for a whole epoch
        turns = {way: repeated(step, quick if way == OURS else nullcontext) for way, step in steps.items()}
        seconds = interleaved(turns, options.rounds, time.process_time)
        print_table(f"VAE {name}: one step, processor time", seconds, limit=LIMIT, per=STEPS)


if __name__ == "__main__":
    main()
