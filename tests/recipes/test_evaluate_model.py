"""What `evaluate` asks of a model and what it makes of the answers, with a model made up for the purpose."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from deepbelief.errors import InvalidArgumentError, InvalidDataError
from deepbelief.evaluation.sample_quality import COPYING, FRECHET, PAIRS, PAIRS_P
from deepbelief.evaluation.samples import COPIES, HELD_OUT
from deepbelief.recipes.evaluate_data import Given
from deepbelief.recipes.evaluate_model import MOST_SCORED, judge, sentences_of
from deepbelief.recipes.model_rows import LIKELIHOOD, RAW, SAMPLING
from deepbelief.types import Bound, Result

FAST: dict[str, Any] = {"n_networks": 1, "network_epochs": 1, "n": 60}


class MadeUp:
    """Uniform bits, a likelihood that is minus the number of ones, and the label itself as the only code."""

    name, is_model, threshold = "made up", True, 0.5
    binarization = None

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def draw(self, n: int, given: Given) -> Tensor:
        return torch.randint(0, 2, (n, given.train.shape[1]), generator=torch.Generator().manual_seed(1)).float()

    def log_likelihood(self, x: Tensor, y: Any, names: list[str] | None) -> Bound:
        self.seen.append(x)
        return Bound(-x.sum(1), "upper_bound", 0.25)

    def codes(self, x: Tensor, y: Any, names: list[str] | None) -> Any:
        return np.stack([y, 0 * y], 1)


@pytest.fixture(scope="module")
def grey() -> Given:
    """Grey levels of two classes, of which no pixel tells anything; one case has no label."""
    generator = torch.Generator().manual_seed(0)
    train, test = (torch.rand(n, 6, generator=generator) for n in (100, 130))
    labels = [torch.randint(0, 2, (len(x),), generator=generator).numpy() for x in (train, test)]
    labels[0][0] = -1
    return Given("grey", train, labels[0], test, labels[1])


@pytest.fixture(scope="module")
def judged(grey: Given) -> tuple[MadeUp, dict[tuple[str, str], Result]]:
    model = MadeUp()
    found = judge(model, grey, **FAST)
    assert (found.taught_by, found.n_each) == ("labels", 60)
    return model, {(row.model, row.quantity): row for row in found.rows}


def test_the_likelihood_is_that_of_bits_where_the_model_draws_bits(
    judged: tuple[MadeUp, dict[tuple[str, str], Result]],
) -> None:
    (x,), row = judged[0].seen, judged[1]["made up", LIKELIHOOD]
    assert set(x.unique().tolist()) == {0.0, 1.0}
    assert (row.value, row.kind, row.stderr) == (pytest.approx(-float(x.sum(1).mean())), "upper_bound", 0.25)
    spread = judged[1]["made up", f"{LIKELIHOOD}, standard error over cases"].value
    assert spread == pytest.approx(float(x.sum(1).double().std()) / len(x) ** 0.5)
    assert len(x) == 130 <= MOST_SCORED
    assert row.data == "grey, bits (stochastic), 130 held-out cases"
    assert judged[1]["independent units", LIKELIHOOD].value == pytest.approx(-6 * np.log(2), abs=0.3)


def test_features_are_the_models_own_beside_the_inputs(judged: tuple[MadeUp, dict[tuple[str, str], Result]]) -> None:
    rows = judged[1]
    assert rows["made up", "linear probe accuracy"].value == 100.0
    assert float(rows[RAW, "linear probe accuracy"].value or 0) < 75
    assert {model for model, quantity in rows if quantity == COPYING} == {"made up", HELD_OUT, COPIES}
    assert ("made up", SAMPLING) in rows


def test_what_cannot_be_judged_is_refused_before_any_draw(grey: Given) -> None:
    few = Given("few", grey.train[:39], None, grey.test, None)
    with pytest.raises(InvalidDataError, match="Got 39 and 130"):
        judge(MadeUp(), few, **FAST)
    with pytest.raises(InvalidArgumentError, match="n must be at least 40"):
        judge(MadeUp(), grey, **{**FAST, "n": 39})


@pytest.mark.parametrize(
    ("deviations", "words"), [(-5.1, "nearer to training cases"), (-4.9, "no sign of copies"), (5.1, "lie further")]
)
def test_the_sentences_say_what_the_numbers_say(deviations: float, words: str) -> None:
    def row(model: str, quantity: str, value: float, error: float | None = None) -> Result:
        return Result(quantity, value, "measured", error, "", "d", model)

    rows = [row("m", COPYING, 0.3 * deviations, 0.3), row(COPIES, COPYING, -9.0, 0.3), row("m", PAIRS, 88.0)]
    rows += [row("m", FRECHET, 6.0), row(HELD_OUT, FRECHET, 2.0), row("m", PAIRS_P, 1e-9)]
    copies, distance, test = sentences_of(rows, "m")
    assert words in copies
    assert "of copies -9.0" in copies
    assert distance.startswith("FD is 3 times")
    assert "can tell samples from data (88 % of pairs" in test
