"""Products of bits in 16 bits: rounded within a unit, never beyond 16 bits, small means not lost, and the law kept."""

from __future__ import annotations

import copy
import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from deepbelief.data.source import ArraySource
from deepbelief.energy.gradients import bits as bits_file
from deepbelief.energy.gradients.cd import ContrastiveDivergence
from deepbelief.energy.gradients.pcd import PersistentChains
from deepbelief.energy.gradients.procedure import LikelihoodLearning
from deepbelief.energy.gradients.settings import LearningSettings, make_procedure
from deepbelief.energy.rbm import RBM
from deepbelief.native import library, products, rbm_update
from deepbelief.native.products import bits_product
from deepbelief.native.rbm_update import Parts, Room
from deepbelief.rng import make_generator
from deepbelief.storage import state_to_bytes
from deepbelief.training.trainer import Trainer
from deepbelief.types import Batch
from tests.native.data import bits, normal
from tests.native.widths import built, kernels_of, widths
from tests.oracle.checks import make_context
from tests.oracle.joint import Joint
from tests.oracle.pvalues import FALSE_ALARM
from tests.oracle.zoo import tiny_rbm

pytestmark = [pytest.mark.usefixtures("small_ones_too"), built]
DEPTH, LARGEST = 512, 32767 - 256 - 8  # as in _sixteen.c
Kind = Literal["pcd", "cd"]
SHAPES = [(8, 33, 250), (100, 784, 37), (31, 64, 64), (9, 1100, 70), (1100, 40, 3), (64, 31, 130)]


def bf16() -> torch.autocast:
    """What `precision="bf16"` sets for a step."""
    return torch.autocast("cpu", dtype=torch.bfloat16)


def by_sixteen(x: Tensor, w: Tensor) -> Tensor:
    """The kernel's product, which must not decline."""
    with bf16():
        found = bits_product(x, w)
    assert found is not None
    assert found.dtype == torch.float32
    return found


