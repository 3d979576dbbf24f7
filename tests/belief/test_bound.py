"""The variational bound against the exact likelihood by enumeration."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from deepbelief.belief.bound import log_weights, variational_bound
from deepbelief.belief.dbn import DBN
from deepbelief.belief.greedy import tie_to_below
from deepbelief.energy.partition.exact import exact_log_z
from deepbelief.energy.rbm import RBM
from deepbelief.errors import InvalidArgumentError
from deepbelief.types import Bound
from tests.oracle import stack
from tests.oracle.pvalues import FALSE_ALARM, at_most_p_value, corrected, means_p_value
from tests.oracle.zoo import tiny_dbn, tiny_rbm

close = torch.testing.assert_close
DISCRETE = ["bernoulli", "three layers", "mixed data", "labels", "labels over three layers", "one layer with labels"]


def normalized_weights(dbn: DBN, x: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Draws of ``log p(x, h) - log Q(h | x)``: (n, cases)."""
    log_z = float(exact_log_z(dbn.top))
    rows = log_weights(dbn, x.repeat(n, 1), generator).detach() - log_z
    return rows.reshape(n, len(x))


@pytest.mark.parametrize("dbn", DISCRETE, indirect=True)
def test_the_exact_likelihood_sums_to_one(dbn: DBN) -> None:
    everything = stack.log_joint(dbn, stack.states_of(dbn.visible))
    close(torch.logsumexp(everything.flatten(), 0), torch.zeros(()).double())


def test_log_weights_average_to_the_bound(dbn: DBN, x: Tensor, generator: torch.Generator) -> None:
    wanted = stack.bound(dbn, x)
    assert (wanted <= stack.log_likelihood(dbn, x) + 1e-9).all()
    assert means_p_value(normalized_weights(dbn, x, 4000, generator), wanted) > FALSE_ALARM


def test_weights_average_to_the_probability(dbn: DBN, x: Tensor, generator: torch.Generator) -> None:
    log_p = stack.log_likelihood(dbn, x)
    ratios = (normalized_weights(dbn, x, 4000, generator) - log_p).exp()
    assert means_p_value(ratios, torch.ones(len(x))) > FALSE_ALARM


def test_the_bound_is_a_lower_bound_with_an_honest_error(dbn: DBN, x: Tensor, generator: torch.Generator) -> None:
    log_z = exact_log_z(dbn.top)
    runs = [variational_bound(dbn, x, log_z=log_z, n_samples=5, generator=generator) for _ in range(100)]
    assert {run.kind for run in runs} == {"lower_bound"}
    values = torch.tensor([float(run) for run in runs], dtype=torch.float64)
    wanted = stack.bound(dbn, x).mean()
    assert means_p_value(values, wanted) > FALSE_ALARM
    assert at_most_p_value(values, stack.log_likelihood(dbn, x).mean()) > FALSE_ALARM
    said = torch.tensor([run.stderr**2 for run in runs]).mean().sqrt().item()
    seen = (values - wanted).square().mean().sqrt().item()
    assert said == pytest.approx(seen, rel=0.4, abs=1e-9)  # the error of a standard deviation of 100 runs is 7 %


def test_an_estimated_log_z_errs_on_the_safe_side(generator: torch.Generator) -> None:
    dbn = tiny_dbn(["bernoulli", "bernoulli", "bernoulli"], None, generator)
    x = torch.ones(2, 3).double()
    at = lambda z: variational_bound(dbn, x, log_z=z, generator=torch.Generator().manual_seed(0))
    middle = at(Bound(5.0, "estimate", 0.3, low=4.0, high=6.0))
    close(float(middle), float(at(Bound(6.0, "exact"))))
    assert (middle.low, middle.high) == (pytest.approx(float(middle)), pytest.approx(float(at(Bound(4.0, "exact")))))
    assert middle.stderr >= 0.3


def test_one_layer_has_the_likelihood_of_its_rbm(generator: torch.Generator) -> None:
    dbn = tiny_dbn(["bernoulli", "spin"], None, generator)
    x = stack.states_of(dbn.visible)
    assert dbn.log_likelihood(x).kind == "exact"
    close(dbn.log_likelihood(x).value, stack.log_likelihood(dbn, x))


def tied(below: RBM, n_hidden: int) -> DBN:
    """Two layers of which the upper starts as the transpose of the lower."""
    top = RBM(below.hidden.empty_like(), n_hidden, weight_std=0.0).double()
    tie_to_below(top, below)
    return DBN([below, top])


@pytest.mark.parametrize("hidden", ["bernoulli", "spin", "categorical"])
def test_a_tied_top_keeps_the_bound_at_the_likelihood_of_the_rbm(hidden: str, generator: torch.Generator) -> None:
    below = tiny_rbm("bernoulli", hidden, generator, scale=1.5)
    x = stack.states_of(below.visible)
    exact = below.log_likelihood(x).value
    for n_hidden in (3, 5):  # further units without weights change nothing
        dbn = tied(below, n_hidden)
        close(stack.log_likelihood(dbn, x), exact)
        bound = variational_bound(dbn, x, n_samples=3, generator=generator)
        close(bound.value, exact)
        assert bound.stderr == pytest.approx(0.0, abs=1e-9)


def test_a_tied_top_starts_with_the_offsets_of_the_layers_below(generator: torch.Generator) -> None:
    below = tiny_rbm("bernoulli", "spin", generator)
    top = tied(below, 3).top
    close(top.visible_offset, below.hidden_offset)
    close(top.hidden_offset, below.visible_offset)


@pytest.mark.parametrize(
    ("top", "found"),
    [
        (RBM(4, 2), "Got 2 bernoulli over 4 bernoulli"),
        (RBM(3, 5), "Got 5 bernoulli over 3 bernoulli"),
        (tiny_rbm("gaussian", "bernoulli", torch.Generator()), "Got 3 bernoulli over 2 gaussian"),
    ],
)
def test_layers_that_cannot_be_tied_get_a_sentence(top: RBM, found: str) -> None:
    with pytest.raises(InvalidArgumentError, match=rf"at least 5 hidden units.*{found}.*Use tied=False"):
        tie_to_below(top, RBM(5, 4))


def test_the_bound_needs_a_draw(generator: torch.Generator) -> None:
    with pytest.raises(InvalidArgumentError, match=r"n_samples must be at least 1. Got n_samples=0"):
        variational_bound(DBN.of_sizes([3, 2, 2]), torch.zeros(1, 3), n_samples=0)


def test_the_p_values_of_many_cases_are_corrected() -> None:
    assert corrected([0.5, 0.01, 0.9]) == pytest.approx(0.03)
