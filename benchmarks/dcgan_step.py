"""What a DCGAN's step costs: `AdversarialLearning` beside the bare networks' forward and backward passes.

The passes of one step are: the generator's forward, the critic's forward and backward on data and generated cases,
then the generator's and the critic's forward and the backward through both. The bare loop does these and nothing else;
beside it the same loop with two Adams; ours adds the draws, the checks, the running average and what is watched.
Prints medians of CPU time over interleaved rounds on one thread, so that a busy neighbour slows all alike.

    python benchmarks/dcgan_step.py [--rounds 30] [--channels 32 64] [--batch 64]
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from _measure import interleaved, parser, print_table, set_up
from torch import Tensor, nn

from deepbelief.adversarial.gan import GAN
from deepbelief.adversarial.learning import AdversarialLearning
from deepbelief.networks.convolutional import ConvolutionalDecoder, ConvolutionalEncoder
from deepbelief.protocols import StepContext
from deepbelief.rng import make_generator
from deepbelief.types import Batch

SHAPE, N_LATENT = (1, 28, 28), 100
LIMIT = "limit: bare forward and backward passes"


def networks(channels: list[int]) -> tuple[nn.Module, nn.Module]:
    """A generator with batch normalisation and a critic without."""
    generator = make_generator(0)
    maker = ConvolutionalDecoder(N_LATENT, SHAPE, channels=channels, normalization="batch", generator=generator)
    return maker, ConvolutionalEncoder(SHAPE, 1, channels=channels, generator=generator)


def bare(channels: list[int], x: Tensor, z: Tensor, *, adam: bool) -> Callable[[], object]:
    """One step's passes, with or without the optimizers."""
    maker, critic = networks(channels)
    rates = [torch.optim.AdamW(net.parameters(), 2e-4, (0.5, 0.999), fused=True) for net in (maker, critic)]

    def step() -> None:
        with torch.no_grad():
            fake = torch.sigmoid(maker(z))
        scores = critic(torch.cat([x, fake]))
        loss = F.softplus(-scores[: len(x)]).mean() + F.softplus(scores[len(x) :]).mean()
        critic.zero_grad(set_to_none=True)
        loss.backward()
        if adam:
            rates[1].step()
        maker.zero_grad(set_to_none=True)
        F.softplus(-critic(torch.sigmoid(maker(z)))).mean().backward(inputs=list(maker.parameters()))
        if adam:
            rates[0].step()

    return step


def ours(channels: list[int], x: Tensor) -> Callable[[], object]:
    """One step of the procedure."""
    rule = AdversarialLearning(GAN(*networks(channels), N_LATENT, values="unit"))
    context = StepContext(0, 0, 0.0, make_generator(0), average=lambda tensors: None, autocast=nullcontext)
    return lambda: rule.step(Batch(x), context)


def main() -> None:
    """Measure and print one table."""
    asked = parser("Milliseconds of processor time per step of a DCGAN", 30)
    asked.add_argument("--channels", type=int, nargs="+", default=[32, 64])
    asked.add_argument("--batch", type=int, default=64)
    options = asked.parse_args()
    set_up(options.threads)
    generator = make_generator(1)
    x = torch.rand((options.batch, 784), generator=generator)
    z = torch.randn((options.batch, N_LATENT), generator=generator)
    steps = {
        LIMIT: bare(options.channels, x, z, adam=False),
        "the same with two Adams": bare(options.channels, x, z, adam=True),
        "deepbelief AdversarialLearning": ours(options.channels, x),
    }
    seconds = interleaved(steps, options.rounds, time.process_time)
    print_table(f"DCGAN {options.channels}, batch {options.batch}: one step", seconds, limit=LIMIT)


if __name__ == "__main__":
    main()
