"""Updates of an RBM of bits as a GPU makes them, by Triton's interpreter: gradient, the chains' law, resuming."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from deepbelief.energy.gradients import bits as bits_file
from deepbelief.energy.gradients import bits_on_gpu
from deepbelief.energy.gradients.bits_on_gpu import update_on_gpu
from deepbelief.energy.gradients.moments import moments
from deepbelief.energy.gradients.pcd import PersistentChains
from deepbelief.energy.gradients.procedure import LikelihoodLearning
from deepbelief.energy.gradients.settings import LearningSettings, make_procedure
from deepbelief.energy.kernels.gibbs import BlockGibbs, ChainState
from deepbelief.energy.rbm import RBM
from deepbelief.native import gpu
from deepbelief.rng import make_generator
from deepbelief.types import Batch
from tests.native.data import bits
from tests.native.interpreted import interpreted
from tests.oracle.checks import make_context
from tests.oracle.joint import Joint
from tests.oracle.pvalues import FALSE_ALARM
from tests.oracle.zoo import tiny_rbm

__all__ = ["interpreted"]
pytestmark = pytest.mark.usefixtures("interpreted")
UPDATES: dict[str, dict[str, Any]] = {
    "pcd": {},
    "pcd-3, decay": {"k": 3, "l2": 0.5},
    "pcd, plain gradient": {"centred": False, "l2": 0.5},
    "pcd, sparse": {"sparsity_target": 0.1},
    "cd": {"learning": "cd"},
    "cd-2, plain gradient": {"learning": "cd", "k": 2, "centred": False},
}


def machine(n_hidden: int = 30) -> RBM:
    """A machine of bits far from its start."""
    rbm = RBM(50, n_hidden, weight_std=0.3, generator=make_generator(0))
    rbm.match_data(bits(45, 50))
    return rbm


@pytest.mark.parametrize("name", UPDATES)
def test_an_update_is_the_general_one_from_the_same_states(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The general rule, told the visible states that the GPU drew, takes the same step."""
    settings, x = LearningSettings(**{"n_chains": 37, "learning_rate": 0.1} | UPDATES[name]), bits(45, 50)
    rbm, seen = machine(), spied_states(monkeypatch)
    twin = copy.deepcopy(rbm)
    rule = make_procedure(rbm, settings)
    rule.start(Batch(x), make_generator(1))
    watched = rule.step(Batch(x), make_context(make_generator(2)))
    assert ("reconstruction_error" in watched) == (settings.learning == "cd")
    take_general_step(twin, settings, x, seen[-1])
    torch.testing.assert_close(rbm.state_dict(), twin.state_dict(), rtol=1e-4, atol=2e-6)


def take_general_step(rbm: RBM, settings: LearningSettings, x: Tensor, v: Tensor) -> None:
    """A step by the rule for all kinds of units, from the model's visible states `v`."""
    general = make_procedure(rbm, settings)
    assert isinstance(general, LikelihoodLearning)
    general.negative, general._takes_bits = FixedStates(v), False
    general.step(Batch(x), make_context(make_generator(2)))


class FixedStates(PersistentChains):
    """Chains that stay at given visible states."""

    def __init__(self, v: Tensor) -> None:
        super().__init__(len(v))
        self.v = v

    def moments(self, rbm: Any, positive: Any, generator: Any) -> tuple[Any, dict[str, Tensor]]:
        inputs = self.v @ rbm.weight
        return moments(rbm, self.v, inputs, rbm.hidden.mean(inputs)), {}


