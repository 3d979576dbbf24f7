"""The compiled draws: the generator against a twin from its paper, the law, and the same draws for any threads."""

from __future__ import annotations

import copy
import ctypes
import multiprocessing
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from deepbelief.energy.kernels.gibbs import BlockGibbs, ChainState
from deepbelief.errors import InvalidArgumentError
from deepbelief.native import draws, library
from deepbelief.rng import bernoulli, make_generator
from deepbelief.units.bernoulli import Bernoulli
from tests.oracle.joint import Joint
from tests.oracle.pvalues import FALSE_ALARM, means_p_value
from tests.oracle.zoo import tiny_rbm

built = pytest.mark.skipif(library.library() is None, reason="the C kernels were not built (no compiler)")
ROTATIONS = [(10, 26), (11, 21), (13, 27), (23, 5), (6, 20), (17, 11), (25, 10), (18, 20)]


def normal(*shape: int, seed: int = 1) -> torch.Tensor:
    """Numbers to work on."""
    return torch.randn(shape, generator=make_generator(seed))


def threefry(counters: np.ndarray, key: int) -> np.ndarray:
    """Threefry4x32-12 as the paper writes it: (n,) counters of 64 bits -> (n, 4) words."""
    k = [key & 0xFFFFFFFF, key >> 32, 0, 0]
    k.append(0x1BD11BDA ^ k[0] ^ k[1] ^ k[2] ^ k[3])
    zero = np.zeros_like(counters)
    x = [(word + k[i]) & 0xFFFFFFFF for i, word in enumerate([counters & 0xFFFFFFFF, counters >> 32, zero, zero])]
    for round_ in range(12):
        a, b = ROTATIONS[round_ % 8]
        pairs = [(0, 1, a), (2, 3, b)] if round_ % 2 == 0 else [(0, 3, a), (2, 1, b)]
        for i, j, turn in pairs:
            x[i] = (x[i] + x[j]) & 0xFFFFFFFF
            x[j] = (((x[j] << turn) | (x[j] >> (32 - turn))) & 0xFFFFFFFF) ^ x[i]
        if round_ % 4 == 3:
            n = round_ // 4 + 1
            x = [(word + k[(n + i) % 5] + (n if i == 3 else 0)) & 0xFFFFFFFF for i, word in enumerate(x)]
    return np.stack(x, 1)


