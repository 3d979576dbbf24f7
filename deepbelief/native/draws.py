"""The C kernels of ``_draws.c``: a layer's activation, draw and change of log-partition function in one pass each.

Each function returns None where the kernel cannot serve (not built, another device or type, too few elements to pay for
the call), and the caller draws by torch instead: the same law by other numbers. One number drawn from the generator
keys the whole call, so the draws depend on the generator alone and not on the number of threads.
"""

from __future__ import annotations

import ctypes
import importlib.machinery
import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

SMALLEST = 4096  # elements; below, the call costs more than it saves
GRAIN = 1 << 17  # elements that are worth a thread
BLOCK = 32
_pool: dict[int, ThreadPoolExecutor] = {}  # by process: threads do not survive a fork


@cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels, or None; ``DEEPBELIEF_NATIVE=0`` in the environment turns them off."""
    if os.environ.get("DEEPBELIEF_NATIVE") == "0":
        return None
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        path = Path(__file__).with_name(f"_draws{suffix}")
        if path.exists():
            try:
                return _declared(ctypes.CDLL(str(path)))
            except (OSError, AttributeError):  # built for another machine, or an older version of the source
                return None
    return None


def _declared(found: ctypes.CDLL) -> ctypes.CDLL:
    pointer, integer, key = ctypes.c_void_p, ctypes.c_int64, ctypes.c_uint64
    found.deepbelief_bernoulli.argtypes = [pointer, pointer, integer, integer, key]
    found.deepbelief_bernoulli.restype = None
    found.deepbelief_sigmoid_bernoulli.argtypes = [*[pointer] * 4, integer, integer, integer, key]
    found.deepbelief_sigmoid_bernoulli.restype = None
    number = ctypes.c_float
    biases: list[Any] = [pointer, number, pointer, number]
    found.deepbelief_softplus_change.argtypes = [pointer, *biases, pointer, integer, integer, integer]
    found.deepbelief_softplus_change.restype = None
    found.deepbelief_bernoulli_log_prob.argtypes = [*[pointer] * 3, integer, pointer, pointer, *[integer] * 3]
    found.deepbelief_bernoulli_log_prob.restype = None
    return found


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


def serves(x: Tensor) -> bool:
    """Whether the kernels take this tensor, and gain by it."""
    return x.dtype is torch.float32 and x.device.type == "cpu" and x.numel() >= SMALLEST and x.is_contiguous()


def _key(generator: torch.Generator | None) -> int:
    return int(torch.empty((), dtype=torch.int64).random_(generator=generator))


def over_threads(n: int, size: int, call: Callable[[int, int], None]) -> None:
    """``call(first, last)`` for parts of `n` pieces of `size` elements; ctypes lets the interpreter go meanwhile."""
    parts = min(n * size // GRAIN, n)
    if parts < 2 or (parts := min(parts, torch.get_num_threads())) < 2:
        return call(0, n)
    ends = [n * i // parts for i in range(parts + 1)]
    others = [_threads().submit(call, first, last) for first, last in itertools.pairwise(ends[1:])]
    call(0, ends[1])
    for other in others:
        other.result()


def _threads() -> ThreadPoolExecutor:
    if os.getpid() not in _pool:
        _pool.clear()
        _pool[os.getpid()] = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="deepbelief-draws")
    return _pool[os.getpid()]
