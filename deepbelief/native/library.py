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

from deepbelief.errors import check
from deepbelief.native.memory import keep_freed_memory

SMALLEST = 4096  # elements; below, the call costs more than it saves
GRAIN = 1 << 15  # elements that are worth a thread
_forked: list[int] = []  # filled in a forked process, where OpenMP would wait for threads that only its parent has
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _forked.append(os.getpid()))
_POINTER, _INTEGER, _FLAG = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
SHARED = (  # between threads
    *("bernoulli", "sigmoid_bernoulli", "softplus_change", "bernoulli_log_prob"),
    *("pack", "bits_product", "bits_product_16", "bits_step"),
)
DIRECT: dict[str, tuple[Any, list[Any]]] = {  # by this thread: what comes back, and what goes in
    "pack_rows": (_FLAG, [_POINTER, _INTEGER, _INTEGER, _INTEGER, _POINTER]),
    "pack_columns": (_FLAG, [_POINTER, _INTEGER, _INTEGER, _INTEGER, _POINTER]),
    "rbm_update": (_FLAG, [_POINTER]),
}


class Kernels:
    """The compiled kernels for one kind of processor.

    ``lanes`` are the numbers in a vector: 16, 8, or 0 where there are no wide vectors, so that products of bits do not
    pay. ``places`` holds the addresses of the kernels that are shared between threads; the others are methods.
    """

    pack_rows: Any
    pack_columns: Any
    rbm_update: Any

    def __init__(self, found: ctypes.CDLL, lanes: int) -> None:
        self.lanes, suffix = lanes, "_512" if lanes == 16 else ""
        named = {name: getattr(found, f"deepbelief_{name}{suffix}") for name in (*SHARED, *DIRECT)}
        self.places = {name: ctypes.cast(named[name], ctypes.c_void_p).value for name in SHARED}
        for name, (result, arguments) in DIRECT.items():
            named[name].argtypes, named[name].restype = arguments, result
            setattr(self, name, named[name])
        self.over_threads = found.deepbelief_over_threads
        self.over_threads.argtypes = [_POINTER, _POINTER, _POINTER, _INTEGER, _INTEGER]
        self.over_threads.restype = None


@cache
def library() -> Kernels | None:
    """The kernels for this processor, or None.

    The first call lets the process keep freed memory too: it comes before any work that would pay for fresh pages.
    ``DEEPBELIEF_NATIVE=0`` in the environment turns them off, ``DEEPBELIEF_NATIVE=8`` keeps to vectors of 8 numbers.
    """
    wanted = os.environ.get("DEEPBELIEF_NATIVE", "")
    known = ("", "0", "8")
    check(wanted in known, f"DEEPBELIEF_NATIVE must be 0 (no kernels), 8 (lanes) or unset. Got {wanted!r}.")
    keep_freed_memory()
    if wanted == "0":
        return None
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        path = Path(__file__).with_name(f"_kernels{suffix}")
        if path.exists():
            try:
                found = ctypes.CDLL(str(path))
                lanes = int(found.deepbelief_lanes())
                return Kernels(found, min(lanes, 8) if wanted == "8" else lanes)
            except (OSError, AttributeError):  # built for another machine, or an older version of the source
                return None
    return None


def record(name: str, pointers: str, integers: str, floats: str = "") -> type[ctypes.Structure]:
    """A kernel's arguments: the names of its pointers, integers and floats, in the order of the C file."""
    kinds = ((pointers, ctypes.c_void_p), (integers, ctypes.c_int64), (floats, ctypes.c_float))
    fields = [(field, kind) for names, kind in kinds for field in names.split()]
    return type(name, (ctypes.Structure,), {"_fields_": fields})


def serves(x: Tensor) -> bool:
    """Whether the kernels take this tensor, and gain by it."""
    return x.dtype is torch.float32 and x.device.type == "cpu" and x.numel() >= SMALLEST and x.is_contiguous()


def over_threads(name: str, arguments: ctypes.Structure, n: int, size: int) -> None:
    """Run a kernel on the pieces 0 to `n` of `size` elements each, on as many threads as torch may use and as pay."""
    kernels = library()
    assert kernels is not None
    threads = min(usable_threads(), n * size // GRAIN)
    kernels.over_threads(team(), kernels.places[name], ctypes.addressof(arguments), n, threads)


def usable_threads() -> int:
    """As many as torch may use, and one in a forked process."""
    return 1 if _forked else torch.get_num_threads()


@cache
def team() -> Any:
    """The address by which torch's own threads take work, or None: on one thread then."""
    folder = Path(torch.__file__).parent / "lib"
    for path in folder.glob("libtorch_cpu.*"):
        try:
            return ctypes.cast(ctypes.CDLL(str(path)).GOMP_parallel, ctypes.c_void_p).value
        except (OSError, AttributeError):  # another OpenMP, or none
            continue
    return None
