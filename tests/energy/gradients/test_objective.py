"""Learning by objectives: least where the model is the data's law, and the same centred step as the likelihood's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from deepbelief.energy.gradients.exact import ExactModel
from deepbelief.energy.gradients.matching import PseudoLikelihood, RatioMatching, ScoreMatching
from deepbelief.energy.gradients.objective import ObjectiveLearning
from deepbelief.energy.gradients.procedure import LikelihoodLearning
from deepbelief.energy.gradients.settings import LearningSettings, make_procedure
from deepbelief.energy.gradients.tap import TAP
from deepbelief.energy.pseudolikelihood import log_conditional, pseudo_log_likelihood
from deepbelief.energy.rbm import RBM
from deepbelief.errors import InvalidArgumentError
from deepbelief.types import Batch
from deepbelief.units.bernoulli import Bernoulli
from deepbelief.units.gaussian import Gaussian
from tests.oracle.checks import make_context
from tests.oracle.joint import mean_log_likelihood, rows_of
from tests.oracle.pvalues import FALSE_ALARM, means_p_value
from tests.oracle.zoo import ENUMERABLE, tiny_rbm

close = torch.testing.assert_close
BINARY = ["bernoulli", "spin"]


class NegativeLikelihood:
    """The exact objective, by enumeration: what the likelihood's own rule follows."""

    name = "nll"

    def start(self, rbm: RBM, first: Tensor, generator: Any, *, rank: int, world_size: int) -> None: ...

    def losses(self, rbm: RBM, v: Tensor, generator: Any) -> Tensor:
        return torch.stack([-mean_log_likelihood(rbm, row.unsqueeze(0), None) for row in v])

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


@pytest.mark.parametrize("centred", [True, False], ids=["centred", "plain"])
@pytest.mark.parametrize(("visible", "hidden"), ENUMERABLE)
def test_the_step_is_that_of_the_likelihoods_own_rule(
    visible: str, hidden: str, centred: bool, generator: torch.Generator
) -> None:
    rbm = tiny_rbm(visible, hidden, generator)
    batch = Batch(rbm.sample(4, n_steps=2, generator=generator), weight=torch.tensor([1.0, 2.0, 0.5, 1.0]).double())
    options: dict[str, Any] = {"learning_rate": 0.0, "centred": centred, "l2": 0.1, "l1": 0.01, "offset_rate": 0.0}
    gradients = []
    for procedure in (
        ObjectiveLearning(rbm, NegativeLikelihood(), **options),
        LikelihoodLearning(rbm, ExactModel(), **options),
    ):
        procedure.step(batch, make_context(generator))
        gradients.append({name: parameter.grad.clone() for name, parameter in rbm.named_parameters()})
    close(*gradients)


def everything(rbm: RBM) -> tuple[Tensor, Tensor]:
    """All visible states and their probabilities."""
    x = torch.tensor(rows_of(rbm.visible), dtype=torch.float64)
    return x, torch.softmax(-rbm.free_energy(x).detach(), 0)


def conditionals(rbm: RBM, x: Tensor) -> Tensor:
    """``log p(v_i | v_-i)`` of every variable: (n, variables)."""
    columns = range(len(rbm.visible.bases or []))
    return torch.stack([log_conditional(rbm, x, torch.full((len(x),), i)) for i in columns], 1)


@pytest.mark.parametrize("hidden", ["bernoulli", "gaussian", "categorical"])
@pytest.mark.parametrize("visible", ["bernoulli", "spin", "categorical"])
def test_drawn_variables_give_the_pseudo_likelihood_on_average(
    visible: str, hidden: str, generator: torch.Generator
) -> None:
    rbm = tiny_rbm(visible, hidden, generator)
    x = everything(rbm)[0][:4]
    draws = PseudoLikelihood(2).losses(rbm, x.repeat(3000, 1), generator).detach().reshape(3000, 4)
    assert means_p_value(draws, -pseudo_log_likelihood(rbm, x).value) > FALSE_ALARM


@pytest.mark.parametrize("visible", BINARY)
def test_drawn_variables_give_the_ratio_objective_on_average(visible: str, generator: torch.Generator) -> None:
    rbm = tiny_rbm(visible, "bernoulli", generator)
    x = everything(rbm)[0]
    flipped = [rbm.visible.alternatives(x, torch.full((len(x),), i)) for i in range(rbm.visible.size)]
    energies = torch.stack([rbm.free_energy(pair) for pair in flipped])  # (variables, 2, n)
    wrong = torch.softmax(-energies, 1).gather(
        1, torch.stack([(~(pair == x).all(-1)).long().argmax(0, keepdim=True) for pair in flipped])
    )
    draws = RatioMatching(2).losses(rbm, x.repeat(3000, 1), generator).detach().reshape(3000, len(x))
    assert means_p_value(draws, wrong.squeeze(1).square().sum(0).detach()) > FALSE_ALARM


@pytest.mark.parametrize("objective", ["pseudo-likelihood", "ratio matching"])
@pytest.mark.parametrize("visible", BINARY)
def test_the_data_law_is_where_the_objective_is_still(visible: str, objective: str, generator: torch.Generator) -> None:
    rbm = tiny_rbm(visible, "bernoulli", generator)
    x, p = everything(rbm)
    log_p = conditionals(rbm, x)
    loss = -log_p.sum(1) if objective == "pseudo-likelihood" else torch.expm1(log_p).square().sum(1)
    at_truth = torch.autograd.grad((p * loss).sum(), list(rbm.parameters()), retain_graph=True)
    elsewhere = torch.autograd.grad((loss / len(x)).sum(), list(rbm.parameters()))
    assert max(g.abs().max() for g in at_truth) < 1e-12
    assert max(g.abs().max() for g in elsewhere) > 1e-3  # data of another law pull


