"""RAISE: its weights are unbiased for the annealing model, and its logarithm lies below."""

from __future__ import annotations

import pytest
import torch

from deepbelief.energy.partition.ais import PathFromBase, anneal
from deepbelief.energy.partition.conservative import raise_log_likelihood
from deepbelief.energy.rbm import RBM
from tests.oracle.joint import Joint, rows_of
from tests.oracle.pvalues import FALSE_ALARM, at_most_p_value, counts_p_value, means_p_value
from tests.oracle.zoo import DISCRETE_PAIRS, tiny_rbm

COARSE = [0.0, 0.5, 1.0]


def everything(rbm: RBM) -> torch.Tensor:
    return torch.tensor(rows_of(rbm.visible), dtype=torch.float64)


@pytest.mark.parametrize(("visible", "hidden"), DISCRETE_PAIRS)
def test_weights_of_all_cases_sum_to_one(visible: str, hidden: str, generator: torch.Generator) -> None:
    rbm = tiny_rbm(visible, hidden, generator)
    x, n = everything(rbm), 400
    bound = raise_log_likelihood(rbm, x.repeat(n, 1), n_chains=1, betas=COARSE, generator=generator)
    totals = bound.value.exp().reshape(n, len(x)).sum(1)  # type: ignore[union-attr]
    assert means_p_value(totals, 1.0) > FALSE_ALARM


@pytest.fixture
def rbm(generator: torch.Generator) -> RBM:
    return tiny_rbm("bernoulli", "spin", generator, scale=1.5)


def annealing_law(rbm: RBM, generator: torch.Generator) -> torch.Tensor:
    """p_ann of every case, from many backward runs."""
    many = raise_log_likelihood(rbm, everything(rbm), n_chains=20_000, betas=COARSE, generator=generator)
    return many.value.exp()  # type: ignore[union-attr]


def test_the_annealing_model_is_where_forward_runs_end(rbm: RBM, generator: torch.Generator) -> None:
    path = PathFromBase(rbm)
    _, v = anneal(path, path.draw_base(4000, generator), COARSE, generator, None)
    v = path.sweep(1.0, path.layers(1.0), path.inputs(v), generator)
    x, law = everything(rbm), annealing_law(rbm, generator)
    counts = torch.stack([(v == row).all(1).sum() for row in x])
    assert counts_p_value(counts, law / law.sum()) > FALSE_ALARM


def test_it_is_a_lower_bound_that_tightens(rbm: RBM, generator: torch.Generator) -> None:
    x = everything(rbm)
    law = annealing_law(rbm, generator).log()
    gaps = []
    for n_chains in (1, 50):
        repeats = x.repeat(500, 1) if n_chains == 1 else x.repeat(50, 1)
        found = raise_log_likelihood(rbm, repeats, n_chains=n_chains, betas=COARSE, generator=generator)
        draws = found.value.reshape(-1, len(x))  # type: ignore[union-attr]
        assert at_most_p_value(draws, law) > FALSE_ALARM
        gaps.append((law - draws.mean(0)).mean().item())
        assert found.kind == "lower_bound"
    assert gaps[1] < gaps[0] / 2


def test_a_long_path_reaches_the_model(rbm: RBM, generator: torch.Generator) -> None:
    x = everything(rbm)
    joint = Joint.of(rbm)
    exact = -rbm.free_energy(x).double() - joint.log_z
    found = raise_log_likelihood(rbm, x, n_chains=100, betas=500, generator=generator)
    short = raise_log_likelihood(rbm, x, n_chains=100, betas=COARSE, generator=generator)
    far, near = ((exact - bound.value).abs().max().item() for bound in (short, found))
    assert near < far / 3
    assert abs(float(found) - exact.mean().item()) < 5 * found.stderr + near / 10
