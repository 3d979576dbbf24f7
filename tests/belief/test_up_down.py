"""The up-down algorithm against its own objectives: enumerated, and differentiated automatically."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from deepbelief.belief import up_down
from deepbelief.belief.dbn import DBN
from deepbelief.belief.greedy import tie_to_below
from deepbelief.belief.untied import UntiedDBN
from deepbelief.belief.up_down import UpDownLearning
from deepbelief.energy.gradients.cd import ContrastiveDivergence
from deepbelief.energy.gradients.moments import Moments, moments
from deepbelief.energy.gradients.negative import PositivePhase
from deepbelief.energy.rbm import RBM
from deepbelief.types import Batch
from deepbelief.units.gaussian import Gaussian
from tests.belief.conftest import STACKS
from tests.oracle import untied
from tests.oracle.checks import make_context
from tests.oracle.joint import Joint
from tests.oracle.pvalues import FALSE_ALARM, means_p_value
from tests.oracle.zoo import tiny_rbm

Gradients = dict[str, Tensor]
Plant = Callable[[pytest.MonkeyPatch], None]
DEEP = ["bernoulli", "three layers", "mixed data", "labels", "labels over three layers"]
CASES, COPIES, STEPS = 3, 300, 150


class ExactDraws(ContrastiveDivergence):
    """Independent draws of the top's own law in the place of chains."""

    joint: Joint | None = None

    def moments(self, rbm: Any, positive: PositivePhase, generator: Any) -> tuple[Moments, Mapping[str, Tensor]]:
        self.joint = Joint.of(rbm) if self.joint is None else self.joint
        v, _ = self.joint.halves(self.joint.draw(len(positive.v), generator))
        inputs = rbm.input_h_from_v(v)
        return moments(rbm, v, inputs, rbm.hidden.mean(inputs)), {}


def network(name: str, generator: torch.Generator) -> UntiedDBN:
    return untied.tiny_untied(*STACKS[name], generator)


def cases_of(net: UntiedDBN, generator: torch.Generator, n: int = CASES) -> Batch:
    """Cases with unequal weights, and with labels where the network has them."""
    x = net.visible.sample(torch.randn(n, net.visible.size, generator=generator).double(), generator).detach()
    weight = torch.rand(n, generator=generator, dtype=torch.float64) + 0.5
    return Batch(x, torch.arange(n) % net.n_classes if net.n_classes else None, weight)


def is_up(name: str) -> bool:
    """Whether a parameter belongs to the way up."""
    return name.startswith("below") and (".recognition" in name or ".hidden." in name)


def exact_gradients(
    net: UntiedDBN, batch: Batch, dreams: Callable[[UntiedDBN], Tensor] | None, discriminative: float = 0.0
) -> Gradients:
    """Of the enumerated bound in what generates, of ``<log Q>_p`` in what infers."""
    labels = [None] * len(batch.x) if batch.y is None else batch.y.tolist()
    assert batch.weight is not None
    score = (untied.bound(net, batch.x, labels) * batch.weight).sum() / batch.weight.sum()
    down = {n: p for n, p in net.named_parameters() if not is_up(n)}
    found = dict(zip(down, torch.autograd.grad(score, list(down.values())), strict=True))
    if dreams is not None:
        up = {n: p for n, p in net.named_parameters() if is_up(n)}
        found |= dict(zip(up, torch.autograd.grad(dreams(net), list(up.values())), strict=True))
    if discriminative:
        posterior = (untied.label_score(net, batch.x, labels) * batch.weight).sum() / batch.weight.sum()
        names, parameters = zip(*net.named_parameters(), strict=True)
        for n, g in zip(names, torch.autograd.grad(posterior, parameters, allow_unused=True), strict=True):
            found[n] = found[n] if g is None else found[n] + discriminative * g
    return found


