"""Layers of 0/1 units and the step of their weights on a GPU, by the Triton kernels of ``gpu_kernels.py``.

Products, sigmoids and draws are one kernel, so that a sweep of chains writes nothing but its states, in a byte each if
that is asked for. Where `serves` says no, the caller computes by torch: the same law by other numbers. The kernels have
been run by Triton's interpreter and compiled for compute capability 8.0 and 9.0; **no GPU has run them yet**, so the
first use on each GPU tries them on a known case, and leaves them off, with a warning, should they fail it.
"""

from __future__ import annotations

import importlib.util
import os
import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

SMALLEST = 1 << 21  # products of numbers; below, all that counts is the number of kernels
CAPABILITY = (8, 0)  # of the first GPUs with bfloat16
WIDE, NARROW = 128, 64  # edges of a tile
ENOUGH = 64  # wide tiles that keep a GPU busy
MEANS, DRAWS = 1, 2  # what column sums are of


@dataclass(frozen=True)
class Drawn:
    """What one half-step of many chains leaves: means and states (n, n_out), and column sums (n_out,), if wanted."""

    mean: Tensor
    state: Tensor
    sums: Tensor


@dataclass(frozen=True)
class Half:
    """One half of a gradient: states of v (n, n_v), means of h given them (n, n_h), and their averages."""

    v: Tensor
    mean: Tensor
    average_v: Tensor
    average_h: Tensor


def on_gpu(x: Tensor) -> bool:
    """Whether this is a plain tensor on a GPU: the question to ask first, before sizes that a tracer has none of."""
    return x.is_cuda and type(x) in (Tensor, torch.nn.Parameter)


def serves(w: Tensor, *others: Tensor) -> bool:
    """Whether the kernels take these weights, biases and states."""
    if not all(on_gpu(tensor) for tensor in (w, *others)) or w.dtype is not torch.float32:
        return False
    if any(tensor.device != w.device or not tensor.is_contiguous() for tensor in others):
        return False
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (w, *others)):
        return False
    if torch._C._get_tracing_state() is not None or torch._C._functorch.peek_interpreter_stack() is not None:
        return False
    return _works(w.device)


def pays(w: Tensor, n: int) -> bool:
    """Whether `n` cases times these weights are worth the kernels."""
    return n * w.numel() >= SMALLEST


def halved(device: torch.device) -> bool:
    """Whether products are to be of bfloat16: inside ``precision="bf16"``."""
    return torch.is_autocast_enabled(device.type) and torch.get_autocast_dtype(device.type) is torch.bfloat16


