"""Products of bits by table: against double precision, alike for any threads and neighbours, and where they decline."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from deepbelief.data.source import ArraySource
from deepbelief.energy.gradients import bits as bits_file
from deepbelief.energy.gradients import procedure
from deepbelief.energy.gradients.pcd import PersistentChains
from deepbelief.energy.gradients.procedure import LikelihoodLearning
from deepbelief.energy.gradients.settings import LearningSettings, make_procedure
from deepbelief.energy.rbm import RBM
from deepbelief.maths.products import product
from deepbelief.native import library, products
from deepbelief.native.draws import new_key
from deepbelief.native.products import bits_product, bits_step
from deepbelief.native.rbm_update import Parts
from deepbelief.rng import make_generator
from deepbelief.storage import state_to_bytes
from deepbelief.training.trainer import Trainer
from deepbelief.types import Batch
from tests.native.widths import widths
from tests.oracle.checks import make_context
from tests.oracle.joint import Joint
from tests.oracle.pvalues import FALSE_ALARM
from tests.oracle.zoo import tiny_rbm

built = pytest.mark.skipif(not widths(), reason="no C kernels, or no wide vectors here")
SHAPES = [(8, 33, 250), (100, 784, 37), (31, 64, 64), (9, 1000, 8), (1100, 40, 3), (64, 31, 96), (8, 4096, 2)]


@pytest.fixture(autouse=True)
def _small_ones_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "SMALLEST", 1)
    monkeypatch.setattr(products, "FEWEST", 8)


def bits(*shape: int, seed: int = 0, on: float = 0.4) -> Tensor:
    return (torch.rand(shape, generator=make_generator(seed)) < on).float()


def by_table(x: Tensor, w: Tensor) -> Tensor:
    """The kernel's product, which must not decline."""
    found = bits_product(x, w)
    assert found is not None
    return found


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=make_generator(seed))


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
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert product(x, w).dtype == torch.bfloat16
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


UPDATES: dict[str, dict[str, Any]] = {
    "pcd": {},
    "pcd, too few draws for the kernels": {"n_chains": 53},
    "pcd-3, decay": {"k": 3, "l2": 0.5},
    "pcd, plain gradient": {"centred": False, "l2": 0.5},
    "pcd, sparse": {"sparsity_target": 0.1},
    "pcd, fewer chains than pay alone": {"n_chains": 3},
    "cd": {"learning": "cd"},
    "cd-2, plain gradient": {"learning": "cd", "k": 2, "centred": False},
    "momentum, which needs the gradient": {"momentum": 0.5, "l2": 0.5},
    "groups, which go the long way": {"group_size": 5, "group_cost": 0.1},
}


def trained(settings: LearningSettings, x: Tensor, weight: Tensor | None) -> tuple[RBM, dict[str, Any], Tensor]:
    """A machine after three updates, the state of its rule, and the next random number."""
    rbm, generator = RBM(x.shape[1], 70, weight_std=0.3, generator=make_generator(0)), make_generator(1)
    rbm.match_data(x)
    rule = make_procedure(rbm, settings)
    rule.start(Batch(x), generator)
    for _ in range(3):
        rule.step(Batch(x, weight=weight), make_context(generator))
    return rbm, rule.state_dict(), torch.rand(1, generator=generator)


