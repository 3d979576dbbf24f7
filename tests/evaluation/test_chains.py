"""Chains of machines that are known to mix, and of one with two wells that cannot."""

from __future__ import annotations

import math

import pytest
import torch

from deepbelief.belief.dbn import DBN
from deepbelief.energy.kernels.traces import Scalars
from deepbelief.energy.rbm import RBM
from deepbelief.errors import InvalidArgumentError, InvalidDataError
from deepbelief.evaluation.chain_data import Yardstick, compare_with_data, comparison_rows
from deepbelief.evaluation.chains import diagnose_chains, diagnose_model, diagnosis_rows, ends_as_data
from deepbelief.evaluation.samples import HELD_OUT
from deepbelief.protocols import Kernel
from deepbelief.types import Clamp
from deepbelief.units.gaussian import Gaussian
from tests.energy.kernels.test_traces import machine
from tests.oracle.pvalues import FALSE_ALARM, counts_p_value, means_p_value
from tests.oracle.transitions import Transitions


def two_wells() -> RBM:
    """All units on or all off, alike in probability, and no way between: a chain stays for about e^20 sweeps."""
    rbm = RBM(10, 10, weight_std=0.0)
    with torch.no_grad():
        rbm.weight.fill_(4.0)
        rbm.visible.bias.fill_(-20.0)
        rbm.hidden.bias.fill_(-20.0)
    return rbm


def test_a_machine_that_mixes_is_called_mixed_and_draws_from_its_law(generator: torch.Generator) -> None:
    rbm, exact = machine(), Transitions.of(machine())
    found = diagnose_model(rbm, exact.draw(50, generator), n_chains=2000, n_steps=200, generator=generator)
    assert found.mixed
    truth = -1 / math.log(float(exact.modes()[0][1]))
    assert float(found.relaxation) < truth + 4.9 * found.relaxation.stderr
    assert found.start_gap is not None
    assert math.erfc(abs(float(found.start_gap)) / found.start_gap.stderr / math.sqrt(2)) > FALSE_ALARM
    ends = ends_as_data(rbm, found, generator)
    rows = (ends.unsqueeze(1) == exact.states).all(2).double().argmax(1)
    assert counts_p_value(torch.bincount(rows, minlength=len(exact.law)), exact.law) > FALSE_ALARM


def test_wells_that_chains_cannot_leave_are_told(generator: torch.Generator) -> None:
    both = torch.cat([torch.zeros(25, 10), torch.ones(25, 10)])
    for data, apart in ((both, False), (both[:25], True)):
        found = diagnose_model(two_wells(), data, n_chains=60, n_steps=100, generator=generator)
        assert not found.mixed
        assert (found.worst_r_hat > 1.15) == apart  # B = 1/8 and W = 1/8 where one group sits in one well, about
        assert found.relaxation.kind == "lower_bound"
        assert found.flip_rate < 0.01


class Wanderer:
    """A kernel of another kind, on states that are tuples: independent draws, some chains caught at one."""

    def __init__(self, caught: float) -> None:
        self.caught = caught

    def init(self, n: int, *, generator: torch.Generator | None) -> torch.Tensor:
        return torch.zeros(n, 3)

    def step(self, state, *, clamp: Clamp | None = None, generator: torch.Generator | None):
        free = torch.rand(state.v.shape, generator=generator)
        return type(state)(
            torch.where(torch.rand(len(free), 1, generator=generator) < self.caught, state.v, free)
        ), None


class Plain:
    """A state with nothing but v."""

    def __init__(self, v: torch.Tensor) -> None:
        self.v = v


def test_any_kernel_can_be_judged(generator: torch.Generator) -> None:
    kernel = Wanderer(0.5)
    assert isinstance(kernel, Kernel)
    starts = [Plain(torch.rand(100, 3, generator=generator)) for _ in range(2)]
    scalars = Scalars(None, torch.rand(50, 3, generator=generator), n_components=1)
    found = diagnose_chains(kernel, *starts, scalars, 400, generator=generator)
    assert found.start_gap is None
    for tau in (float(found.n_draws) / float(size) for size in found.effective_sizes.values()):
        assert abs(tau - 3.0) < 0.35  # rho(t) = 0.5^t; 4.9 standard errors of 3 * (2 * 21 / 40,000)^0.5 are 0.34
    assert abs(found.flip_rate - 0.5) < 4.9 * 0.5 / (800 * 100) ** 0.5


