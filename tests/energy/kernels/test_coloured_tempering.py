"""Parallel tempering of machines that are no pair of layers: all rungs keep their laws, and planted bugs are seen."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from deepbelief.energy.boltzmann import BoltzmannMachine
from deepbelief.energy.dbm import DBM
from deepbelief.energy.kernels.coloured_tempering import PairwiseLadder
from deepbelief.energy.kernels.exchange import ExchangeState
from deepbelief.energy.kernels.tempering import ParallelTempering
from deepbelief.energy.rbm import RBM
from deepbelief.types import Clamp
from tests.oracle.deep import STACKS, tiny_dbm, twin
from tests.oracle.joint import Joint
from tests.oracle.ladders import BETAS, exchange_keeps_the_laws, tempered
from tests.oracle.pairwise import known_site, law_of, matrix_of, tiny_machine
from tests.oracle.pvalues import FALSE_ALARM, corrected

N = 8000


def law_of_rung(machine: BoltzmannMachine, beta: float) -> Joint:
    """The law at an inverse temperature, from the definition of the path."""
    law, cold = law_of(machine), 1 / machine.temperature
    field = (1 - beta) * machine.independent_bias() + beta * cold * machine.bias.detach()
    none = torch.zeros(machine.size, dtype=torch.bool)
    precision = -beta * cold * matrix_of(machine).detach()
    return Joint(law.states, law.log_ways, precision, field, none, none, none, machine.visible.size)


@torch.no_grad()
def sweep_keeps_all_laws(
    machine: BoltzmannMachine, generator: torch.Generator, *, parity: int = 0, clamped: bool = False
) -> float:
    """The p-value that chains which start at every rung's (conditional) law have it after a sweep with swaps."""
    kernel, laws, clamp = ParallelTempering(machine, BETAS), [law_of_rung(machine, beta) for beta in BETAS], None
    if clamped:
        row, known = laws[-1].draw(1, generator)[0], known_site(machine)
        clamp = Clamp(row[: machine.visible.size], known)
        whole = torch.cat([known, torch.zeros(machine.size - len(known), dtype=torch.bool)])
        laws = [law.given(row, whole) for law in laws]
    x = torch.stack([law.draw(N, generator) for law in laws])
    from_base = torch.zeros(x.shape[:2], dtype=torch.bool)
    state, _ = kernel.step(ExchangeState(x, x, x, from_base, parity), clamp=clamp, generator=generator)
    assert torch.equal(state.v, state.h)
    return corrected([law.p_value(rows) for law, rows in zip(laws, state.v, strict=True)])


@pytest.mark.parametrize("clamped", [False, True], ids=["free", "clamped"])
@pytest.mark.parametrize("sort", ["spin", "potts", "hidden", "chain of hidden"])
def test_a_sweep_keeps_the_laws_of_all_rungs(sort: str, clamped: bool, generator: torch.Generator) -> None:
    machine = tiny_machine(sort, generator)
    for parity in (0, 1):
        assert sweep_keeps_all_laws(machine, generator, parity=parity, clamped=clamped) > FALSE_ALARM


def one_temperature(patch: pytest.MonkeyPatch) -> None:
    """All rungs swept at the model's temperature."""
    draw = PairwiseLadder.draw_v
    planted = lambda self, h, g, clamp=None: draw(self.at(torch.ones_like(self.betas)), h, g, clamp)
    patch.setattr(PairwiseLadder, "draw_v", planted)


def energies_for_ratios(patch: pytest.MonkeyPatch) -> None:
    """Swaps judged by half of what the two ends differ in."""
    inputs = PairwiseLadder.inputs
    patch.setattr(PairwiseLadder, "inputs", lambda *a, **o: 0.5 * inputs(*a, **o))


def own_rung(patch: pytest.MonkeyPatch) -> None:
    """A state judged by its own rung where the neighbour's is asked for: every swap is accepted."""
    free = PairwiseLadder.free_energy
    patch.setattr(PairwiseLadder, "free_energy", lambda self, v, i, rungs: free(self, v, i, range(len(v))))


@pytest.mark.parametrize("plant", [one_temperature, energies_for_ratios, own_rung])
def test_planted_bugs_are_seen(
    plant: Callable[[pytest.MonkeyPatch], None], generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = tiny_machine("spin", generator, scale=1.2)
    assert sweep_keeps_all_laws(machine, generator) > FALSE_ALARM
    plant(monkeypatch)
    assert sweep_keeps_all_laws(machine, generator) < FALSE_ALARM


@torch.no_grad()
def as_one_rbm(dbm: DBM) -> RBM:
    """The even and the odd layers of a machine as an RBM with parameters and offsets of its own."""
    view = dbm.even_odd()
    rbm = RBM.from_config({"visible": view.visible.config(), "hidden": view.hidden.config()}).double()
    rbm.visible.load_state_dict(view.visible.state_dict())
    rbm.hidden.load_state_dict(view.hidden.state_dict())
    rbm.weight.copy_(twin(dbm).weight)
    rbm.visible_offset.copy_(view.visible_offset)
    rbm.hidden_offset.copy_(view.hidden_offset)
    return rbm


@pytest.mark.parametrize("name", ["three hidden", "mixed", "gaussian data"])
def test_a_sweep_of_a_deep_machine_keeps_the_laws_of_all_rungs(name: str, generator: torch.Generator) -> None:
    dbm = tiny_dbm(STACKS[name], generator)
    _, rungs = tempered(as_one_rbm(dbm))
    kernel = ParallelTempering(dbm.even_odd(), BETAS)
    for parity in (0, 1):
        assert exchange_keeps_the_laws(kernel, rungs, N, generator, parity=parity)[0] > FALSE_ALARM


@torch.no_grad()
def two_wells() -> BoltzmannMachine:
    """Six bits that are all on or all off, of unequal weight, and next to nothing between."""
    machine = BoltzmannMachine(6, coupling_std=0.0).double()
    machine.coupling.fill_(4.0)
    machine.visible.bias.fill_(-4.0 * 5 / 2 + 0.05)
    machine.offset.fill_(0.5)
    return machine


def test_tempering_leaves_a_well_that_sweeps_do_not(generator: torch.Generator) -> None:
    machine = two_wells()
    law, off = law_of(machine), torch.zeros(1000, 6).double()
    plain, chains = machine.kernel(), machine.kernel().start_at(off, generator=generator)
    for _ in range(100):
        chains, _ = plain.step(chains, generator=generator)
    assert law.p_value(chains.x) < FALSE_ALARM
    kernel = ParallelTempering(machine, 8)
    state = kernel.start_at(off, generator=generator)
    for _ in range(100):
        state, _ = kernel.step(state, generator=generator)
    assert law.p_value(state.v[-1]) > FALSE_ALARM


def test_free_energies_are_those_of_the_path(generator: torch.Generator) -> None:
    machine = tiny_machine("mixed", generator)
    ladder = PairwiseLadder(machine, torch.tensor(BETAS, dtype=torch.float64))
    rows = law_of(machine).draw(20, generator)
    x: Tensor = rows.expand(len(BETAS), -1, -1)
    found = ladder.free_energy(x, ladder.inputs(x, range(4)), [3, 2, 1, 0])
    for k, beta in enumerate(reversed(BETAS)):
        energy = law_of_rung(machine, beta).energy(rows)
        torch.testing.assert_close(found[k] - found[k][0], (energy - energy[0]).detach())
