"""The pseudo-likelihood against the conditionals of the joint law."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from deepbelief.energy.pseudolikelihood import pseudo_log_likelihood
from deepbelief.energy.rbm import RBM
from deepbelief.errors import InvalidArgumentError
from tests.oracle.joint import Joint
from tests.oracle.pvalues import FALSE_ALARM, means_p_value
from tests.oracle.zoo import ZOO, tiny_rbm


def by_definition(rbm: RBM, v: torch.Tensor) -> torch.Tensor:
    """``sum_i log p(v_i | v_-i)``, each term from the law given all other columns."""
    joint, width = Joint.of(rbm), rbm.visible.size // len(rbm.visible.bases or [])
    score = torch.zeros(len(v), dtype=torch.float64)
    nothing = torch.zeros(rbm.hidden.size)
    for n, row in enumerate(v):
        values = torch.cat([row, nothing])
        whole = joint.given_visible(row).log_z
        for i in range(len(rbm.visible.bases or [])):
            known = torch.arange(len(values)) < len(row)
            known[i * width : (i + 1) * width] = False
            score[n] += (whole - joint.given(values, known).log_z).item()
    return score


@pytest.mark.parametrize("hidden", ZOO)
@pytest.mark.parametrize("visible", ["bernoulli", "spin", "categorical"])
def test_all_variables_give_the_definition(visible: str, hidden: str, generator: torch.Generator) -> None:
    rbm = tiny_rbm(visible, hidden, generator)
    v = rbm.sample(5, n_steps=2, generator=generator)
    bound = pseudo_log_likelihood(rbm, v)
    assert bound.kind == "exact"
    torch.testing.assert_close(bound.value, by_definition(rbm, v))


@pytest.mark.parametrize("visible", ["bernoulli", "spin", "categorical"])
def test_drawn_variables_give_an_unbiased_estimate(visible: str, generator: torch.Generator) -> None:
    rbm = tiny_rbm(visible, "bernoulli", generator)
    row = rbm.sample(1, n_steps=2, generator=generator)
    exact = pseudo_log_likelihood(rbm, row).value
    draws = pseudo_log_likelihood(rbm, row.expand(5000, -1), n_variables=2, generator=generator)
    assert draws.kind == "estimate"
    assert isinstance(draws.value, torch.Tensor)
    assert means_p_value(draws.value, exact) > FALSE_ALARM
    spread = draws.value.std().item() / 5000**0.5
    assert draws.stderr == pytest.approx(spread, rel=0.1)


def test_the_error_is_that_of_the_draws_and_not_the_spread_over_cases(generator: torch.Generator) -> None:
    rbm = tiny_rbm("bernoulli", "bernoulli", generator, scale=1.0)
    rbm.visible.bias.data *= 4
    v = torch.cat([torch.zeros(2000, 3), torch.ones(2000, 3)]).double()
    exact = pseudo_log_likelihood(rbm, v).mean().value
    runs = [pseudo_log_likelihood(rbm, v, n_variables=4, generator=generator).mean() for _ in range(100)]
    gaps = torch.tensor([(float(run) - exact) / run.stderr for run in runs])
    assert stats.chi2.sf(gaps.square().sum().item(), 100) > FALSE_ALARM
    assert stats.chi2.cdf(gaps.square().sum().item(), 100) > FALSE_ALARM


def test_without_weights_it_is_the_likelihood(generator: torch.Generator) -> None:
    rbm = tiny_rbm("categorical", "spin", generator, scale=0.0)
    v = rbm.sample(6, n_steps=1, generator=generator)
    torch.testing.assert_close(pseudo_log_likelihood(rbm, v).value, rbm.log_likelihood(v).value)


@pytest.mark.parametrize("visible", ["gaussian", "side_by_side", "with_gaussian"])
def test_units_without_one_get_a_sentence(visible: str, generator: torch.Generator) -> None:
    rbm = tiny_rbm(visible, "bernoulli", generator)
    with pytest.raises(InvalidArgumentError, match=r"pseudo-likelihood needs discrete.*Use log_likelihood"):
        pseudo_log_likelihood(rbm, torch.zeros(1, rbm.visible.size).double())


def test_no_variables_get_a_sentence() -> None:
    with pytest.raises(InvalidArgumentError, match=r"n_variables must be at least 1. Got n_variables=0"):
        pseudo_log_likelihood(RBM(3, 2), torch.zeros(1, 3), n_variables=0)
