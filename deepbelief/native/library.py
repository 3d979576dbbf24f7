"""Loads the compiled kernels, says what they can take, and shares their work between threads.

Each function of the modules beside this one returns None (or False) where its kernel cannot serve: not built, another
device or type, too few elements to pay for the call. The caller then computes by torch instead.
"""

from __future__ import annotations

import ctypes
import importlib.machinery
import os
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

SMALLEST = 4096  # elements; below, the call costs more than it saves
GRAIN = 1 << 15  # elements that are worth a thread
_forked: list[int] = []  # filled in a forked process, where OpenMP would wait for threads that only its parent has
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _forked.append(os.getpid()))
KERNELS = (
    *("bernoulli", "sigmoid_bernoulli", "softplus_change", "bernoulli_log_prob"),
    *("bits_product", "bits_step", "rbm_update"),
)


def record(name: str, pointers: str, integers: str, floats: str = "") -> type[ctypes.Structure]:
    """A kernel's arguments: the names of its pointers, integers and floats, in the order of the C file."""
    kinds = ((pointers, ctypes.c_void_p), (integers, ctypes.c_int64), (floats, ctypes.c_float))
    fields = [(field, kind) for names, kind in kinds for field in names.split()]
    return type(name, (ctypes.Structure,), {"_fields_": fields})


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
    pointer, integer, flag = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
    for name in KERNELS:
        getattr(found, f"deepbelief_{name}")
    for name in ("pack_rows", "pack_columns"):
        function = getattr(found, f"deepbelief_{name}")
        function.argtypes, function.restype = [pointer, integer, integer, integer, pointer], flag
    found.deepbelief_pack.argtypes, found.deepbelief_pack.restype = [pointer, integer, integer, pointer, pointer], flag
    found.deepbelief_means_of_v.argtypes = [pointer, integer, *[pointer] * 3]
    found.deepbelief_turned.argtypes = [pointer, integer, integer, *[pointer] * 5]
    found.deepbelief_means_of_v.restype = found.deepbelief_turned.restype = None
    found.deepbelief_pays.argtypes, found.deepbelief_pays.restype = [], flag
    found.deepbelief_over_threads.argtypes = [pointer, pointer, pointer, integer, integer]
    found.deepbelief_over_threads.restype = None
    return found


def serves(x: Tensor) -> bool:
    """Whether the kernels take this tensor, and gain by it."""
    return x.dtype is torch.float32 and x.device.type == "cpu" and x.numel() >= SMALLEST and x.is_contiguous()


def over_threads(name: str, arguments: ctypes.Structure, n: int, size: int) -> None:
    """Run a kernel on the pieces 0 to `n` of `size` elements each, on as many threads as torch may use and as pay."""
    kernels = library()
    assert kernels is not None
    threads = 1 if _forked else min(torch.get_num_threads(), n * size // GRAIN)
    kernels.deepbelief_over_threads(_team(), _place(name), ctypes.addressof(arguments), n, threads)


@cache
def _place(name: str) -> Any:
    """The address of a kernel."""
    return ctypes.cast(getattr(library(), f"deepbelief_{name}"), ctypes.c_void_p).value


@cache
def _team() -> Any:
    """The address by which torch's own threads take work, or None: on one thread then."""
    folder = Path(torch.__file__).parent / "lib"
    for path in folder.glob("libtorch_cpu.*"):
        try:
            return ctypes.cast(ctypes.CDLL(str(path)).GOMP_parallel, ctypes.c_void_p).value
        except (OSError, AttributeError):  # another OpenMP, or none
            continue
    return None
