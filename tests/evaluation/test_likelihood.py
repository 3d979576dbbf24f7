"""Likelihood rows against enumeration and closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from deepbelief.belief.dbn import DBN
from deepbelief.energy.rbm import RBM
from deepbelief.errors import InvalidDataError
from deepbelief.evaluation.likelihood import (
    chunked_log_likelihood,
    independent_log_likelihood,
    layer_bounds,
    likelihood_results,
    model_log_z,
    undirected_part,
)
from deepbelief.types import Bound, Result
from deepbelief.units.bernoulli import Bernoulli
from deepbelief.units.categorical import Categorical
from deepbelief.units.gaussian import Gaussian
from tests.oracle.zoo import random_dbn


def random_rbm(n_visible: int, n_hidden: int, generator: torch.Generator, scale: float = 1.0) -> RBM:
    rbm = RBM(n_visible, n_hidden, weight_std=scale, generator=generator)
    with torch.no_grad():
        for units in (rbm.visible, rbm.hidden):
            units.bias.copy_(torch.randn(units.size, generator=generator))
    return rbm


def exact_dbn_log_likelihood(dbn: DBN, x: Tensor) -> Tensor:
    """``log sum_h1 p(x | h1) p(h1)`` of a DBN of two layers, by enumeration."""
    below, h1 = dbn.layers[0].double(), torch.cat(list(dbn.layers[0].hidden.states())).double()
    log_prior = torch.log_softmax(-dbn.double().top_free_energy(h1), 0)
    inputs = below.input_v_from_h(h1)
    given = torch.stack([below.visible.log_prob(x.double().expand_as(h1[:, :1] * x), inputs) for x in x.split(1)])
    return torch.logsumexp(given + log_prior, 1)


def bits(n: int, d: int, generator: torch.Generator) -> Tensor:
    return torch.randint(2, (n, d), generator=generator).float()


def values(rows: list[Result]) -> dict[tuple[str, str], Result]:
    found = {(row.model, row.quantity): row for row in rows}
    assert len(found) == len(rows), "two rows with one name"
    return found


def test_rows_of_a_small_rbm_are_those_of_enumeration(generator: torch.Generator) -> None:
    rbm, x = random_rbm(6, 3, generator), bits(40, 6, generator)
    states = torch.cat(list(rbm.visible.states()))
    log_p = torch.log_softmax(-rbm.double().free_energy(states.double()), 0)
    truth = log_p[(x @ (2.0 ** torch.arange(5, -1, -1))).long()]
    rows = values(
        likelihood_results(rbm.float(), x, data="bits", model_name="RBM", generator=generator, train=x, chunk=7)
    )
    mean = rows["RBM", "test log-likelihood"]
    assert (mean.kind, mean.stderr, mean.unit, mean.data) == ("exact", 0.0, "nats", "bits")
    assert mean.value == pytest.approx(truth.mean().item(), rel=1e-5)
    spread = rows["RBM", "test log-likelihood, standard error over cases"]
    assert spread.value == pytest.approx(truth.std().item() / math.sqrt(40), rel=1e-4)
    per_dimension = rows["RBM", "test bits per dimension"]
    assert per_dimension.value == pytest.approx(-truth.mean().item() / (6 * math.log(2)), rel=1e-5)
    assert ("RBM", "test log-likelihood (forward AIS)") not in rows  # nothing was annealed
    assert rows["RBM", "log Z"].kind == "exact"


def test_independent_baseline_is_the_product_of_the_units(generator: torch.Generator) -> None:
    train, x = bits(50, 4, generator), bits(20, 4, generator)
    p = train.double().mean(0)
    truth = (x * p.log() + (1 - x) * (1 - p).log()).sum(1)
    bound = independent_log_likelihood(Bernoulli(4), train, x)
    assert bound.kind == "exact"
    torch.testing.assert_close(bound.value, truth)


def test_independent_baseline_of_real_units_is_a_normal_density(generator: torch.Generator) -> None:
    train, x = (3 * torch.randn(50, 2, generator=generator) + 1 for _ in range(2))
    normal = torch.distributions.Normal(train.double().mean(0), train.double().std(0, unbiased=False))
    bound = independent_log_likelihood(Gaussian(2), train, x)
    torch.testing.assert_close(bound.value, normal.log_prob(x.double()).sum(1))


def test_an_independent_model_equals_its_baseline(generator: torch.Generator) -> None:
    train, x = bits(200, 5, generator), bits(30, 5, generator)
    rbm = RBM(5, 2, weight_std=0.0)
    rbm.match_data(train)
    rows = values(likelihood_results(rbm, x, data="d", model_name="RBM", generator=generator, train=train))
    baseline = rows["independent units with the training cases' moments", "test log-likelihood"]
    assert rows["RBM", "test log-likelihood"].value == pytest.approx(baseline.value, rel=1e-5)


def test_annealed_ends_are_rows_of_their_own(generator: torch.Generator) -> None:
    rbm, x = random_rbm(5, 3, generator), bits(10, 5, generator)
    log_z = Bound(10.0, "estimate", 0.2, "AIS", low=9.5, high=10.5)
    free = rbm.free_energy(x).double().mean().item()
    rows = values(likelihood_results(rbm, x, data="d", model_name="m", generator=generator, log_z=log_z, chunk=3))
    expected = {"": -free - 10.0, " (forward AIS)": -free - 9.5, " (reverse AIS)": -free - 10.5}
    for end, value in expected.items():
        row = rows["m", "test log-likelihood" + end]
        assert (row.kind, row.stderr) == ("estimate", pytest.approx(0.2))
        assert row.value == pytest.approx(value, rel=1e-6)
    assert rows["m", "log Z (forward AIS)"].value == 9.5
    assert rows["m", "log Z (reverse AIS)"].value == 10.5


def test_the_ends_of_tempering_are_not_called_annealings(generator: torch.Generator) -> None:
    rbm, x = random_rbm(5, 3, generator), bits(10, 5, generator)
    log_z = Bound(10.0, "estimate", 0.2, "parallel tempering, Bennett's acceptance ratio", low=9.5, high=10.5)
    rows = values(likelihood_results(rbm, x, data="d", model_name="m", generator=generator, log_z=log_z))
    assert not any("AIS" in quantity for _, quantity in rows)
    assert rows["m", "log Z (left sum of tempering)"].value == 9.5
    left, right = (rows["m", f"test log-likelihood ({side} sum of tempering)"].value for side in ("left", "right"))
    assert left - right == pytest.approx(1.0)


def test_a_lower_bound_on_nats_is_an_upper_bound_on_bits(generator: torch.Generator) -> None:
    dbn, x = random_dbn([5, 4, 3], generator), bits(10, 5, generator)
    rows = values(likelihood_results(dbn, x, data="d", model_name="m", generator=generator))
    assert rows["m", "test log-likelihood"].kind == "lower_bound"
    assert rows["m", "test bits per dimension"].kind == "upper_bound"


@pytest.mark.parametrize("n_classes", [None, 3])
def test_layer_bounds_lie_below_the_truth(n_classes: int | None, generator: torch.Generator) -> None:
    dbn, x = random_dbn([6, 4, 3], generator, n_classes), bits(30, 6, generator)
    first, second = layer_bounds(dbn, x, generator=generator).values()
    assert (first.kind, second.kind) == ("exact", "lower_bound")
    own = dbn.layers[0].log_likelihood(x)
    torch.testing.assert_close(first.value, own.value)
    truth = exact_dbn_log_likelihood(dbn, x).mean().item()
    # one-sided at 1e-6: 4.75 standard errors of the Monte-Carlo average
    assert float(second) < truth + 4.75 * second.stderr
    assert second.stderr > 0


def test_reverse_chains_start_at_states_of_the_top_with_its_labels(generator: torch.Generator) -> None:
    dbn, x = random_dbn([6, 4, 3], generator, n_classes=3), bits(8, 6, generator)
    assert undirected_part(dbn) is dbn.top
    assert undirected_part(object()) is None
    bound = model_log_z(dbn, x, n_chains=5, betas=10, generator=generator)
    exact = torch.cat(list(dbn.top.hidden.states()))
    assert float(bound) == pytest.approx(torch.logsumexp(-dbn.top.free_energy_of_h(exact), 0).item(), rel=1e-5)


class FakeDensity:
    """A density without log Z whose chunks have noise of their own."""

    def log_likelihood(self, x: Tensor, *, generator: torch.Generator | None = None) -> Bound:
        return Bound(x.sum(1), "upper_bound", 0.5, "fake")


def test_any_density_is_scored_in_chunks(generator: torch.Generator) -> None:
    x = torch.arange(10.0).view(5, 2)
    bound = chunked_log_likelihood(FakeDensity(), x, generator=generator, chunk=2)
    assert (bound.kind, bound.stderr) == ("upper_bound", pytest.approx(0.5))
    assert bound.value.tolist() == x.sum(1).tolist()  # type: ignore[union-attr]


def test_noise_of_chunks_averages_out_but_the_error_of_log_z_does_not(generator: torch.Generator) -> None:
    class Noisy:
        def log_likelihood(
            self, x: Tensor, *, generator: torch.Generator | None = None, log_z: Bound | None = None
        ) -> Bound:
            return Bound(x[:, 0], "lower_bound", 5.0)  # 3 of log Z and 4 of its own

    log_z = Bound(0.0, "estimate", 3.0)
    bound = chunked_log_likelihood(Noisy(), torch.zeros(8, 1), generator=generator, log_z=log_z, chunk=2)
    assert bound.stderr == pytest.approx(math.sqrt(3.0**2 + 4.0**2 / 4))


@pytest.mark.parametrize(
    ("units", "x", "words"),
    [
        (Bernoulli(2), torch.tensor([[0.0, 0.3]]), "Got 0.3. Binarize"),
        (Bernoulli(2), torch.tensor([[0.0, 17.0]]), "scale to"),
        (Categorical(1, 2), torch.tensor([[0.5, 0.5]]), "states of categorical"),
    ],
)
def test_grey_levels_have_no_probability_under_bits(
    units: Bernoulli | Categorical, x: Tensor, words: str, generator: torch.Generator
) -> None:
    with pytest.raises(InvalidDataError, match=words):
        likelihood_results(RBM(units, 2), x, data="d", model_name="m", generator=generator)
