"""Products of zeros and ones with real matrices, by the kernels of ``_products.c``: a third of a dense product's time.

Four bits pick one of 16 sums of four rows, so a product of bits costs a quarter of its additions and no multiplication,
however many bits are on. The result is the dense product's up to the order of a sum in float32.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from deepbelief.native.library import Kernels, library, over_threads, record

TILE = 32  # columns, and bits of a word
PAIR = 2 * TILE  # columns of 16 bits
FEWEST = 24  # cases; below, the tables cost more than they save
SMALLEST = 1 << 21  # products of numbers; below, a dense product takes no longer than the call
COST = 32  # products in the time of one drawn element
_Product = record("Product", "bits w out", "n n_in n_out stride turned")
_Step = record("Step", "w halves left right", "n_rows n_out n_halves n_dense", "keep")
_Half = record("Half", "bits right share", "n_cases", "factor")


def bits_product(x: Tensor, w: Tensor) -> Tensor | None:
    """``x @ w`` where all of `x` is 0 or 1: (..., n_in), (n_in, n_out) -> (..., n_out); None where it is not.

    Under autocast to bfloat16 by sums of 16-bit integers, which err less than bfloat16 and stay float32.
    """
    sixteen = in_sixteen_bits()
    kernels = kernels_for(x, w, mixed=sixteen)  # first: what a tracer stands in for has no sizes to compare
    if kernels is None or w.ndim != 2 or x.numel() * w.shape[1] < SMALLEST or x.shape[-1] != w.shape[0]:
        return None
    n_in, n_out = w.shape
    n, turned = x.numel() // n_in, w.stride(1) != 1
    if n < FEWEST or (turned and w.stride(0) != 1):
        return None
    if torch.is_grad_enabled() and (x.requires_grad or w.requires_grad):
        return None
    if not x.is_contiguous() and (x.ndim != 2 or x.stride(1) != 1):
        return None
    bits = torch.empty((-(-n_in // TILE), n), dtype=torch.int32)
    if not kernels.pack_rows(x.data_ptr(), n, n_in, n_in if x.ndim != 2 else x.stride(0), bits.data_ptr()):
        return None
    out = x.new_empty((*x.shape[:-1], n_out))
    stride = w.stride(1 if turned else 0)
    arguments = _Product(bits.data_ptr(), w.data_ptr(), out.data_ptr(), n, n_in, n_out, stride, int(turned))
    if sixteen:
        over_threads("bits_product_16", arguments, -(-n_out // PAIR), n * n_in * PAIR // COST)
    else:
        over_threads("bits_product", arguments, -(-n_out // TILE), n * n_in * TILE // COST)
    return out


def bits_step(
    w: Tensor, keep: float, halves: Sequence[tuple[Tensor, Tensor, float]], left: Tensor, right: Tensor
) -> bool:
    """``w = keep w + sum_k factor_k x_k' y_k + left' right`` in place, where all entries of the x_k are 0 or 1.

    `w` is (n_rows, n_out); each half is x (cases, n_rows), y (cases, n_out) and a factor; `left` (few, n_rows) and
    `right` (few, n_out) are real. False, with `w` as it was, where the kernel cannot serve.
    """
    read = [w, left, right, *(tensor for x, y, _ in halves for tensor in (x, y))]
    kernels = kernels_for(*read)
    if kernels is None or not all(tensor.is_contiguous() for tensor in read) or len(left) > TILE:
        return False
    n_cases, (n_rows, n_out) = sum(len(x) for x, _, _ in halves), w.shape
    fits = [x.shape[1:] == w.shape[:1] and y.shape == (len(x), n_out) for x, y, _ in [*halves, (left, right, 1.0)]]
    if n_cases < FEWEST or n_cases * w.numel() < SMALLEST or not all(fits):
        return False
    table, alive = (_Half * len(halves))(), []
    for i, (x, y, factor) in enumerate(halves):
        bits = torch.empty((-(-len(x) // TILE), n_rows), dtype=torch.int32)
        if not kernels.pack_columns(x.data_ptr(), len(x), n_rows, n_rows, bits.data_ptr()):
            return False
        alive.append(bits)
        table[i] = _Half(bits.data_ptr(), y.data_ptr(), None, len(x), factor)
    places = w.data_ptr(), ctypes.addressof(table), left.data_ptr(), right.data_ptr()
    arguments = _Step(*places, n_rows, n_out, len(halves), len(left), keep)
    over_threads("bits_step", arguments, -(-n_out // TILE), n_cases * n_rows * TILE // COST)
    return True


def in_sixteen_bits() -> bool:
    """Whether products may be taken in 16 bits: under autocast to bfloat16."""
    return torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") is torch.bfloat16


def kernels_for(*tensors: Tensor, mixed: bool = False) -> Kernels | None:
    """The kernels if the memory of these tensors can be read as it is; None for other types, tracers and transforms.

    And None under autocast, unless the caller works in `mixed` precision.
    """
    if (torch.is_autocast_enabled("cpu") and not mixed) or torch._C._get_tracing_state() is not None:
        return None
    if torch._C._functorch.peek_interpreter_stack() is not None or not all(map(_is_plain, tensors)):
        return None
    kernels = library()
    return kernels if kernels is not None and kernels.lanes else None


def _is_plain(x: Tensor) -> bool:
    return x.dtype is torch.float32 and type(x) in (Tensor, torch.nn.Parameter) and x.is_cpu
