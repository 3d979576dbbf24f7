"""Updates of an RBM of bits by the kernels: each the dense one, alike for any threads, resumed bit for bit."""

from __future__ import annotations

import copy
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from deepbelief.data.source import ArraySource
from deepbelief.energy.gradients import bits as bits_file
from deepbelief.energy.gradients import procedure, weights
from deepbelief.energy.gradients.cd import ContrastiveDivergence
from deepbelief.energy.gradients.pcd import PersistentChains
from deepbelief.energy.gradients.procedure import LikelihoodLearning
from deepbelief.energy.gradients.settings import LearningSettings, make_procedure
from deepbelief.energy.rbm import RBM
from deepbelief.native import library, products, rbm_update
from deepbelief.native.draws import new_key
from deepbelief.native.rbm_update import Parts, Room, Rooms, equal_shares
from deepbelief.rng import make_generator
from deepbelief.storage import state_to_bytes
from deepbelief.training.trainer import Trainer
from deepbelief.types import Batch
from tests.native.data import bits
from tests.native.widths import built
from tests.oracle.checks import make_context
from tests.oracle.joint import Joint
from tests.oracle.pvalues import FALSE_ALARM
from tests.oracle.zoo import tiny_rbm

pytestmark = pytest.mark.usefixtures("small_ones_too")

