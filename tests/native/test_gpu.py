"""Kernels for GPUs: a layer's means and draws, a step of the weights, by Triton's interpreter; and what compiles."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from deepbelief.native import gpu
from deepbelief.rng import make_generator
from tests.native.data import bits, normal
from tests.native.interpreted import interpreted
from tests.oracle.pvalues import FALSE_ALARM

__all__ = ["interpreted"]
pytestmark = pytest.mark.usefixtures("interpreted")
SHAPES = [(70, 50, 90), (1, 33, 5), (130, 17, 64), (64, 64, 64), (5, 1, 1)]
ROUNDING = {torch.float32: 2.0**-23, torch.bfloat16: 2.0**-8}


@pytest.fixture
def width() -> int:
    """The widths of a processor's vectors have no part in this file."""
    return 0


def key(number: int = 7) -> Tensor:
    """A key of draws."""
    return torch.tensor(number)


def drawn(x: Tensor, w: Tensor, bias: Tensor, **more: Any) -> gpu.Drawn:
    """Means, draws and sums of a layer."""
    wanted = {"mean": torch.float32, "state": torch.float32, "sums": gpu.DRAWS, "key": key()}
    return gpu.layer(x, w, bias, **wanted | more)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("turned", [False, True])
def test_means_are_those_of_the_dense_product(shape: tuple[int, int, int], dtype: torch.dtype, turned: bool) -> None:
    """A sigmoid has a slope of 1/4 at most, and a sum of n terms n roundings of their sizes; states are exact."""
    n, n_in, n_out = shape
    x, w, bias = bits(n, n_in), (normal(n_out, n_in).T if turned else normal(n_in, n_out)).to(dtype), normal(n_out)
    found = drawn(x.to(torch.uint8), w, bias)
    exact = torch.sigmoid(x.double() @ w.double() + bias)
    size = x.double() @ w.double().abs() + bias.abs() + 1
    assert bool(((found.mean.double() - exact).abs() <= n_in * ROUNDING[torch.float32] * size).all())
    assert torch.equal(found.state, drawn(x, w, bias).state)  # bytes or floats
    assert torch.equal(found.sums, found.state.sum(0))
    means = drawn(x, w, bias, sums=gpu.MEANS).sums
    torch.testing.assert_close(means, found.mean.double().sum(0).float(), rtol=n * ROUNDING[torch.float32], atol=0)


def test_grey_levels_are_rounded_in_bfloat16_alone() -> None:
    x, w, bias = torch.rand(40, 60, generator=make_generator(0)), normal(60, 30), normal(30)
    exact = torch.sigmoid(x.double() @ w.double() + bias)
    assert (drawn(x, w, bias).mean - exact).abs().max() < 1e-5
    size = (x @ w.abs()).double()
    short = (drawn(x, w.bfloat16(), bias).mean - exact).abs()
    assert bool((short <= 0.25 * 2 * ROUNDING[torch.bfloat16] * size + 1e-5).all())
    assert short.max() > 1e-4


def test_draws_have_the_law_of_their_means_and_no_memory() -> None:
    """Each draw by itself, and beside its neighbours in a row, in a column and in another call."""
    n, n_out = 400, 96
    x, w, bias = torch.zeros(n, 16), normal(16, n_out), torch.logit(torch.linspace(0.05, 0.95, n_out))
    p = torch.sigmoid(bias.double())
    first, second = ((drawn(x, w, bias, draw=number).state - p) / (p * (1 - p)).sqrt() for number in (0, 1))
    pairs = [(first, second), (first, torch.ones_like(first)), (first, p.expand_as(first))]
    pairs += [(first[:, d:], first[:, :-d]) for d in (1, 2, 3, 4, 32)]
    pairs += [(first[d:], first[:-d]) for d in (1, 2, 64)]
    assert min(product_p_value(*pair) for pair in pairs) * len(pairs) > FALSE_ALARM
    assert product_p_value(first, first) < FALSE_ALARM  # the same draws twice would be seen
    assert not torch.equal(drawn(x, w, bias).state, drawn(x, w, bias, key=key(8)).state)
    assert torch.equal(drawn(x, w, bias).state, drawn(x, w, bias).state)


def product_p_value(a: Tensor, b: Tensor) -> float:
    """Of the sum of products of independent numbers of mean 0 and variance 1, or of such numbers and known ones."""
    known = b if bool((b == b[0]).all()) else torch.ones_like(b)
    return math.erfc(abs(float((a * b).sum() / known.square().sum().sqrt())) / math.sqrt(2))


def test_draws_do_not_hang_on_the_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    x, w, bias = bits(150, 40), normal(40, 200), normal(200)
    narrow = drawn(x, w, bias).state
    monkeypatch.setattr(gpu, "_tiles", lambda n, n_out, dtype: (32, 128, 16, 4))
    assert torch.equal(narrow, drawn(x, w, bias).state)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("centred", [False, True])
