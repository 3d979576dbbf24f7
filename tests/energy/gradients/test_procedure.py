"""One update of an RBM: what each setting does to it, and that nothing else happens."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from deepbelief.energy.gradients.cd import ContrastiveDivergence
from deepbelief.energy.gradients.exact import ExactModel
from deepbelief.energy.gradients.pcd import PersistentChains
from deepbelief.energy.gradients.procedure import LikelihoodLearning
from deepbelief.energy.gradients.settings import LearningSettings, make_procedure
from deepbelief.energy.rbm import RBM
from deepbelief.errors import InvalidArgumentError
from deepbelief.protocols import Procedure
from deepbelief.types import Batch
from deepbelief.units.catalog import make_units
from tests.oracle.checks import largest_gap, library_gradient, make_context
from tests.oracle.zoo import ENUMERABLE, tiny_rbm

close = torch.testing.assert_close
Parameters = dict[str, Tensor]


@pytest.fixture
def rbm(generator: torch.Generator) -> RBM:
    return tiny_rbm("with_gaussian", "bernoulli", generator)


@pytest.fixture
def batch(rbm: RBM, generator: torch.Generator) -> Batch:
    return Batch(rbm.sample(6, n_steps=2, generator=generator))


def parameters(rbm: RBM) -> Parameters:
    return {name: value.detach().clone() for name, value in rbm.named_parameters()}


def step(rbm: RBM, batch: Batch, *, progress: float = 0.0, **options: Any) -> Parameters:
    """How far one step moves each parameter."""
    before = parameters(rbm)
    LikelihoodLearning(rbm, ExactModel(), **options).step(
        batch, make_context(torch.Generator().manual_seed(0), progress=progress)
    )
    return {name: value - before[name] for name, value in parameters(rbm).items()}


def test_a_step_is_the_rate_times_the_gradient(rbm: RBM, batch: Batch) -> None:
    gradient = library_gradient(rbm, batch, ExactModel())
    moved = step(rbm, batch, learning_rate=0.03)
    close(moved, {name: 0.03 * value for name, value in gradient.items()})


def test_the_schedule_is_a_factor_of_the_rate(rbm: RBM, batch: Batch) -> None:
    gradient = library_gradient(rbm, batch, ExactModel())
    moved = step(rbm, batch, learning_rate=0.1, schedule=lambda progress: 1 - progress, progress=0.75)
    close(moved, {name: 0.025 * value for name, value in gradient.items()})


def test_momentum_adds_the_step_before(rbm: RBM, batch: Batch) -> None:
    procedure = LikelihoodLearning(rbm, ExactModel(), learning_rate=0.01, momentum=0.9)
    moves, gradients = [], []
    for _ in range(2):
        gradients.append(library_gradient(rbm, batch, ExactModel()))
        before = parameters(rbm)
        procedure.step(batch, make_context(torch.Generator()))
        moves.append({name: value - before[name] for name, value in parameters(rbm).items()})
    close(
        moves[1],
        {name: 0.01 * value + 0.9 * moves[0][name] for name, value in gradients[1].items()},
        rtol=1e-6,
        atol=1e-6,
    )


@pytest.mark.parametrize("penalty", ["l1", "l2"])
def test_weight_decay_pulls_the_weights_alone(penalty: str, rbm: RBM, batch: Batch) -> None:
    plain = library_gradient(rbm, batch, ExactModel(), centred=False)
    decayed = library_gradient(rbm, batch, ExactModel(), centred=False, **{penalty: 0.5})
    pull = {"l1": rbm.weight.sign(), "l2": rbm.weight}[penalty].detach()
    close(decayed.pop("weight"), plain.pop("weight") - 0.5 * pull)
    close(decayed, plain, rtol=0, atol=0)


def test_weights_of_cases_are_repetitions(rbm: RBM, batch: Batch) -> None:
    counts = torch.tensor([2, 0, 1, 1, 3, 0])
    repeated = library_gradient(rbm, Batch(batch.x.repeat_interleave(counts, 0)), ExactModel())
    for scale in (1.0, 0.01):
        weighted = library_gradient(rbm, Batch(batch.x, weight=scale * counts.double()), ExactModel())
        assert largest_gap(weighted, repeated) < 1e-9


def test_the_gradients_of_batches_average_to_that_of_the_data(rbm: RBM, batch: Batch) -> None:
    whole = library_gradient(rbm, batch, ExactModel())
    ragged = [(n, library_gradient(rbm, Batch(x), ExactModel())) for n, x in zip((4, 2), batch.x.split(4), strict=True)]
    mean = {name: sum(n * gradient[name] for n, gradient in ragged) / 6 for name in whole}
    assert largest_gap(mean, whole) < 1e-9  # type: ignore[arg-type]


@pytest.mark.parametrize("centred", [False, True])
def test_the_sparsity_cost_pulls_hidden_biases_to_the_target(centred: bool, rbm: RBM, batch: Batch) -> None:
    options: dict[str, Any] = {"centred": centred}
    plain = library_gradient(rbm, batch, ExactModel(), **options)
    offset = rbm.hidden_offset.clone()
    rbm.hidden_offset.copy_(offset)
    sparse = library_gradient(rbm, batch, ExactModel(), sparsity_target=0.1, sparsity_cost=2.0, **options)
    close(sparse.pop("hidden.bias"), plain.pop("hidden.bias") - 2.0 * (offset - 0.1))
    close(sparse, plain, rtol=0, atol=0)


@pytest.mark.parametrize("target", [0.1, 0.8])
def test_sparse_learning_reaches_its_target(target: float, generator: torch.Generator) -> None:
    rbm = RBM(4, 3, generator=generator).double()
    batch = Batch((torch.rand(40, 4, generator=generator) < 0.5).double())
    rbm.match_data(batch.x)
    options: dict[str, Any] = {"learning_rate": 0.1, "offset_rate": 0.3}
    procedure = LikelihoodLearning(rbm, ExactModel(), sparsity_target=target, sparsity_cost=10.0, **options)
    for _ in range(250):
        procedure.step(batch, make_context(generator))
    assert (rbm.mean_h_from_v(batch.x).mean(0) - target).abs().max() < 0.02


@pytest.mark.parametrize(("kind", "target"), [("bernoulli", 2.0), ("spin", -1.5), ("poisson", -0.1)])
def test_a_target_that_no_unit_can_have_is_refused(kind: str, target: float) -> None:
    rbm = RBM(3, make_units(kind, 2))
    with pytest.raises(InvalidArgumentError, match=rf"^sparsity_target must be at .*a mean of {kind} units\.$"):
        LikelihoodLearning(rbm, ExactModel(), sparsity_target=target)
    with pytest.raises(InvalidArgumentError, match="sparsity_cost must be at least 0"):
        LikelihoodLearning(rbm, ExactModel(), sparsity_target=0.5, sparsity_cost=-1.0)


@pytest.mark.parametrize(("visible", "hidden"), ENUMERABLE[::4])
def test_moving_the_offsets_never_moves_the_model(visible: str, hidden: str, generator: torch.Generator) -> None:
    rbm = tiny_rbm(visible, hidden, generator)
    x = rbm.sample(6, n_steps=2, generator=generator)
    before, offsets = rbm.log_likelihood(x).value, (rbm.visible_offset.clone(), rbm.hidden_offset.clone())
    library_gradient(rbm, Batch(x), ExactModel(), offset_rate=0.5)  # a step whose learning rate is zero
    close(rbm.log_likelihood(x).value, before, rtol=0, atol=0)
    close(rbm.visible_offset, (offsets[0] + x.mean(0)) / 2)
    close(rbm.hidden_offset, (offsets[1] + rbm.mean_h_from_v(x).mean(0)) / 2)


def test_a_step_of_one_process_averages_what_it_is_asked_to(rbm: RBM, batch: Batch) -> None:
    seen: list[int] = []
    context = make_context(torch.Generator())
    asked = type(context)(**{**vars(context), "average": lambda tensors: seen.extend(id(t) for t in tensors)})
    LikelihoodLearning(rbm, ExactModel()).step(batch, asked)
    wanted = [*rbm.parameters(), rbm.visible_offset, rbm.hidden_offset]
    assert seen == [id(tensor) for tensor in wanted]


@pytest.mark.parametrize("negative", [ExactModel, ContrastiveDivergence, PersistentChains])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_state_goes_on_as_if_never_stopped(negative: Any, optimizer: Any, generator: torch.Generator) -> None:
    batch = Batch(torch.ones(4, 3).double())
    first = tiny_rbm("bernoulli", "spin", generator)
    procedures = [LikelihoodLearning(first, negative(), optimizer=optimizer, momentum=0.5)]
    procedures[0].start(batch, generator)
    procedures[0].step(batch, make_context(generator))
    second = RBM.from_config(first.config()).double()
    second.load_state_dict(first.state_dict())
    procedures.append(LikelihoodLearning(second, negative(), optimizer=optimizer, momentum=0.5))
    procedures[1].load_state_dict(copy.deepcopy(procedures[0].state_dict()))
    for procedure in procedures:
        procedure.step(batch, make_context(torch.Generator().manual_seed(7)))
    close(parameters(second), parameters(first), rtol=0, atol=0)


def test_it_is_a_procedure(rbm: RBM) -> None:
    assert isinstance(LikelihoodLearning(rbm, ExactModel()), Procedure)


@pytest.mark.parametrize("kind", [ContrastiveDivergence, PersistentChains, ExactModel])
def test_settings_make_what_they_name(kind: Any) -> None:
    settings = LearningSettings.from_mapping({"learning": kind.name, "k": 3, "n_chains": 7, "l2": 0.1})
    assert LearningSettings.from_mapping(settings.to_dict()) == settings
    procedure = make_procedure(RBM(3, 2), settings)
    assert isinstance(procedure.negative, kind)
    assert procedure.l2 == 0.1
    assert getattr(procedure.negative, "k", 3) == 3
    assert getattr(procedure.negative, "n_chains", 7) == 7


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"learnig": "cd"}, r"Did you mean 'learning'"),
        ({"learning": "pdc"}, r"learning must be one of 'pcd', 'cd'.*Did you mean 'pcd'"),
        ({"schedule": "linar"}, r"Did you mean 'linear'"),
        ({"k": 0}, r"k must be at least 1. Got k=0"),
        ({"n_chains": 0}, r"n_chains must be at least 1"),
        ({"epochs": -1}, r"epochs must be at least 0"),
    ],
)
def test_wrong_settings_get_a_sentence(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidArgumentError, match=sentence):
        LearningSettings.from_mapping(values)


@pytest.mark.parametrize(
    ("name", "value"),
    [("learning_rate", -0.1), ("momentum", 1.5), ("l1", -1), ("l2", -1), ("offset_rate", 2), ("optimizer", "sdg")],
)
def test_wrong_arguments_get_a_sentence(name: str, value: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=f"{name} must be .*Got {name}="):
        LikelihoodLearning(RBM(2, 2), ExactModel(), **{name: value})
