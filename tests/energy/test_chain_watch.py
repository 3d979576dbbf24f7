"""The chains of learning are called still where they are, and not where learning left them behind."""

from __future__ import annotations

import math

import pytest
import torch

from deepbelief.data.source import make_source
from deepbelief.energy import chain_watch
from deepbelief.energy.chain_watch import learning_chains, measure_chains
from deepbelief.energy.gradients.cd import ContrastiveDivergence
from deepbelief.energy.gradients.pcd import PersistentChains
from deepbelief.energy.gradients.settings import LearningSettings, make_procedure
from deepbelief.energy.kernels.gibbs import BlockGibbs
from deepbelief.energy.rbm import RBM
from deepbelief.energy.watch import make_watch
from deepbelief.rng import make_generator
from deepbelief.training.callbacks import Watch
from deepbelief.training.trainer import Trainer
from tests.energy.kernels.test_traces import machine
from tests.oracle.pvalues import FALSE_ALARM, means_p_value
from tests.oracle.transitions import Transitions


def chains_at(rbm: RBM, v: torch.Tensor, generator: torch.Generator) -> PersistentChains:
    """Persistent chains whose states were put at `v`."""
    chains = PersistentChains(len(v))
    state = BlockGibbs(rbm).start_at(v, generator=generator)
    chains.v, chains.h = state.v, state.h
    return chains


def gap_p_value(v: torch.Tensor, generator: torch.Generator) -> float:
    """Whether the gap of chains that begin at v is zero, by its own error."""
    rbm = machine()
    data = Transitions.of(rbm).states
    gap = measure_chains(rbm, chains_at(rbm, v, generator), data, generator=generator)["chain_gap"]
    return math.erfc(abs(float(gap) / gap.stderr) / math.sqrt(2))


def test_chains_at_equilibrium_have_no_gap_and_chains_left_behind_have(generator: torch.Generator) -> None:
    exact = Transitions.of(machine())
    assert gap_p_value(exact.draw(100, generator), generator) > FALSE_ALARM
    unlikely = exact.states[exact.law.argmin()].expand(100, -1)
    assert gap_p_value(unlikely, generator) < FALSE_ALARM


def test_the_relaxation_time_is_near_that_of_the_slowest_mode(generator: torch.Generator) -> None:
    rbm, exact = machine(), Transitions.of(machine())
    truth = -1 / math.log(float(exact.modes()[0][1]))
    chains = chains_at(rbm, exact.draw(100, generator), generator)
    found = measure_chains(rbm, chains, exact.draw(300, generator), generator=generator)["relaxation_time"]
    assert found.kind == "estimate"
    assert float(found) < truth + 4.9 * found.stderr  # no number is slower than the slowest mode
    assert float(found) > 0.5 * truth - 4.9 * found.stderr  # the first component lies mostly along it


def test_watching_leaves_the_chains_as_they_are(generator: torch.Generator) -> None:
    rbm = machine()
    chains = chains_at(rbm, Transitions.of(rbm).draw(20, generator), generator)
    before = chains.v.clone(), chains.h.clone()
    measure_chains(rbm, chains, Transitions.of(rbm).states, generator=generator)
    assert torch.equal(chains.v, before[0])
    assert torch.equal(chains.h, before[1])


def test_without_persistent_chains_they_begin_at_the_data_and_take_k_sweeps(generator: torch.Generator) -> None:
    rbm = machine()
    exact = Transitions.of(rbm)
    v = exact.states[:1].expand(100, -1)
    assert torch.equal(learning_chains(rbm, None, v, generator).v, v)
    ends = torch.cat([learning_chains(rbm, ContrastiveDivergence(2), v, generator).v for _ in range(100)])
    truth = torch.linalg.matrix_power(exact.kernel, 2)[0] @ exact.states
    assert means_p_value(ends, truth) > FALSE_ALARM


@pytest.mark.parametrize("averaging", [None, 0.9])
def test_looks_are_in_the_history_and_do_not_change_learning(averaging: float | None) -> None:
    bits = (torch.rand(60, 6, generator=make_generator(0)) < 0.4).float()

    def learn(watched: bool) -> tuple[RBM, list]:
        rbm = RBM(6, 4, generator=make_generator(1))
        watch = [Watch(2, make_watch(rbm, bits, quantities=("chain_gap", "relaxation_time")))] if watched else []
        settings = LearningSettings(n_chains=30, learning_rate=0.5)
        trainer = Trainer(epochs=4, progress=False, callbacks=watch, averaging=averaging)
        return rbm, trainer.fit(make_procedure(rbm, settings), make_source(bits, batch_size=20)).history

    (with_looks, history), (without, _) = learn(True), learn(False)
    assert torch.equal(with_looks.weight, without.weight)
    assert ["relaxation_time" in row for row in history] == [True, True, False, True]
    assert history[-1]["chain_gap.kind"] == "estimate"


def test_the_weights_are_those_that_the_chains_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    bits = (torch.rand(60, 6, generator=make_generator(0)) < 0.4).float()
    rbm, seen = RBM(6, 4, generator=make_generator(1)), []
    look = make_watch(rbm, bits, quantities=("chain_gap",))
    monkeypatch.setattr(type(look), "look_at_learning", lambda *_: seen.append(rbm.weight.clone()) or {})
    monkeypatch.setattr(type(look), "__call__", lambda *_: seen.append(rbm.weight.clone()) or {})
    trainer = Trainer(epochs=1, progress=False, callbacks=[Watch(1, look)], averaging=0.9)
    trainer.fit(make_procedure(rbm, LearningSettings(learning_rate=0.5)), make_source(bits, batch_size=20))
    assert not torch.equal(seen[0], seen[1])
    assert torch.equal(seen[1], rbm.weight)  # the average, which the model ends with


def test_a_bug_that_starts_the_clock_late_is_caught(
    monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    rise = chain_watch.free_energy_rise
    monkeypatch.setattr(chain_watch, "free_energy_rise", lambda free: rise(free[:, 40:]))
    exact = Transitions.of(machine())
    assert gap_p_value(exact.states[exact.law.argmin()].expand(100, -1), generator) > FALSE_ALARM


@pytest.mark.parametrize("rule", ["pcd", "fpcd", "pt", "ptt"])
def test_every_rule_with_chains_shows_those_of_the_model(rule: str, generator: torch.Generator) -> None:
    rbm, x = RBM(6, 4, generator=generator), (torch.rand(40, 6, generator=generator) > 0.5).float()
    procedure = make_procedure(rbm, LearningSettings(learning=rule, n_chains=7, n_replicas=3, epochs=2))  # type: ignore[arg-type]
    watch = Watch(1, make_watch(rbm, x, quantities=["chain_gap"]))
    record = Trainer(epochs=2, callbacks=[watch], progress=False).fit(procedure, make_source(x, batch_size=10))
    assert [row["chain_gap.kind"] for row in record.history] == ["estimate", "estimate"]
    negative = procedure.negative  # type: ignore[union-attr]
    own = negative.chains.v if rule == "fpcd" else negative.v  # type: ignore[attr-defined]
    state = learning_chains(rbm, negative, x, generator)
    assert torch.equal(state.v, own)
    assert state.h.shape == (7, 4)
