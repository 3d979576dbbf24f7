"""The log-probability of bits under a network's outputs, and its derivative, in one pass of the C kernel."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from deepbelief.native.library import library, over_threads, record, serves

_Arguments = record("BernoulliLogProb", "inputs bias x out error", "n_cases n_columns")


def bernoulli_log_prob(x: Tensor, inputs: Tensor, bias: Tensor) -> Tensor | None:
    """``sum_j x_j y_j - log(1 + exp(y_j))`` with ``y = inputs + bias``, over the last axis; None as in `draws`.

    `inputs` is (..., cases, size), `x` (cases, size) or of the shape of `inputs`. Gradients can be taken once.
    """
    own = (x, inputs, bias)
    if library() is None or any(part.dtype != torch.float32 or not part.is_contiguous() for part in own):
        return None
    if not serves(inputs) or x.requires_grad or x.device != inputs.device or bias.device != inputs.device:
        return None
    if bias.shape != inputs.shape[-1:]:
        return None
    if x.ndim < 2 or x.ndim > inputs.ndim or x.shape != inputs.shape[inputs.ndim - x.ndim :]:
        return None
    found: Tensor = _BernoulliLogProb.apply(x, inputs, bias)
    return found


class _BernoulliLogProb(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, inputs: Tensor, bias: Tensor) -> Tensor:
        size, needed = len(bias), any(ctx.needs_input_grad)
        n, out = inputs.numel() // size, torch.empty(inputs.shape[:-1], dtype=torch.float64)
        error = torch.empty_like(inputs) if needed else None
        places = [tensor.data_ptr() for tensor in (inputs, bias, x, out)]
        slope = None if error is None else error.data_ptr()
        over_threads("bernoulli_log_prob", _Arguments(*places, slope, x.numel() // size, size), n, size)
        if error is not None:
            ctx.save_for_backward(error)
        return out.float()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, weight: Tensor) -> tuple[None, Tensor | None, Tensor | None]:
        (error,) = ctx.saved_tensors
        _, for_inputs, for_bias = ctx.needs_input_grad
        of_bias = weight.flatten() @ error.flatten(0, -2) if for_bias else None
        return None, weight.unsqueeze(-1) * error if for_inputs else None, of_bias
