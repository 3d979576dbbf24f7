"""Cases that an energy-based model makes: chains over time, samples of a class, completions, reconstructions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deepbelief.data.masks import half_mask, random_mask
from deepbelief.errors import check_count
from deepbelief.evaluation.chain_view import ChainView
from deepbelief.evaluation.gallery import Completions, Reconstructions
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
def chain_frames(model: Any, x: Tensor, steps: Sequence[int], *, generator: torch.Generator) -> Tensor:
    """Chains that start at the cases `x`: (chains, times, features), means of the data after `steps`.

    Step 0 is the case itself. Below the top of a stack, each frame is one pass down (draws, then means at the end).
    """
    view = ChainView(model)
    state = view.kernel.start_at(view.states(x, generator), generator=generator)
    frames, done = [], 0
    for step in steps:
        mean = None
        for _ in range(step - done):
            state, info = view.kernel.step(state, generator=generator)
            mean = info.mean if view.is_whole else info.mean_v
        done = step
        frames.append(x if mean is None else view.cases(state.v, generator, mean=mean))
    return torch.stack(frames, 1)


def class_samples(model: Any, n: int, n_steps: int, *, generator: torch.Generator) -> np.ndarray | None:
    """`n` samples (their means) of every class, (classes, n, features); None unless labels sit in the model."""
    if not getattr(model, "n_classes", None):
        return None
    check_count("n", n, low=1)
    labels = torch.arange(model.n_classes, device=next(model.parameters()).device).repeat_interleave(n)
    drawn = model.sample(len(labels), labels=labels, generator=generator, n_steps=n_steps, mean=True)
    return to_numpy(drawn.view(model.n_classes, n, -1))


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


def completions(model: Any, x: Tensor, image_shape: Sequence[int] | None, *, generator: torch.Generator) -> Completions:
    """The cases `x` with half of each hidden, and what the model fills in."""
    known = half_masks(len(x), x.shape[1], image_shape, generator).to(x.device)
    completed = model.complete(torch.where(known, x, torch.zeros_like(x)), known, generator=generator)
    return Completions(to_numpy(x), to_numpy(known), to_numpy(completed))


@torch.no_grad()
def reconstructions(model: Any, x: Tensor) -> Reconstructions:
    """The cases `x`, and what comes back after encoding and decoding."""
    return Reconstructions(to_numpy(x), to_numpy(model.decode(model.encode(x))))
