"""Greedy pre-training of a DBM, and the network that is unrolled from it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from deepbelief.data.source import make_source
from deepbelief.energy.dbm import DBM
from deepbelief.energy.dbm_network import DBMNetwork
from deepbelief.energy.gradients.settings import LearningSettings
from deepbelief.energy.partition.exact import exact_log_z
from deepbelief.energy.pretraining import compose, pretrain, start_from_rbm
from deepbelief.energy.rbm import RBM
from deepbelief.errors import InvalidArgumentError, InvalidDataError
from deepbelief.rng import make_generator
from deepbelief.storage import load_model, save_model
from deepbelief.training.supervised import SupervisedProcedure
from deepbelief.training.trainer import Trainer
from deepbelief.units.side_by_side import SideBySide
from tests.oracle.deep import STACKS, exact_log_p, tiny_dbm
from tests.oracle.zoo import tiny_rbm

close = torch.testing.assert_close
PATTERNS = torch.tensor([[0.0, 0, 1, 1, 0], [1, 1, 0, 0, 1], [0, 1, 0, 1, 0]]).repeat(20, 1)
PLAN = LearningSettings(epochs=60, learning_rate=0.5, n_chains=20)


def pretrained(sizes: list[int], plan: LearningSettings = PLAN, **options: object) -> DBM:
    dbm = DBM(sizes, generator=make_generator(0))
    pretrain(dbm, make_source(PATTERNS, batch_size=10), plan, trainer_options={"progress": False}, **options)  # type: ignore[arg-type]
    return dbm


def test_pre_training_raises_the_likelihood() -> None:
    dbm = DBM([5, 4, 3], generator=make_generator(0)).double()
    dbm.match_data(PATTERNS.double())
    before = exact_log_p(dbm, PATTERNS[:3].double()).mean().item()
    after = exact_log_p(pretrained([5, 4, 3]).double(), PATTERNS[:3].double()).mean().item()
    assert after > before + 0.3


@pytest.mark.parametrize("sizes", [[5, 4, 3], [5, 4, 4, 3]])
def test_copies_stay_equal_and_weights_are_shared_out(sizes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[RBM] = []
    monkeypatch.setattr(
        "deepbelief.energy.pretraining.compose", lambda dbm, rbms: (seen.extend(rbms), compose(dbm, rbms))
    )
    dbm = pretrained(sizes)
    bottom, top = seen[0], seen[-1]
    for units in (bottom.visible, top.hidden):
        assert isinstance(units, SideBySide)
        close(units.part(0).state_dict(), units.part(1).state_dict(), rtol=0, atol=0)
    close(bottom.weight[:5], bottom.weight[5:], rtol=0, atol=0)
    close(top.weight[:, :3], top.weight[:, 3:], rtol=0, atol=0)
    close(dbm.weights[0], bottom.weight[:5])
    close(dbm.weights[-1], top.weight[:, :3])
    for weight, rbm in zip(dbm.weights[1:-1], seen[1:-1], strict=True):
        close(weight, rbm.weight / 2)
    assert all(weight.std() > 0.05 for weight in dbm.weights)  # from 0.01: they did learn


def test_resumed_pre_training_is_one_that_never_stopped(tmp_path: Path) -> None:
    whole = pretrained([5, 4, 3])
    plan = LearningSettings.from_mapping({**PLAN.to_dict(), "schedule": "constant"})
    short = LearningSettings.from_mapping({**plan.to_dict(), "epochs": 7})
    once = pretrained([5, 4, 3], plan, checkpoint_dir=tmp_path / "a")
    pretrained([5, 4, 3], short, checkpoint_dir=tmp_path / "b")
    (tmp_path / "b" / "layer-2" / "checkpoint.safetensors").unlink()  # it belongs to a shorter layer 1
    again = pretrained([5, 4, 3], plan, checkpoint_dir=tmp_path / "b", resume=True)
    close(again.state_dict(), once.state_dict(), rtol=0, atol=0)
    assert (whole.weights[0] != once.weights[0]).any()


@pytest.mark.parametrize("stack", STACKS)
def test_the_network_starts_as_mean_field(stack: str, generator: torch.Generator) -> None:
    dbm = tiny_dbm(STACKS[stack], generator, scale=0.3)
    x = dbm.visible.sample(torch.zeros(4, dbm.visible.size).double(), generator).detach()
    net = DBMNetwork(dbm, 3, feedback=True)
    found, wanted = net.activities(x), dbm.infer(x).means[1:]
    close(found, wanted, rtol=1e-3, atol=1e-3)  # inference stops at changes of 1e-4


@pytest.mark.parametrize("stack", STACKS)
def test_without_feedback_the_network_starts_as_the_pass_up(stack: str, generator: torch.Generator) -> None:
    dbm = tiny_dbm(STACKS[stack], generator, scale=0.3)
    x = dbm.visible.sample(torch.zeros(4, dbm.visible.size).double(), generator).detach()
    net = DBMNetwork(dbm, 3)
    wanted, below = [], x
    for units, weight, times in zip(dbm.units[1:], dbm.weights, [2] * (len(dbm.weights) - 1) + [1], strict=True):
        below = units.mean(times * below @ weight)
        wanted.append(below)
    close(net.activities(x), wanted)
    close(net.augmented(x), x, rtol=0, atol=0)
    assert not list(net.down.parameters())


def test_rows_with_and_without_their_means_give_the_same(generator: torch.Generator) -> None:
    net = DBMNetwork(tiny_dbm(STACKS["three hidden"], generator), 2, feedback=True)
    x = torch.rand(6, 3, generator=generator).round().double()
    close(net(x), net(net.augmented(x)))
    with pytest.raises(InvalidDataError, match="augmented"):
        net(torch.zeros(2, 4).double())


def test_the_slope_at_x_leaves_the_means_above_as_they_are(generator: torch.Generator) -> None:
    net = DBMNetwork(tiny_dbm(STACKS["bernoulli"], generator), 2, feedback=True, generator=generator).double()
    x = (torch.rand(4, net.n_inputs, generator=generator) < 0.5).double().requires_grad_()
    wide = net.augmented(x).detach().requires_grad_()
    (slope,) = torch.autograd.grad(net(x).square().sum(), x)
    (expected,) = torch.autograd.grad(net(wide).square().sum(), wide)
    assert bool((slope != 0).any())
    close(slope, expected[:, : net.n_inputs])


@pytest.mark.parametrize("feedback", [True, False])
def test_fine_tuning_learns_labels_and_leaves_the_machine(
    feedback: bool, generator: torch.Generator, tmp_path: Path
) -> None:
    dbm = pretrained([5, 4, 3])
    net = DBMNetwork(dbm, 3, feedback=feedback, generator=generator)
    labels = torch.arange(3).repeat(20)
    before = {name: value.clone() for name, value in net.dbm.state_dict().items()}
    source = make_source(net.augmented(PATTERNS), labels, batch_size=10)
    Trainer(epochs=100, progress=False).fit(SupervisedProcedure(net, learning_rate=0.05), source)
    net.eval()
    assert (net(PATTERNS).argmax(1) == labels).all()
    close(dict(net.dbm.state_dict()), before, rtol=0, atol=0)
    save_model(net, tmp_path / "net")
    close(load_model(tmp_path / "net").eval()(PATTERNS), net(PATTERNS))


@pytest.mark.parametrize(
    ("visible", "hidden"), [("bernoulli", "bernoulli"), ("gaussian", "spin"), ("spin", "categorical")]
)
def test_a_machine_that_starts_as_an_rbm_has_its_likelihood(
    visible: str, hidden: str, generator: torch.Generator
) -> None:
    rbm = tiny_rbm(visible, hidden, generator)
    dbm = DBM([rbm.visible.empty_like(), rbm.hidden.empty_like(), 3], weight_std=0.0).double()
    start_from_rbm(dbm, rbm)
    x = rbm.sample(20, n_steps=5, generator=generator)
    exact = rbm.log_likelihood(x)
    found = dbm.log_likelihood(x, log_z=exact_log_z(dbm.even_odd()))
    torch.testing.assert_close(found.value, exact.value)  # the bound is tight: nothing above is coupled to the data
    torch.testing.assert_close(dbm.offsets[1], rbm.hidden_offset)


def test_a_machine_of_other_units_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="layer 1 must be the same units in dbm and rbm"):
        start_from_rbm(DBM([4, 5, 3]), RBM(4, 3))
