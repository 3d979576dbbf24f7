"""The losses find at their best what their papers prove, on distributions small enough to know everything."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from scipy.stats import kstest, wasserstein_distance
from torch import Tensor

from deepbelief.adversarial.losses import LOSSES, AdversarialLoss, gradient_penalty, least_squares, slope_penalty
from tests.oracle.pvalues import FALSE_ALARM

P = torch.tensor([0.4, 0.1, 0.25, 0.05, 0.2], dtype=torch.float64)
Q = torch.tensor([0.1, 0.3, 0.25, 0.3, 0.05], dtype=torch.float64)
PLACES = torch.tensor([-1.0, 0.0, 0.5, 2.0, 2.5], dtype=torch.float64)
ROUNDING = 1e-12


def critic_loss(kind: AdversarialLoss, scores: Tensor) -> Tensor:
    """The critic's expected loss when data follow P and generated cases Q, every pair of them where it takes pairs."""
    if kind.paired:
        return P @ kind.real(scores.unsqueeze(1) - scores) @ Q
    return P @ kind.real(scores) + Q @ kind.fake(scores)


def slope(kind: AdversarialLoss, scores: Tensor) -> float:
    """The largest derivative of that loss by a score."""
    scores = scores.clone().requires_grad_()
    return float(torch.autograd.grad(critic_loss(kind, scores), scores)[0].abs().max())


@pytest.mark.parametrize("name", ["minimax", "ns"])
def test_best_logistic_critic_is_the_log_ratio_and_its_value_the_jensen_shannon_divergence(name: str) -> None:
    best = (P / Q).log()
    assert slope(LOSSES[name], best) < ROUNDING
    assert slope(LOSSES[name], best + 0.1) > 0.01
    divergence = jensenshannon(P.numpy(), Q.numpy()) ** 2
    assert math.isclose(-float(critic_loss(LOSSES[name], best)), 2 * divergence - math.log(4), abs_tol=ROUNDING)


def test_minimax_generator_lowers_the_part_of_the_value_that_is_its_own() -> None:
    scores = (P / Q).log()
    value = -critic_loss(LOSSES["minimax"], scores)
    on_data = -P @ LOSSES["minimax"].real(scores)
    assert torch.allclose(Q @ LOSSES["minimax"].generator(scores), value - on_data, atol=ROUNDING)


def test_non_saturating_generator_at_the_best_critic() -> None:
    found = Q @ LOSSES["ns"].generator((P / Q).log())
    assert torch.allclose(found, (Q * (1 + Q / P).log()).sum(), atol=ROUNDING)


def test_least_squares_lower_pearsons_chi_square() -> None:
    kind = least_squares(-1.0, 1.0, 0.0)
    best = (P - Q) / (P + Q)
    assert slope(kind, best) < ROUNDING
    cost = (P + Q) @ kind.generator(best)
    assert torch.allclose(2 * cost, ((2 * Q - (P + Q)).square() / (P + Q)).sum(), atol=ROUNDING)


def test_least_squares_of_0_and_1_find_the_share_of_data() -> None:
    best = P / (P + Q)
    assert slope(LOSSES["lsgan"], best) < ROUNDING
    assert torch.allclose(critic_loss(LOSSES["lsgan"], best), 0.5 * (P * Q / (P + Q)).sum(), atol=ROUNDING)


def test_best_hinge_critic_measures_total_variation() -> None:
    best = (P - Q).sign()
    total_variation = 0.5 * (P - Q).abs().sum()
    assert torch.allclose(critic_loss(LOSSES["hinge"], best), 2 - 2 * total_variation, atol=ROUNDING)
    for other in torch.randn(200, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)):
        assert critic_loss(LOSSES["hinge"], other) >= 2 - 2 * total_variation


@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_best_critic_of_pairs_tells_their_order(shift: float) -> None:
    best, kind = (P / Q).log() + shift, LOSSES["rpgan"]
    assert slope(kind, best) < ROUNDING
    assert slope(kind, best * 1.2) > 0.01
    one, other = torch.outer(P, Q).flatten(), torch.outer(Q, P).flatten()
    divergence = jensenshannon(one.numpy(), other.numpy()) ** 2
    assert math.isclose(float(critic_loss(kind, best)), math.log(2) - divergence, abs_tol=ROUNDING)


def test_generator_of_pairs_loses_what_its_critic_wins() -> None:
    kind, difference = LOSSES["rpgan"], torch.linspace(-3, 3, 7, dtype=torch.float64)
    assert torch.allclose(kind.generator(difference), kind.real(-difference), atol=ROUNDING)
    best, ratio = (P / Q).log(), P / Q
    found = P @ kind.generator(best.unsqueeze(1) - best) @ Q
    assert torch.allclose(found, P @ (1 + ratio.unsqueeze(1) / ratio).log() @ Q, atol=ROUNDING)


@pytest.mark.parametrize("name", ["wgan", "wgan-gp"])
def test_best_lipschitz_critic_measures_the_earth_movers_distance(name: str) -> None:
    between = PLACES.diff()
    exact = wasserstein_distance(PLACES.numpy(), PLACES.numpy(), P.numpy(), Q.numpy())
    slopes = (Q.cumsum(0) - P.cumsum(0)).sign()[:-1]
    best = torch.cat([torch.zeros(1, dtype=torch.float64), (slopes * between).cumsum(0)])
    assert math.isclose(-float(critic_loss(LOSSES[name], best)), exact, abs_tol=ROUNDING)
    draws = np.random.default_rng(0).uniform(-1, 1, (200, 4))
    for other in torch.from_numpy(draws):
        scores = torch.cat([torch.zeros(1, dtype=torch.float64), (other * between).cumsum(0)])
        assert -critic_loss(LOSSES[name], scores) <= exact


def test_penalties_of_a_linear_critic_in_closed_form() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.tensor([3.0, -4.0, 12.0], dtype=torch.float64)
    real, fake = torch.randn(2, 7, 3, dtype=torch.float64, generator=generator)
    penalty, norm = gradient_penalty(lambda x: x @ weight + 1, real, fake, generator=generator)
    assert math.isclose(float(penalty), (13 - 1) ** 2)
    assert math.isclose(float(norm), 13)
    real.requires_grad_()
    assert math.isclose(float(slope_penalty(real @ weight + 1, real)), 13**2 / 2)


def test_penalty_looks_uniformly_between_data_and_generated_cases() -> None:
    n = 2000
    real, fake = torch.full((n, 1), 5.0, dtype=torch.float64), torch.full((n, 1), 2.0, dtype=torch.float64)
    seen: list[Tensor] = []

    def score(x: Tensor) -> Tensor:
        seen.append(x.detach())
        return x.square().sum(1)

    penalty, _ = gradient_penalty(score, real, fake, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(penalty, (2 * seen[0] - 1).square().mean())
    assert kstest((seen[0].flatten().numpy() - 2) / 3, "uniform").pvalue > FALSE_ALARM


def test_penalties_can_be_differentiated_by_the_critics_weights() -> None:
    weight = torch.tensor([3.0, -4.0], dtype=torch.float64, requires_grad=True)
    x = torch.ones(4, 2, dtype=torch.float64)
    penalty, _ = gradient_penalty(lambda rows: rows @ weight, x, x, generator=torch.Generator().manual_seed(0))
    (found,) = torch.autograd.grad(penalty, weight)
    assert torch.allclose(found, 2 * (5 - 1) * weight.detach() / 5)
    x.requires_grad_()
    (found,) = torch.autograd.grad(slope_penalty(x @ weight, x), weight)
    assert torch.allclose(found, weight.detach())
