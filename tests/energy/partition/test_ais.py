"""Annealed importance sampling, both ways, against the exact log Z."""

from __future__ import annotations

import math

import pytest
import torch

import deepbelief.energy.partition.ais as annealing
from deepbelief.energy.partition.ais import ais, bracket, linear_betas, reverse_ais
from deepbelief.energy.partition.choose import log_z
from deepbelief.energy.rbm import RBM
from deepbelief.errors import InvalidArgumentError
from tests.oracle.checks import annealing_is_unbiased
from tests.oracle.joint import Joint
from tests.oracle.pvalues import FALSE_ALARM, at_most_p_value
from tests.oracle.zoo import PAIRS, tiny_rbm

COARSE = [0.0, 0.5, 1.0]


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize(("visible", "hidden"), PAIRS)
def test_weights_are_unbiased(visible: str, hidden: str, reverse: bool, generator: torch.Generator) -> None:
    rbm = tiny_rbm(visible, hidden, generator)
    assert annealing_is_unbiased(rbm, 10_000, generator, reverse=reverse) > FALSE_ALARM


@pytest.mark.parametrize("turns", [1, 3])
def test_more_chains_than_run_side_by_side_run_in_turns(
    turns: int, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    rbm, told, widest = tiny_rbm("bernoulli", "bernoulli", generator), [], []
    monkeypatch.setattr(annealing, "CHAINS", 4)
    sizes = [4] * (turns - 1) + [3]
    state, samples = generator.get_state(), rbm.base().visible.sample(torch.zeros(sum(sizes), 3), generator)
    generator.set_state(state)
    one_by_one = [ais(rbm, n_chains=n, betas=COARSE, generator=generator).log_weights for n in sizes]
    generator.set_state(state)
    product = rbm.input_h_from_v
    monkeypatch.setattr(rbm, "input_h_from_v", lambda v: widest.append(len(v)) or product(v))
    joined = ais(rbm, n_chains=sum(sizes), betas=COARSE, generator=generator, progress=lambda k, n: told.append((k, n)))
    assert torch.equal(joined.log_weights, torch.cat(one_by_one))
    assert len(joined.v) == len(reverse_ais(rbm, samples, betas=COARSE, generator=generator).v) == sum(sizes)
    assert max(widest) <= 4
    assert told == [(k, 2 * turns) for k in range(1, 2 * turns + 1)]


@pytest.fixture
def rbm(generator: torch.Generator) -> RBM:
    return tiny_rbm("bernoulli", "spin", generator, scale=1.5)


@pytest.fixture
def joint(rbm: RBM) -> Joint:
    return Joint.of(rbm)


def test_log_weights_lie_below_forward_and_above_in_reverse(rbm: RBM, joint: Joint, generator: torch.Generator) -> None:
    ratio = (joint.log_z - Joint.of(rbm.base()).log_z).item()
    samples = joint.halves(joint.draw(5000, generator))[0]
    forward = ais(rbm, n_chains=5000, betas=COARSE, generator=generator)
    reverse = reverse_ais(rbm, samples, betas=COARSE, generator=generator)
    assert (forward.direction, reverse.direction) == ("forward", "reverse")
    assert at_most_p_value(-forward.log_weights, -ratio) < FALSE_ALARM < at_most_p_value(forward.log_weights, ratio)
    assert at_most_p_value(-reverse.log_weights, ratio) < FALSE_ALARM < at_most_p_value(reverse.log_weights, -ratio)


def test_both_ways_converge_on_the_exact_value(rbm: RBM, joint: Joint, generator: torch.Generator) -> None:
    samples = joint.halves(joint.draw(300, generator))[0]
    errors = []
    for n_temperatures in (10, 320):
        forward = ais(rbm, n_chains=300, betas=n_temperatures, generator=generator)
        reverse = reverse_ais(rbm, samples, betas=n_temperatures, generator=generator)
        errors.append((forward.stderr, reverse.stderr))
        for result in (forward, reverse):
            assert abs(result.log_z - joint.log_z.item()) < 5 * result.stderr
            assert 1 <= result.effective_size <= 300
    assert errors[1][0] < errors[0][0] / 2  # a long path's error falls with the root of its length
    assert errors[1][1] < errors[0][1] / 2


def test_an_rbm_without_weights_is_its_own_base(generator: torch.Generator) -> None:
    rbm = RBM(5, 4, weight_std=0.0).double()
    result = ais(rbm, n_chains=3, betas=4, generator=generator)
    assert (result.log_z, result.stderr, result.effective_size) == (pytest.approx(9 * math.log(2), rel=1e-12), 0.0, 3.0)


def test_last_states_of_slow_runs_have_the_models_law(rbm: RBM, joint: Joint, generator: torch.Generator) -> None:
    v = ais(rbm, n_chains=4000, betas=100, generator=generator).v
    assert joint.p_value(torch.cat([v, rbm.sample_h_from_v(v, generator)], 1)) > FALSE_ALARM


def test_log_z_by_annealing_is_an_estimate_that_brackets(rbm: RBM, joint: Joint, generator: torch.Generator) -> None:
    bound = log_z(rbm, "ais", n_chains=300, betas=100, burn_in=30, generator=generator)
    assert bound.kind == "estimate"
    assert bound.low is not None
    assert bound.high is not None
    assert bound.low - 5 * bound.stderr < joint.log_z.item() < bound.high + 5 * bound.stderr
    assert bound.low <= float(bound) <= bound.high
    assert abs(float(bound) - joint.log_z.item()) < 5 * bound.stderr
    score = rbm.log_likelihood(torch.ones(2, 3).double(), log_z=bound)
    assert (score.kind, score.stderr) == ("estimate", bound.stderr)
    assert score.low is not None
    assert score.high is not None
    assert score.low <= float(score) <= score.high
    torch.testing.assert_close(score.high - score.low, bound.high - bound.low)


def test_auto_is_exact_where_it_can_be(rbm: RBM, joint: Joint) -> None:
    assert log_z(rbm).kind == log_z(rbm, "exact").kind == "exact"
    torch.testing.assert_close(log_z(rbm).value, joint.log_z.item())


def test_the_bracket_has_both_ends(rbm: RBM, joint: Joint, generator: torch.Generator) -> None:
    forward = ais(rbm, n_chains=50, betas=COARSE, generator=generator)
    samples = joint.halves(joint.draw(50, generator))[0]
    reverse = reverse_ais(rbm, samples, betas=COARSE, generator=generator)
    bound = bracket(forward, reverse)
    assert {bound.low, bound.high} == {forward.log_z, reverse.log_z}
    assert bound.stderr == max(forward.stderr, reverse.stderr)


@pytest.mark.parametrize("n", [2, 3, 10, 100, 1001])
def test_the_schedule_rises_from_zero_to_one(n: int) -> None:
    betas = linear_betas(n)
    assert (len(betas), betas[0], betas[-1]) == (n, 0.0, 1.0)
    assert (betas.diff() > 0).all()


def test_half_of_a_long_schedule_lies_above_nine_tenths() -> None:
    betas = linear_betas(10_001)
    assert [(betas > limit).double().mean().item() for limit in (0.9, 0.5)] == pytest.approx([0.5, 0.95], abs=1e-3)


def test_progress_is_told(rbm: RBM, generator: torch.Generator) -> None:
    told: list[tuple[int, int]] = []
    ais(rbm, n_chains=2, betas=5, generator=generator, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize("betas", [[0.0, 0.6, 0.5, 1.0], [0.1, 1.0], [0.0, 0.9]])
def test_a_wrong_schedule_gets_a_sentence(rbm: RBM, betas: list[float]) -> None:
    with pytest.raises(InvalidArgumentError, match=r"betas must rise from 0 to 1.*Use linear_betas"):
        ais(rbm, betas=betas)


def test_wrong_arguments_get_a_sentence(rbm: RBM) -> None:
    with pytest.raises(InvalidArgumentError, match=r"n_chains must be at least 2. Got n_chains=1"):
        ais(rbm, n_chains=1)
    with pytest.raises(InvalidArgumentError, match="number of samples must be at least 2"):
        reverse_ais(rbm, torch.zeros(1, 3).double())
    with pytest.raises(InvalidArgumentError, match="n_temperatures must be at least 2"):
        ais(rbm, betas=1)
    with pytest.raises(InvalidArgumentError, match="Did you mean 'ais'"):
        log_z(rbm, "aiss")
