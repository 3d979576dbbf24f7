"""Completion losses and baselines against loops and models whose completions are known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from deepbelief.energy.rbm import RBM
from deepbelief.errors import InvalidDataError
from deepbelief.evaluation.completion import completion_results, neighbour_completion
from deepbelief.units.gaussian import Gaussian
from deepbelief.units.spin import Spin


class Answer:
    """Completes with one number, and keeps what it was shown."""

    def __init__(self, value: float) -> None:
        self.value, self.seen = value, torch.empty(0)

    def complete(self, x: Tensor, known: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        self.seen = x
        return torch.where(known, x, torch.full_like(x, self.value))


def bits(n: int, d: int, generator: torch.Generator) -> Tensor:
    return torch.randint(2, (n, d), generator=generator).float()


def test_log_loss_of_a_constant_answer(generator: torch.Generator) -> None:
    x, train = bits(20, 6, generator), bits(30, 6, generator)
    known = torch.tensor([True, True, False, False, False, True])
    model = Answer(0.3)
    options = {"train": train, "data": "d", "model_name": "m", "generator": generator}
    ours, mean, _ = completion_results(model, x, known, **options, chunk=7, k=3)
    hidden = x[:, ~known].double()
    per_case = -(hidden * math.log(0.3) + (1 - hidden) * math.log(0.7)).mean(1)
    assert ours.value == pytest.approx(per_case.mean().item(), rel=1e-6)
    assert ours.stderr == pytest.approx(per_case.std().item() / math.sqrt(20), rel=1e-6)
    p = train.double().mean(0)[~known]
    assert mean.value == pytest.approx(-(hidden * p.log() + (1 - hidden) * (1 - p).log()).mean().item(), rel=1e-6)
    assert "clipped to [0.001, 0.999]" in ours.quantity


def test_the_model_does_not_see_what_it_is_asked_for(generator: torch.Generator) -> None:
    x, train = bits(4, 3, generator), torch.full((5, 3), 0.25)
    model = Answer(0.5)
    completion_results(
        model, x, torch.tensor([True, False, True]), train=train, data="d", model_name="m", generator=generator, k=2
    )
    assert (model.seen[:, 1] == 0.25).all()


def test_certain_and_wrong_answers_are_clipped(generator: torch.Generator) -> None:
    x = torch.ones(3, 2)
    rows = completion_results(
        Answer(0.0), x, torch.tensor([True, False]), train=x, data="d", model_name="m", generator=generator, k=1
    )
    assert rows[0].value == pytest.approx(-math.log(1e-3))
    assert rows[1].value == pytest.approx(-math.log(1 - 1e-3))


def test_neighbours_are_those_of_a_loop_over_cases(generator: torch.Generator) -> None:
    x, train = torch.randn(6, 5, generator=generator), torch.randn(40, 5, generator=generator)
    known = torch.rand(6, 5, generator=generator) < 0.5
    found = neighbour_completion(x, known, train, k=3)
    for case, mask, row in zip(x, known, found, strict=True):
        distance = ((train - case)[:, mask] ** 2).sum(1)
        nearest = train[distance.argsort(stable=True)[:3]] if mask.any() else None
        torch.testing.assert_close(row[mask], case[mask])
        if nearest is not None:
            torch.testing.assert_close(row[~mask], nearest.mean(0)[~mask])


def test_real_data_get_a_squared_error(generator: torch.Generator) -> None:
    train = torch.randn(200, 3, generator=generator)
    rbm = RBM(Gaussian(3), 2, weight_std=0.0)
    rbm.match_data(train)
    x, known = torch.randn(50, 3, generator=generator), torch.tensor([True, False, False])
    ours, mean, _ = completion_results(rbm, x, known, train=train, data="d", model_name="m", generator=generator, k=5)
    assert ours.quantity == "completion squared error"
    expected = (x - train.mean(0))[:, 1:].square().mean().item()
    assert ours.value == pytest.approx(expected, rel=1e-4)  # without weights the model's answer is the mean
    assert mean.value == pytest.approx(expected, rel=1e-4)


def test_spins_are_read_as_bits(generator: torch.Generator) -> None:
    rbm, x = RBM(Spin(2), 2, weight_std=0.0), torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    ours, _, _ = completion_results(
        rbm, x, torch.tensor([True, False]), train=x, data="d", model_name="m", generator=generator, k=1
    )
    assert ours.value == pytest.approx(math.log(2), rel=1e-6)  # a mean of 0 is a probability of a half


@pytest.mark.parametrize(
    ("known", "words"), [(torch.ones(3).bool(), "hide at least 1"), (torch.ones(2).bool(), "known must have shape")]
)
def test_bad_masks_are_refused(known: Tensor, words: str, generator: torch.Generator) -> None:
    x = torch.zeros(2, 3)
    with pytest.raises(InvalidDataError, match=words):
        completion_results(Answer(0.5), x, known, train=x, data="d", model_name="m", generator=generator, k=1)
