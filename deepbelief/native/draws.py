"""A layer's activation, draw and change of log-partition function in one pass each, by the kernels of ``_draws.c``.

Where a function returns None the caller draws by torch: the same law by other numbers. One number drawn from the
generator keys the whole call, so the draws depend on the generator alone and not on the number of threads.
"""

from __future__ import annotations

import torch
from torch import Tensor

from deepbelief.native.library import library, over_threads, record, serves

BLOCK = 32
_Bernoulli = record("Bernoulli", "p out", "n key")
_SigmoidBernoulli = record("SigmoidBernoulli", "inputs bias mean out", "n n_columns key")
_SoftplusChange = record("SoftplusChange", "x bias_a bias_b out", "n_columns", "scale_a scale_b")


def bernoulli(p: Tensor, generator: torch.Generator | None) -> Tensor | None:
    """0/1 draws with probabilities `p`, in its shape."""
    if library() is None or not serves(p):
        return None
    out, n = torch.empty_like(p), p.numel()
    arguments = _Bernoulli(p.data_ptr(), out.data_ptr(), n, new_key(generator))
    over_threads("bernoulli", arguments, -(-n // BLOCK), BLOCK)
    return out


def sigmoid_bernoulli(inputs: Tensor, bias: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor] | None:
    """``sigmoid(inputs + bias)`` and 0/1 draws with these probabilities: (..., size), (size,) -> two of (..., size)."""
    if library() is None or not serves(inputs) or bias.dtype != inputs.dtype or not bias.is_contiguous():
        return None
    if bias.shape != inputs.shape[-1:]:
        return None  # torch says what is wrong
    if torch.is_grad_enabled() and (inputs.requires_grad or bias.requires_grad):
        return None  # the mean must carry its gradient
    mean, out, n = torch.empty_like(inputs), torch.empty_like(inputs), inputs.numel()
    places = [tensor.data_ptr() for tensor in (inputs, bias, mean, out)]
    arguments = _SigmoidBernoulli(*places, n, bias.shape[0], new_key(generator))
    over_threads("sigmoid_bernoulli", arguments, -(-n // BLOCK), BLOCK)
    return mean, out


def softplus_change(inputs: Tensor, here: tuple[float, Tensor], there: tuple[float, Tensor]) -> Tensor | None:
    """``sum softplus(scale inputs + bias)`` there minus here, each a (scale, bias): (n, size) -> (n,) in float64.

    The difference of two sums of hundreds of terms is taken term by term, so it keeps seven digits of its own.
    """
    biases = here[1].detach(), there[1].detach()
    if library() is None or not serves(inputs) or inputs.ndim != 2 or inputs.requires_grad:
        return None
    if any(bias.dtype != inputs.dtype or bias.shape != inputs.shape[1:] for bias in biases):
        return None
    if not all(bias.is_contiguous() for bias in biases):
        return None
    out, size = torch.empty(len(inputs), dtype=torch.float64), inputs.shape[1]
    places = [tensor.data_ptr() for tensor in (inputs, *biases, out)]
    over_threads("softplus_change", _SoftplusChange(*places, size, here[0], there[0]), len(inputs), size)
    return out


def new_key(generator: torch.Generator | None) -> int:
    """What keys all draws of one call: the only number that the call takes from the generator."""
    return new_keys(generator, 1)[0]


def new_keys(generator: torch.Generator | None, n: int) -> list[int]:
    """The keys of `n` calls in turn."""
    return torch.empty(n, dtype=torch.int64).random_(generator=generator).tolist()
