"""One step of our VAE against a plain PyTorch one and against its networks' bare forward and backward passes.

    python benchmarks/vae_step.py [--rounds 40]

All three take their turns in every round, so that a loaded machine slows them alike; medians are printed, and ratios.
784-200-200-50 with tanh, one draw, batches of 100, Adam, one thread.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from _measure import interleaved, parser, print_table, set_up
from torch import nn

from deepbelief.autoencoders.elbo import ELBO
from deepbelief.autoencoders.vae_builders import dense_vae
from deepbelief.protocols import StepContext
from deepbelief.types import Batch
from deepbelief.units.bernoulli import Bernoulli

STEPS = 5
LIMIT = "limit: bare forward and backward passes"


def networks() -> tuple[nn.Sequential, nn.Sequential]:
    """The encoder and the decoder as anyone would write them."""
    encoder = nn.Sequential(nn.Linear(784, 200), nn.Tanh(), nn.Linear(200, 200), nn.Tanh(), nn.Linear(200, 100))
    decoder = nn.Sequential(nn.Linear(50, 200), nn.Tanh(), nn.Linear(200, 200), nn.Tanh(), nn.Linear(200, 784))
    return encoder, decoder


def bare(x: torch.Tensor) -> Callable[[], None]:
    """Both networks forward and backward with given gradients: no draw, no likelihood, no optimizer."""
    encoder, decoder = networks()
    seed, parameters = torch.ones(len(x), 784), [*encoder.parameters(), *decoder.parameters()]

    def step() -> None:
        for parameter in parameters:
            parameter.grad = None
        decoder(encoder(x)[:, :50]).backward(seed)

    return step


def plain(x: torch.Tensor) -> Callable[[], None]:
    """The whole step in plain PyTorch: draw, binary cross-entropy, KL, fused Adam."""
    encoder, decoder = networks()
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


def ours(x: torch.Tensor) -> Callable[[], None]:
    """`ELBO.step`."""
    generator = torch.Generator().manual_seed(0)
    procedure = ELBO(dense_vae(Bernoulli(784), [50], hidden=[[200, 200]], generator=generator))
    context = StepContext(0, 0, 0.0, generator, average=lambda parameters: None, autocast=nullcontext)

    def step() -> None:
        procedure.step(Batch(x), context)

    return step


def in_a_row(step: Callable[[], None]) -> Callable[[], None]:
    """`STEPS` steps, so that a round is longer than the clock's noise."""

    def run() -> None:
        for _ in range(STEPS):
            step()

    return run


def main() -> None:
    """Time the three in turns."""
    options = parser("Milliseconds per step of a VAE", 40).parse_args()
    set_up(options.threads)
    x = (torch.rand(100, 784, generator=torch.Generator().manual_seed(0)) < 0.13).float()
    steps = {LIMIT: bare(x), "plain PyTorch": plain(x), "deepbelief": ours(x)}
    seconds = interleaved({name: in_a_row(step) for name, step in steps.items()}, options.rounds)
    print_table("VAE 784-200-200-50, batch 100: one step", seconds, limit=LIMIT, per=STEPS)


if __name__ == "__main__":
    main()
