"""The variational bound against the exact likelihood by enumeration."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from deepbelief.belief.bound import importance_bound, log_mean_and_variance, log_weights, variational_bound
from deepbelief.belief.dbn import DBN
from deepbelief.belief.greedy import tie_to_below
from deepbelief.energy.partition.exact import exact_log_z
from deepbelief.energy.rbm import RBM
from deepbelief.errors import InvalidArgumentError
from deepbelief.types import Bound
from deepbelief.units.catalog import make_units
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
    top = RBM(below.hidden.empty_like(), make_units(below.visible.kind, n_hidden), weight_std=0.0).double()
    tie_to_below(top, below)
    return DBN([below, top])


@pytest.mark.parametrize("hidden", ["bernoulli", "spin", "categorical"])
@pytest.mark.parametrize("visible", ["bernoulli", "spin"])
def test_a_tied_top_keeps_the_bound_at_the_likelihood_of_the_rbm(
    visible: str, hidden: str, generator: torch.Generator
) -> None:
    below = tiny_rbm(visible, hidden, generator, scale=1.5)
    x = stack.states_of(below.visible)
    exact = below.log_likelihood(x).value
    for n_hidden in (3, 5):  # further units without weights change nothing
        dbn = tied(below, n_hidden)
        close(stack.log_likelihood(dbn, x), exact)
        bound = variational_bound(dbn, x, n_samples=3, generator=generator)
        close(bound.value, exact)
        assert bound.stderr == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("visible", ["categorical", "binomial"])
def test_units_of_more_values_are_tied_one_to_one(visible: str, generator: torch.Generator) -> None:
    below = tiny_rbm(visible, "bernoulli", generator, scale=1.5)
    top = RBM(below.hidden.empty_like(), below.visible.empty_like(), weight_std=0.0).double()
    tie_to_below(top, below)
    x = stack.states_of(below.visible)
    bound = variational_bound(DBN([below, top]), x, n_samples=1, generator=generator)
    close(bound.value, below.log_likelihood(x).value)


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


@pytest.mark.parametrize("method", ["variational", "importance", "annealed"])
def test_the_bound_needs_a_draw(method: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"n_samples must be at least \d\. Got n_samples=0"):
        DBN.of_sizes([3, 2, 2]).log_likelihood(torch.zeros(1, 3), method=method, n_samples=0)


def test_an_unknown_bound_gets_a_sentence() -> None:
    with pytest.raises(InvalidArgumentError, match=r"method must be one of .*Did you mean 'importance'"):
        DBN.of_sizes([3, 2, 2]).log_likelihood(torch.zeros(1, 3), method="importanse")  # type: ignore[arg-type]


# -- the importance-weighted bound ----------------------------------------------------------------------------------


def loose_dbn(generator: torch.Generator) -> DBN:
    """A stack whose way up is far from its posterior, so that the bounds lie apart."""
    dbn = tiny_dbn(["bernoulli", "bernoulli", "bernoulli"], None, generator)
    with torch.no_grad():
        dbn.top.weight.mul_(3)
        dbn.layers[0].weight.mul_(2)
    return dbn


def bound_of_pairs(dbn: DBN, x: Tensor) -> Tensor:
    """``L_2 - log Z`` with its expectation taken over all pairs of states of the first hidden layer."""
    up = stack.log_up(dbn.layers[0], x)
    log_w = stack.log_down(dbn.layers[0], x) - up + stack.log_top(dbn, stack.states_of(dbn.layers[0].hidden))[:, 0]
    pairs = torch.logaddexp(log_w.unsqueeze(1), log_w.unsqueeze(2)) - math.log(2)
    return (up.exp().unsqueeze(1) * up.exp().unsqueeze(2) * pairs).sum((1, 2))


def test_two_draws_average_to_the_enumerated_bound_of_pairs(generator: torch.Generator) -> None:
    dbn = loose_dbn(generator)
    x = stack.states_of(dbn.visible)
    wanted = bound_of_pairs(dbn, x)
    assert (stack.bound(dbn, x) < wanted).all()
    assert (wanted < stack.log_likelihood(dbn, x)).all()
    log_z = exact_log_z(dbn.top)
    runs = [importance_bound(dbn, x, log_z=log_z, n_samples=2, generator=generator).value for _ in range(1000)]
    assert means_p_value(torch.stack([torch.as_tensor(run) for run in runs]), wanted) > FALSE_ALARM


def test_the_bound_rises_with_the_draws_to_the_likelihood(generator: torch.Generator) -> None:
    dbn = loose_dbn(generator)
    x = stack.states_of(dbn.visible)
    exact = stack.log_likelihood(dbn, x)
    log_w = normalized_weights(dbn, x, 4096, generator)  # (draws, cases)
    levels = [torch.logsumexp(log_w.reshape(-1, k, len(x)), 1) - math.log(k) for k in (1, 4, 16, 64)]
    assert at_most_p_value(levels[-1], exact) > FALSE_ALARM
    for fewer, more in pairwise(levels):  # the same draws, grouped: each group of four is one of the next level
        gain = more - fewer.reshape(len(more), 4, len(x)).mean(1)
        assert (gain >= -1e-12).all()
    assert at_most_p_value(levels[0] - levels[-1].mean(0), 0.0) > FALSE_ALARM > means_p_value(levels[0], exact)
    many = importance_bound(dbn, x, log_z=exact_log_z(dbn.top), n_samples=50_000, generator=generator)
    gap = (exact - stack.bound(dbn, x)).mean().item()
    assert abs(float(many) - exact.mean().item()) < 8 * many.stderr < gap  # a normal one lies so far off in 1e-15


def test_the_importance_bound_has_the_error_that_it_says(generator: torch.Generator) -> None:
    dbn = loose_dbn(generator)
    x, log_z = stack.states_of(dbn.visible)[:3], exact_log_z(dbn.top)
    runs = [
        dbn.log_likelihood(x, log_z=log_z, n_samples=20, method="importance", generator=generator) for _ in range(300)
    ]
    assert {run.kind for run in runs} == {"lower_bound"}
    assert at_most_p_value(torch.tensor([float(r) for r in runs]), stack.log_likelihood(dbn, x).mean()) > FALSE_ALARM
    said = torch.tensor([run.stderr**2 for run in runs]).mean().sqrt().item()
    seen = torch.tensor([float(run) for run in runs], dtype=torch.float64).std().item()
    assert seen * 0.75 < said < seen * 2  # the jackknife errs high; the deviation of 300 runs is known to 4 %


def test_the_jackknife_leaves_one_out(generator: torch.Generator) -> None:
    log_w = 3 * torch.randn(6, 4, generator=generator, dtype=torch.float64)
    log_w[0, 0], log_w[1:, 0] = 100.0, log_w[1:, 0] - 100.0  # one draw that outweighs the rest beyond rounding
    value, variance = log_mean_and_variance(log_w)
    keep = ~torch.eye(6, dtype=torch.bool)
    without = torch.stack([torch.logsumexp(log_w[rows], 0) for rows in keep])
    close(value, torch.logsumexp(log_w, 0) - math.log(6))
    close(variance, (without - without.mean(0)).square().sum(0))


def test_bounds_do_not_depend_on_the_chunks(generator: torch.Generator) -> None:
    below = tiny_rbm("bernoulli", "bernoulli", generator)
    dbn, x = tied(below, 3), stack.states_of(below.visible)
    for method in (variational_bound, importance_bound):
        bound = method(dbn, x, n_samples=3, chunk=3, generator=generator)
        close(bound.value, below.log_likelihood(x).value)


def test_the_p_values_of_many_cases_are_corrected() -> None:
    assert corrected([0.5, 0.01, 0.9]) == pytest.approx(0.03)