def drawn_gradients(net: UntiedDBN, batch: Batch, generator: torch.Generator, **options: Any) -> Gradients:
    """The ascent direction of many steps at rate zero, each on many copies of the batch: name -> (STEPS, ...)."""
    assert batch.weight is not None
    many = Batch(
        batch.x.repeat(COPIES, 1), None if batch.y is None else batch.y.repeat(COPIES), batch.weight.repeat(COPIES)
    )
    settings = {"learning_rate": 0.0, "offset_rate": 0.0, "centred": False, **options}
    procedure = UpDownLearning(net, ExactDraws(), **settings)
    procedure.start(many, generator)
    rows: dict[str, list[Tensor]] = {name: [] for name, _ in net.named_parameters()}
    for _ in range(STEPS):
        procedure.step(many, make_context(generator))
        for name, parameter in net.named_parameters():
            assert parameter.grad is not None
            rows[name].append(-parameter.grad)
    return {name: torch.stack(each) for name, each in rows.items()}


def p_value(found: Gradients, wanted: Gradients) -> float:
    """Of the hypothesis that the drawn gradients have these means."""
    each = torch.cat([found[name].flatten(1) for name in wanted], 1)
    return means_p_value(each, torch.cat([wanted[name].flatten() for name in wanted]))


# -- gradients ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DEEP)
def test_both_phases_follow_their_objectives(name: str, generator: torch.Generator) -> None:
    net = network(name, generator)
    batch = cases_of(net, generator)
    found = drawn_gradients(net, batch, generator)
    assert p_value(found, exact_gradients(net, batch, untied.dream_score)) > FALSE_ALARM


def test_densities_are_learned_from_too(generator: torch.Generator) -> None:
    net = network("gaussian data", generator)
    batch = cases_of(net, generator)
    assert p_value(drawn_gradients(net, batch, generator), exact_gradients(net, batch, None)) > FALSE_ALARM


@pytest.mark.parametrize("name", ["labels", "labels over three layers"])
def test_the_hybrid_climbs_the_right_label_as_well(name: str, generator: torch.Generator) -> None:
    net = network(name, generator)
    batch = cases_of(net, generator)
    found = drawn_gradients(net, batch, generator, discriminative=2.0)
    wanted = exact_gradients(net, batch, untied.dream_score, 2.0)
    assert p_value(found, wanted) > FALSE_ALARM > p_value(found, exact_gradients(net, batch, untied.dream_score))


@pytest.mark.parametrize("name", ["labels", "labels over three layers"])
def test_adversarial_cases_take_half_of_the_labels_gradient(name: str, generator: torch.Generator) -> None:
    net = network(name, generator)
    batch = cases_of(net, generator)
    y, weight = batch.y, batch.weight
    assert y is not None
    assert weight is not None

    def label_score(x: Tensor) -> Tensor:
        log_p = torch.log_softmax(-net.label_free_energies(net.upward(x)), 1)
        return log_p[torch.arange(len(x)), y] @ weight / weight.sum()

    slope = torch.autograd.functional.jacobian(label_score, batch.x)
    assert isinstance(slope, Tensor)
    moved = batch.x - 0.2 * slope.sign()
    assert bool(label_score(moved) < label_score(batch.x))
    names, parameters = zip(*net.named_parameters(), strict=True)
    both = (label_score(batch.x) + label_score(moved)) / 2
    wanted = torch.autograd.grad(both, parameters, allow_unused=True)
    # the same draws with and without, so that what is between them is the labels' gradient alone
    plain, hybrid = (
        one_step(net, batch, 1, discriminative=amount, adversarial=0.2 if amount else 0.0) for amount in (0.0, 5.0)
    )
    for name, gradient in zip(names, wanted, strict=True):
        added = torch.zeros_like(plain[name]) if gradient is None else 5.0 * gradient
        torch.testing.assert_close(hybrid[name] - plain[name], added)


def test_unknown_labels_teach_no_posterior(generator: torch.Generator) -> None:
    net = network("labels", generator)
    batch = cases_of(net, generator)
    unknown = Batch(batch.x, torch.full((CASES,), -1), batch.weight)
    plain, hybrid = (one_step(net, unknown, 1, discriminative=amount) for amount in (0.0, 5.0))
    for name in plain:
        torch.testing.assert_close(hybrid[name], plain[name])