def gaussian_rbm(hidden: str, generator: torch.Generator) -> RBM:
    return tiny_rbm("gaussian", hidden, generator)


@pytest.mark.parametrize("hidden", ["bernoulli", "spin", "gaussian"])
def test_score_matching_is_its_definition(hidden: str, generator: torch.Generator) -> None:
    rbm = gaussian_rbm(hidden, generator)
    x = torch.randn(5, rbm.visible.size, generator=generator, dtype=torch.float64)

    def log_p(row: Tensor) -> Tensor:
        return -rbm.free_energy(row.unsqueeze(0))[0]

    wanted = []
    for row in x:
        score = torch.autograd.functional.jacobian(log_p, row)
        hessian = torch.autograd.functional.hessian(log_p, row)
        wanted.append(0.5 * score.square().sum() + hessian.trace())
    close(ScoreMatching().losses(rbm, x, None), torch.stack(wanted))


def test_score_matching_is_still_at_the_data_law(generator: torch.Generator) -> None:
    rbm = gaussian_rbm("bernoulli", generator)
    grid = torch.linspace(-12, 12, 400, dtype=torch.float64)
    x = torch.cartesian_prod(grid, grid)
    p = torch.softmax(-rbm.free_energy(x).detach(), 0)
    loss = (p * ScoreMatching().losses(rbm, x, None)).sum()
    assert max(g.abs().max() for g in torch.autograd.grad(loss, list(rbm.parameters()))) < 1e-8


@pytest.mark.parametrize(
    ("rbm", "learning", "words"),
    [
        (RBM(3, 2), "score", "gaussian visible"),
        (RBM(Gaussian(3), 2), "ratio", "binary visible"),
        (RBM(Gaussian(3), 2), "pl", "discrete visible"),
        (RBM(Gaussian(3), 2), "tap", "bernoulli units in both"),
    ],
)
def test_units_that_do_not_fit_are_refused_before_learning(rbm: RBM, learning: Any, words: str) -> None:
    procedure = make_procedure(rbm, LearningSettings(learning=learning))
    with pytest.raises(InvalidArgumentError, match=words):
        procedure.start(Batch(torch.zeros(4, 3)), torch.Generator())


def test_settings_that_an_objective_cannot_heed_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="sparsity_target"):
        LearningSettings(learning="pl", sparsity_target=0.1)


@pytest.mark.parametrize("learning", ["pl", "ratio", "tap"])
def test_learning_raises_the_likelihood(learning: Any, generator: torch.Generator) -> None:
    teacher = RBM(Bernoulli(6), Bernoulli(2)).double()
    with torch.no_grad():
        teacher.weight.copy_(1.5 * torch.randn(6, 2, generator=generator, dtype=torch.float64).sign())
        teacher.visible.bias.copy_(-teacher.weight.sum(1) / 2)  # each hidden unit on half of the time
        teacher.hidden.bias.copy_(-teacher.weight.sum(0) / 2)
    x, p = everything(teacher)
    rbm = RBM(6, 2, generator=generator).double()
    rbm.match_data(x, p)
    before = mean_log_likelihood(rbm, x, p).item()
    settings = LearningSettings(learning=learning, learning_rate=1.0, schedule="constant", n_chains=20, n_variables=1)
    procedure = make_procedure(rbm, settings)
    procedure.start(Batch(x, weight=p), generator)
    for _ in range(600):
        procedure.step(Batch(x, weight=p), make_context(generator))
    best = mean_log_likelihood(teacher, x, p).item()
    assert mean_log_likelihood(rbm, x, p).item() > before + 0.25 * (best - before)


def test_tap_magnetizations_come_back_with_the_state(generator: torch.Generator) -> None:
    rbm, x = RBM(6, 3, generator=generator), torch.rand(8, 6, generator=generator).round()
    first, second = (ObjectiveLearning(rbm, TAP(4, 2)) for _ in range(2))
    first.start(Batch(x), generator)
    first.step(Batch(x), make_context(generator))
    second.load_state_dict(first.state_dict())
    close(second.objective.v, first.objective.v)  # type: ignore[attr-defined]
    assert (first.objective.v != x[:4]).any()  # type: ignore[attr-defined]


def test_settings_choose_the_order_of_the_expansion(generator: torch.Generator) -> None:
    rbm, x = RBM(6, 3, weight_std=1.0, generator=generator), torch.rand(8, 6, generator=generator).round()
    losses = {}
    for order in (1, 2):
        settings = LearningSettings(learning="tap", n_chains=4, k=2, tap_order=order)
        found = make_procedure(rbm, settings).objective  # type: ignore[union-attr]
        named = TAP(4, 2, order=order)
        for objective in (found, named):
            objective.start(rbm, x, generator, rank=0, world_size=1)
        losses[order] = found.losses(rbm, x, generator)
        close(losses[order], named.losses(rbm, x, generator))
    assert (losses[1] - losses[2]).abs().min() > 1e-3  # so that a forgotten order would be seen
    assert LearningSettings(learning="tap", tap_order=1).rule != LearningSettings(learning="tap").rule
    with pytest.raises(InvalidArgumentError, match=r"tap_order must be 1 .* Got tap_order=3"):
        LearningSettings(learning="tap", tap_order=3)
