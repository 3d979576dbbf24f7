"""Group sparsity against automatic differentiation, and what it is for."""

import pytest
import torch
from torch import Tensor

from deepbelief.data.binarize import make_binarizer
from deepbelief.data.sets import load_set
from deepbelief.data.source import make_source
from deepbelief.energy.gradients import procedure, sparsity
from deepbelief.energy.gradients.exact import ExactModel
from deepbelief.energy.gradients.settings import LearningSettings, make_procedure
from deepbelief.energy.gradients.sparsity import group_norms
from deepbelief.energy.rbm import RBM
from deepbelief.errors import InvalidArgumentError
from deepbelief.rng import make_generator
from deepbelief.training.trainer import Trainer
from deepbelief.types import Batch
from tests.oracle.checks import exact_gradient, largest_gap, library_gradient, likelihood
from tests.oracle.zoo import tiny_rbm

COST = 0.7


def sparse_likelihood(size: int) -> object:
    """The enumerated likelihood less the norms, written out."""

    def objective(rbm: RBM, batch: Batch) -> Tensor:
        mean_h = rbm.mean_h_from_v(batch.x)
        norms = sum(group.square().sum(1).sqrt() for group in mean_h.split(size, 1))
        weight = torch.ones(len(batch.x)).double() if batch.weight is None else batch.weight
        return likelihood(rbm, batch) - COST * (weight @ norms) / weight.sum()  # type: ignore[operator]

    return objective


def gap(visible: str, hidden: str, generator: torch.Generator, *, size: int, centred: bool) -> float:
    rbm = tiny_rbm(visible, hidden, generator)
    x = rbm.visible.sample(torch.zeros(5, rbm.visible.size, dtype=torch.float64), generator)
    batch = Batch(x, None, torch.rand(5, generator=generator, dtype=torch.float64) + 0.1)
    wanted = exact_gradient(rbm, batch, centred=centred, objective=sparse_likelihood(size))  # type: ignore[arg-type]
    found = library_gradient(rbm, batch, ExactModel(), centred=centred, group_size=size, group_cost=COST)
    return largest_gap(found, wanted)


@pytest.mark.parametrize(
    ("visible", "hidden", "size"), [("bernoulli", "bernoulli", 3), ("spin", "categorical", 2), ("spin", "gaussian", 1)]
)
@pytest.mark.parametrize("centred", [True, False])
def test_gradient_is_that_of_likelihood_less_penalty(
    visible: str, hidden: str, size: int, centred: bool, generator: torch.Generator
) -> None:
    assert gap(visible, hidden, generator, size=size, centred=centred) < 1e-9


def test_a_penalty_that_misses_the_biases_is_seen(generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = sparsity.with_group_sparsity

    def forgetful(positive: object, *arguments: object) -> object:
        found = plain(positive, *arguments)  # type: ignore[arg-type]
        return type(found)(found.v, positive.h, found.left, found.right, found.visible, found.hidden)  # type: ignore[attr-defined]

    monkeypatch.setattr(procedure, "with_group_sparsity", forgetful)
    assert gap("bernoulli", "bernoulli", generator, size=3, centred=True) > 1e-3


def test_groups_are_the_quieter_the_more_they_cost() -> None:
    digits = load_set("digits")
    source = make_source(digits.x, scale=digits.scale, binarizer=make_binarizer("threshold"), batch_size=100)
    norms = []
    for cost in (0.0, 1.0, 3.0):
        rbm = RBM(64, 16, generator=make_generator(0))
        rbm.match_data(source.x)
        settings = LearningSettings(learning="cd", learning_rate=0.2, group_size=4, group_cost=cost)
        Trainer(epochs=2, progress=False).fit(make_procedure(rbm, settings), source)
        norms.append(group_norms(rbm.mean_h_from_v(source.x), 4).mean().item())
    assert norms[0] > norms[1] > norms[2]


def test_groups_that_do_not_fit_are_refused() -> None:
    rbm = RBM(4, 6)
    with pytest.raises(InvalidArgumentError, match="group_size must divide the 6"):
        make_procedure(rbm, LearningSettings(group_size=4, group_cost=0.1))
    with pytest.raises(InvalidArgumentError, match="group_size must be given"):
        make_procedure(rbm, LearningSettings(group_cost=0.1))
