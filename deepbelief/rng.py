"""Random numbers: every draw in the library takes an explicit `torch.Generator`."""

from __future__ import annotations

import numbers

import numpy as np
import torch
from torch import Tensor

from deepbelief.errors import InvalidArgumentError
from deepbelief.native import draws as native


def make_generator(
    seed: int | torch.Generator | np.random.RandomState | None = None,
    device: str | torch.device = "cpu",
    *,
    stream: int = 0,
) -> torch.Generator:
    """A generator from a seed (``random_state`` in scikit-learn's sense).

    ``None`` takes fresh entropy, an integer is reproducible, a NumPy ``RandomState`` is drawn from once, and a
    `torch.Generator` is returned as it is. `stream` separates independent uses of one seed (ranks, data order, chains).

    >>> a, b = make_generator(0), make_generator(0)
    >>> bool(torch.rand(1, generator=a) == torch.rand(1, generator=b))
    True
    """
    if isinstance(seed, torch.Generator):
        return seed
    if seed is None:
        entropy = np.random.SeedSequence().entropy
    elif isinstance(seed, numbers.Integral) and int(seed) >= 0:
        entropy = int(seed)
    elif isinstance(seed, np.random.RandomState):
        entropy = int(seed.randint(np.iinfo(np.int32).max))
    else:
        raise InvalidArgumentError(
            "random_state must be None, an integer of at least 0, a numpy RandomState or a "
            f"torch.Generator. Got random_state={seed!r}."
        )
    word = np.random.SeedSequence(entropy=entropy, spawn_key=(stream,)).generate_state(1, np.uint64)[0]
    return torch.Generator(device=device).manual_seed(int(word >> np.uint64(1)))


def spawn(
    generator: torch.Generator | None, device: str | torch.device | None = None, *, stream: int = 0
) -> torch.Generator:
    """A new generator seeded by a draw from `generator`, for another device, or for one of several processes.

    The draw advances `generator`, so a checkpoint of its state is a checkpoint of the spawned one too.
    """
    source = torch.device("cpu") if generator is None else generator.device
    seed = int(torch.randint(1 << 62, (), generator=generator, device=source))
    return make_generator(seed, source if device is None else device, stream=stream)


def uniform_like(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """Uniform numbers on [0, 1) of the shape, type and device of `x`."""
    return torch.rand(x.shape, dtype=x.dtype, device=x.device, generator=generator)


def bernoulli(p: Tensor, generator: torch.Generator | None) -> Tensor:
    """0/1 draws with probabilities `p`, in the type of `p`.

    The law of `torch.bernoulli`, in a tenth of its time on a CPU with the compiled kernel (`deepbelief.native`), else
    by a comparison with uniform numbers, in place, in a quarter. The two draw different numbers from one generator.
    """
    drawn = native.bernoulli(p, generator)
    if drawn is not None:
        return drawn
    return uniform_like(p, generator).lt_(p)  # in place: a mask of booleans and its conversion would cost a third more
