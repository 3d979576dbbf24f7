"""The conditional rule against automatic differentiation of the enumerated likelihood; chains of cases; resume."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from deepbelief.data.source import make_source
from deepbelief.energy.conditional_rbm import ConditionalRBM
from deepbelief.energy.gradients import conditional as rule
from deepbelief.energy.gradients.cd import ContrastiveDivergence
from deepbelief.energy.gradients.conditional import CaseChains, ConditionalExact, ConditionalLearning
from deepbelief.errors import InvalidArgumentError, InvalidDataError
from deepbelief.rng import make_generator
from deepbelief.training.trainer import Trainer
from deepbelief.types import Batch
from tests.energy.test_conditional_rbm import contexts, joint_of
from tests.oracle.checks import largest_gap, make_context
from tests.oracle.joint import Joint
from tests.oracle.pvalues import FALSE_ALARM, means_p_value
from tests.oracle.zoo import tiny_conditional

BIASES = ("rbm.visible.bias", "rbm.hidden.bias")


def plain(model: ConditionalRBM, primed: dict[str, Tensor], centred: bool) -> dict[str, Tensor]:
    """The parameters of the energy from those of the centred energy: biases take back what the offsets hold."""
    if not centred:
        return primed
    mu, lambda_, m = model.rbm.visible_offset, model.rbm.hidden_offset, model.context_offset
    b = primed[BIASES[0]] - primed["rbm.weight"] @ lambda_ - m @ primed["context_to_v"]
    c = primed[BIASES[1]] - mu @ primed["rbm.weight"] - m @ primed["context_to_h"]
    return {**primed, BIASES[0]: b, BIASES[1]: c}


class MeanLogLikelihood(torch.nn.Module):
    """``sum_i weight_i (log p(v_i | u_i) - group_cost |<h | v_i, u_i>|)``, by enumeration; one group of all units."""

    def __init__(self, model: ConditionalRBM, group_cost: float = 0.0) -> None:
        super().__init__()
        self.model, self.group_cost = model, group_cost

    def forward(self, batch: Batch) -> Tensor:
        u, v = batch.x.split([self.model.n_context, self.model.visible.size], 1)
        weight = torch.ones(len(v)).double() if batch.weight is None else batch.weight
        total = torch.zeros(()).double()
        for context, row, share in zip(u, v, weight / weight.sum(), strict=True):
            joint = joint_of(self.model, context)
            total = total + share * (joint.given_visible(row).log_z - joint.log_z)
            total = total - self.group_cost * share * self.model.encode(row[None], context[None]).norm()
        return total


def gap(model: ConditionalRBM, batch: Batch, *, centred: bool, l2: float = 0.0, group_cost: float = 0.0) -> float:
    options: dict[str, Any] = {"learning_rate": 0.0, "offset_rate": 0.0, "centred": centred, "l2": l2}
    options |= {"group_size": model.hidden.size, "group_cost": group_cost} if group_cost else {}
    ConditionalLearning(model, ConditionalExact(), **options).step(batch, make_context(make_generator(0)))
    found = {name: -value.grad for name, value in model.named_parameters() if value.grad is not None}
    own = {name: value.detach().clone() for name, value in model.named_parameters()}
    shift = {name: value - plain(model, own, centred)[name] for name, value in own.items()}
    primed = {name: (value + shift[name]).requires_grad_() for name, value in own.items()}
    values = {f"model.{name}": value for name, value in plain(model, primed, centred).items()}
    score = torch.func.functional_call(MeanLogLikelihood(model, group_cost), values, (batch,))
    for name in ("rbm.weight", "context_to_v", "context_to_h"):
        score = score - 0.5 * l2 * primed[name].square().sum()
    step = dict(zip(primed, torch.autograd.grad(score, list(primed.values())), strict=True))
    return largest_gap(found, plain(model, step, centred))


def some_batch(model: ConditionalRBM, generator: torch.Generator, *, weighted: bool = False) -> Batch:
    u = contexts(5, generator)
    v = model.visible.sample(torch.zeros(5, model.visible.size, dtype=torch.float64), generator)
    weight = torch.rand(5, generator=generator, dtype=torch.float64) + 0.1 if weighted else None
    return Batch(torch.cat([u, v], 1), torch.arange(5), weight)


@pytest.mark.parametrize(
    ("visible", "hidden"), [("bernoulli", "bernoulli"), ("categorical", "gaussian"), ("spin", "spin")]
)
@pytest.mark.parametrize("centred", [True, False])
def test_gradient_is_that_of_the_enumerated_likelihood(
    visible: str, hidden: str, centred: bool, generator: torch.Generator
) -> None:
    model = tiny_conditional(visible, hidden, generator)
    assert gap(model, some_batch(model, generator, weighted=True), centred=centred, l2=0.01) < 1e-9


@pytest.mark.parametrize("centred", [True, False])
def test_groups_pull_on_the_context_too(centred: bool, generator: torch.Generator) -> None:
    model = tiny_conditional("bernoulli", "bernoulli", generator)
    assert gap(model, some_batch(model, generator, weighted=True), centred=centred, group_cost=0.7) < 1e-9


def biases_left_behind(patch: pytest.MonkeyPatch) -> None:
    """Centred contexts whose share of the step never reaches the biases."""
    patch.setattr(rule, "_add_to_bias_gradient", lambda units, step: None)


def unweighted_cases(patch: pytest.MonkeyPatch) -> None:
    """Every case counted alike."""
    patch.setattr(rule, "_share", lambda phase: torch.full((len(phase.v),), 1 / len(phase.v)).to(phase.v))


@pytest.mark.parametrize("plant", [biases_left_behind, unweighted_cases])
def test_planted_bugs_are_seen(
    plant: Callable[[pytest.MonkeyPatch], None], generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_conditional("bernoulli", "bernoulli", generator)
    plant(monkeypatch)
    assert gap(model, some_batch(model, generator, weighted=True), centred=True) > 1e-3


@pytest.mark.parametrize("visible", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("planted", [False, True])
@pytest.mark.parametrize("negative", ["cd", "pcd"])
def test_learning_stands_still_at_the_law_of_the_model(
    visible: str, planted: bool, negative: str, generator: torch.Generator
) -> None:
    model, u = tiny_conditional(visible, "bernoulli", generator), contexts(2, generator)
    each = u.repeat_interleave(40, 0)
    joints = [joint_of(model, row) for row in (u.flip(0) if planted else u)]
    gradients = []
    for _ in range(60):
        v = torch.cat([joint.halves(joint.draw(40, generator))[0] for joint in joints])
        half = ContrastiveDivergence(1) if negative == "cd" else CaseChains(80)
        procedure = ConditionalLearning(model, half, learning_rate=0.0)
        batch = Batch(torch.cat([each, v], 1), torch.arange(80))
        procedure.start(batch, generator)
        procedure.step(batch, make_context(generator))
        found = [value.grad.flatten() for value in model.parameters() if value.grad is not None]
        gradients.append(torch.cat(found))
    assert (means_p_value(torch.stack(gradients), 0.0) > FALSE_ALARM) != planted


def test_a_chain_of_a_case_goes_on_where_it_was(generator: torch.Generator) -> None:
    model = tiny_conditional("bernoulli", "bernoulli", generator)
    chains = CaseChains(5)
    procedure = ConditionalLearning(model, chains, learning_rate=0.0)
    batch = some_batch(model, generator)
    procedure.start(batch, generator)
    part = Batch(batch.x[:2], torch.tensor([3, 1]))
    procedure.step(part, make_context(generator))
    assert chains.seen.tolist() == [False, True, False, True, False]
    before = chains.h.clone()
    procedure.step(Batch(batch.x[2:3], torch.tensor([0])), make_context(generator))
    assert torch.equal(chains.h[[1, 3]], before[[1, 3]])
    with pytest.raises(InvalidDataError, match="y must number the cases"):
        procedure.step(Batch(batch.x), make_context(generator))
    with pytest.raises(InvalidArgumentError, match="need one process"):
        chains.start(model.rbm, batch.x[:, 2:], generator, rank=0, world_size=2)
    with pytest.raises(InvalidDataError, match="a row must be a context"):
        procedure.step(Batch(batch.x[:, 1:], batch.y), make_context(generator))


@pytest.mark.parametrize("negative", [lambda: ContrastiveDivergence(2), lambda: CaseChains(40)])
def test_resumed_training_equals_one_that_never_stopped(
    negative: Callable[[], object], generator: torch.Generator, tmp_path: object
) -> None:
    rows = torch.cat([torch.randn(40, 2, generator=generator), (torch.rand(40, 3, generator=generator) < 0.4)], 1)
    source = make_source(rows, torch.arange(40), batch_size=16)

    def train(epochs: list[int]) -> dict[str, Tensor]:
        for n in epochs:
            model = ConditionalRBM(3, 4, 2, generator=make_generator(0))
            procedure = ConditionalLearning(model, negative(), momentum=0.5)  # type: ignore[arg-type]
            folder = f"{tmp_path}/{len(epochs)}"
            trainer = Trainer(epochs=n, checkpoint_dir=folder, progress=False)
            trainer.fit(procedure, source, resume_from=folder if n > epochs[0] else None)
        return dict(model.state_dict())

    whole, parts = train([4]), train([2, 4])
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_context_is_learned(generator: torch.Generator) -> None:
    u = torch.randn(2000, 2, generator=generator)
    v = torch.stack([(u[:, 0] > 0).float(), (u[:, 0] <= 0).float()], 1)
    model = ConditionalRBM(2, 2, 2, generator=generator)
    model.match_data(v, u)
    source = make_source(torch.cat([u, v], 1), batch_size=50)
    Trainer(epochs=5, progress=False).fit(ConditionalLearning(model, learning_rate=0.3), source)
    assert float(model.log_likelihood(v[:200], u[:200]).mean()) > -0.5  # without the context it is -log 2 at best
    assert Joint.of(model.rbm_given(torch.tensor([2.0, 0.0]))).moments()[0][0] > 0.9
