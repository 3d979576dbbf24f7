"""FPCD, PT and PTT: the exact gradient where a plain chain misses it, exact resume, shares of processes."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from deepbelief.energy.gradients.fast_pcd import FastPersistentChains
from deepbelief.energy.gradients.negative import NegativePhase
from deepbelief.energy.gradients.pcd import PersistentChains
from deepbelief.energy.gradients.procedure import LikelihoodLearning
from deepbelief.energy.gradients.settings import LearningSettings, make_procedure
from deepbelief.energy.gradients.tempered import TemperedChains
from deepbelief.energy.gradients.trajectory import TrajectoryChains
from deepbelief.energy.rbm import RBM
from deepbelief.errors import DivergenceError, InvalidArgumentError
from deepbelief.storage import state_from_bytes, state_to_bytes
from deepbelief.types import Batch
from tests.oracle.checks import (
    exact_gradient,
    library_gradient,
    make_context,
    model_moments,
    moment_rows,
    positive_phase,
)
from tests.oracle.joint import Joint
from tests.oracle.ladders import two_modes, zeros
from tests.oracle.pvalues import FALSE_ALARM, corrected, means_p_value
from tests.oracle.zoo import PAIRS, tiny_rbm

N = 1500
EVERY_TIME = {"reservoir": 1, "ladder_every": 1}  # a ladder that never rests
close = torch.testing.assert_close
ALL = [FastPersistentChains, TemperedChains, TrajectoryChains]


def from_the_mode_of_zeros(negative: Any, rbm: RBM, updates: int, generator: torch.Generator) -> Tensor:
    """The moments of each chain after some updates of a model that does not move; all chains start in one mode."""
    phase = positive_phase(rbm, zeros(rbm, N))
    negative.start(rbm, phase.v, generator, rank=0, world_size=1)
    for _ in range(updates):
        found, _ = negative.moments(rbm, phase, generator)
    return moment_rows(found)


@pytest.mark.parametrize(
    ("negative", "reaches"),
    [
        (PersistentChains(N, start_at="data"), False),
        (FastPersistentChains(N, start_at="data", fast_rate=0.0), False),
        (TemperedChains(N, n_replicas=5, start_at="data"), True),
        (TrajectoryChains(N, **EVERY_TIME, n_replicas=5, start_at="data"), True),
    ],
    ids=["pcd", "fpcd-without-fast", "pt", "ptt"],
)
def test_the_models_half_is_that_of_both_modes(negative: Any, reaches: bool, generator: torch.Generator) -> None:
    rbm = two_modes()
    rows = from_the_mode_of_zeros(negative, rbm, 80, generator)
    assert (means_p_value(rows, model_moments(Joint.of(rbm))) > FALSE_ALARM) == reaches


@pytest.mark.parametrize("kind", [TemperedChains, TrajectoryChains])
def test_the_gradient_is_that_of_the_enumerated_likelihood(kind: Any, generator: torch.Generator) -> None:
    rbm = two_modes()
    batch, joint = Batch((torch.rand(4, 8, generator=generator) < 0.5).double()), Joint.of(rbm)
    wanted = exact_gradient(rbm, batch, centred=False)["weight"].flatten()
    stuck = library_gradient(rbm, batch, moved(PersistentChains(N, start_at="data"), rbm), centred=False)["weight"]
    options: dict[str, Any] = EVERY_TIME if kind is TrajectoryChains else {}
    negative = moved(kind(N, start_at="data", n_replicas=5, **options), rbm)
    found = library_gradient(rbm, batch, negative, centred=False)["weight"]
    spread = joint.moments()[1][:8, 8:].flatten()  # <v h>, whose variance bounds that of v <h>
    error = (spread * (1 - spread) / N).sqrt()
    assert ((found.flatten() - wanted).abs() < 6 * error).all()  # 48 entries: two-sided 1e-7 with Bonferroni
    assert ((stuck.flatten() - wanted).abs() > 6 * error).all()


def moved(negative: Any, rbm: RBM) -> NegativePhase:
    """Chains from the mode of zeros that had time, and that a further start does not throw away."""
    from_the_mode_of_zeros(negative, rbm, 80, torch.Generator().manual_seed(1))
    negative.start = lambda *_, **__: None
    return negative


@pytest.mark.parametrize(("visible", "hidden"), PAIRS[::7])
def test_tempered_learning_goes_through_all_kinds_of_units(
    visible: str, hidden: str, generator: torch.Generator
) -> None:
    rbm = tiny_rbm(visible, hidden, generator)
    wanted, p_values = model_moments(Joint.of(rbm)), []
    for negative in (TemperedChains(N, n_replicas=3), TrajectoryChains(N, **EVERY_TIME)):
        rows = from_the_mode_of_zeros(negative, rbm, 40, generator)
        p_values.append(means_p_value(rows, wanted))
    assert corrected(p_values) > FALSE_ALARM


def test_fast_weights_drive_chains_out_of_a_mode_that_has_no_data(generator: torch.Generator) -> None:
    ones = Batch(torch.ones(20, 8).double())
    shares = []
    for negative in (
        PersistentChains(100, start_at="data"),
        FastPersistentChains(100, start_at="data", fast_rate=0.3),
    ):
        rbm = two_modes(1.3)
        procedure = LikelihoodLearning(rbm, negative, learning_rate=0.0, centred=False)
        procedure.start(Batch(zeros(rbm, 100)), generator)
        for _ in range(40):
            procedure.step(ones, make_context(generator))
        chains = negative.chains if isinstance(negative, FastPersistentChains) else negative
        shares.append(chains.v.mean().item())
    assert shares[0] < 0.2 < 0.8 < shares[1]


def test_fast_weights_decay_and_follow_the_gradient(generator: torch.Generator) -> None:
    rbm = tiny_rbm("bernoulli", "bernoulli", generator)
    negative = FastPersistentChains(5, fast_rate=0.5, decay=0.75)
    procedure = LikelihoodLearning(rbm, negative, learning_rate=0.1)
    procedure.start(Batch(torch.ones(3, 3).double()), generator)
    wanted = torch.zeros_like(rbm.weight)
    for _ in range(3):
        procedure.step(Batch(torch.ones(3, 3).double()), make_context(generator))
        assert rbm.weight.grad is not None
        wanted = 0.75 * wanted - 0.5 * rbm.weight.grad
    close(negative.fast[[name for name, _ in rbm.named_parameters()].index("weight")], wanted.detach())
    close(negative.state_dict()["fast"], negative.fast)


def test_without_fast_weights_it_is_plain_pcd() -> None:
    found = []
    for negative in (PersistentChains(6, 2), FastPersistentChains(6, 2, fast_rate=0.0)):
        rbm, generator = two_modes(0.5), torch.Generator().manual_seed(3)
        procedure = LikelihoodLearning(rbm, negative, learning_rate=0.2, momentum=0.5)
        procedure.start(Batch(torch.ones(4, 8).double()), generator)
        for _ in range(5):
            procedure.step(Batch(torch.ones(4, 8).double()), make_context(generator))
        found.append(rbm.state_dict())
    close(found[0], found[1], rtol=0, atol=0)


# -- the ladder of checkpoints --------------------------------------------------------------------------------------


def learn(rbm: RBM, negative: Any, steps: int, generator: torch.Generator, rate: float = 0.1) -> LikelihoodLearning:
    x = torch.tensor([[1.0, 1, 1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 1, 1, 1, 1]]).double()
    procedure = LikelihoodLearning(rbm, negative, learning_rate=rate)
    procedure.start(Batch(x), generator)
    for _ in range(steps):
        procedure.step(Batch(x), make_context(generator))
    return procedure


def test_the_ladder_grows_with_the_training_and_its_neighbours_overlap(generator: torch.Generator) -> None:
    rbm = RBM(8, 6, generator=generator).double()
    negative = TrajectoryChains(50, swap_acceptance=0.8, reservoir=2, ladder_every=2)
    learn(rbm, negative, 250, generator)
    assert len(negative.rungs) > 3
    assert len({float(rung.weight.norm()) for rung in negative.rungs}) == len(negative.rungs)
    assert negative.h.shape == (len(negative.rungs), 100, 6)
    assert negative.acceptance >= 0.8
    trips = 0.0
    for _ in range(60):
        trips += float(
            negative.moments(rbm, positive_phase(rbm, torch.ones(1, 8).double()), generator)[1]["round_trips"]
        )
    assert trips > 0.2


def test_a_gap_gets_a_rung_between(generator: torch.Generator) -> None:
    rbm = two_modes()
    negative = TrajectoryChains(20)
    negative.start(RBM(8, 6, weight_std=0.0).double(), zeros(rbm, 20), generator, rank=0, world_size=1)
    negative.acceptance = 0.05
    negative._freeze(rbm)
    assert [float(rung.weight[0, 0]) for rung in negative.rungs] == [0.0, 1.0, 2.0]
    assert negative.h.shape[:2] == (3, 200)
    assert negative.from_base[0].shape == (3, 200)


def test_a_model_that_is_trained_already_starts_on_temperatures(generator: torch.Generator) -> None:
    negative = TrajectoryChains(100, n_replicas=4)
    negative.start(two_modes(), zeros(two_modes(), 3), generator, rank=0, world_size=1)
    close(torch.tensor([float(rung.weight[0, 0]) for rung in negative.rungs]), torch.tensor([0.0, 2 / 3, 4 / 3]))
    fresh = TrajectoryChains(100)
    fresh.start(RBM(8, 6).double(), zeros(two_modes(), 3), generator, rank=0, world_size=1)
    assert len(fresh.rungs) == 1


# -- state ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ALL)
def test_state_goes_on_as_if_never_stopped(kind: Any, generator: torch.Generator) -> None:
    options = {"swap_acceptance": 0.9, "ladder_every": 3} if kind is TrajectoryChains else {}
    first = RBM(8, 6, generator=generator).double()
    before = learn(first, kind(10, 2, **options), 60, generator, rate=0.3)
    second = RBM(8, 6).double()
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    after = LikelihoodLearning(second, kind(10, 2, **options), learning_rate=0.3)
    after.load_state_dict(state_from_bytes(state_to_bytes(before.state_dict()), source="a test"))
    close(after.state_dict(), before.state_dict(), rtol=0, atol=0)
    for procedure in (before, after):
        again = torch.Generator().manual_seed(7)
        for _ in range(55):  # past an adaptation of the temperatures, and past a new checkpoint
            procedure.step(Batch(torch.eye(8).double()), make_context(again))
    close(second.state_dict(), first.state_dict(), rtol=0, atol=0)
    close(after.state_dict(), before.state_dict(), rtol=0, atol=0)
    if kind is TrajectoryChains:
        assert len(before.negative.rungs) > 2  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("start_at", ["base", "data"])
def test_processes_share_the_chains_out(kind: Any, start_at: str, generator: torch.Generator) -> None:
    rbm, counts = RBM(4, 3), []
    for rank in range(3):
        negative = kind(10, start_at=start_at)
        negative.start(rbm, torch.ones(2, 4), generator, rank=rank, world_size=3)
        v = negative.chains.v if kind is FastPersistentChains else negative.v
        counts.append(len(v))
        assert start_at == "base" or (v == 1).all()
    assert counts == [4, 3, 3]


@pytest.mark.parametrize("kind", [TemperedChains, TrajectoryChains])
def test_chains_of_nan_stop_the_training(kind: Any, generator: torch.Generator) -> None:
    rbm = tiny_rbm("gaussian", "bernoulli", generator)
    negative = kind(4)
    negative.start(rbm, torch.zeros(4, 2).double(), generator, rank=0, world_size=1)
    getattr(negative, "replicas", negative).updates = 499
    rbm.visible.bias.data[0] = float("nan")
    with pytest.raises(DivergenceError, match="chains hold NaN or infinity"):
        negative.moments(rbm, positive_phase(rbm, torch.zeros(1, 2).double()), generator)


@pytest.mark.parametrize("kind", ALL)
def test_settings_make_what_they_name(kind: Any) -> None:
    values = {"learning": kind.name, "k": 3, "n_chains": 7, "n_replicas": 4, "fast_rate": 0.02, "ladder_every": 5}
    settings = LearningSettings.from_mapping({**values, "swap_acceptance": 0.4})
    negative = make_procedure(RBM(3, 2), settings).negative
    assert isinstance(negative, kind)
    for name, value in settings.to_dict().items():
        assert getattr(negative, name, value) == value
    plain: Any = make_procedure(RBM(3, 2), LearningSettings(learning="fpcd", learning_rate=0.07)).negative
    assert plain.fast_rate == 0.07


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"learning": "ppt"}, "Did you mean 'pt'|Did you mean 'ptt'"),
        ({"n_replicas": 1}, "n_replicas must be at least 2. Got n_replicas=1"),
        ({"swap_acceptance": 2.0}, "swap_acceptance must be at least 0 and at most 1. Got swap_acceptance=2.0"),
        ({"ladder_every": 0}, "ladder_every must be at least 1"),
    ],
)
def test_wrong_settings_get_a_sentence(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidArgumentError, match=sentence):
        LearningSettings.from_mapping(values)
