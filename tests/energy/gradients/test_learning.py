"""Theorems of learning: exact ascent climbs, no model beats the data's entropy, centring does not see a flipped bit."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from deepbelief.energy.gradients.exact import ExactModel
from deepbelief.energy.gradients.pcd import PersistentChains
from deepbelief.energy.gradients.procedure import LikelihoodLearning
from deepbelief.energy.rbm import RBM
from deepbelief.types import Batch
from tests.oracle.checks import make_context
from tests.oracle.zoo import ENUMERABLE, tiny_rbm

close = torch.testing.assert_close


def learn(rbm: RBM, x: Tensor, steps: int, negative: Any = None, **options: Any) -> list[Tensor]:
    """The log-likelihood of x before each step."""
    procedure = LikelihoodLearning(rbm, negative or ExactModel(), **options)
    generator = torch.Generator().manual_seed(0)
    procedure.start(Batch(x), generator)
    scores = []
    for _ in range(steps):
        scores.append(rbm.log_likelihood(x).mean().value)
        procedure.step(Batch(x), make_context(generator))
    return scores  # type: ignore[return-value]


@pytest.mark.parametrize("centred", [False, True], ids=["plain", "centred"])
@pytest.mark.parametrize(("visible", "hidden"), ENUMERABLE)
def test_exact_learning_only_climbs(visible: str, hidden: str, centred: bool, generator: torch.Generator) -> None:
    teacher, rbm = tiny_rbm(visible, hidden, generator), tiny_rbm(visible, hidden, generator)
    x = teacher.sample(8, n_steps=2, generator=generator)
    scores = learn(rbm, x, 15, learning_rate=0.01, centred=centred)
    assert all(after > before for before, after in pairwise(scores))


def test_learning_comes_close_to_the_entropy_of_the_data_and_never_above(generator: torch.Generator) -> None:
    counts = torch.tensor([1, 5, 2, 1, 4, 1, 1, 3])
    x = torch.cat(list(RBM(3, 1).visible.states())).double().repeat_interleave(counts, 0)
    share = counts / counts.sum()
    entropy = -(share * share.log()).sum().item()
    rbm = RBM(3, 4, weight_std=0.3, generator=generator).double()
    rbm.match_data(x)
    scores = learn(rbm, x, 500, learning_rate=1.0, momentum=0.7)
    assert scores[0] < -entropy - 0.05
    assert -entropy - 0.005 < scores[-1] < max(scores) + 1e-9 <= -entropy + 1e-9


def test_persistent_learning_reaches_what_exact_learning_reaches(generator: torch.Generator) -> None:
    x = (torch.rand(200, 3, generator=generator) < torch.tensor([[0.1], [0.9]]).repeat(100, 1)).double()
    scores = []
    for negative in (ExactModel(), PersistentChains(1000)):
        rbm = RBM(3, 3, weight_std=0.1, generator=torch.Generator().manual_seed(1)).double()
        rbm.match_data(x)
        scores.append(learn(rbm, x, 200, negative, learning_rate=0.5))
    climbed = scores[0][-1] - scores[0][0]
    assert climbed > 0.05
    assert abs(scores[1][-1] - scores[0][-1]) < 0.1 * climbed


def mirror(rbm: RBM) -> RBM:
    """The machine that gives 1 - v the probability that `rbm` gives v."""
    twin = RBM.from_config(rbm.config()).double()
    with torch.no_grad():
        twin.weight.copy_(-rbm.weight)
        twin.visible.bias.copy_(-rbm.visible.bias)
        twin.hidden.bias.copy_(rbm.hidden.bias + rbm.weight.sum(0))
        twin.visible_offset.copy_(1 - rbm.visible_offset)
        twin.hidden_offset.copy_(rbm.hidden_offset)
    return twin


@pytest.mark.parametrize(
    "options", [{}, {"momentum": 0.5}, {"l2": 0.1}, {"l1": 0.1}, {"sparsity_target": 0.2}], ids=str
)
def test_centred_learning_of_flipped_data_is_the_mirror_image(
    options: dict[str, Any], generator: torch.Generator
) -> None:
    rbm = tiny_rbm("bernoulli", "bernoulli", generator)
    x = tiny_rbm("bernoulli", "bernoulli", generator, scale=2.0).sample(20, generator=generator)
    twin = mirror(rbm)
    close(twin.log_likelihood(1 - x).value, rbm.log_likelihood(x).value)
    settings = {"learning_rate": 0.2, "offset_rate": 0.1, **options}
    close(learn(twin, 1 - x, 40, **settings), learn(rbm, x, 40, **settings))
    close(twin.state_dict(), mirror(rbm).state_dict())


def test_plain_learning_of_flipped_data_is_another_learning(generator: torch.Generator) -> None:
    rbm = tiny_rbm("bernoulli", "bernoulli", generator)
    x = tiny_rbm("bernoulli", "bernoulli", generator, scale=2.0).sample(20, generator=generator)
    twin = mirror(rbm)
    flipped, upright = (learn(m, d, 40, learning_rate=0.2, centred=False)[-1] for m, d in ((twin, 1 - x), (rbm, x)))
    assert abs(flipped - upright) > 1e-3