ONE_CALL = {"pcd": "persistent_update", "cd": "rbm_update"}  # with the chains' draws in it
UPDATES: dict[str, dict[str, Any]] = {
    "pcd": {},
    "pcd, other chains": {"n_chains": 53},
    "pcd-3, decay": {"k": 3, "l2": 0.5},
    "pcd, plain gradient": {"centred": False, "l2": 0.5},
    "pcd, sparse": {"sparsity_target": 0.1},
    "pcd, few chains": {"n_chains": 3},
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
    by_bits = spied(monkeypatch, "update_of_bits"), spied(monkeypatch, "bits_step", weights)
    fast, fast_state, fast_next = trained(settings, x, weight)
    in_one_pass = not ("momentum" in name or "groups" in name)
    assert [len(calls) for calls in by_bits] == ([3, 0] if in_one_pass else [0, 3])
    assert all(result for calls in by_bits for result in calls)
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
@pytest.mark.parametrize("name", [name for name in UPDATES if not ("momentum" in name or "groups" in name)])
@pytest.mark.parametrize("weighted", [False, True])
def test_grey_levels_have_the_dense_update(name: str, weighted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = LearningSettings(**{"n_chains": 83, "learning_rate": 0.1} | UPDATES[name])
    x = torch.rand(45, 80, generator=make_generator(3))
    x[:20] = bits(20, 80)
    weight = torch.rand(45, generator=make_generator(5)) if weighted else None
    updates = spied(monkeypatch, "update_of_bits")
    fast, fast_state, fast_next = trained(settings, x, weight)
    assert len(updates) == 3
    assert None not in updates
    monkeypatch.setattr(products, "library", lambda: None)
    slow, slow_state, slow_next = trained(settings, x, weight)
    assert updates[3:] == [None] * 3
    assert torch.equal(fast_next, slow_next)
    torch.testing.assert_close(fast.state_dict(), slow.state_dict(), rtol=1e-4, atol=2e-6)
    if settings.learning != "cd":
        assert torch.equal(fast_state["negative"]["h"], slow_state["negative"]["h"])


@built
@pytest.mark.parametrize(("n", "n_chains", "taken"), [(45, 3, True), (45, 8, True), (5, 30, False), (8, 30, True)])
def test_few_cases_or_chains_of_a_large_machine_leave_the_tables(
    n: int, n_chains: int, taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few chains take single calls and keep the kernel's step; few cases leave the whole update to dense products."""
    monkeypatch.setattr(rbm_update, "SMALL", 0)
    x, settings = bits(n, 80), LearningSettings(n_chains=n_chains, learning_rate=0.1)
    updates, moved = spied(monkeypatch, "update_of_bits"), spied(monkeypatch, ONE_CALL["pcd"], bits_file)
    fast, fast_state, fast_next = trained(settings, x, None)
    assert [update is not None for update in updates] == [taken] * 3
    assert [change is not None for change in moved] == ([n_chains >= 8] * 3 if taken else [])
    monkeypatch.setattr(products, "library", lambda: None)
    slow, slow_state, slow_next = trained(settings, x, None)
    assert torch.equal(fast_next, slow_next)
    torch.testing.assert_close(fast.state_dict(), slow.state_dict(), rtol=1e-4, atol=2e-6)
    assert torch.equal(fast_state["negative"]["h"], slow_state["negative"]["h"])


@built
@pytest.mark.parametrize("learning", ["pcd", "cd"])
@pytest.mark.parametrize("grey", [False, True])
def test_what_torch_makes_by_default_is_not_what_the_kernel_reads(learning: str, grey: bool) -> None:
    x = torch.rand(45, 80, generator=make_generator(3)) if grey else bits(45, 80)
    found = []
    for default in (torch.float32, torch.float64):
        rbm, generator = RBM(80, 70, weight_std=0.3, generator=make_generator(0)), make_generator(1)
        rule = make_procedure(rbm, LearningSettings(learning=learning, n_chains=30, learning_rate=0.1))
        rule.start(Batch(x), generator)
        equal_shares.cache_clear()
        torch.set_default_dtype(default)
        try:
            rule.step(Batch(x), make_context(generator))
        finally:
            torch.set_default_dtype(torch.float32)
        found.append(rbm.state_dict())
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-7)


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
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("options", [{}, {"centred": False, "l2": 0.5}, {"sparsity_target": 0.1}])
def test_contrastive_divergence_in_one_call_is_the_dense_update(
    options: dict[str, Any], weighted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, found, inside = bits(90, 80), [], spied(monkeypatch, ONE_CALL["cd"], bits_file)
    weight = torch.rand(90, generator=make_generator(5)) if weighted else None
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
    chains, inside = PersistentChains(len(h)), spied(monkeypatch, ONE_CALL["pcd"], bits_file)
    rule = LikelihoodLearning(twin, chains, learning_rate=0)
    rule.start(Batch(v), generator)

    def p_value() -> float:
        chains.h = h
        rule.step(Batch(v), make_context(generator))
        return joint.p_value(torch.cat([chains.v, chains.h], 1).double())

    assert p_value() > FALSE_ALARM
    assert [change is None for change in inside] == [False]
    deaf = lambda w, biases, offsets: Parts(w, (torch.zeros_like(biases[0]), biases[1]), offsets)
    monkeypatch.setattr(bits_file, "Parts", deaf)  # a planted bug: visible states drawn without their biases
    assert p_value() < FALSE_ALARM


@built
def test_chains_of_anything_but_bits_take_single_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """The refused call has taken its two keys; from there on the update is the dense one."""
    x, refused = bits(100, 80), spied(monkeypatch, ONE_CALL["pcd"], bits_file)
    stepped = spied(monkeypatch, "rbm_update", bits_file)

    def updated(generator: torch.Generator) -> tuple[RBM, Tensor, Tensor]:
        rbm, chains = RBM(80, 70, weight_std=0.3, generator=make_generator(0)), PersistentChains(100)
        rule = LikelihoodLearning(rbm, chains)
        rule.start(Batch(x), make_generator(1))
        chains.h = torch.full((100, 70), 0.5)
        rule.step(Batch(x), make_context(generator))
        return rbm, chains.v, chains.h

    fast = updated(make_generator(2))
    assert refused == [None]
    assert stepped == [True]
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
    inside = spied(monkeypatch, ONE_CALL[learning], bits_file)
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
    assert [bool(done) for done in inside] == [True] * 100


@built
@pytest.mark.parametrize("learning", ["pcd", "cd"])
def test_a_training_in_one_call_resumes_bit_for_bit(
    learning: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, inside = bits(200, 80), spied(monkeypatch, ONE_CALL[learning], bits_file)

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
    assert [bool(done) for done in inside] == [True] * (8 + 4 + 4)


@built
def test_an_update_is_the_same_for_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    x, settings = bits(45, 80), LearningSettings(n_chains=83, l2=0.1)
    alone = trained(settings, x, None)[0]
    monkeypatch.setattr(library, "GRAIN", 64)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    for a, b in zip(alone.parameters(), trained(settings, x, None)[0].parameters(), strict=True):
        assert torch.equal(a, b)


def started(n_chains: int = 53, learning: str = "pcd") -> tuple[RBM, LikelihoodLearning]:
    """A machine and its rule, ready for updates."""
    rbm = RBM(80, 70, weight_std=0.3, generator=make_generator(0))
    rule = LikelihoodLearning(rbm, PersistentChains(n_chains) if learning == "pcd" else ContrastiveDivergence(1))
    rule.start(Batch(bits(40, 80)), make_generator(1))
    return rbm, rule


@built
@pytest.mark.parametrize("learning", ["pcd", "cd"])
def test_memory_that_is_kept_from_update_to_update_changes_nothing(
    learning: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More sizes of batches than there are rooms, in turn, some of them grey; each room is used again."""
    made, own = [], Room.__init__
    monkeypatch.setattr(Room, "__init__", lambda self, *sizes: (made.append(sizes[1:]), own(self, *sizes))[1])
    kept, fresh = started(learning=learning), started(learning=learning)
    sizes = [40, 17, 40, 17, 9, 30, 21, 40, 17, 40]
    for step, n in enumerate(sizes):
        x = bits(n, 80, seed=step) if step % 3 else torch.rand(n, 80, generator=make_generator(step))
        kept[1].step(Batch(x), make_context(make_generator(step)))
    rooms = len(made)
    assert rooms == 7  # 40, 17, 9 and 30; then, for there are four already, 21, 40 and 17 anew
    for step, n in enumerate(sizes):
        x = bits(n, 80, seed=step) if step % 3 else torch.rand(n, 80, generator=make_generator(step))
        fresh[1]._rooms = Rooms()
        fresh[1].step(Batch(x), make_context(make_generator(step)))
    assert len(made) == rooms + len(sizes)
    assert state_to_bytes([m.state_dict() for m in kept]) == state_to_bytes([m.state_dict() for m in fresh])


@built
def test_what_a_caller_holds_stays_as_it_was() -> None:
    rule, held = started()[1], []
    for step in range(3):
        rule.step(Batch(bits(40, 80, seed=step)), make_context(make_generator(step)))
        assert isinstance(rule.negative, PersistentChains)
        held.append([(x, x.clone()) for x in (rule.negative.v, rule.negative.h)])
    assert all(torch.equal(x, before) for pair in held for x, before in pair)


@built
def test_weights_that_were_replaced_and_copies_have_updates_of_their_own() -> None:
    found = []
    for replaced in (False, True):
        rbm, rule = started()
        rule.step(Batch(bits(40, 80)), make_context(make_generator(2)))
        if replaced:
            old = rbm.weight.data
            rbm.weight.data = old.clone()
            before = old.clone()
        twin = copy.deepcopy(rule)
        rule.step(Batch(bits(40, 80, seed=1)), make_context(make_generator(3)))
        if replaced:
            assert torch.equal(old, before)
        aside = state_to_bytes(rbm.state_dict())
        twin.step(Batch(bits(40, 80, seed=1)), make_context(make_generator(3)))
        assert state_to_bytes(rbm.state_dict()) == aside == state_to_bytes(twin.rbm.state_dict())
        found.append(aside)
    assert found[0] == found[1]
