"""A layer's activation, draw and change of log-partition function in one pass each, by the kernels of ``_draws.c``.

Where a function returns None the caller draws by torch: the same law by other numbers. One number drawn from the
generator keys the whole call, so the draws depend on the generator alone and not on the number of threads.
"""

from __future__ import annotations

import torch
from torch import Tensor

from deepbelief.native.library import library, over_threads, serves

BLOCK = 32


def bernoulli(p: Tensor, generator: torch.Generator | None) -> Tensor | None:
    """0/1 draws with probabilities `p`, in its shape."""
    kernels = library()
    if kernels is None or not serves(p):
        return None
    out, key = torch.empty_like(p), _key(generator)
    start, end = p.data_ptr(), out.data_ptr()
    n = p.numel()

    def draw(first: int, last: int) -> None:
        kernels.deepbelief_bernoulli(start, end, first, min(n, last * BLOCK), key)

    over_threads(-(-n // BLOCK), BLOCK, draw)
    return out


def sigmoid_bernoulli(inputs: Tensor, bias: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor] | None:
    """``sigmoid(inputs + bias)`` and 0/1 draws with these probabilities: (..., size), (size,) -> two of (..., size)."""
    kernels = library()
    if kernels is None or not serves(inputs) or bias.dtype != inputs.dtype or not bias.is_contiguous():
        return None
    if torch.is_grad_enabled() and (inputs.requires_grad or bias.requires_grad):
        return None  # the mean must carry its gradient
    mean, out, key = torch.empty_like(inputs), torch.empty_like(inputs), _key(generator)
    pointers = [tensor.data_ptr() for tensor in (inputs, bias, mean, out)]
    n, size = inputs.numel(), len(bias)

    def draw(first: int, last: int) -> None:
        kernels.deepbelief_sigmoid_bernoulli(*pointers, size, first, min(n, last * BLOCK), key)

    over_threads(-(-n // BLOCK), BLOCK, draw)
    return mean, out


def softplus_change(inputs: Tensor, here: tuple[float, Tensor], there: tuple[float, Tensor]) -> Tensor | None:
    """``sum softplus(scale inputs + bias)`` there minus here, each a (scale, bias): (n, size) -> (n,) in float64.

    The difference of two sums of hundreds of terms is taken term by term, so it keeps seven digits of its own.
    """
    kernels = library()
    biases = here[1].detach(), there[1].detach()
    if kernels is None or not serves(inputs) or inputs.ndim != 2 or inputs.requires_grad:
        return None
    if any(bias.dtype != inputs.dtype or not bias.is_contiguous() for bias in biases):
        return None
    out = torch.empty(len(inputs), dtype=torch.float64)
    places = biases[0].data_ptr(), here[0], biases[1].data_ptr(), there[0], out.data_ptr()
    start, size = inputs.data_ptr(), inputs.shape[1]

    def sum_rows(first: int, last: int) -> None:
        kernels.deepbelief_softplus_change(start, *places, size, first, last)

    over_threads(len(inputs), size, sum_rows)
    return out


def _key(generator: torch.Generator | None) -> int:
    return int(torch.empty((), dtype=torch.int64).random_(generator=generator))
