"""Filling in what is missing from a case, by a chain over codes and missing entries.

Pseudo-Gibbs sampling draws codes from the encoder and missing entries from the decoder in turn (Rezende et al. 2014);
taking the encoder's draw as a proposal that may be refused makes the chain exact (Mattei & Frellsen 2018).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from deepbelief.errors import check_count
from deepbelief.protocols import Generator
from deepbelief.types import Clamp

Codes = list[Tensor]


def metropolis_step(
    vae: Any, x: Tensor, codes: Codes, c: Tensor | None, clamp: Clamp, generator: Generator, *, always: bool = False
) -> tuple[Tensor, Codes, Tensor]:
    """One step that leaves ``p(x_missing, z | x_known)`` as it is: new cases, new codes, and the means of x given them.

    Codes z' ~ q(z | x) replace z with probability ``min(1, p(x, z') q(z | x) / (p(x, z) q(z' | x)))``, then the missing
    entries are drawn from p(x | z). With `always` every z' is taken (pseudo-Gibbs).
    """
    codes = redraw_codes(vae, x, codes, c, generator, always=always)
    inputs = vae.visible_inputs(codes[0], c)
    mean = vae.visible.mean(inputs)
    return clamp.apply(vae.visible.draw(inputs, mean, generator)), codes, mean


def redraw_codes(
    vae: Any, x: Tensor, codes: Codes, c: Tensor | None, generator: Generator, *, always: bool = False
) -> Codes:
    """Codes from the encoder where they are taken, and the old ones where not: leaves ``p(z | x)`` as it is."""
    proposed = [z[0] for z in vae.infer(x, c=c, generator=generator).codes]
    if always:
        return proposed
    gain = _log_weight(vae, x, proposed, c) - _log_weight(vae, x, codes, c)
    taken = accepted(gain, generator).unsqueeze(1)
    return [torch.where(taken, new, old) for new, old in zip(proposed, codes, strict=True)]


def accepted(gain: Tensor, generator: Generator) -> Tensor:
    """Which proposals are taken, with probability ``min(1, exp(gain))``: (cases,) -> booleans (cases,)."""
    u = torch.rand(gain.shape, dtype=gain.dtype, device=gain.device, generator=generator)
    return u.log() < gain


def _log_weight(vae: Any, x: Tensor, codes: Codes, c: Tensor | None) -> Tensor:
    """``log p(x, z) - log q(z | x)`` at given codes: (cases,)."""
    log_q = torch.zeros_like(codes[0][:, 0])
    for level, z in enumerate(codes):
        log_q = log_q + vae.posterior(level, codes[level - 1] if level else x, c).log_prob(z)
    return vae.log_joint(x, codes, c) - log_q


def steps_to_average(n_steps: int, n_average: int | None) -> int:
    """How many steps at the end of a chain a completion averages: what is asked for, or all but the first quarter.

    >>> steps_to_average(200, None), steps_to_average(200, 0)
    (150, 0)
    """
    check_count("n_steps", n_steps, low=1)
    if n_average is None:
        return n_steps - n_steps // 4
    check_count("n_average", n_average, low=0, high=n_steps)
    return n_average


def complete_by_gibbs(
    vae: Any,
    x: Tensor,
    known: Tensor,
    *,
    c: Tensor | None = None,
    n_steps: int = 200,
    n_average: int | None = None,
    generator: Generator = None,
) -> Tensor:
    """`x` with its unknown entries filled: their mean given the codes of the last `n_average` steps.

    The chain starts from a new case of the model. Its first quarter is pseudo-Gibbs, which comes in from afar where a
    refusing chain would stay; the rest is exact in the limit. See `steps_to_average`; where it is 0, the last draw.
    """
    n_average = steps_to_average(n_steps, n_average)
    vae.visible.check_known(known)
    clamp = Clamp(x, known)
    z, _ = vae.draw_codes(len(x), c, generator)
    state = clamp.apply(vae.visible.sample(vae.visible_inputs(z, c), generator))
    total, codes = torch.zeros_like(state), [z]  # the first step takes whatever is proposed
    for step in range(n_steps):
        always = step <= n_steps // 4
        state, codes, mean = metropolis_step(vae, state, codes, c, clamp, generator, always=always)
        if step >= n_steps - n_average:
            total += mean
    return clamp.apply(total / n_average) if n_average else state
