"""Loads the compiled kernels, says what they can take, and shares their work between threads.

Each function of the modules beside this one returns None (or False) where its kernel cannot serve: not built, another
device or type, too few elements to pay for the call. The caller then computes by torch instead.
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
_pool: dict[int, ThreadPoolExecutor] = {}  # by process: threads do not survive a fork


@cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels, or None; ``DEEPBELIEF_NATIVE=0`` in the environment turns them off."""
    if os.environ.get("DEEPBELIEF_NATIVE") == "0":
        return None
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        path = Path(__file__).with_name(f"_kernels{suffix}")
        if path.exists():
            try:
                return _declared(ctypes.CDLL(str(path)))
            except (OSError, AttributeError):  # built for another machine, or an older version of the source
                return None
    return None


def _declared(found: ctypes.CDLL) -> ctypes.CDLL:
    pointer, integer, key, number = ctypes.c_void_p, ctypes.c_int64, ctypes.c_uint64, ctypes.c_float
    flag = ctypes.c_int
    biases: list[Any] = [pointer, number, pointer, number]
    part = [integer, integer]
    arguments: dict[str, list[Any]] = {
        "bernoulli": [pointer, pointer, integer, integer, key],
        "sigmoid_bernoulli": [*[pointer] * 4, integer, integer, integer, key],
        "softplus_change": [pointer, *biases, pointer, integer, *part],
        "bernoulli_log_prob": [*[pointer] * 3, integer, pointer, pointer, integer, *part],
        "bits_product": [pointer, integer, pointer, integer, integer, flag, integer, pointer, *part, pointer],
        "bits_step": [pointer, number, *[integer] * 2, pointer, integer, *[pointer] * 2, integer, *part, pointer],
        "fold": [pointer, integer, integer, *[pointer] * 4],
        "rbm_update": [
            *[pointer, number, number, integer, integer, pointer, pointer],
            *[pointer, pointer, integer, *part, pointer],
        ],
    }
    for name, kinds in arguments.items():
        function = getattr(found, f"deepbelief_{name}")
        function.argtypes, function.restype = kinds, None
    for name in ("pack_rows", "pack_columns"):
        function = getattr(found, f"deepbelief_{name}")
        function.argtypes, function.restype = [pointer, *[integer] * 3, pointer], flag
    found.deepbelief_work.argtypes, found.deepbelief_work.restype = [integer], integer
    found.deepbelief_pays.argtypes, found.deepbelief_pays.restype = [], flag
    return found


def serves(x: Tensor) -> bool:
    """Whether the kernels take this tensor, and gain by it."""
    return x.dtype is torch.float32 and x.device.type == "cpu" and x.numel() >= SMALLEST and x.is_contiguous()


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
        _pool[os.getpid()] = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="deepbelief-kernels")
    return _pool[os.getpid()]
