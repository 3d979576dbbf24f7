"""Updates of any units: draws and products by torch, the rest in one call; each the general one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from deepbelief.energy.gradients import procedure
from deepbelief.energy.gradients.settings import LearningSettings, make_procedure
from deepbelief.energy.rbm import RBM
from deepbelief.native import products
from deepbelief.protocols import StepContext
from deepbelief.rng import make_generator
from deepbelief.types import Batch
from tests.native.widths import built
from tests.oracle.checks import make_context
from tests.oracle.zoo import PAIRS, tiny_rbm

UPDATES: dict[str, dict[str, Any]] = {
    "pcd": {},
    "pcd-3, decay": {"k": 3, "l2": 0.5},
    "plain gradient": {"centred": False, "l2": 0.5},
    "cd": {"learning": "cd"},
    "cd-2, plain gradient": {"learning": "cd", "k": 2, "centred": False},
}
SPARSE = ("bernoulli", "categorical", "pooled")


class Calls(list[Any]):
    """What the learning rule's calls for such an update return."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        own = procedure.dense_update
        monkeypatch.setattr(procedure, "dense_update", lambda *a, **k: (self.append(own(*a, **k)), self[-1])[1])


def machine(visible: str, hidden: str) -> tuple[RBM, Tensor]:
    """A small machine in float32, and cases of its own."""
    rbm = tiny_rbm(visible, hidden, make_generator(0)).float()
    h = rbm.hidden.sample(torch.zeros(45, rbm.hidden.size), make_generator(1))
    return rbm, rbm.sample_v_from_h(h, make_generator(2))


def trained(
    pair: tuple[str, str], settings: dict[str, Any], weight: Tensor | None, context: Any = make_context, *, n: int = 3
) -> tuple[dict[str, Tensor], dict[str, Any], dict[str, float], Tensor]:
    """The machine after `n` updates, the state of its rule, what it watched, and the next random number."""
    rbm, x = machine(*pair)
    rule = make_procedure(rbm, LearningSettings(**{"n_chains": 30, "learning_rate": 0.05} | settings))
    generator = make_generator(3)
    rule.start(Batch(x), generator)
    for _ in range(n):
        watched = rule.step(Batch(x, weight=weight), context(generator))
    numbers = {name: float(value) for name, value in watched.items()}
    return rbm.state_dict(), rule.state_dict()["negative"], numbers, torch.rand(1, generator=generator)


def both_ways(
    pair: tuple[str, str], settings: dict[str, Any], weight: Tensor | None, monkeypatch: pytest.MonkeyPatch
) -> Calls:
    """Check that the update in one call is the general one; the calls that were made."""
    calls = Calls(monkeypatch)
    fast = trained(pair, settings, weight)
    with monkeypatch.context() as patch:
        patch.setattr(products, "library", lambda: None)
        slow = trained(pair, settings, weight)
    torch.testing.assert_close(fast, slow, rtol=2e-4, atol=5e-6)
    return calls


@built
@pytest.mark.parametrize("pair", [pair for pair in PAIRS if pair != ("bernoulli", "bernoulli")], ids="-".join)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("learning", ["pcd", "cd"])
def test_it_is_the_general_update_for_every_pair_of_layers(
    pair: tuple[str, str], weighted: bool, learning: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight = torch.rand(45, generator=make_generator(5)) if weighted else None
    calls = both_ways(pair, {"learning": learning}, weight, monkeypatch)
    assert [call is not None for call in calls] == [True] * 3 + [False] * 3


@built
@pytest.mark.parametrize("name", UPDATES)
@pytest.mark.parametrize("visible", ["gaussian", "categorical", "rectified"])
def test_every_rule_makes_it(name: str, visible: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = both_ways((visible, "bernoulli"), UPDATES[name], None, monkeypatch)
    assert [call is not None for call in calls] == [True] * 3 + [False] * 3


@built
@pytest.mark.parametrize("hidden", SPARSE)
def test_sparsity_takes_its_part_of_the_biases(hidden: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = both_ways(("gaussian", hidden), {"sparsity_target": 0.1}, None, monkeypatch)
    assert [call is not None for call in calls] == [True] * 3 + [False] * 3


@built
def test_what_it_leaves_behind_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted bug, precisions that stay as they are, is seen by the comparison."""
    from deepbelief.energy.gradients import dense

    monkeypatch.setattr(dense, "_descend", lambda *_: None)
    with pytest.raises(AssertionError, match="not close"):
        both_ways(("gaussian", "bernoulli"), {}, None, monkeypatch)


@built
@pytest.mark.parametrize("settings", [{"momentum": 0.5}, {"group_size": 1, "group_cost": 0.1}, {"l1": 0.1}], ids=str)
def test_what_needs_the_weights_gradient_goes_the_long_way(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert both_ways(("gaussian", "bernoulli"), settings, None, monkeypatch) == []


@built
def test_float64_and_cases_of_another_width_are_left_to_the_general_update(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch)
    rbm, x = machine("gaussian", "bernoulli")
    wide = RBM.from_config(rbm.config()).double()
    rule, generator = make_procedure(wide, LearningSettings()), make_generator(1)
    rule.start(Batch(x.double()), generator)
    rule.step(Batch(x.double()), make_context(generator))
    assert calls == [None]
    rule = make_procedure(rbm, LearningSettings())
    rule.start(Batch(x), generator)
    with pytest.raises(RuntimeError, match=r"shape|size"):
        rule.step(Batch(x[:, :1]), make_context(generator))


@built
def test_under_bfloat16_its_sums_are_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products of inputs are bfloat16's both ways; the averages and the step are not.

    One update: from weights that differ in their last bit the next inputs are rounded elsewhere.
    """

    def shortened(generator: torch.Generator) -> StepContext:
        return make_context(generator, autocast=lambda: torch.autocast("cpu", torch.bfloat16))

    calls = Calls(monkeypatch)
    fast = trained(("gaussian", "bernoulli"), {}, None, shortened, n=1)
    monkeypatch.setattr(products, "library", lambda: None)
    slow = trained(("gaussian", "bernoulli"), {}, None, shortened, n=1)
    assert [call is not None for call in calls] == [True, False]
    torch.testing.assert_close(fast, slow, rtol=2e-4, atol=5e-6)
