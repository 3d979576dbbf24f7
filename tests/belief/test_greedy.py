"""Greedy learning: each layer sees draws of the one below, the bound climbs, and a stopped training goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from deepbelief.belief.dbn import DBN
from deepbelief.belief.greedy import LayerReport, LayerSource, start_layer, train_greedily
from deepbelief.data.source import ArraySource
from deepbelief.energy.gradients.settings import LearningSettings
from deepbelief.errors import InvalidArgumentError, InvalidDataError
from deepbelief.rng import make_generator
from deepbelief.training.callbacks import Callback
from deepbelief.training.trainer import Trainer
from deepbelief.units.base import Units
from deepbelief.units.bernoulli import Bernoulli
from deepbelief.units.categorical import Categorical
from deepbelief.units.gaussian import Gaussian
from tests.oracle import stack
from tests.oracle.pvalues import FALSE_ALARM, means_p_value
from tests.oracle.zoo import tiny_dbn

QUIET = {"progress": False, "device": "cpu"}
QUICK = LearningSettings(learning="pcd", n_chains=20, epochs=3, learning_rate=0.1, averaging=0.9)


def patterns(n: int, seed: int = 0) -> Tensor:
    """Six bits: two bars of three that are often equal, with one bit in ten flipped."""
    generator = torch.Generator().manual_seed(seed)
    bars = torch.randint(2, (n, 1), generator=generator).repeat(1, 2)
    bars[:, 1] ^= torch.randint(4, (n,), generator=generator) == 0
    noise = torch.rand(n, 6, generator=generator) < 0.1
    return (bars.repeat_interleave(3, 1).bool() ^ noise).float()


def make_dbn(n_classes: int | None = None) -> DBN:
    return DBN.of_sizes([6, 4, 6], n_classes, generator=torch.Generator().manual_seed(5))


def source(n: int = 60) -> ArraySource:
    x = patterns(n)
    return ArraySource(x, x[:, 0].long(), batch_size=16)


def test_layers_above_see_draws_of_their_layer(generator: torch.Generator) -> None:
    dbn = tiny_dbn(["bernoulli", "spin", "bernoulli", "bernoulli"], None, generator).float()
    row = torch.tensor([[1.0, 0.0, 1.0]])
    lifted = LayerSource(ArraySource(row.repeat(5000, 1), batch_size=5000), dbn, 2)
    assert (len(lifted), lifted.n_cases) == (1, 5000)
    (batch,) = lifted.batches(0, generator=generator)
    dbn.double()
    up = stack.log_up(dbn.layers[0], row.double()).exp()
    up = up @ stack.log_up(dbn.layers[1], stack.states_of(dbn.layers[1].visible)).exp()
    assert means_p_value(batch.x, (up @ stack.states_of(dbn.layers[1].hidden))[0]) > FALSE_ALARM
    assert set(batch.x.unique().tolist()) == {0.0, 1.0}


def test_known_labels_join_the_top_and_unknown_ones_enter_by_their_posterior(generator: torch.Generator) -> None:
    dbn = make_dbn(n_classes=3)
    cases = ArraySource(patterns(4), torch.tensor([2, -1, 0, -1]), batch_size=4, shuffle=False)
    (batch,) = LayerSource(cases, dbn, 1).batches(0, generator=generator)
    h, labels = batch.x.split([4, 3], 1)
    assert labels[[0, 2]].tolist() == [[0, 0, 1], [1, 0, 0]]
    torch.testing.assert_close(labels[[1, 3]], torch.softmax(-dbn.label_free_energies(h), 1)[[1, 3]])
    (below,) = LayerSource(cases, dbn, 0).batches(0, generator=generator)
    assert torch.equal(below.x, patterns(4))


def test_labels_at_the_top_need_labels(generator: torch.Generator) -> None:
    unlabelled = LayerSource(ArraySource(patterns(4), batch_size=4), make_dbn(n_classes=2), 1)
    with pytest.raises(InvalidDataError, match=r"y must be given. Got none"):
        next(unlabelled.batches(0, generator=generator))


def test_a_layer_starts_at_the_means_of_what_it_sees(generator: torch.Generator) -> None:
    dbn = make_dbn()
    start_layer(dbn.layers[0], source(), generator)
    torch.testing.assert_close(dbn.layers[0].visible_offset, patterns(60).mean(0))
    torch.testing.assert_close(torch.sigmoid(dbn.layers[0].visible.bias), patterns(60).mean(0))


def exact_bound(dbn: DBN, x: Tensor) -> float:
    twin = DBN.from_config(dbn.config()).double()
    twin.load_state_dict(dbn.state_dict())
    return stack.bound(twin, x.double()).mean().item()


def test_a_tied_layer_starts_at_the_bound_and_raises_it() -> None:
    """The first layer has large weights and never learns, so a better prior over its hidden units is to be had."""
    dbn, x = make_dbn(), patterns(200)
    torch.nn.init.normal_(dbn.layers[0].weight, generator=torch.Generator().manual_seed(8))
    bounds: list[float] = []
    first = LearningSettings(epochs=0)
    second = LearningSettings(learning="exact", epochs=40, learning_rate=0.2, schedule="constant")

    def report(done: LayerReport) -> None:
        bounds.append(exact_bound(DBN(dbn.layers[: done.layer]), x))

    class AtTheStart(Callback):
        def on_start(self, trainer: Trainer) -> None:
            bounds.append(exact_bound(dbn, x))

    train_greedily(
        dbn,
        ArraySource(x, batch_size=50),
        [first, second],
        tied=True,
        trainer_options=QUIET,
        after_layer=report,
        callbacks=lambda layer, rbm, source: [AtTheStart()] if layer == 2 else [],
    )
    rbm, started, ended = bounds
    assert started == pytest.approx(rbm, abs=1e-5)  # single precision
    assert ended > started + 0.01


def run(folder: Path | None, *, resume: bool = False, stop_at: int | None = None, n_classes: int | None = None) -> DBN:
    """Train two layers; with `stop_at`, fail after that many steps of layer 2."""

    class Failing(Callback):
        def on_step_end(self, trainer: Trainer) -> None:
            if trainer.step == stop_at:
                raise ConnectionError("the machine went away")

    dbn = make_dbn(n_classes)
    train_greedily(
        dbn,
        source(),
        [QUICK, replace(QUICK, learning="cd", momentum=0.5)],
        checkpoint_dir=folder,
        resume=resume,
        trainer_options={**QUIET, "checkpoint_every": 1},
        callbacks=lambda layer, rbm, source: [Failing()] if layer == 2 else [],
    )
    return dbn


@pytest.mark.parametrize("stop_at", [1, 6, 12])
@pytest.mark.parametrize("n_classes", [None, 2])
def test_a_training_stopped_in_layer_2_goes_on_bit_for_bit(n_classes: int | None, stop_at: int, tmp_path: Path) -> None:
    with pytest.raises(ConnectionError):
        run(tmp_path, stop_at=stop_at, n_classes=n_classes)
    resumed = run(tmp_path, resume=True, n_classes=n_classes).state_dict()
    unbroken = run(None, n_classes=n_classes).state_dict()
    assert all(torch.equal(resumed[name], unbroken[name]) for name in unbroken)


def test_a_finished_training_is_read_back(tmp_path: Path) -> None:
    done = run(tmp_path).state_dict()
    again = run(tmp_path, resume=True).state_dict()
    assert all(torch.equal(again[name], done[name]) for name in done)


def test_two_runs_of_one_seed_are_equal_and_of_two_seeds_are_not() -> None:
    runs: list[Any] = []
    for seed in (0, 0, 1):
        dbn = make_dbn()
        train_greedily(dbn, source(), QUICK, trainer_options=QUIET, seed=seed)
        runs.append(torch.cat([p.detach().flatten() for p in dbn.parameters()]))
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_reports_come_after_each_layer() -> None:
    told: list[int] = []
    dbn = make_dbn()
    reports = train_greedily(
        dbn, source(), QUICK, trainer_options=QUIET, after_layer=lambda report: told.append(report.layer)
    )
    assert told == [report.layer for report in reports] == [1, 2]
    assert [report.rbm for report in reports] == dbn.layers
    assert {len(report.record.history) for report in reports} == {3}


def test_settings_must_be_one_or_one_for_each_layer() -> None:
    with pytest.raises(InvalidArgumentError, match=r"settings must be one or 2, one for each layer. Got 3"):
        train_greedily(make_dbn(), source(), [QUICK] * 3)


def other_data(kind: str, n: int, generator: torch.Generator) -> tuple[Units, Tensor]:
    """Units of real numbers or of choices, and cases."""
    units: Units = Gaussian(3) if kind == "gaussian" else Categorical(2, 3)
    return units, units.sample(torch.randn(n, units.size, generator=generator), generator)


@pytest.mark.parametrize("kind", ["gaussian", "categorical"])
def test_over_other_data_the_layers_above_the_second_are_tied(kind: str, generator: torch.Generator) -> None:
    units, x = other_data(kind, 60, generator)
    dbn = DBN.of_units([units, Bernoulli(4), Bernoulli(5), Bernoulli(4)], generator=generator)
    plans = [QUICK, QUICK, replace(QUICK, epochs=0)]
    train_greedily(dbn, ArraySource(x, batch_size=16), plans, tied=True, trainer_options=QUIET)
    dbn.double()
    assert torch.equal(dbn.top.weight, dbn.layers[1].weight.T)
    parts = (DBN(dbn.layers[:2]), dbn)
    ends = [part.log_likelihood(x.double(), generator=make_generator(3), n_samples=1) for part in parts]
    torch.testing.assert_close(ends[1].value, ends[0].value)  # the same draws of the first layer: the bound stays


def test_what_cannot_be_tied_is_refused_before_the_first_layer_learns(generator: torch.Generator) -> None:
    units, x = other_data("gaussian", 20, generator)
    for sizes, sentence in (((4, 5), "or at least 3 layers. Got 2 layers"), ((4, 5, 3), "must have at least 4 hidden")):
        dbn = DBN.of_units([units, *map(Bernoulli, sizes)], generator=generator)
        before = dbn.layers[0].weight.clone()
        with pytest.raises(InvalidArgumentError, match=sentence):
            train_greedily(dbn, ArraySource(x, batch_size=16), QUICK, tied=True, trainer_options=QUIET)
        assert torch.equal(dbn.layers[0].weight, before)
