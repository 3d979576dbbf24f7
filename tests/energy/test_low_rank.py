"""Learning in a span: the gradient is that of the likelihood in the few numbers that are free."""

from __future__ import annotations

import pytest
import torch

from deepbelief.data.source import make_source
from deepbelief.energy.gradients.exact import ExactModel
from deepbelief.energy.gradients.settings import LearningSettings
from deepbelief.energy.low_rank import learn_in_span, principal_directions
from deepbelief.energy.rbm import RBM
from deepbelief.errors import InvalidArgumentError
from deepbelief.types import Batch
from tests.oracle.checks import exact_gradient, largest_gap, library_gradient
from tests.oracle.zoo import tiny_rbm

close = torch.testing.assert_close


def axes(rbm: RBM, rank: int, generator: torch.Generator) -> torch.Tensor:
    n = rbm.visible.size
    return torch.linalg.qr(torch.randn(n, rank, generator=generator).to(rbm.weight))[0]


@pytest.mark.parametrize("visible", ["bernoulli", "gaussian", "categorical"])
def test_the_gradient_is_that_of_the_free_numbers(visible: str, generator: torch.Generator) -> None:
    """In the span, dW is U times the gradient in A; centring changes the biases' part alone, and to match."""
    rbm = tiny_rbm(visible, "bernoulli", generator)
    batch = Batch(rbm.sample(7, n_steps=3, generator=generator))
    span = axes(rbm, 2, generator)
    plain = exact_gradient(rbm, batch, centred=False)
    found = library_gradient(rbm, batch, ExactModel(), centred=False, directions=span)
    close(found["weight"], span @ (span.T @ plain["weight"]))
    assert largest_gap({**found, "weight": plain["weight"]}, plain) < 1e-9
    centred = exact_gradient(rbm, batch, centred=True)
    found = library_gradient(rbm, batch, ExactModel(), centred=True, directions=span)
    step = span @ (span.T @ centred["weight"])
    close(found["weight"], step)
    missing = (centred["weight"] - step) @ rbm.hidden_offset  # what the biases need not make up for any more
    name = next(key for key in found if key.startswith("visible") and key.endswith("bias"))
    close(found[name], centred[name] + missing)


def test_weights_stay_in_the_span_and_the_likelihood_rises(generator: torch.Generator) -> None:
    clusters = torch.tensor([[0.0] * 6, [1.0] * 6, [1.0, 1, 1, 0, 0, 0]]).repeat(30, 1)
    flips = torch.rand(clusters.shape, generator=generator) < 0.1
    x = torch.where(flips, 1 - clusters, clusters)
    rbm = RBM(6, 5, generator=generator)
    rbm.match_data(x)
    before = float(rbm.log_likelihood(x).mean())
    span = principal_directions(x, 2)
    plan = LearningSettings(learning="pt", n_chains=20, n_replicas=4, epochs=150, learning_rate=0.5)
    learn_in_span(rbm, span, make_source(x, batch_size=30), plan, trainer_options={"progress": False})
    outside = rbm.weight - span @ (span.T @ rbm.weight)
    assert outside.abs().max() < 1e-5 < rbm.weight.abs().max()
    assert float(rbm.log_likelihood(x).mean()) > before + 0.5  # independent units miss the clusters


def test_directions_are_orthonormal_and_ordered(generator: torch.Generator) -> None:
    x = torch.randn(200, 5, generator=generator).double() * torch.tensor([1.0, 5, 2, 1, 1])
    found = principal_directions(x, 3)
    close(found.T @ found, torch.eye(3).double())
    spread = ((x - x.mean(0)) @ found).var(0)
    assert spread[0] > spread[1] > spread[2]
    assert found[1, 0].abs() > 0.9


def test_rules_that_would_leave_the_span_are_refused() -> None:
    x, rbm = torch.eye(4), RBM(4, 3)
    source, span = make_source(x, batch_size=4), principal_directions(x, 1)
    with pytest.raises(InvalidArgumentError, match="optimizer must be 'sgd'"):
        learn_in_span(rbm, span, source, LearningSettings(optimizer="adam"))
    with pytest.raises(InvalidArgumentError, match="learning must have a negative phase"):
        learn_in_span(rbm, span, source, LearningSettings(learning="pl"))
    with pytest.raises(InvalidArgumentError, match="rank must be at least 1"):
        principal_directions(x, 0)