def spied_states(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The model's visible states of every step of the weights."""
    seen, step = [], gpu.step

    def spy(w: Tensor, data: gpu.Half, model: gpu.Half, *args: Any, **more: Any) -> Any:
        seen.append(model.v.float())
        return step(w, data, model, *args, **more)

    monkeypatch.setattr(gpu, "step", spy)
    return seen


def test_bfloat16_keeps_the_weights_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside precision="bf16" factors are rounded to 8 bits: no more than that parts the step from the exact one."""
    settings, x, seen = LearningSettings(n_chains=37, learning_rate=0.1), bits(45, 50), spied_states(monkeypatch)
    rbm, twin = machine(), machine()
    weight = rbm.weight.detach().clone()
    rule = make_procedure(rbm, settings)
    rule.start(Batch(x), make_generator(1))
    with torch.autocast("cpu", torch.bfloat16):
        rule.step(Batch(x), make_context(make_generator(2)))
    assert rbm.weight.dtype is torch.float32
    take_general_step(twin, settings, x, seen[-1])
    # A weight is rounded by 2^-9 of itself at most, a mean bends by a quarter of its input's error and is rounded too;
    # data and model each enter by a product and by an average.
    inputs = torch.cat([x, seen[-1]]) @ weight.abs()
    bound = 4 * settings.learning_rate * 2**-9 * (1 + inputs.max().item() / 4)
    gap = (rbm.weight - twin.weight).abs().max().item()
    assert 0 < gap < bound


def chains_p_value(rule: LikelihoodLearning, joint: Joint, v: Tensor, h: Tensor) -> float:
    """Of the chains after an update of a rate of 0 that begins in equilibrium."""
    chains = rule.negative
    assert isinstance(chains, PersistentChains)
    chains.h = h
    rule.step(Batch(v[:10]), make_context(make_generator(3)))
    return joint.p_value(torch.cat([chains.v, chains.h], 1).double())


@pytest.fixture
def tall_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter's time is one for each tile."""
    monkeypatch.setattr(gpu, "_tiles", lambda n, n_out, dtype: (2048, 16, 512, 4))


@pytest.mark.usefixtures("tall_tiles")
@pytest.mark.parametrize("k", [1, 2])
def test_chains_keep_the_law(k: int, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator) -> None:
    rbm = tiny_rbm("bernoulli", "bernoulli", generator)
    joint = Joint.of(rbm)
    v, h = (half.contiguous() for half in joint.halves(joint.draw(5_000, generator).float()))
    rule = LikelihoodLearning(copy.deepcopy(rbm).float(), PersistentChains(len(h), k), learning_rate=0)
    rule.start(Batch(v[:10]), generator)
    assert chains_p_value(rule, joint, v, h) > FALSE_ALARM
    layer = gpu.layer
    same = lambda *args, **more: layer(*args, **more | {"draw": 0})
    monkeypatch.setattr(gpu, "layer", same)  # a planted bug: every half-step draws by the same numbers
    assert chains_p_value(rule, joint, v, h) < FALSE_ALARM


@pytest.mark.usefixtures("tall_tiles")
def test_a_sweep_keeps_the_law(generator: torch.Generator) -> None:
    rbm = tiny_rbm("bernoulli", "bernoulli", generator)
    joint = Joint.of(rbm)
    v, h = (half.contiguous() for half in joint.halves(joint.draw(5_000, generator).float()))
    state, info = BlockGibbs(rbm.float()).step(ChainState(v, h), generator=generator)
    assert joint.p_value(torch.cat([state.v, state.h], 1).double()) > FALSE_ALARM
    torch.testing.assert_close(info.mean_h, rbm.mean_h_from_v(state.v), rtol=0, atol=1e-6)


def test_a_resumed_training_is_the_one_that_never_stopped() -> None:
    """Chains are bytes inside, and come back from a checkpoint as numbers, also where no GPU is."""
    settings, x = LearningSettings(n_chains=37, learning_rate=0.1), bits(45, 50)
    straight, generator = machine(), make_generator(2)
    rule = make_procedure(straight, settings)
    rule.start(Batch(x), generator)
    rule.step(Batch(x), make_context(generator))
    later, state = copy.deepcopy(straight), copy.deepcopy(rule.state_dict())
    assert state["negative"]["h"].dtype is torch.uint8
    numbers = generator.get_state()
    rule.step(Batch(x), make_context(generator))
    resumed = make_procedure(later, settings)
    resumed.load_state_dict(state)
    assert resumed.negative.h.dtype is torch.float32  # type: ignore[attr-defined]
    resumed.step(Batch(x), make_context(make_generator(0).set_state(numbers)))
    assert all(
        torch.equal(a, b) for a, b in zip(straight.state_dict().values(), later.state_dict().values(), strict=True)
    )


def test_what_the_general_update_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weighted cases and small batches; chains that were bytes go on."""
    calls: list[int] = []
    monkeypatch.setattr(
        bits_on_gpu, "update_on_gpu", lambda *args, **more: (calls.append(1), update_on_gpu(*args, **more))[1]
    )
    monkeypatch.setattr(bits_file, "serves", lambda *args: False)
    rbm, x, generator = machine(), bits(45, 50), make_generator(2)
    rule = make_procedure(rbm, LearningSettings(n_chains=37))
    rule.start(Batch(x), generator)
    rule.step(Batch(x), make_context(generator))
    assert calls == [1]
    rule.step(Batch(x, weight=torch.rand(45, generator=make_generator(5))), make_context(generator))
    monkeypatch.setattr(gpu, "SMALLEST", 1 << 20)
    rule.step(Batch(x), make_context(generator))
    assert calls == [1]
    assert rule.negative.h.dtype is torch.float32  # type: ignore[attr-defined]