def test_rows_of_all_kinds_of_models(generator: torch.Generator) -> None:
    x = (torch.rand(60, 8, generator=generator) < 0.4).float()
    gaussian = RBM(Gaussian(8), 4, generator=generator)
    models = {"rbm": RBM(8, 4), "dbn": DBN.of_sizes([8, 6, 4], n_classes=3), "gaussian": gaussian}
    for name, model in models.items():
        found = diagnose_model(model, x, n_chains=20, n_steps=60, generator=generator)
        rows = {row.quantity: row for row in diagnosis_rows(model, found, data="d", model_name=name)}
        assert ("visible entries that change in a sweep" in rows) == (name != "gaussian")
        assert rows["relaxation time of chains"].unit == "sweeps"
        assert ends_as_data(model, found, generator).shape == (20, 8)
    with pytest.raises(InvalidArgumentError, match="n_steps must be at least 16"):
        diagnose_model(RBM(8, 4), x, n_steps=4, generator=generator)


# -- beside data ----------------------------------------------------------------------------------------------------


def law(n: int, generator: torch.Generator) -> torch.Tensor:
    """Two clusters, a third and two thirds of the cases, around (0, ...) and (6, ...)."""
    far = (torch.rand(n, 1, generator=generator) < 2 / 3).float()
    return 6 * far + torch.randn(n, 4, generator=generator)


def test_distances_of_the_means_have_their_closed_form(generator: torch.Generator) -> None:
    train = torch.randn(400, 4, generator=generator, dtype=torch.float64)
    yardstick = Yardstick(train, 2, generator)
    shift = torch.tensor([0.5, 0.0, 0.0, 0.0])
    values = [yardstick.distances(shift + torch.randn(50, 4, generator=generator))[0] for _ in range(200)]
    truth = 4 / 50 + float((shift - train.mean(0)).square().sum())
    assert means_p_value(torch.tensor(values).unsqueeze(1), truth) > FALSE_ALARM
    assert yardstick.distances(train) == (0.0, 0.0, 0.0)


def test_covariances_count_each_pair_once() -> None:
    train = torch.tensor([[1.0, 1.0], [-1.0, -1.0], [1.0, 1.0], [-1.0, -1.0]])  # covariance 4/3
    _, distance, _ = Yardstick(train, 2, torch.Generator().manual_seed(0)).distances(train * torch.tensor([1.0, -1.0]))
    assert distance == pytest.approx((8 / 3) ** 2)


def test_the_floor_is_what_one_law_reaches(generator: torch.Generator) -> None:
    excess = []
    for _ in range(20):
        found = compare_with_data(
            law(60, generator), law(600, generator), law(1200, generator), n_clusters=2, generator=generator
        )
        excess.append([found.means.value - found.means.floor, found.occupancy.value - found.occupancy.floor])
        assert found.missed == 0
    assert means_p_value(torch.tensor(excess), 0.0) > FALSE_ALARM


def test_chains_that_miss_a_cluster_are_told(generator: torch.Generator) -> None:
    train, held_out = law(600, generator), law(600, generator)
    only = torch.randn(100, 4, generator=generator)
    found = compare_with_data(only, train, held_out, n_clusters=2, generator=generator)
    assert found.missed == 1
    assert abs(found.occupancy.value - 2 / 3) < 4.9 * (2 / 9 / 600) ** 0.5
    assert min(found.means.excess, found.covariances.excess, found.occupancy.excess) > 5
    rows = comparison_rows(found, data="d", model_name="m")
    assert [row.model for row in rows] == ["m", HELD_OUT] * 3
    with pytest.raises(InvalidDataError, match="at least 10 chains"):
        compare_with_data(only[:5], train, held_out, generator=generator)