@built
@pytest.mark.parametrize("name", UPDATES)
@pytest.mark.parametrize("weighted", [False, True])
def test_an_update_by_bits_is_the_dense_update(name: str, weighted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same draws (the inputs hardly differ) and the same step, with another number of chains than cases."""
    settings = LearningSettings(**{"n_chains": 83, "learning_rate": 0.1} | UPDATES[name])
    x, weight = bits(45, 80), torch.rand(45, generator=make_generator(5)) if weighted else None
    by_bits = spied(monkeypatch, "update_of_bits"), spied(monkeypatch, "bits_step")
    with_chains = spied(monkeypatch, "draws_chains", bits_file)
    fast, fast_state, fast_next = trained(settings, x, weight)
    in_one_pass = not ("momentum" in name or "groups" in name)
    assert [len(calls) for calls in by_bits] == ([3, 0] if in_one_pass else [0, 3])
    assert all(result for calls in by_bits for result in calls)
    if in_one_pass and settings.learning != "cd":
        assert with_chains == [settings.n_chains == 83] * 3
    monkeypatch.setattr(products, "library", lambda: None)
    slow, slow_state, slow_next = trained(settings, x, weight)
    assert by_bits[0][3:] == ([None] * 3 if in_one_pass else [])
    assert torch.equal(fast_next, slow_next)
    for (part, a), b in zip(fast.state_dict().items(), slow.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=2e-6, msg=part)
    if settings.learning != "cd":
        assert torch.equal(fast_state["negative"]["v"], slow_state["negative"]["v"])
        assert torch.equal(fast_state["negative"]["h"], slow_state["negative"]["h"])


def spied(monkeypatch: pytest.MonkeyPatch, name: str, file: ModuleType = procedure) -> list[object]:
    """What the learning rule's calls of a function return from now on."""
    found, original = [], getattr(file, name)

    def call(*args: object, **options: object) -> object:
        found.append(original(*args, **options))
        return found[-1]

    monkeypatch.setattr(file, name, call)
    return found


@built
def test_grey_levels_take_the_general_update_and_draw_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    x = bits(45, 80)
    x[40, 3] = 0.5
    by_bits = spied(monkeypatch, "update_of_bits")
    fast = trained(LearningSettings(n_chains=53), x, None)
    assert by_bits == [None] * 3
    monkeypatch.setattr(products, "library", lambda: None)
    slow = trained(LearningSettings(n_chains=53), x, None)
    assert torch.equal(fast[1]["negative"]["h"], slow[1]["negative"]["h"])
    assert torch.equal(fast[2], slow[2])


@built
@pytest.mark.parametrize("wrong", [{"x": (100, 40)}, {"weight": (3,)}])
@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_batches_of_another_shape_are_refused_as_ever(wrong: dict[str, tuple[int, ...]], momentum: float) -> None:
    rbm, generator = RBM(80, 70, generator=make_generator(0)), make_generator(1)
    rule = make_procedure(rbm, LearningSettings(n_chains=53, momentum=momentum))
    rule.start(Batch(bits(100, 80)), generator)
    before = rbm.weight.clone()
    weight = torch.ones(wrong["weight"]) if "weight" in wrong else None
    with pytest.raises(RuntimeError, match=r"shape|size"):
        rule.step(Batch(bits(*wrong.get("x", (100, 80))), weight=weight), make_context(generator))
    assert torch.equal(rbm.weight, before)


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


@built
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("options", [{}, {"centred": False, "l2": 0.5}, {"sparsity_target": 0.1}])
def test_contrastive_divergence_in_one_call_is_the_dense_update(
    options: dict[str, Any], weighted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, found = bits(90, 80), []
    weight = torch.rand(90, generator=make_generator(5)) if weighted else None
    inside = spied(monkeypatch, "draws_chains", bits_file)
    for _ in range(2):
        rbm, generator = RBM(80, 70, weight_std=0.3, generator=make_generator(0)), make_generator(1)
        rbm.match_data(x)
        rule = make_procedure(rbm, LearningSettings(learning="cd", learning_rate=0.1, **options))
        rule.start(Batch(x), generator)
        errors = [
            float(rule.step(Batch(x, weight=weight), make_context(generator))["reconstruction_error"]) for _ in range(3)
        ]
        found.append((rbm.state_dict(), torch.tensor(errors), torch.rand(1, generator=generator)))
        monkeypatch.setattr(products, "library", lambda: None)
    assert inside == [True] * 3
    (fast, fast_errors, fast_next), (slow, slow_errors, slow_next) = found
    torch.testing.assert_close(fast, slow, rtol=1e-4, atol=2e-6)
    torch.testing.assert_close(fast_errors, slow_errors, rtol=1e-5, atol=0)
    assert torch.equal(fast_next, slow_next)


@built
def test_chains_that_an_update_moves_keep_the_law(monkeypatch: pytest.MonkeyPatch, generator: torch.Generator) -> None:
    monkeypatch.setattr(library, "SMALLEST", 1)
    rbm = tiny_rbm("bernoulli", "bernoulli", generator)
    joint = Joint.of(rbm)
    twin, draws = copy.deepcopy(rbm).float(), joint.halves(joint.draw(200_000, generator).float())
    v, h = (half.contiguous() for half in draws)
    chains, inside = PersistentChains(len(h)), spied(monkeypatch, "draws_chains", bits_file)
    rule = LikelihoodLearning(twin, chains, learning_rate=0)
    rule.start(Batch(v), generator)

    def p_value() -> float:
        chains.h = h
        rule.step(Batch(v), make_context(generator))
        return joint.p_value(torch.cat([chains.v, chains.h], 1).double())

    assert p_value() > FALSE_ALARM
    assert inside == [True]
    deaf = lambda w, biases, offsets: Parts(w, (torch.zeros_like(biases[0]), biases[1]), offsets)
    monkeypatch.setattr(bits_file, "Parts", deaf)  # a planted bug: visible states drawn without their biases
    assert p_value() < FALSE_ALARM


@built
def test_chains_of_anything_but_bits_take_single_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """The refused call has taken its two keys; from there on the update is the dense one."""
    x, refused = bits(100, 80), spied(monkeypatch, "rbm_update", bits_file)

    def updated(generator: torch.Generator) -> tuple[RBM, Tensor, Tensor]:
        rbm, chains = RBM(80, 70, weight_std=0.3, generator=make_generator(0)), PersistentChains(100)
        rule = LikelihoodLearning(rbm, chains)
        rule.start(Batch(x), make_generator(1))
        chains.h = torch.full((100, 70), 0.5)
        rule.step(Batch(x), make_context(generator))
        return rbm, chains.v, chains.h

    fast = updated(make_generator(2))
    assert [result is None for result in refused] == [True, False]
    monkeypatch.setattr(products, "library", lambda: None)
    later = make_generator(2)
    for _ in range(2):
        new_key(later)
    slow = updated(later)
    torch.testing.assert_close(fast[0].state_dict(), slow[0].state_dict(), rtol=1e-4, atol=2e-6)
    assert all(torch.equal(a, b) for a, b in zip(fast[1:], slow[1:], strict=True))


@built
@pytest.mark.parametrize("learning", ["pcd", "cd"])
def test_along_a_training_every_update_is_the_dense_one(learning: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From each state that 100 updates come by, with the draws that they make."""
    rbm, generator = RBM(80, 70, generator=make_generator(0)), make_generator(1)
    rule = make_procedure(rbm, LearningSettings(learning=learning, n_chains=83, learning_rate=0.1))
    rule.start(Batch(bits(100, 80)), generator)
    inside = spied(monkeypatch, "draws_chains", bits_file)
    for step in range(100):
        batch = Batch(bits(100, 80, seed=step, on=0.1 + 0.8 * (step % 2)))
        before = copy.deepcopy((rbm.state_dict(), rule.state_dict())), generator.get_state()
        with monkeypatch.context() as dense:
            dense.setattr(products, "library", lambda: None)
            rule.step(batch, make_context(generator))
        wanted = copy.deepcopy((rbm.state_dict(), rule.state_dict())), generator.get_state()
        rbm.load_state_dict(before[0][0])
        rule.load_state_dict(before[0][1])
        generator.set_state(before[1])
        rule.step(batch, make_context(generator))
        torch.testing.assert_close(rbm.state_dict(), wanted[0][0], rtol=1e-5, atol=2e-6)
        assert state_to_bytes(rule.state_dict()) == state_to_bytes(wanted[0][1])
        assert torch.equal(generator.get_state(), wanted[1])
    assert inside == [True] * 100


@built
@pytest.mark.parametrize("learning", ["pcd", "cd"])
def test_a_training_in_one_call_resumes_bit_for_bit(
    learning: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, inside = bits(200, 80), spied(monkeypatch, "draws_chains", bits_file)

    def train(epochs: int, resume: Path | None = None) -> bytes:
        rbm = RBM(80, 70, generator=make_generator(0))
        # a constant rate: with a plan, two epochs of two are not the first half of four
        settings = LearningSettings(learning=learning, n_chains=83, learning_rate=0.1, schedule="constant")
        rule = make_procedure(rbm, settings)
        trainer = Trainer(epochs=epochs, progress=False, device="cpu", checkpoint_dir=tmp_path if epochs == 2 else None)
        trainer.fit(rule, ArraySource(x, batch_size=100), resume_from=resume)
        return state_to_bytes({"rbm": rbm.state_dict(), "rule": rule.state_dict()})

    whole = train(4)
    train(2)
    assert train(4, tmp_path) == whole
    assert inside == [True] * (8 + 4 + 4)


@built
def test_an_update_is_the_same_for_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    x, settings = bits(45, 80), LearningSettings(n_chains=83, l2=0.1)
    alone = trained(settings, x, None)[0]
    monkeypatch.setattr(library, "GRAIN", 64)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    for a, b in zip(alone.parameters(), trained(settings, x, None)[0].parameters(), strict=True):
        assert torch.equal(a, b)
