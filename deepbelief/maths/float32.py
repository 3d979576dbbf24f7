"""Dense float32 products on a CPU, by the quicker of the two libraries that torch brings.

torch multiplies float32 matrices by MKL, which keeps to vectors of 256 bits on AMD's processors: half of what those
with AVX-512 can do. oneDNN, which torch has for other types, takes them all, and multiplies float32 too where the
precision of products is "medium". That setting *allows* bfloat16, which oneDNN makes use of on processors with AMX
alone; one product whose result is known tells whether it stays float32 here, and where it does not nothing is set.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

LEAST = 1 << 21  # products of numbers in a matrix product; a call of oneDNN costs 13 microseconds more than one of MKL
ROUNDED = 1e-5  # relative error: float32 stays below 1e-6, bfloat16 above 1e-3


@contextmanager
def quick_float32(module: nn.Module, rows: float) -> Iterator[None]:
    """Inside, products are oneDNN's where that is quicker for the weights of `module` and `rows` cases at once.

    Results differ from MKL's by the order of float32 sums. A precision that the caller has set for products is left
    as it is, and comes back after.

    >>> with quick_float32(nn.Linear(784, 500), rows=100):
    ...     y = torch.ones(100, 784) @ torch.ones(784, 500)
    >>> y[0, 0].item(), torch.get_float32_matmul_precision()
    (784.0, 'highest')
    """
    if not _large(module, rows) or not _untouched() or not onednn_is_quicker():
        yield
        return
    with _medium():
        yield


@cache
def onednn_is_quicker() -> bool:
    """Whether this is an AMD processor with AVX-512 on which oneDNN's products of float32 are float32."""
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or "AuthenticAMD" not in _processor():
        return False
    return torch.backends.mkldnn.is_available() and _stays_float32()


@cache
def multiplies_bf16(device: str = "cpu") -> bool:
    """Whether the hardware of "cpu" or "cuda" multiplies bfloat16; elsewhere such products take several times as long.

    Processors tell it by their flags on Linux alone; GPUs do from compute capability 8.0 (Ampere) on.
    """
    if device == "cuda":
        return torch.cuda.is_available() and torch.cuda.get_device_capability() >= (8, 0)
    return "bf16" in _processor()


def _stays_float32() -> bool:
    x = torch.linspace(-1, 1, 64 * 256).view(64, 256)
    with _medium():
        found = (x @ x.T).double()
    exact = x.double() @ x.double().T
    return bool((found - exact).abs().max() < ROUNDED * exact.abs().max())


def _large(module: nn.Module, rows: float) -> bool:
    """Whether the products with the weights of `module` are large enough on average (convolutions are others' work)."""
    sizes = [p.numel() for p in module.parameters() if p.ndim == 2 and p.is_cpu and p.dtype is torch.float32]
    return bool(sizes) and rows * sum(sizes) >= LEAST * len(sizes)


def _untouched() -> bool:
    """Whether nobody has chosen a precision of products, for all libraries or for one."""
    try:
        chosen = torch.get_float32_matmul_precision() != "highest"
    except RuntimeError:  # chosen for single libraries in a way that has no common name
        return False
    return not chosen and all(library.fp32_precision == "none" for library in _libraries())


@contextmanager
def _medium() -> Iterator[None]:
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision("highest")
        for library in _libraries():  # which is more than it was: "none" is what follows a common setting
            library.fp32_precision = "none"


def _libraries() -> list[Any]:
    """The settings of each library that has one, which torch knows from 2.9 on."""
    backends = (torch.backends.mkldnn, torch.backends.cuda)
    found = [getattr(backend, "matmul", None) for backend in backends]
    return [library for library in found if hasattr(library, "fp32_precision")]


def _processor() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