def means_score(net: UntiedDBN) -> Tensor:
    """``<log Q(h | v)>`` with v the mean given h1."""
    hidden = untied.paths(net)
    means = net.layers[0].mean_v_from_h(hidden[0]).detach()
    above = torch.stack(
        [
            below.visible.log_prob(x, below.input_v_from_h(h))
            for below, x, h in zip(net.untied[1:], hidden, hidden[1:], strict=False)
        ]
        + [untied.log_top(net, hidden[-1])]
    ).sum(0)
    return torch.softmax(above.detach(), 0) @ untied.log_q(net, [means, *hidden])


def test_dreams_of_means(generator: torch.Generator) -> None:
    net = network("three layers", generator)
    batch = cases_of(net, generator)
    found = drawn_gradients(net, batch, generator, mean_dreams=True)
    assert p_value(found, exact_gradients(net, batch, means_score)) > FALSE_ALARM


def test_with_the_exact_posterior_the_wake_phase_climbs_the_likelihood(generator: torch.Generator) -> None:
    below = tiny_rbm("bernoulli", "bernoulli", generator, scale=1.0)
    top = RBM(below.hidden.empty_like(), 3, weight_std=0.0).double()
    tie_to_below(top, below)
    net = UntiedDBN.from_dbn(DBN([below, top]))
    batch = cases_of(net, generator)
    assert batch.weight is not None
    log_p = untied.log_likelihood(net, batch.x, [None] * CASES)
    torch.testing.assert_close(log_p, below.log_likelihood(batch.x).value)
    down = {n: p for n, p in net.named_parameters() if not is_up(n)}
    score = (log_p * batch.weight).sum() / batch.weight.sum()
    wanted = dict(zip(down, torch.autograd.grad(score, list(down.values())), strict=True))
    assert p_value(drawn_gradients(net, batch, generator), wanted) > FALSE_ALARM


def biases(found: Gradients, units: str) -> list[str]:
    return [name for name in found if name.startswith(units + ".") and name.endswith("bias")]


def shift(found: Gradients, units: str, by: Tensor) -> None:
    """Subtract a row from the gradients of a layer's biases, whose parts may hold one each."""
    names = biases(found, units)
    for name, piece in zip(names, by.split([found[name].shape[-1] for name in names], -1), strict=True):
        found[name] = found[name] - piece


def centred(net: UntiedDBN, plain: Gradients) -> Gradients:
    """The same step made in the parameters whose causes are centred, carried back to the plain ones."""
    found = dict(plain)
    row = lambda units: torch.cat([found[name] for name in biases(found, units)])
    for i, layer in enumerate(net.untied):
        for matrix, units, offset in (("generative", "visible", "hidden"), ("recognition", "hidden", "visible")):
            weight, bias = f"below.{i}.{matrix}", f"below.{i}.{units}"
            mean = getattr(layer, f"{offset}_offset")
            outer = torch.outer(row(bias), mean)
            found[weight] = found[weight] - (outer if units == "visible" else outer.T)
            shift(found, bias, found[weight] @ mean if units == "visible" else mean @ found[weight])
    top, v, h = net.top, row("undirected.visible"), row("undirected.hidden")
    weight = found["undirected.weight"] - torch.outer(v, top.hidden_offset) - torch.outer(top.visible_offset, h)
    found["undirected.weight"] = weight
    shift(found, "undirected.visible", weight @ top.hidden_offset)
    shift(found, "undirected.hidden", top.visible_offset @ weight)
    return found


@pytest.mark.parametrize("name", ["mixed data", "labels over three layers"])
def test_centring_is_the_same_step_in_centred_parameters(name: str, generator: torch.Generator) -> None:
    net = network(name, generator)
    batch, seed = cases_of(net, generator), int(generator.initial_seed())
    plain = one_step(net, batch, seed, centred=False)
    wanted = centred(net, plain)
    found = one_step(net, batch, seed, centred=True)
    assert any(not torch.allclose(plain[n], wanted[n]) for n in plain)
    for n in wanted:
        torch.testing.assert_close(found[n], wanted[n])