def new_key(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """What keys all draws of one call, on the GPU, so that nothing waits for it."""
    return torch.empty((), dtype=torch.int64, device=like.device).random_(generator=generator)


def layer(
    x: Tensor,
    w: Tensor,
    bias: Tensor,
    *,
    mean: torch.dtype | None = None,
    state: torch.dtype | None = None,
    key: Tensor | None = None,
    draw: int = 0,
    sums: int = 0,
) -> Drawn:
    """``sigmoid(x w + bias)``, draws with these probabilities, and column sums of either: (n, n_in) -> (n, n_out).

    Types say what is wanted, and in which type. Products are of bfloat16 if `w` is. Draws hang on the `key` and the
    number of the `draw` alone. What is not wanted is empty.
    """
    (n, n_in), n_out = x.shape, w.shape[1]
    rows, columns, depth, warps = _tiles(n, n_out, w.dtype)
    tiles = -(-n // rows)
    nothing = bias.new_empty(0)
    means = nothing if mean is None else torch.empty((n, n_out), dtype=mean, device=x.device)
    states = nothing if state is None else torch.empty((n, n_out), dtype=state, device=x.device)
    parts = bias.new_empty((tiles, n_out)) if sums else nothing
    with torch.cuda.device_of(x):
        _kernels().layer[(tiles * -(-n_out // columns),)](
            *(x, w, bias, nothing if key is None else key, means, states, parts),
            *(n, n_in, n_out, *w.stride(), draw),
            **{"MEAN": mean is not None, "STATE": state is not None, "SUMS": sums},
            **{"HALF": w.dtype is torch.bfloat16, "ROWS": rows, "COLUMNS": columns, "DEPTH": depth, "num_warps": warps},
        )
    return Drawn(means, states, parts.sum(0) if sums else nothing)


def draw(x: Tensor, w: Tensor, bias: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor] | None:
    """``sigmoid(x w + bias)`` and 0/1 draws with these probabilities, in the type of the bias: two of (n, n_out)."""
    if not on_gpu(x) or x.ndim != 2 or x.shape[1:] != w.shape[:1] or not pays(w, len(x)) or not serves(w, x, bias):
        return None
    real = torch.bfloat16 if halved(x.device) else torch.float32
    found = layer(x, w.detach().to(real), bias.detach(), mean=bias.dtype, state=bias.dtype, key=new_key(x, generator))
    return found.mean, found.state


def step(
    w: Tensor,
    data: Half,
    model: Half,
    offsets: tuple[Tensor, Tensor] | None,
    *,
    rate: float,
    l2: float,
) -> tuple[Tensor, Tensor] | None:
    """``W += rate dW`` in place; with the `offsets` mu and lambda of centring, ``dW lambda`` and ``dW' mu``.

    ``dW`` is that of `deepbelief.energy.gradients.weights`. Products are of the type of the means.
    """
    n_v, n_h = w.shape
    rows, columns, depth, warps = _tiles(n_v, n_h, data.mean.dtype)
    across, down = -(-n_h // columns), -(-n_v // rows)
    nothing = w.new_empty(0)
    to_v, to_h = (w.new_empty((across, n_v)), w.new_empty((down, n_h))) if offsets else (nothing, nothing)
    ups = data.average_v - model.average_v, data.average_h - model.average_h
    with torch.cuda.device_of(w):
        _kernels().step[(across * down,)](
            *(w, data.v, data.mean, len(data.v), model.v, model.mean, len(model.v)),
            *(*ups, *(offsets or (nothing, nothing)), to_v, to_h, rate, l2, n_v, n_h),
            **{"CENTRED": offsets is not None, "HALF": data.mean.dtype is torch.bfloat16},
            **{"ROWS": rows, "COLUMNS": columns, "DEPTH": depth, "num_warps": warps},
        )
    return (to_v.sum(0), to_h.sum(0)) if offsets else None


def _tiles(n: int, n_out: int, dtype: torch.dtype) -> tuple[int, int, int, int]:
    """Rows, columns, depth and warps of a tile."""
    wide = -(-n // WIDE) * -(-n_out // WIDE) >= ENOUGH
    depth = 64 if dtype is torch.bfloat16 and wide else 32
    return (WIDE, WIDE, depth, 8) if wide else (NARROW, NARROW, depth, 4)


def _kernels() -> Any:
    from deepbelief.native import gpu_kernels

    return gpu_kernels


@cache
def _works(device: torch.device) -> bool:
    """Whether the kernels are there for this GPU, and right on a known case."""
    if os.environ.get("DEEPBELIEF_NATIVE") == "0" or importlib.util.find_spec("triton") is None:
        return False
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < CAPABILITY:
        return False
    try:
        right = all(_is_right(device, dtype) for dtype in (torch.float32, torch.bfloat16))
        trouble = "a known product came out wrong"
    except Exception as error:  # whatever a compiler of another version may raise: there is another way to go
        right, trouble = False, f"{type(error).__name__}: {error}"
    if not right:
        warnings.warn(
            f"deepbelief's GPU kernels must pass a trial on {device}. Got {trouble}. "
            "Going on by torch alone, slower; DEEPBELIEF_NATIVE=0 spares the trial.",
            RuntimeWarning,
            stacklevel=2,
        )
    return right


@torch.no_grad()
def _is_right(device: torch.device, dtype: torch.dtype) -> bool:
    """A layer's means and draws and a step of its weights, against torch in float64."""
    v = ((torch.arange(40 * 70, device=device) * 7919) % 5 < 2).view(40, 70)
    w = torch.linspace(-0.5, 0.5, 70 * 90, device=device).view(90, 70).T.contiguous()
    bias, key = torch.linspace(-1, 1, 90, device=device), torch.tensor(1, device=device)
    bytes_of_v, exact = v.to(torch.uint8), torch.sigmoid(v.double() @ w.double() + bias)
    found = layer(bytes_of_v, w.to(dtype), bias, mean=dtype, state=torch.float32, key=key, sums=DRAWS)
    drawn, close = found.state.double(), 1e-5 if dtype is torch.float32 else 5e-2
    noise = (exact * (1 - exact)).sum().sqrt()
    right = [(found.mean - exact).abs().max() < close, (drawn - exact).sum().abs() < 6 * noise]
    right += [(drawn * (1 - drawn) == 0).all(), (found.sums - drawn.sum(0)).abs().max() < 1e-3]
    half = Half(bytes_of_v, found.mean, v.double().mean(0).float(), found.mean.float().mean(0))
    none = Half(bytes_of_v[:1] * 0, found.mean[:1], half.average_v, half.average_h)
    moved = w.clone()
    step(moved, half, none, None, rate=1.0, l2=0.0)
    right.append((moved - w - v.double().T @ found.mean.double() / len(v)).abs().max() < close)
    return bool(torch.stack(right).all())
