"""The bound of a deep Boltzmann machine with its odd layers summed out, against enumeration."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from deepbelief.energy.collapsed import collapsed_bound, log_weights
from deepbelief.energy.dbm import DBM
from deepbelief.energy.even_odd import EvenOdd
from deepbelief.energy.mean_field import Posterior, bound
from deepbelief.errors import InvalidArgumentError
from deepbelief.types import Bound
from deepbelief.units.base import Units
from deepbelief.units.bernoulli import Bernoulli
from tests.oracle.deep import STACKS, exact_log_p, tiny_dbm, twin
from tests.oracle.joint import Joint, rows_of
from tests.oracle.pvalues import FALSE_ALARM, means_p_value

close = torch.testing.assert_close
DRAWS = 20_000


@pytest.fixture(params=STACKS)
def dbm(request: pytest.FixtureRequest, generator: torch.Generator) -> DBM:
    return tiny_dbm(STACKS[request.param], generator, scale=1.0)


@pytest.fixture
def row(dbm: DBM, generator: torch.Generator) -> Tensor:
    """One case."""
    return dbm.visible.sample(torch.randn(1, dbm.visible.size, generator=generator).double(), generator).detach()


@torch.no_grad()
def log_unnormalized(dbm: DBM, row: Tensor) -> float:
    """``log sum_h exp(-E(v, h))`` of one case, by the oracle."""
    return (exact_log_p(dbm, row) + Joint.of(twin(dbm)).log_z).item()


@torch.no_grad()
def expected_log_weight(dbm: DBM, row: Tensor, posterior: Posterior) -> float:
    """``E_Q(s)[log p*(v, s) - log Q(s)]`` of one case: a sum over all states s of the even hidden layers."""
    joint, total = Joint.of(twin(dbm)), 0.0
    layers = range(2, len(dbm.units), 2)
    width = sum(units.size for units in dbm.units[0::2])
    known = torch.arange(joint.states.shape[1]) < width
    for states in product(*(rows_of(dbm.units[layer]) for layer in layers)):
        pieces = [torch.tensor([state]).double() for state in states]
        log_q = sum(
            dbm.units[layer].log_prob(piece, posterior.inputs[layer]).item()
            for layer, piece in zip(layers, pieces, strict=True)
        )
        even = torch.cat([row, *pieces, torch.zeros(1, joint.states.shape[1] - width).double()], 1)[0]
        total += torch.tensor(log_q).exp().item() * (joint.given(even, known).log_z.item() - log_q)
    return total


def draws_of(dbm: DBM, row: Tensor, generator: torch.Generator, n: int = DRAWS) -> Tensor:
    one = dbm.infer(row)
    many = Posterior([m.expand(n, -1) for m in one.means], [one.inputs[0], *(i.expand(n, -1) for i in one.inputs[1:])])
    return log_weights(dbm, many, generator)


def weights_p_value(dbm: DBM, row: Tensor, generator: torch.Generator) -> float:
    """Each weight averages to ``p(v) Z``."""
    return means_p_value(torch.exp(draws_of(dbm, row, generator) - log_unnormalized(dbm, row)), 1.0)


def test_weights_are_unbiased(dbm: DBM, row: Tensor, generator: torch.Generator) -> None:
    assert weights_p_value(dbm, row, generator) > FALSE_ALARM


def test_it_lies_between_mean_field_and_the_truth(dbm: DBM, row: Tensor, generator: torch.Generator) -> None:
    posterior = dbm.infer(row)
    mean_field, truth = bound(dbm.units, dbm.weights, posterior).item(), log_unnormalized(dbm, row)
    collapsed = expected_log_weight(dbm, row, posterior)
    assert mean_field < collapsed < truth
    assert means_p_value(draws_of(dbm, row, generator), collapsed) > FALSE_ALARM


def test_more_draws_come_closer_and_say_their_error(generator: torch.Generator) -> None:
    dbm = tiny_dbm(STACKS["bernoulli"], generator, scale=1.5)
    x = torch.tensor([[0.0, 1, 1]]).double().expand(4000, -1)
    posterior, truth = dbm.infer(x), log_unnormalized(dbm, x[:1])
    found = [collapsed_bound(dbm, posterior, n, generator) for n in (1, 4, 64)]
    gaps = [truth - value.mean().item() for value, _ in found]
    assert gaps[0] > gaps[1] > gaps[2] > -1e-9
    assert found[0][1] == 0.0
    spread = found[2][0].std().item() / 4000**0.5
    assert 0.8 < found[2][1] / spread < 1.25  # the error that 64 draws tell, and the one that 4000 equal cases show


def test_every_draw_is_exact_when_the_layers_above_are_cut_off(dbm: DBM, row: Tensor) -> None:
    with torch.no_grad():
        for weight in dbm.weights[1:]:
            weight.zero_()
    draws = draws_of(dbm, row, torch.Generator().manual_seed(0), n=5)
    close(draws, torch.full_like(draws, log_unnormalized(dbm, row)))


def test_the_models_own_number_uses_it(generator: torch.Generator) -> None:
    dbm = tiny_dbm(STACKS["bernoulli"], generator, scale=1.5)
    x, z = torch.zeros(50, 3).double(), Bound(5.0, "estimate", 0.2, "twice annealed", 4.5, 5.75)
    plain = dbm.log_likelihood(x, log_z=z)
    tight = dbm.log_likelihood(x, log_z=z, n_samples=30, generator=generator)
    assert tight.kind == plain.kind == "lower_bound"
    assert float(plain) < float(tight) < log_unnormalized(dbm, x[:1]) - 5.75 + 6 * tight.stderr
    assert tight.stderr > plain.stderr == 0.2
    close(tight.high, float(tight) + 5.75 - 4.5)
    assert "30 draws" in tight.method
    with pytest.raises(InvalidArgumentError, match="n_samples must be at least 0"):
        dbm.log_likelihood(x, log_z=z, n_samples=-1)


# -- planted bugs -------------------------------------------------------------------------------------------------


def no_bug(patch: pytest.MonkeyPatch) -> None:
    """Nothing planted: the check must be content."""


def means_for_draws(patch: pytest.MonkeyPatch) -> None:
    """The even layers enter by their means."""
    patch.setattr(Units, "sample", lambda self, inputs, generator: self.mean(inputs))


def forgotten_normalization(patch: pytest.MonkeyPatch) -> None:
    """``log Q`` without its log-partition."""
    patch.setattr(Bernoulli, "log_prob", lambda self, x, inputs: (inputs * x).sum(-1) - self.potential(x))


def forgotten_layer_above(patch: pytest.MonkeyPatch) -> None:
    """The odd layers are summed out as if nothing lay above them."""
    rows = lambda self, v: v[:, : self.machine.visible.size] @ self.machine.weights[0]
    patch.setattr(EvenOdd, "input_h_from_v", rows)


@pytest.mark.parametrize("plant", [no_bug, means_for_draws, forgotten_normalization, forgotten_layer_above])
def test_planted_bugs_are_caught(plant: object, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    dbm = tiny_dbm(STACKS["bernoulli"], torch.Generator().manual_seed(3), scale=2.0)
    row = torch.tensor([[1.0, 0, 1]]).double()
    assert torch.isfinite(torch.tensor(log_unnormalized(dbm, row)))
    plant(monkeypatch)  # type: ignore[operator]
    assert (weights_p_value(dbm, row, generator) > FALSE_ALARM) == (plant is no_bug)