def one_step(net: UntiedDBN, batch: Batch, seed: int, **options: Any) -> Gradients:
    """The ascent direction of one step with the draws of `seed`."""
    procedure = UpDownLearning(net, **{"learning_rate": 0.0, "offset_rate": 0.0, **options})
    procedure.step(batch, make_context(torch.Generator().manual_seed(seed)))
    return {name: -p.grad for name, p in net.named_parameters()}  # type: ignore[operator]


def test_decay_and_rates(generator: torch.Generator) -> None:
    net = network("labels over three layers", generator)
    batch = cases_of(net, generator)
    plain = one_step(net, batch, 1, centred=False)
    found = one_step(net, batch, 1, centred=False, l2=0.3, generative_rate=0.5, recognition_rate=0.25)
    for name, parameter in net.named_parameters():
        is_matrix = name.split(".")[-1] in ("weight", "generative", "recognition")
        rate = 0.25 if is_up(name) else 0.5 if name.startswith("below") else 1.0
        wanted = plain[name] - 0.3 * parameter.detach() if is_matrix else plain[name]
        torch.testing.assert_close(found[name], rate * wanted)


# -- planted bugs ---------------------------------------------------------------------------------------------------


def no_bug(patch: pytest.MonkeyPatch) -> None:
    """Nothing planted: the check must be content."""


def up_by_the_generative_weights(patch: pytest.MonkeyPatch) -> None:
    """The wake phase infers by the weights of the way down."""

    def up(self: UpDownLearning, x: Tensor, generator: Any) -> list[Tensor]:
        states = [x]
        for layer in self.model.untied:
            states.append(layer.hidden.sample(states[-1] @ layer.generative, generator))
        return states

    patch.setattr(UpDownLearning, "_go_up", up)


def means_on_the_way_up(patch: pytest.MonkeyPatch) -> None:
    """The wake phase passes means on, not draws."""

    def up(self: UpDownLearning, x: Tensor, generator: Any) -> list[Tensor]:
        return [x, *(self.model.upward(x, n_layers=i + 1) for i in range(len(self.model.untied)))]

    patch.setattr(UpDownLearning, "_go_up", up)


def no_sleep(patch: pytest.MonkeyPatch) -> None:
    """The way up learns from means of the way down."""

    def down(self: UpDownLearning, negative: Moments, generator: Any) -> list[Tensor]:
        states = [self.model.without_label(negative.left)]
        for layer in reversed(self.model.untied):
            states.append(layer.mean_v_from_h(states[-1]))
        return states[::-1]

    patch.setattr(UpDownLearning, "_go_down", down)


def labels_unseen(patch: pytest.MonkeyPatch) -> None:
    """The top's label is its posterior although it is known."""
    seen = UpDownLearning._seen_by_top
    patch.setattr(
        UpDownLearning, "_seen_by_top", lambda self, h, b: seen(self, h, Batch(b.x, torch.full_like(b.y, -1), b.weight))
    )


def weights_forgotten(patch: pytest.MonkeyPatch) -> None:
    """All cases count the same in the delta rule."""
    shares = up_down._shares
    patch.setattr(up_down, "_shares", lambda rows, weight: shares(rows, None))


def precisions_forgotten(patch: pytest.MonkeyPatch) -> None:
    """The expectation is left out of the gradient of the precisions."""
    patch.setattr(Gaussian, "expected_statistics", lambda self, i, mean: {"log_precision": torch.zeros_like(mean)})


@pytest.mark.parametrize(
    ("plant", "name"),
    [
        (no_bug, "labels over three layers"),
        (up_by_the_generative_weights, "labels over three layers"),
        (means_on_the_way_up, "three layers"),
        (no_sleep, "bernoulli"),
        (labels_unseen, "labels"),
        (weights_forgotten, "bernoulli"),
        (precisions_forgotten, "gaussian data"),
    ],
)
def test_bugs_are_caught(plant: Plant, name: str, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator) -> None:
    fixed = torch.Generator().manual_seed(5)
    net = network(name, fixed)
    batch = cases_of(net, fixed)
    wanted = exact_gradients(net, batch, None if name == "gaussian data" else untied.dream_score)
    plant(monkeypatch)
    assert (p_value(drawn_gradients(net, batch, generator), wanted) > FALSE_ALARM) == (plant is no_bug)
