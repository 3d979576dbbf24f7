"""Products of bits by table: against double precision, alike for any threads and neighbours, and where they decline."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from deepbelief.energy.rbm import RBM
from deepbelief.maths.products import product
from deepbelief.native import library
from deepbelief.native.products import bits_product, bits_step
from deepbelief.rng import make_generator
from tests.native.data import bits, normal
from tests.native.widths import built

pytestmark = pytest.mark.usefixtures("small_ones_too")
SHAPES = [(8, 33, 250), (100, 784, 37), (31, 64, 64), (9, 1000, 8), (1100, 40, 3), (64, 31, 96), (8, 4096, 2)]


def by_table(x: Tensor, w: Tensor) -> Tensor:
    """The kernel's product, which must not decline."""
    found = bits_product(x, w)
    assert found is not None
    return found


def assert_rounded(found: Tensor, exact: Tensor, size: Tensor, terms: int) -> None:
    """Within the error that any order of a sum in float32 can have: its terms times a rounding of their sizes."""
    assert bool(((found.double() - exact).abs() <= terms * torch.finfo(torch.float32).eps * size).all())


@built
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("turned", [False, True])
def test_a_product_is_the_dense_one(shape: tuple[int, int, int], turned: bool) -> None:
    n, n_in, n_out = shape
    x, w = bits(n, n_in), normal(n_out, n_in).T if turned else normal(n_in, n_out)
    found = by_table(x, w)
    assert_rounded(found, x.double() @ w.double(), x.double() @ w.double().abs(), n_in)


@built
def test_rows_that_lie_apart_and_further_axes() -> None:
    x, w = bits(40, 90), normal(30, 50)
    assert torch.equal(by_table(x[:, 25:55], w), by_table(x[:, 25:55].contiguous(), w))
    deep = bits(4, 10, 30)
    assert torch.equal(by_table(deep, w), by_table(deep.view(40, 30), w).view(4, 10, 50))
    columns = normal(30, 80)[:, 11:61]
    assert torch.equal(by_table(x[:, :30], columns), by_table(x[:, :30], columns.contiguous()))


@built
@pytest.mark.parametrize("threads", [2, 3, 7])
def test_any_number_of_threads_and_any_neighbours_make_the_same_sums(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, w, y = bits(1030, 200), normal(200, 130), normal(1030, 130)
    alone, stepped = by_table(x, w), w.clone()
    dense = normal(2, 200), normal(2, 130)
    assert bits_step(stepped, 0.9, [(x, y, 0.1)], *dense)
    assert torch.equal(alone[500:520], by_table(x[500:520], w))
    monkeypatch.setattr(library, "GRAIN", 64)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert torch.equal(alone, by_table(x, w))
    assert bits_step(w, 0.9, [(x, y, 0.1)], *dense)
    assert torch.equal(stepped, w)


@built
@pytest.mark.parametrize("shape", [(784, 37), (1500, 33), (31, 250), (33, 64)])
@pytest.mark.parametrize("n_dense", [0, 1, 3])
def test_a_step_is_the_dense_one(shape: tuple[int, int], n_dense: int) -> None:
    n_rows, n_out = shape
    w, left, right = normal(n_rows, n_out), normal(n_dense, n_rows, seed=2), normal(n_dense, n_out, seed=3)
    halves = [(bits(n, n_rows, seed=n), normal(n, n_out, seed=n), factor) for n, factor in ((45, 0.5), (7, -0.25))]
    exact, size = 0.75 * w.double() + left.double().T @ right.double(), w.abs() + left.abs().T @ right.abs()
    for x, y, factor in halves:
        exact, size = exact + factor * x.double().T @ y.double(), size + abs(factor) * x.T @ y.abs()
    assert bits_step(w, 0.75, halves, left, right)
    assert_rounded(w, exact, size.double(), 60)


DECLINED: dict[str, Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]] = {
    "a grey level in the last row": lambda x, w: (torch.cat([x[:-1], 0.5 * x[-1:]]), w),
    "a spin": lambda x, w: (2 * x - 1, w),
    "NaN": lambda x, w: (x.masked_fill(x > 0, torch.nan), w),
    "a gradient": lambda x, w: (x, w.clone().requires_grad_()),
    "double precision": lambda x, w: (x.double(), w.double()),
    "too few cases": lambda x, w: (x[:7], w),
    "columns that lie apart": lambda x, w: (x, w[:, ::2]),
}


@built
@pytest.mark.parametrize("why", DECLINED)
def test_what_it_cannot_take_is_left_to_torch(why: str) -> None:
    x, w = DECLINED[why](bits(100, 80), normal(80, 120))
    assert bits_product(x, w) is None
    torch.testing.assert_close(product(x, w), x @ w, equal_nan=True)


@built
def test_it_steps_aside_for_autocast_and_for_transforms() -> None:
    x, w = bits(100, 80), normal(80, 120)
    assert bits_product(x, w) is not None
    with torch.autocast("cpu", dtype=torch.float16):
        assert bits_product(x, w) is None  # by bfloat16 it takes 16 bits, see test_sixteen.py
    together = torch.func.vmap(lambda rows: product(rows, w))(x.view(2, 50, 80))
    torch.testing.assert_close(together.view(100, 120), x @ w)
    slope = torch.func.grad(lambda v: product(x, v).sum())(w)
    torch.testing.assert_close(slope, x.sum(0).unsqueeze(1).expand(80, 120))
    some = torch.export.Dim("cases", min=2)
    traced = torch.export.export(_Product(w), (x,), dynamic_shapes={"x": {0: some}}).module()
    torch.testing.assert_close(traced(1 - x[:30]), (1 - x[:30]) @ w)


class _Product(nn.Module):
    def __init__(self, w: Tensor) -> None:
        super().__init__()
        self.w = nn.Parameter(w, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return product(x, self.w)


@built
def test_a_refused_step_leaves_the_weights_alone() -> None:
    x, w, y = bits(100, 80), normal(80, 120), normal(100, 120)
    before, none = w.clone(), (torch.empty(0, 80), torch.empty(0, 120))
    assert not bits_step(w, 0.5, [(x, y, 1.0), (0.5 * x, y, 1.0)], *none)
    assert torch.equal(w, before)


@built
def test_a_step_of_shapes_that_do_not_fit_is_declined() -> None:
    w, none = normal(80, 120), (torch.empty(0, 80), torch.empty(0, 120))
    for x, y in (
        (bits(100, 70), normal(100, 120)),
        (bits(100, 80), normal(99, 120)),
        (bits(100, 80), normal(100, 119)),
    ):
        assert not bits_step(w, 1.0, [(x, y, 1.0)], *none)
    assert not bits_step(w, 1.0, [(bits(100, 80), normal(100, 120), 1.0)], normal(2, 80), normal(1, 120))


@built
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs the system's account of memory")
def test_a_thread_gives_its_memory_back() -> None:
    """150 kB for each thread that ever multiplied would be 60 MB here."""
    x, w = bits(1030, 40), normal(40, 32)

    def pages() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1])

    def run(n: int) -> None:
        for _ in range(n):
            thread = threading.Thread(target=by_table, args=(x, w))
            thread.start()
            thread.join()

    run(20)
    before = pages()
    run(400)
    assert (pages() - before) * 4096 < 30_000_000


@built
def test_a_compiled_model_multiplies_too() -> None:
    rbm, x = RBM(80, 70, generator=make_generator(0)), bits(100, 80)
    with torch.no_grad():
        compiled = torch.compile(rbm.mean_h_from_v, backend="eager")(x)
    torch.testing.assert_close(compiled, rbm.hidden.mean(x @ rbm.weight).detach())
