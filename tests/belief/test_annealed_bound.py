"""Annealing towards the posterior: its weights average to the probability, whatever the layers and the moves."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from deepbelief.belief import annealed_bound as annealing
from deepbelief.belief.annealed_bound import annealed_bound, annealed_log_weights, independent_parts
from deepbelief.belief.dbn import DBN
from deepbelief.energy.partition.exact import exact_log_z
from deepbelief.units.bernoulli import Bernoulli
from deepbelief.units.categorical import Categorical
from deepbelief.units.multinomial import Multinomial
from deepbelief.units.side_by_side import SideBySide
from tests.oracle import stack
from tests.oracle.pvalues import FALSE_ALARM, at_most_p_value, means_p_value
from tests.oracle.zoo import tiny_dbn

DISCRETE = ["bernoulli", "three layers", "mixed data", "labels over three layers"]
Plant = Callable[[pytest.MonkeyPatch], None]


def ratios(dbn: DBN, x: Tensor, n: int, n_temperatures: int, generator: torch.Generator) -> Tensor:
    """Draws of W / (p Z), whose mean is 1 whatever the number of temperatures: (n, cases)."""
    log_p = stack.log_likelihood(dbn, x) + float(exact_log_z(dbn.top))
    log_w = annealed_log_weights(dbn, x.repeat(n, 1), n_temperatures, generator).reshape(n, len(x))
    return (log_w - log_p).exp()


@pytest.mark.parametrize("n_temperatures", [1, 2, 7])
@pytest.mark.parametrize("dbn", DISCRETE, indirect=True)
def test_weights_average_to_the_probability(
    n_temperatures: int, dbn: DBN, x: Tensor, generator: torch.Generator
) -> None:
    assert means_p_value(ratios(dbn, x, 20_000, n_temperatures, generator), 1.0) > FALSE_ALARM


def test_more_temperatures_come_closer(generator: torch.Generator) -> None:
    """The mean of log W rises towards log p as the walk becomes slower."""
    dbn = tiny_dbn(["bernoulli", "bernoulli", "bernoulli"], None, generator)
    with torch.no_grad():
        dbn.top.weight.mul_(3)
    x = stack.states_of(dbn.visible)
    logs = [ratios(dbn, x, 2000, n, generator).log() for n in (1, 8, 64)]
    assert at_most_p_value(logs[2], 0.0) > FALSE_ALARM
    for fewer, more in ((logs[0], logs[1]), (logs[1], logs[2])):
        assert at_most_p_value((more - fewer).mean(1), 0.0) < FALSE_ALARM


def test_the_bound_says_what_it_is(generator: torch.Generator) -> None:
    dbn = tiny_dbn(["bernoulli", "bernoulli", "bernoulli"], None, generator)
    x, log_z = stack.states_of(dbn.visible)[:3], exact_log_z(dbn.top)
    runs = [annealed_bound(dbn, x, log_z=log_z, n_samples=8, generator=generator) for _ in range(200)]
    assert {(run.kind, run.method.split(";")[0]) for run in runs} == {
        ("lower_bound", "annealed bound, 2 runs of 4 temperatures")
    }
    values = torch.tensor([float(run) for run in runs], dtype=torch.float64)
    assert at_most_p_value(values, stack.log_likelihood(dbn, x).mean()) > FALSE_ALARM
    said = torch.tensor([run.stderr**2 for run in runs]).mean().sqrt().item()
    assert values.std().item() * 0.75 < said < values.std().item() * 3  # two runs: the jackknife says that of one


def test_one_layer_with_labels_is_exact(generator: torch.Generator) -> None:
    dbn = tiny_dbn(["spin", "bernoulli"], 3, generator)
    x = stack.states_of(dbn.visible)
    found = dbn.log_likelihood(x, method="annealed", n_samples=4)
    torch.testing.assert_close(found.value, stack.log_likelihood(dbn, x))


def test_the_parts_of_a_layer() -> None:
    units = SideBySide([Bernoulli(2), Categorical(2, 2), Multinomial(3, 5)])
    assert independent_parts(units).tolist() == [0, 1, 2, 2, 3, 3, 4, 4, 4]


# -- planted bugs ---------------------------------------------------------------------------------------------------


def no_bug(patch: pytest.MonkeyPatch) -> None:
    """Nothing planted: the check must be content."""


def single_columns(patch: pytest.MonkeyPatch) -> None:
    """Columns of one softmax group drawn apart."""
    patch.setattr(annealing, "independent_parts", lambda units: torch.arange(units.size))


def everything_accepted(patch: pytest.MonkeyPatch) -> None:
    """Moves without the test of Metropolis and Hastings."""
    patch.setattr(annealing, "uniform_like", lambda x, generator: torch.zeros_like(x))


def forgotten_layer_above(patch: pytest.MonkeyPatch) -> None:
    """Acceptance without the ratio of Q for the layer above the one that moves."""
    scores = annealing._Path.scores

    def still(self: annealing._Path, layers: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        log_w, log_q = scores(self, layers)
        return log_w, [torch.zeros_like(q) for q in log_q]

    patch.setattr(annealing._Path, "scores", still)


def hot_moves(patch: pytest.MonkeyPatch) -> None:
    """Moves at the next temperature but one."""
    move = annealing._Path.move
    patch.setattr(annealing._Path, "move", lambda self, s, beta, which, g: move(self, s, min(1.0, 3 * beta), which, g))


@pytest.mark.parametrize("plant", [no_bug, single_columns, everything_accepted, forgotten_layer_above, hot_moves])
def test_bugs_are_caught(plant: Plant, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator) -> None:
    dbn = tiny_dbn(["bernoulli", "categorical", "bernoulli", "bernoulli"], None, torch.Generator().manual_seed(2))
    x = stack.states_of(dbn.visible)[:4]
    plant(monkeypatch)
    p_value = means_p_value(ratios(dbn, x, 40_000, 6, generator), 1.0)
    assert (p_value > FALSE_ALARM) == (plant is no_bug)