def uniforms(n: int, key: int, first_block: int = 0) -> torch.Tensor:
    """The numbers of `n` elements from a block on: word j of lane l of block b belongs to element 32 b + 8 j + l."""
    counters = np.arange(8 * first_block, 8 * (first_block + n // 32 + 1), dtype=np.uint64)
    words = threefry(counters.astype(object), key)
    ordered = words.reshape(-1, 8, 4).transpose(0, 2, 1).reshape(-1)[:n]
    return torch.tensor([int(word) >> 8 for word in ordered], dtype=torch.float64) / 2**24


@built
@pytest.mark.parametrize("n", [32, 1000, 1031])
def test_the_draws_are_those_of_the_generator_in_the_paper(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "SMALLEST", 1)
    key = int(torch.empty((), dtype=torch.int64).random_(generator=make_generator(3)))
    p = torch.rand(n, generator=make_generator(4))
    found = draws.bernoulli(p, make_generator(3))
    assert found is not None
    assert torch.equal(found, (uniforms(n, key) < p.double()).float())


@built
@pytest.mark.parametrize("first", [2**29 - 2, 2**29 - 1, 2**29])
def test_numbers_go_on_where_the_counter_outgrows_its_word(first: int) -> None:
    """Past 2^34 elements, which would be 64 GB: the kernel is told of memory that begins so far before."""
    kernels, n, key = library.library(), 96, 12345678901234567
    assert kernels is not None
    p, out, before = torch.rand(n, generator=make_generator(4)), torch.empty(n), first * 32 * 4
    arguments = draws._Bernoulli(p.data_ptr() - before, out.data_ptr() - before, first * 32 + n, key)
    kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    kind(kernels.places["bernoulli"])(ctypes.addressof(arguments), first, first + n // 32)
    assert torch.equal(out, (uniforms(n, key, first) < p.double()).float())


@built
@pytest.mark.parametrize("shape", [(5, 7), (3, 32), (40, 33), (2, 100)])
def test_activation_and_draw_in_one_pass_are_the_two_after_each_other(
    shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "SMALLEST", 1)
    inputs, bias = 4 * normal(*shape), normal(shape[1], seed=2)
    both = draws.sigmoid_bernoulli(inputs, bias, make_generator(0))
    assert both is not None
    mean, x = both
    torch.testing.assert_close(mean.double(), torch.sigmoid((inputs + bias).double()), rtol=5e-7, atol=0)
    assert torch.equal(x, draws.bernoulli(mean, make_generator(0)))


@built
def test_extreme_inputs_are_sure_and_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "SMALLEST", 1)
    inputs = torch.tensor([[-float("inf"), -200.0, -90.0, 90.0, 200.0, float("inf"), float("nan")]])
    both = draws.sigmoid_bernoulli(inputs, torch.zeros(7), make_generator(0))
    assert both is not None
    mean, x = both
    assert mean[0, :3].max() < 1e-37
    assert torch.equal(mean[0, 3:6], torch.ones(3))
    assert torch.equal(x[0, :6], torch.tensor([0.0, 0, 0, 1, 1, 1]))
    assert mean[0, 6].isnan()  # so that the guard against divergence sees it


@built
@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_any_number_of_threads_draws_the_same(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, bias = normal(123, 77), normal(77, seed=2)
    alone = draws.sigmoid_bernoulli(inputs, bias, make_generator(0))
    monkeypatch.setattr(library, "GRAIN", 64)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    together = draws.sigmoid_bernoulli(inputs, bias, make_generator(0))
    assert alone is not None and together is not None  # noqa: PT018
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))
    p = torch.rand(9001, generator=make_generator(1))
    assert torch.equal(draws.bernoulli(p, make_generator(1)), bernoulli(p, make_generator(1)))  # type: ignore[arg-type]


@pytest.mark.parametrize("compiled", [pytest.param(True, marks=built), False])
def test_both_ways_have_the_law(compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not compiled:
        monkeypatch.setattr(draws, "library", lambda: None)
    generator = make_generator(0)
    p = torch.tensor([0.0, 0.1, 0.3, 0.5, 0.9, 1.0])
    x = bernoulli(p.expand(100_000, 6).contiguous(), generator).double()
    assert torch.equal(x.mean(0)[[0, 5]], torch.tensor([0.0, 1.0]).double())
    centred = (x - p)[:, 1:5]
    products = torch.stack([centred[:, i] * centred[:, j] for i in range(4) for j in range(i)], 1)
    neighbours = centred[1:] * centred[:-1]
    assert means_p_value(centred, torch.zeros(4).double()) > FALSE_ALARM
    assert means_p_value(products, torch.zeros(6).double()) > FALSE_ALARM
    assert means_p_value(neighbours, torch.zeros(4).double()) > FALSE_ALARM


@built
@pytest.mark.parametrize("shape", [(4, 3), (7, 8), (5, 500), (2, 1033)])
@pytest.mark.parametrize("spread", [1.0, 60.0])
def test_changes_of_softplus_are_those_in_double(
    shape: tuple[int, int], spread: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "SMALLEST", 1)
    x, a, b = spread * normal(*shape), normal(shape[1], seed=2), normal(shape[1], seed=3)
    found = draws.softplus_change(x, (0.5, a), (0.75, b))
    here, there = (F.softplus((scale * x + bias).double(), threshold=50) for scale, bias in ((0.5, a), (0.75, b)))
    torch.testing.assert_close(found, (there - here).sum(1), rtol=1e-6, atol=1e-6 * spread * shape[1])
    monkeypatch.setattr(library, "GRAIN", 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert torch.equal(found, draws.softplus_change(x, (0.5, a), (0.75, b)))  # type: ignore[arg-type]


@built
def test_gibbs_sampling_by_the_kernel_keeps_the_law(
    monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    monkeypatch.setattr(library, "SMALLEST", 1)
    rbm = tiny_rbm("bernoulli", "bernoulli", generator)
    joint = Joint.of(rbm)
    twin, start = copy.deepcopy(rbm).float(), joint.halves(joint.draw(200_000, generator))
    state, _ = BlockGibbs(twin).step(ChainState(*(half.float() for half in start)), generator=generator)
    assert joint.p_value(torch.cat([state.v, state.h], 1).double()) > FALSE_ALARM
    monkeypatch.setattr(draws, "new_key", lambda generator: 5)  # a planted bug: every half-step draws the same numbers
    state, _ = BlockGibbs(twin).step(ChainState(*(half.float() for half in start)), generator=generator)
    assert joint.p_value(torch.cat([state.v, state.h], 1).double()) < FALSE_ALARM


def test_inputs_of_another_width_are_refused() -> None:
    with pytest.raises(RuntimeError, match="must match the size"):
        Bernoulli(100).mean_and_sample(torch.zeros(100, 90), make_generator(0))
    with pytest.raises(RuntimeError, match="must match the size"):
        Bernoulli(100).cumulant_change(torch.zeros(100, 90), 0.5, Bernoulli(100), 1.0)
    with pytest.raises(RuntimeError, match="must match the size"):
        Bernoulli(100).log_prob(torch.zeros(100, 90), torch.zeros(100, 90))


def test_a_mean_that_carries_a_gradient_is_left_to_torch() -> None:
    units = Bernoulli(100)
    mean, _ = units.mean_and_sample(torch.zeros(100, 100, requires_grad=True), make_generator(0))
    mean.sum().backward()
    assert units.bias.grad is not None
    torch.testing.assert_close(units.bias.grad, torch.full((100,), 25.0))


@built
def test_a_forked_process_draws_alone_and_the_same() -> None:
    """With OpenMP's threads running in the parent, which the child does not have."""
    p = torch.rand(100_000, generator=make_generator(1))
    expected, before = bernoulli(p, make_generator(2)), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert torch.equal(bernoulli(p, make_generator(2)), expected)
        child = multiprocessing.get_context("fork").Process(target=_draw_or_fail, args=(p, expected))
        child.start()
        child.join(60)
        child.kill()
        assert child.exitcode == 0
    finally:
        torch.set_num_threads(before)


def _draw_or_fail(p: torch.Tensor, expected: torch.Tensor) -> None:
    drawn = bernoulli(p, make_generator(2)).numpy()  # torch itself would hang in its own comparison
    sys.exit(0 if (drawn == expected.numpy()).all() else 1)


def test_without_the_kernels_everything_works(monkeypatch: pytest.MonkeyPatch) -> None:
    library.library.cache_clear()
    monkeypatch.setenv("DEEPBELIEF_NATIVE", "0")
    try:
        assert library.library() is None
        assert set(bernoulli(torch.full((100, 100), 0.5), make_generator(0)).unique().tolist()) == {0.0, 1.0}
    finally:
        library.library.cache_clear()


def test_a_wish_for_other_kernels_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    library.library.cache_clear()
    monkeypatch.setenv("DEEPBELIEF_NATIVE", "off")
    try:
        with pytest.raises(InvalidArgumentError, match=r"DEEPBELIEF_NATIVE must be 0 .* or unset\. Got 'off'"):
            library.library()
    finally:
        library.library.cache_clear()
