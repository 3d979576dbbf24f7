"""Cases that a deep belief network makes: chains over time, samples of a class, completions, reconstructions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from deepbelief.belief.stack import BeliefStack
from deepbelief.data.masks import half_mask, random_mask
from deepbelief.energy.kernels.gibbs import BlockGibbs
from deepbelief.errors import check_count
from deepbelief.evaluation.gallery import Completions, Reconstructions
from deepbelief.evaluation.likelihood import top_states
from deepbelief.evaluation.measured import to_numpy


def geometric_steps(last: int, n_frames: int) -> list[int]:
    """0 and up to ``n_frames - 1`` step numbers from 1 to `last` in equal ratios.

    >>> geometric_steps(1000, 8)
    [0, 1, 3, 10, 32, 100, 316, 1000]
    """
    check_count("last", last, low=1)
    check_count("n_frames", n_frames, low=2)
    if n_frames == 2:
        return [0, last]
    return [0, *sorted({round(step) for step in np.geomspace(1, last, n_frames - 1)})]


@torch.no_grad()
def chain_frames(dbn: BeliefStack, x: Tensor, steps: Sequence[int], *, generator: torch.Generator) -> Tensor:
    """Chains in the top RBM that start at the cases `x`: (chains, times, features), means of the data after `steps`.

    Step 0 is the case itself. Below the top, each frame is one pass down (draws, then means at the end).
    """
    kernel = BlockGibbs(dbn.top)
    state = kernel.start_at(top_states(dbn, x, generator), generator=generator)
    frames, done = [], 0
    for step in steps:
        mean = None
        for _ in range(step - done):
            state, info = kernel.step(state, generator=generator)
            mean = info.mean_v
        done = step
        frames.append(x if mean is None else _down(dbn, state.v, mean, generator))
    return torch.stack(frames, 1)


def _down(dbn: BeliefStack, v: Tensor, mean_v: Tensor, generator: torch.Generator) -> Tensor:
    if len(dbn.layers) == 1:
        return mean_v[:, : dbn.visible.size]
    width = dbn.layers[-2].hidden.size
    return dbn.downward(v[:, :width], sample=True, generator=generator)


def class_samples(dbn: BeliefStack, n: int, n_steps: int, *, generator: torch.Generator) -> np.ndarray | None:
    """`n` samples (their means) of every class, (classes, n, features); None unless labels sit in the top RBM."""
    if not dbn.n_classes:
        return None
    check_count("n", n, low=1)
    labels = torch.arange(dbn.n_classes, device=dbn.top.weight.device).repeat_interleave(n)
    drawn = dbn.sample(len(labels), labels=labels, generator=generator, n_steps=n_steps, mean=True)
    return to_numpy(drawn.view(dbn.n_classes, n, -1))


def picture_half(image_shape: Sequence[int], side: str) -> Tensor:
    """`half_mask` for pictures with their channels first or last: (features,).

    >>> picture_half((3, 2, 2), "top").int().tolist()
    [1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0]
    """
    if len(image_shape) == 3 and image_shape[0] in (1, 3):
        return half_mask(image_shape[1:], side).repeat(image_shape[0])
    return half_mask(image_shape, side)


def half_masks(n: int, d: int, image_shape: Sequence[int] | None, generator: torch.Generator) -> Tensor:
    """Which entries are given, (n, d): of pictures the left half and, for the second half of them, the top; of tables
    a random half of every row."""
    if image_shape is None:
        return random_mask(n, d, 0.5, generator)
    sides = [picture_half(image_shape, side) for side in ("left", "top")]
    return torch.stack([sides[0] if i < (n + 1) // 2 else sides[1] for i in range(n)])


def completions(
    dbn: BeliefStack, x: Tensor, image_shape: Sequence[int] | None, *, generator: torch.Generator
) -> Completions:
    """The cases `x` with half of each hidden, and what the model fills in."""
    known = half_masks(len(x), x.shape[1], image_shape, generator).to(x.device)
    completed = dbn.complete(torch.where(known, x, torch.zeros_like(x)), known, generator=generator)
    return Completions(to_numpy(x), to_numpy(known), to_numpy(completed))


@torch.no_grad()
def reconstructions(dbn: BeliefStack, x: Tensor) -> Reconstructions:
    """The cases `x`, and what comes back after encoding and decoding."""
    return Reconstructions(to_numpy(x), to_numpy(dbn.reconstruct(x)))