def blocks(x: Tensor, w: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Bits, weights and units of what is summed in 16 bits at once."""
    n_blocks = math.ceil(len(w) / DEPTH)
    size = math.ceil(math.ceil(len(w) / n_blocks) / 32) * 32
    found = []
    for some, rows in zip(x.split(size, 1), w.double().split(size), strict=True):
        unit = torch.maximum(rows.clamp(min=0).sum(0), (-rows).clamp(min=0).sum(0)) / LARGEST
        found.append((some.double(), rows, unit))
    return found


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("turned", [False, True])
def test_each_weight_is_rounded_by_half_a_unit_at_most(shape: tuple[int, int, int], turned: bool) -> None:
    n, n_in, n_out = shape
    x, w = bits(n, n_in), normal(n_out, n_in).T if turned else normal(n_in, n_out)
    error = by_sixteen(x, w).double() - x.double() @ w.double()
    most, expected = torch.zeros(n, n_out).double(), torch.zeros(n, n_out).double()
    for some, rows, unit in blocks(x, w):
        on = some.sum(1, keepdim=True)
        whole = (rows / unit).round() * unit  # to a whole number of units, in double precision
        most += on * unit / 2
        expected += some @ (whole - rows)
    float32 = 4 * n_in * torch.finfo(torch.float32).eps * (x.double() @ w.double().abs())
    assert bool((error.abs() <= most + float32).all())
    # the same roundings but for a weight or two that lie halfway between two units
    assert (error - expected).abs().mean() < 0.02 * expected.abs().mean() + float32.mean()


@pytest.mark.parametrize("turned", [False, True])
def test_sums_reach_the_end_of_sixteen_bits_and_not_beyond(turned: bool) -> None:
    x, w = torch.ones(40, 700), torch.full((700, 70), 3.7)
    w[:, 1] = -0.3
    w[:, 2] = 0
    w[5, 3] = 1e6  # a unit is more than each of the others
    w[:, 4] = torch.tensor([1.0, -1.0]).repeat(350) * 1e-20
    w = w.T.contiguous().T if turned else w
    found, exact = by_sixteen(x, w), x.double() @ w.double()
    assert torch.equal(found[:, 2], torch.zeros(40))
    torch.testing.assert_close(found[:, [0, 1]].double(), exact[:, [0, 1]], rtol=0.5 * 352 / LARGEST, atol=0)
    assert abs(found[0, 3] - exact[0, 3]) <= 700 * 1e6 / LARGEST
    assert found[:, 4].abs().max() < 1e-18


@pytest.mark.parametrize("what", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("turned", [False, True])
def test_a_weight_that_is_no_number_leaves_none(what: float, turned: bool) -> None:
    w = normal(80, 70)
    w[3, 5] = what
    found = by_sixteen(bits(40, 80), w.T.contiguous().T if turned else w)
    assert not found[:, 5].isfinite().any()
    assert found[:, torch.arange(70) != 5].isfinite().all()


def test_it_errs_less_than_bfloat16() -> None:
    x, w = bits(200, 784, on=0.2), 0.2 * normal(784, 500)
    exact = x.double() @ w.double()
    with bf16():
        short = x @ w
    assert short.dtype == torch.bfloat16
    error, other = (by_sixteen(x, w) - exact).square().mean(), (short.double() - exact).square().mean()
    assert error < other / 2


@pytest.mark.parametrize("threads", [2, 3])
def test_any_number_of_threads_and_any_neighbours_make_the_same_sums(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, w = bits(1030, 200), normal(200, 130)
    alone = by_sixteen(x, w), by_sixteen(x, w.T.contiguous().T)
    assert torch.equal(alone[0][500:520], by_sixteen(x[500:520], w))
    monkeypatch.setattr(library, "GRAIN", 64)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert torch.equal(alone[0], by_sixteen(x, w))
    assert torch.equal(alone[1], by_sixteen(x, w.T.contiguous().T))


@pytest.mark.skipif(widths() != [8, 16], reason="vectors of one width alone here")
@pytest.mark.parametrize("shape", SHAPES)
def test_wider_vectors_make_the_same_sums(shape: tuple[int, int, int]) -> None:
    n, n_in, n_out = shape
    x, w = bits(n, n_in), normal(n_in, n_out)
    found = []
    for lanes in (8, 16):
        with kernels_of(lanes):
            found.append((by_sixteen(x, w), by_sixteen(x, w.T.contiguous().T)))
    for a, b in zip(*found, strict=True):
        assert torch.equal(a, b)


def learning(kind: Kind, n: int, **options: Any) -> LikelihoodLearning:
    """A rule for 83 units and 70 hidden ones, started."""
    rbm = RBM(83, 70, weight_std=0.3, generator=make_generator(0))
    rbm.match_data(bits(n, 83))
    rule = make_procedure(rbm, LearningSettings(learning=kind, n_chains=n, learning_rate=0.1, **options))
    assert isinstance(rule, LikelihoodLearning)
    rule.start(Batch(bits(n, 83)), make_generator(1))
    return rule


CALLER = {"pcd": rbm_update, "cd": bits_file}  # who calls the kernel with chains to draw
UPDATES: list[dict[str, Any]] = [{}, {"centred": False}, {"l2": 0.5}, {"l2": 0.5, "centred": False}, {"k": 3}]


@pytest.mark.parametrize("kind", ["pcd", "cd"])
@pytest.mark.parametrize("options", UPDATES)
@pytest.mark.parametrize("n", [45, 300])
def test_a_step_goes_along_the_gradient_of_its_own_draws(
    kind: Kind, options: dict[str, Any], n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In double precision, from the states that were drawn; what 16 bits round off is a hundredth of a gradient."""
    rule, x, seen = learning(kind, n, **options), bits(n, 83), []
    rbm, original = rule.rbm, rbm_update.rbm_update

    def call(parts: Parts, room: Room, how: Any, *chains: Any) -> Any:
        assert how.sixteen
        found = original(parts, room, how, *chains)
        seen.append(room.model.v)
        return found

    monkeypatch.setattr(CALLER[kind], "rbm_update", call)
    before = copy.deepcopy(rbm).double()
    rule.step(Batch(x), make_context(make_generator(2), autocast=bf16))
    (v,) = seen
    w, mu, offset = before.weight.detach(), before.visible_offset, before.hidden_offset
    means = [before.mean_h_from_v(states.double()).detach() for states in (x, v)]
    gradient = (x.double().T @ means[0] - v.double().T @ means[1]) / n
    d_v, d_h = (x - v).double().mean(0), (means[0] - means[1]).mean(0)
    if options.get("centred", True):
        gradient = gradient - d_v.outer(offset) - mu.outer(d_h)
    wanted = w + 0.1 * (gradient - options.get("l2", 0.0) * w)
    error = (rbm.weight.detach() - wanted) / 0.1
    assert error.abs().max() < 0.01
    assert error.square().mean().sqrt() < 0.001
    assert gradient.square().mean().sqrt() > 0.02  # more than twenty times as much


@pytest.mark.parametrize("kind", ["pcd", "cd"])
def test_means_below_a_level_are_not_lost(kind: str) -> None:
    """Units that are on once in 2,000 cases, where a level is 1/255: rounded one by one they would never learn."""
    n = 128
    rule, x = learning(kind, n, centred=False), bits(n, 83)
    rbm = rule.rbm
    with torch.no_grad():
        rbm.weight.zero_()
        rbm.hidden.bias.fill_(-math.log(2000))
        rbm.visible.bias.fill_(-20.0)  # the model's states are all off, so that the data alone are learned from
    before = rbm.weight.detach().clone()
    x[:, 0] = 1
    if isinstance(rule.negative, PersistentChains):
        rule.negative.h = torch.zeros(n, 70)
    rule.step(Batch(x), make_context(make_generator(2), autocast=bf16))
    change = (rbm.weight.detach() - before)[0] / 0.1
    torch.testing.assert_close(change, torch.full((70,), 1 / 2001), rtol=0, atol=0.51 / (32767 // n) / n)
    assert 0.51 / (32767 // n) / n < 1 / 2001 / 20


@pytest.mark.parametrize("why", ["weights", "other chains"])
def test_unequal_shares_are_multiplied_in_float32(why: str) -> None:
    weight = torch.rand(100, generator=make_generator(5)) if why == "weights" else None
    found = []
    for autocast in (nullcontext, bf16):
        rbm, generator = RBM(83, 70, weight_std=0.3, generator=make_generator(0)), make_generator(1)
        rule = make_procedure(rbm, LearningSettings(n_chains=100 if weight is not None else 83, l2=0.1))
        rule.start(Batch(bits(100, 83)), generator)
        rule.step(Batch(bits(100, 83), weight=weight), make_context(generator, autocast=autocast))
        found.append(state_to_bytes({"rbm": rbm.state_dict(), "rule": rule.state_dict()}))
    assert found[0] == found[1]


@pytest.mark.parametrize("kind", ["pcd", "cd"])
def test_chains_keep_the_law(kind: Kind, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator) -> None:
    monkeypatch.setattr(library, "SMALLEST", 1)
    rbm = tiny_rbm("bernoulli", "bernoulli", generator)
    joint = Joint.of(rbm)
    twin, draws = copy.deepcopy(rbm).float(), joint.halves(joint.draw(200_000, generator).float())
    v, h = (half.contiguous() for half in draws)
    negative = PersistentChains(len(h)) if kind == "pcd" else ContrastiveDivergence(1)
    model: list[Tensor] = []
    rule = LikelihoodLearning(twin, negative, learning_rate=0)
    rule.start(Batch(v), generator)
    original = rbm_update.rbm_update

    def call(parts: Parts, room: Room, how: Any, *chains: Any) -> Any:
        assert how.sixteen
        found, mean = original(parts, room, how, *chains), room.model.mean
        model[:] = [room.model.v, (torch.rand(mean.shape, generator=generator) < mean).float()]
        return found

    monkeypatch.setattr(CALLER[kind], "rbm_update", call)

    def p_value() -> float:
        if isinstance(negative, PersistentChains):
            negative.h = h
        rule.step(Batch(v), make_context(generator, autocast=bf16))
        return joint.p_value(torch.cat(model, 1).double())

    assert p_value() > FALSE_ALARM
    deaf = lambda w, biases, offsets: Parts(w, (torch.zeros_like(biases[0]), biases[1]), offsets)
    monkeypatch.setattr(bits_file, "Parts", deaf)  # a planted bug: visible states drawn without their biases
    assert p_value() < FALSE_ALARM


@pytest.mark.parametrize("kind", ["pcd", "cd"])
def test_a_training_is_the_same_for_any_threads_and_resumes_bit_for_bit(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = bits(200, 83)

    def train(epochs: int, resume: Path | None = None) -> bytes:
        rbm = RBM(83, 70, generator=make_generator(0))
        settings = LearningSettings(learning=kind, n_chains=100, learning_rate=0.1, schedule="constant")
        rule, folder = make_procedure(rbm, settings), tmp_path if epochs == 2 else None
        trainer = Trainer(epochs=epochs, progress=False, device="cpu", precision="bf16", checkpoint_dir=folder)
        trainer.fit(rule, ArraySource(x, batch_size=100), resume_from=resume)
        return state_to_bytes({"rbm": rbm.state_dict(), "rule": rule.state_dict()})

    whole = train(4)
    train(2)
    assert train(4, tmp_path) == whole
    monkeypatch.setattr(library, "GRAIN", 64)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert train(4) == whole
    monkeypatch.setattr(products, "in_sixteen_bits", lambda: False)
    monkeypatch.setattr(bits_file, "in_sixteen_bits", lambda: False)
    assert train(4) != whole