def test_a_step_is_the_gradient_s(dtype: torch.dtype, centred: bool) -> None:
    n, m, n_v, n_h = 70, 33, 50, 90
    w, x, y = normal(n_v, n_h), bits(n, n_v), bits(m, n_v, seed=3)
    p, q = (torch.rand(rows, n_h, generator=make_generator(rows)).to(dtype) for rows in (n, m))
    data = gpu.Half(x.to(torch.uint8), p, x.mean(0), p.float().mean(0))
    model = gpu.Half(y.to(torch.uint8), q, y.mean(0), q.float().mean(0))
    offsets = (torch.rand(n_v, generator=make_generator(1)), torch.rand(n_h, generator=make_generator(2)))
    change = x.double().T @ p.double() / n - y.double().T @ q.double() / m - 0.01 * w.double()
    if centred:
        change -= torch.outer((data.average_v - model.average_v).double(), offsets[1].double())
        change -= torch.outer(offsets[0].double(), (data.average_h - model.average_h).double())
    moved = w.clone()
    shifts = gpu.step(moved, data, model, offsets if centred else None, rate=0.5, l2=0.01)
    torch.testing.assert_close(moved.double(), w + 0.5 * change, rtol=0, atol=1e-5)
    if not centred:
        assert shifts is None
        return
    assert shifts is not None
    torch.testing.assert_close(shifts[0].double(), change @ offsets[1].double(), rtol=0, atol=1e-5)
    torch.testing.assert_close(shifts[1].double(), offsets[0].double() @ change, rtol=0, atol=1e-5)


def test_what_the_kernels_leave_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    x, w, bias = bits(40, 60), normal(60, 30), normal(30)
    found = gpu.draw(x, w, bias, make_generator(0))
    assert found is not None
    assert found[0].shape == found[1].shape == (40, 30)
    assert gpu.draw(x.double(), w, bias, make_generator(0)) is None  # another type
    assert gpu.draw(x.T.contiguous().T, w, bias, make_generator(0)) is None  # rows that lie apart
    assert gpu.draw(x, torch.nn.Parameter(w), bias, make_generator(0)) is None  # somebody wants a gradient
    with torch.no_grad():
        assert gpu.draw(x, torch.nn.Parameter(w), bias, make_generator(0)) is not None
    monkeypatch.setattr(gpu, "SMALLEST", 40 * 60 * 30 + 1)
    assert gpu.draw(x, w, bias, make_generator(0)) is None  # too small


def test_a_gpu_that_fails_its_trial_goes_on_by_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    x, w, bias = bits(40, 60), normal(60, 30), normal(30)
    whole = gpu.layer
    upwards = lambda *args, **more: gpu.Drawn(*(part + 0.1 for part in vars(whole(*args, **more)).values()))
    with monkeypatch.context() as patch:
        patch.setattr(gpu, "layer", upwards)
        with pytest.warns(RuntimeWarning, match=r"must pass a trial on cpu\. Got a known product came out wrong"):
            assert gpu.draw(x, w, bias, make_generator(0)) is None
    gpu._works.cache_clear()

    def broken(*args: object, **more: object) -> gpu.Drawn:
        raise OSError("no ptxas")

    with monkeypatch.context() as patch:
        patch.setattr(gpu, "layer", broken)
        with pytest.warns(RuntimeWarning, match=r"Got OSError: no ptxas\. Going on by torch alone"):
            assert gpu.draw(x, w, bias, make_generator(0)) is None
    gpu._works.cache_clear()
    monkeypatch.setenv("DEEPBELIEF_NATIVE", "0")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert gpu.draw(x, w, bias, make_generator(0)) is None


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from deepbelief.native import gpu_kernels

def compiled(kernel, types, sizes, capability, warps):
    given = {name: "constexpr" if name in sizes else types.get(name, "i32") for name in kernel.arg_names}
    source = ASTSource(fn=kernel, signature=given, constexprs=sizes)
    found = triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": warps})
    assert found.metadata.shared <= 99 * 1024, found.metadata.shared  # of the smallest of these GPUs
    return found.asm

floats = "bias mean sums w p q up_v up_h mu offset to_v to_h"
types = {name: "*fp32" for name in floats.split()} | {name: "*u8" for name in "x y state".split()}
types |= {"key": "*i64", "rate": "fp32", "l2": "fp32"}
half = types | {name: "*bf16" for name in "mean p q".split()}
tile = {"ROWS": 128, "COLUMNS": 128}
wanted = {"MEAN": True, "STATE": True, "SUMS": 1}
bf16 = tile | {"HALF": True, "DEPTH": 64}
tf32 = {"HALF": False, "ROWS": 64, "COLUMNS": 64, "DEPTH": 32}
assert "wgmma" in compiled(gpu_kernels.layer, half | {"w": "*bf16"}, bf16 | wanted, 90, 8)["ptx"]
assert "wgmma" in compiled(gpu_kernels.step, half, bf16 | {"CENTRED": True}, 90, 8)["ptx"]
assert "tf32" in compiled(gpu_kernels.layer, types, tf32 | wanted, 80, 4)["ptx"]
assert "tf32" in compiled(gpu_kernels.step, types, tf32 | {"CENTRED": True}, 80, 4)["ptx"]
print("compiled")
"""


def test_the_kernels_compile_for_gpus_that_are_not_there() -> None:
    """Down to machine code, for compute capability 8.0 and 9.0, with products by tensor cores."""
    unset = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, "-c", COMPILE], capture_output=True, text=True, env=unset)
    assert done.stdout == "compiled\n", done.stderr


def test_units_that_are_never_or_always_on() -> None:
    x, w = torch.zeros(500, 1), torch.zeros(1, 64)
    for bias, on in ((-math.inf, 0), (math.inf, 1)):
        assert bool((drawn(x, w, torch.full((64,), bias)).state == on).all())
