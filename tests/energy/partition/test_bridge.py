"""The ratio of two partition functions, against the exact ones."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from deepbelief.energy.partition.ais import anneal
from deepbelief.energy.partition.bridge import PathBetween, log_z_ratio
from deepbelief.energy.partition.choose import log_z
from deepbelief.energy.rbm import RBM
from deepbelief.errors import InvalidArgumentError, InvalidDataError
from deepbelief.maths.bennett import bennett
from deepbelief.units.gaussian import Gaussian
from tests.oracle.joint import Joint
from tests.oracle.pvalues import FALSE_ALARM, means_p_value
from tests.oracle.zoo import PAIRS, tiny_rbm

BETAS = [0.0, 0.4, 0.8, 1.0]


def visible_draws(rbm: RBM, n: int, generator: torch.Generator) -> torch.Tensor:
    joint = Joint.of(rbm)
    return joint.halves(joint.draw(n, generator))[0]


@pytest.mark.parametrize(("visible", "hidden"), PAIRS)
def test_weights_between_two_models_are_unbiased(visible: str, hidden: str, generator: torch.Generator) -> None:
    first, second = (tiny_rbm(visible, hidden, generator) for _ in range(2))
    ratio = (Joint.of(second).log_z - Joint.of(first).log_z).item()
    weights, _ = anneal(PathBetween(first, second), visible_draws(first, 10_000, generator), BETAS, generator, None)
    assert means_p_value((weights - ratio).exp(), 1.0) > FALSE_ALARM


def z_values(n_forward: int, n_reverse: int, generator: torch.Generator) -> torch.Tensor:
    """How many of its own standard errors Bennett's estimate lies from the truth, for 200 pairs of sets of runs."""
    first, second = (tiny_rbm("bernoulli", "spin", generator, scale=1.2) for _ in range(2))
    ratio = (Joint.of(second).log_z - Joint.of(first).log_z).item()
    path, found = PathBetween(first, second), []
    forward, _ = anneal(path, visible_draws(first, 200 * n_forward, generator), BETAS, generator, None)
    reverse, _ = anneal(path, visible_draws(second, 200 * n_reverse, generator), BETAS[::-1], generator, None)
    for there, back in zip(forward.split(n_forward), reverse.split(n_reverse), strict=True):
        value, stderr = bennett(there, back)
        found.append((value - ratio) / stderr)
    return torch.tensor(found, dtype=torch.float64)


@pytest.mark.parametrize(("n_forward", "n_reverse"), [(300, 300), (150, 600)])
def test_bennett_is_right_within_its_own_error(n_forward: int, n_reverse: int, generator: torch.Generator) -> None:
    z = z_values(n_forward, n_reverse, generator)
    # Bennett's bias is of the order 1 / runs, far below an error that falls as their root; allow a fifth of an error.
    assert means_p_value(z, max(-0.2, min(0.2, z.mean().item()))) > FALSE_ALARM
    spread = (z - z.mean()).square().sum().item()
    assert stats.chi2.sf(spread, len(z) - 1) > FALSE_ALARM
    assert stats.chi2.cdf(spread, len(z) - 1) > FALSE_ALARM


def test_both_ways_bracket_and_agree(generator: torch.Generator) -> None:
    first, second = (tiny_rbm("categorical", "bernoulli", generator, scale=1.5) for _ in range(2))
    ratio = (Joint.of(second).log_z - Joint.of(first).log_z).item()
    samples = (visible_draws(model, 2000, generator) for model in (first, second))
    bound = log_z_ratio(first, second, *samples, betas=20, generator=generator)
    assert abs(float(bound) - ratio) < 5 * bound.stderr
    assert bound.low is not None
    assert bound.high is not None
    assert bound.low <= bound.high
    assert bound.kind == "estimate"


def test_models_of_other_shapes_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="same units and sizes"):
        log_z_ratio(RBM(3, 2), RBM(3, 4), torch.zeros(2, 3), torch.zeros(2, 3))


def test_chains_that_ran_away_get_a_sentence(generator: torch.Generator) -> None:
    """Two Gaussian layers whose coupling outweighs their precisions: the density has no integral."""
    rbm = RBM(Gaussian(2), Gaussian(2), weight_std=0.0)
    with torch.no_grad():
        rbm.weight.copy_(2 * torch.eye(2))
    with pytest.raises(InvalidDataError, match=r"finite\. Got .* Where chains run away Z is infinite"):
        log_z(rbm, n_chains=10, betas=50, burn_in=200, generator=generator)
