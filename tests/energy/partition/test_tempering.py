"""log Z from parallel tempering, against the exact one: its averages bracket, and its error is what it says."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from scipy import stats

from deepbelief.energy.kernels.coloured_tempering import PairwiseLadder
from deepbelief.energy.kernels.exchange import ExchangeState
from deepbelief.energy.kernels.tempering import ParallelTempering
from deepbelief.energy.partition import tempering
from deepbelief.energy.partition.choose import log_z
from deepbelief.energy.partition.exact import exact_log_z
from deepbelief.energy.partition.tempering import tempered_log_z, works
from deepbelief.errors import InvalidArgumentError
from tests.energy.kernels.test_coloured_tempering import law_of_rung
from tests.oracle.joint import Joint
from tests.oracle.ladders import BETAS, tempered, two_modes, zeros
from tests.oracle.pairwise import law_of, tiny_machine
from tests.oracle.pvalues import FALSE_ALARM, at_most_p_value, corrected, means_p_value
from tests.oracle.zoo import PAIRS, tiny_rbm


@pytest.mark.parametrize(("visible", "hidden"), PAIRS)
def test_works_at_exact_draws_average_to_the_ratios(visible: str, hidden: str, generator: torch.Generator) -> None:
    kernel, rungs = tempered(tiny_rbm(visible, hidden, generator))
    joints = [Joint.of(rung) for rung in rungs]
    v = torch.stack([joint.halves(joint.draw(10_000, generator))[0] for joint in joints])
    forward, reverse = works(kernel, kernel.start_at(v, generator=generator))
    for k, (up, down) in enumerate(zip(forward, reverse, strict=True)):
        ratio = (joints[k + 1].log_z - joints[k].log_z).item()
        both = [means_p_value((up - ratio).exp(), 1.0), means_p_value((down + ratio).exp(), 1.0)]
        # Jensen's inequality: the sums that bracket
        both += [at_most_p_value(up, ratio), at_most_p_value(down, -ratio)]
        assert corrected(both) > FALSE_ALARM


def runs(generator: torch.Generator, n: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """How many of its own errors the estimate lies from the truth, and both ends less the truth, for `n` runs."""
    rbm = tiny_rbm("bernoulli", "bernoulli", generator, scale=1.5)
    truth = float(exact_log_z(rbm))
    found = [tempered_log_z(rbm, n_chains=20, n_replicas=5, n_steps=120, generator=generator) for _ in range(n)]
    z = [(float(each) - truth) / each.stderr for each in found]
    ends = [(each.low - truth, truth - each.high) for each in found]  # type: ignore[operator]
    return torch.tensor(z), *torch.tensor(ends, dtype=torch.float64).unbind(1)


def agrees(z: torch.Tensor) -> float:
    """A p-value for errors that are no larger than Student's with the jackknife's nine degrees of freedom."""
    # The bias of a ratio of 20 chains is far below its error; allow a fifth of an error.
    z = z.double()
    centre = means_p_value(z, max(-0.2, min(0.2, z.mean().item())))
    worst = stats.t.sf(z.abs().max().item() - 0.2, tempering.GROUPS - 1) * 2 * len(z)
    return corrected([centre, min(1.0, worst)])


def test_the_estimate_is_right_within_its_own_error(generator: torch.Generator) -> None:
    z, low, high = runs(generator, 25)
    assert agrees(z) > FALSE_ALARM
    assert corrected([at_most_p_value(low, 0.0), at_most_p_value(high, 0.0)]) > FALSE_ALARM


def test_a_planted_bug_is_seen(generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Works against the rung's own model, one too far up, or with the sign of the way down forgotten."""

    def forgotten_sign(kernel: ParallelTempering, state: ExchangeState) -> tuple[torch.Tensor, torch.Tensor]:
        forward, reverse = works(kernel, state)
        return forward, -reverse

    monkeypatch.setattr(tempering, "works", forgotten_sign)
    z, _, _ = runs(generator, 10)
    assert agrees(z) < FALSE_ALARM


def test_modes_that_gibbs_does_not_reach_are_counted(generator: torch.Generator) -> None:
    rbm = two_modes()
    truth = float(exact_log_z(rbm))
    found = log_z(rbm, "tempering", n_chains=40, burn_in=300, samples=zeros(rbm, 40), generator=generator)
    assert found.stderr < 0.2
    assert abs(float(found) - truth) < 8 * found.stderr
    # One mode alone holds less than the whole: the chains that stay at zeros miss a share that the error would show.
    assert found.low <= float(found) <= found.high  # type: ignore[operator]


def test_the_trapezoid_lies_between_its_ends(generator: torch.Generator) -> None:
    rbm = tiny_rbm("spin", "bernoulli", generator, scale=1.0)
    found = tempered_log_z(rbm, n_chains=20, n_replicas=20, n_steps=100, method="thermodynamic", generator=generator)
    assert float(found) == pytest.approx((found.low + found.high) / 2)  # type: ignore[operator]
    assert found.low - 8 * found.stderr <= float(exact_log_z(rbm)) <= found.high + 8 * found.stderr  # type: ignore[operator]


@pytest.mark.parametrize("bad", [{"n_chains": 1}, {"n_replicas": 1}, {"n_steps": 1}, {"method": "simpson"}])
def test_bad_arguments_get_a_sentence(bad: dict, generator: torch.Generator) -> None:
    with pytest.raises(InvalidArgumentError, match=f"{next(iter(bad))} must be"):
        tempered_log_z(two_modes(), generator=generator, **bad)


# -- models with rungs of their own ---------------------------------------------------------------------------------


@pytest.mark.parametrize("sort", ["spin", "potts", "chain of hidden"])
def test_works_of_a_boltzmann_machine_average_to_the_ratios(sort: str, generator: torch.Generator) -> None:
    machine = tiny_machine(sort, generator)
    laws, kernel = [law_of_rung(machine, beta) for beta in BETAS], ParallelTempering(machine, BETAS)
    x = torch.stack([law.draw(10_000, generator) for law in laws])
    for k, (up, down) in enumerate(zip(*works(kernel, kernel.start_at(x, generator=generator)), strict=True)):
        ratio = (laws[k + 1].log_z - laws[k].log_z).item()
        assert (
            corrected([means_p_value((up - ratio).exp(), 1.0), means_p_value((down + ratio).exp(), 1.0)]) > FALSE_ALARM
        )


@pytest.mark.parametrize("sort", ["mixed", "chain of hidden"])
@pytest.mark.parametrize("started", [False, True], ids=["from the base", "from data"])
def test_a_boltzmann_machine_has_its_log_z_by_tempering(sort: str, started: bool, generator: torch.Generator) -> None:
    machine = tiny_machine(sort, generator, scale=1.0)
    law = law_of(machine)
    start = law.draw(40, generator)[:, : machine.visible.size] if started else None
    found = log_z(machine, "tempering", n_chains=40, burn_in=60, samples=start, generator=generator)
    assert found.kind == "estimate"
    # Student's with the jackknife's nine degrees of freedom, beyond one chance in a million
    assert abs(float(found) - law.log_z.item()) < 12 * found.stderr
    assert found.stderr < 0.2


def test_a_base_at_the_wrong_temperature_is_seen(generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = tiny_machine("spin", generator, scale=1.0)
    inputs = PairwiseLadder.inputs
    monkeypatch.setattr(PairwiseLadder, "inputs", lambda self, *a, **o: machine.temperature * inputs(self, *a, **o))
    found = log_z(machine, "tempering", n_chains=40, burn_in=60, generator=generator)
    assert abs(float(found) - law_of(machine).log_z.item()) > 12 * found.stderr


def acceptances(other: float | None, patch: pytest.MonkeyPatch) -> torch.Tensor:
    """What the temperatures are adapted by where another process saw this share of its swaps succeed, or nobody did."""
    found: list[torch.Tensor] = []

    def gather(state: list[torch.Tensor]) -> list[list[torch.Tensor]]:
        if other is None or state[0].ndim > 1:  # the works of the chains, which nobody is asked for here
            return [state]
        return [state, [other * state[1], state[1]]]

    with patch.context() as here:
        here.setattr(ParallelTempering, "adapt", lambda self, acceptance: found.append(acceptance))
        run_as(0, gather)
    return torch.stack(found)


def run_as(rank: int, gather: Any) -> None:
    """log Z by the share of one process out of two."""
    peers: Any = SimpleNamespace(rank=rank, world_size=2, gather=gather)
    generator = torch.Generator().manual_seed(0)
    tempered_log_z(two_modes(), n_chains=21, n_replicas=4, n_steps=60, generator=generator, processes=peers)


def test_temperatures_follow_the_swaps_of_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = acceptances(None, monkeypatch)
    torch.testing.assert_close(acceptances(0.0, monkeypatch), alone / 2)
    torch.testing.assert_close(acceptances(1.0, monkeypatch), (alone + 1) / 2)


def test_processes_run_ladders_of_their_own() -> None:
    works_of: list[torch.Tensor] = []
    for rank in (0, 1):
        run_as(rank, lambda state: (works_of.append(state[0]) if state[0].ndim > 1 else None, [state])[1])
    assert [works.shape[2] for works in works_of] == [11, 10]
    assert not torch.equal(works_of[0][..., :10], works_of[1])


@pytest.mark.parametrize("n", [10, 60])
def test_every_row_of_the_start_is_a_ladder(n: int, generator: torch.Generator) -> None:
    """Whatever the number of chains is, which counts where there are no samples."""
    rbm = two_modes()
    samples = rbm.sample(n, n_steps=20, generator=generator)
    found = log_z(rbm, "tempering", n_chains=40, burn_in=30, samples=samples, generator=generator)
    assert f"{n} ladders of" in found.method
