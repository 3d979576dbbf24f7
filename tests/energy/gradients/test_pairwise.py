"""Learning Boltzmann machines: gradients against automatic differentiation, chains against the law, exact resume."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from deepbelief.data.source import make_source
from deepbelief.energy.boltzmann import BoltzmannMachine
from deepbelief.energy.gradients import pairwise
from deepbelief.energy.gradients.pairwise import (
    ContrastivePairs,
    ExactPairs,
    PairRule,
    PersistentPairs,
    Posterior,
    PseudoLikelihoodPairs,
    pair_moments,
)
from deepbelief.energy.gradients.pairwise_learning import PairwiseLearning, make_pairwise_procedure
from deepbelief.energy.gradients.settings import LearningSettings
from deepbelief.energy.graph import Graph
from deepbelief.energy.ising import ising
from deepbelief.errors import InvalidArgumentError
from deepbelief.protocols import Procedure
from deepbelief.rng import make_generator
from deepbelief.storage import state_to_bytes
from deepbelief.training.trainer import Trainer
from deepbelief.types import Batch
from tests.oracle.checks import largest_gap, make_context
from tests.oracle.pairwise import (
    ALL_VISIBLE,
    SORTS,
    columns_by_site,
    law_of,
    mean_log_likelihood_of,
    tiny_machine,
)
from tests.oracle.pvalues import FALSE_ALARM, means_p_value
from tests.training.stops import StopAt

Gradient = dict[str, Tensor]
close = torch.testing.assert_close


def library_step(machine: BoltzmannMachine, batch: Batch, rule: PairRule, **options: Any) -> Gradient:
    """The ascent direction of one step whose learning rate is zero."""
    generator = make_generator(0)
    procedure = PairwiseLearning(machine, rule, **{"learning_rate": 0.0, "offset_rate": 0.0, **options})
    procedure.start(batch, generator)
    procedure.step(batch, make_context(generator))
    return {name: -parameter.grad for name, parameter in machine.named_parameters()}  # type: ignore[operator]


class Score(nn.Module):
    """An objective as a function of the parameters of a machine."""

    def __init__(self, machine: BoltzmannMachine, objective: Callable[..., Tensor]) -> None:
        super().__init__()
        self.machine, self.objective = machine, objective

    def forward(self, batch: Batch) -> Tensor:
        return self.objective(self.machine, batch.x, batch.weight)


def shift(name: str, machine: BoltzmannMachine, coupling: Tensor) -> Tensor | float:
    """``J o``, the part that belongs to this bias; nothing for the couplings."""
    if not name.endswith("bias"):
        return 0.0
    matrix = machine.coupling.new_zeros(machine.size, machine.size)
    matrix = matrix.index_put(tuple(machine.pairs), coupling)
    whole, start = (matrix + matrix.T) @ machine.offset, 0
    for other, parameter in machine.named_parameters():
        if other == name:
            return whole[start : start + len(parameter)]
        start += len(parameter) if other.endswith("bias") else 0
    raise KeyError(name)


def autodiff_step(
    machine: BoltzmannMachine, batch: Batch, objective: Callable[..., Tensor], *, centred: bool
) -> Gradient:
    """The gradient of an objective, taken in the centred parameters ``b' = b + J o`` and carried back."""
    own = {name: value.detach().clone() for name, value in machine.named_parameters()}
    primed = {
        n: (v + (shift(n, machine, own["coupling"]) if centred else 0.0)).requires_grad_() for n, v in own.items()
    }
    plain = {n: v - (shift(n, machine, primed["coupling"]) if centred else 0.0) for n, v in primed.items()}
    value = torch.func.functional_call(
        Score(machine, objective), {f"machine.{n}": v for n, v in plain.items()}, (batch,)
    )
    step = dict(zip(primed, torch.autograd.grad(value, list(primed.values())), strict=True))
    return {n: g - (shift(n, machine, step["coupling"]) if centred else 0.0) for n, g in step.items()}


def mean_pseudo_likelihood_of(machine: BoltzmannMachine, x: Tensor, weight: Tensor | None) -> Tensor:
    """The (weighted) mean log pseudo-likelihood, from the law's conditionals."""
    law, total = law_of(machine), torch.zeros(len(x), dtype=x.dtype)
    for columns in columns_by_site(machine):
        others = torch.ones(machine.size, dtype=torch.bool)
        others[columns] = False
        total = total + torch.stack([-law.energy(row[None])[0] - law.given(row, others).log_z for row in x])
    return total.mean() if weight is None else (weight * total).sum() / weight.sum()


def some_batch(machine: BoltzmannMachine, generator: torch.Generator, *, weighted: bool = True) -> Batch:
    x = machine.sample(6, n_steps=2, generator=generator)
    return Batch(x, weight=torch.rand(6, generator=generator).double() + 0.1 if weighted else None)


# -- gradients ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("sort", SORTS)
def test_the_exact_rule_is_the_gradient_of_the_likelihood(sort: str, centred: bool, generator: torch.Generator) -> None:
    machine = tiny_machine(sort, generator)
    batch = some_batch(machine, generator, weighted=centred)
    wanted = autodiff_step(machine, batch, mean_log_likelihood_of, centred=centred)
    assert largest_gap(library_step(machine, batch, ExactPairs(), centred=centred), wanted) < 1e-9


def test_the_exact_rule_watches_what_it_climbs(generator: torch.Generator) -> None:
    machine = tiny_machine(SORTS[0], generator)
    batch = some_batch(machine, generator, weighted=True)
    assert batch.weight is not None
    watched = ExactPairs().ascent(machine, batch.x, batch.weight, generator)[2]["log_likelihood"]
    wanted = batch.weight @ machine.log_likelihood(batch.x).value / batch.weight.sum()  # type: ignore[operator]
    close(watched, wanted)


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("sort", ALL_VISIBLE)
def test_the_pseudo_likelihood_rule_is_its_gradient(sort: str, centred: bool, generator: torch.Generator) -> None:
    machine = tiny_machine(sort, generator)
    batch = some_batch(machine, generator, weighted=centred)
    wanted = autodiff_step(machine, batch, mean_pseudo_likelihood_of, centred=centred)
    assert largest_gap(library_step(machine, batch, PseudoLikelihoodPairs(), centred=centred), wanted) < 1e-9


@pytest.mark.parametrize("penalty", ["l1", "l2"])
def test_penalties_pull_the_couplings_alone(penalty: str, generator: torch.Generator) -> None:
    machine = tiny_machine("cycle", generator)
    batch = some_batch(machine, generator)
    plain = library_step(machine, batch, ExactPairs(), centred=False)
    pulled = library_step(machine, batch, ExactPairs(), centred=False, **{penalty: 0.5})
    pull = {"l1": machine.coupling.sign(), "l2": machine.coupling}[penalty].detach()
    close(pulled.pop("coupling"), plain.pop("coupling") - 0.5 * pull)
    close(pulled, plain, rtol=0, atol=0)


def test_sparse_moments_are_the_dense_ones(generator: torch.Generator) -> None:
    machine = BoltzmannMachine(256, graph=Graph.grid((16, 16))).double()
    rows = torch.rand(5, 256, generator=generator).double()
    a, b = machine.pairs
    assert machine.plan().patterns
    close(pair_moments(machine, rows).pairs, (rows.T @ rows / 5)[a, b])


@pytest.mark.parametrize("sort", ["hidden", "mixed"])
def test_clamped_chains_have_the_posterior_moments(sort: str, generator: torch.Generator) -> None:
    machine = tiny_machine(sort, generator)
    v = machine.sample(1, n_steps=2, generator=generator)
    rows, _ = Posterior("gibbs", 30).rows(machine, v.expand(10_000, -1), None, generator)
    assert law_of(machine).given_visible(v[0]).p_value(rows) > FALSE_ALARM
    listed, weight = Posterior("exact").rows(machine, v, None, generator)
    exact = pair_moments(machine, listed, weight)
    close(exact.x, law_of(machine).given_visible(v[0]).moments()[0])


def test_mean_field_learning_follows_its_bound(generator: torch.Generator) -> None:
    machine = tiny_machine("restricted", generator)  # where the bound is the likelihood
    x = machine.sample(6, n_steps=2, generator=generator)
    found = pair_moments(machine, *Posterior("mean_field").rows(machine, x, None, generator))
    listed = pair_moments(machine, *Posterior("exact").rows(machine, x, None, generator))
    close([found.x, found.pairs], [listed.x, listed.pairs])


@pytest.mark.parametrize("sort", ["hidden", "potts", "cycle"])
def test_persistent_chains_have_the_moments_of_the_law(sort: str, generator: torch.Generator) -> None:
    machine = tiny_machine(sort, generator)
    rule = PersistentPairs(10_000, k=30)
    x = machine.sample(6, n_steps=2, generator=generator)
    rule.start(machine, x, generator, rank=0, world_size=1)
    rule.ascent(machine, x, None, generator)
    assert law_of(machine).p_value(rule.x) > FALSE_ALARM


def test_contrastive_divergence_is_still_at_the_law(generator: torch.Generator) -> None:
    machine = tiny_machine("grid", generator)
    x = law_of(machine).draw(20_000, generator)
    rows, _ = pairwise._sweeps(machine, x, 1, generator)
    a, b = machine.pairs
    moves = rows.x[:, a] * rows.x[:, b] - x[:, a] * x[:, b]
    assert means_p_value(moves, 0.0) > FALSE_ALARM
    found, _, watched = ContrastivePairs(1).ascent(machine, x, None, generator)
    assert found.pairs.abs().max() < 0.1
    assert 0 < watched["moved"] < 1


# -- whole trainings ------------------------------------------------------------------------------------------------


def train(x: Tensor, machine: BoltzmannMachine, **settings: Any) -> BoltzmannMachine:
    machine.match_data(x)
    options = LearningSettings(**{"epochs": 30, "learning_rate": 0.2, **settings})
    procedure = make_pairwise_procedure(machine, options)
    Trainer(epochs=options.epochs, progress=False).fit(procedure, make_source(x, batch_size=250))
    return machine


@pytest.mark.parametrize("learning", ["exact", "pcd", "pl"])
def test_learning_finds_the_machine_that_made_the_data(learning: Any, generator: torch.Generator) -> None:
    graph = Graph.grid((2, 3))
    truth = ising(graph, torch.tensor([0.5, -0.4, 0.3, 0.6, -0.5, 0.2, 0.4]), 0.1)
    x = law_of(truth.double()).draw(2000, generator).float()
    best = mean_log_likelihood_of(truth, x.double()).item()
    machine = BoltzmannMachine(ising(graph).visible, graph=graph, generator=generator)
    before = machine.log_likelihood(x).mean()
    learned = train(x, machine, learning=learning).log_likelihood(x).mean()
    assert float(before) < best
    assert float(learned) > best - 7 / 2000  # within about its 13 parameters' worth of the truth, half of them each way


def test_hidden_units_learn_what_no_pair_shows() -> None:
    x = torch.tensor([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]]).float().repeat(50, 1)  # no pair is correlated
    machine = BoltzmannMachine(3, 2, coupling_std=1.0, generator=make_generator(0))
    train(x, machine, learning="exact", optimizer="adam", learning_rate=0.2, epochs=60, schedule="constant")
    independent, best = -3 * math.log(2), -2 * math.log(2)
    assert float(machine.log_likelihood(x)) > (independent + best) / 2


@pytest.mark.parametrize("learning", ["pcd", "cd", "pl"])
def test_resumed_is_never_stopped(learning: Any, tmp_path: Path) -> None:
    def run(**options: Any) -> tuple[BoltzmannMachine, PairwiseLearning]:
        machine = BoltzmannMachine(4, None if learning == "pl" else 2, generator=make_generator(0))
        settings = LearningSettings(learning=learning, n_chains=7, momentum=0.5)
        procedure = make_pairwise_procedure(machine, settings)
        x = (torch.rand(50, 4, generator=make_generator(1)) < 0.4).float()
        folder = options.pop("folder", None)
        stop = [StopAt(8, reason="enough")] if folder else []
        trainer = Trainer(epochs=4, seed=3, progress=False, checkpoint_dir=folder, callbacks=stop)
        trainer.fit(procedure, make_source(x, batch_size=10, seed=0), **options)
        return machine, procedure

    whole = run()
    run(folder=tmp_path)
    resumed = run(resume_from=tmp_path)
    for a, b in zip(whole, resumed, strict=True):
        assert state_to_bytes(dict(a.state_dict())) == state_to_bytes(dict(b.state_dict()))
    assert isinstance(whole[1], Procedure)


@pytest.mark.parametrize(
    ("machine", "settings", "options", "sentence"),
    [
        (lambda: BoltzmannMachine(3), {"learning": "score"}, {}, "learning must be one of"),
        (lambda: BoltzmannMachine(3, 2), {"learning": "pl"}, {}, "needs a machine without hidden units"),
        (lambda: BoltzmannMachine(30), {"learning": "exact"}, {}, r"at most 65536 states.*Use learning=\"pcd\""),
        (lambda: BoltzmannMachine(3, 20), {}, {"posterior": "exact"}, "at most 4096 states for an exact posterior"),
        (lambda: BoltzmannMachine(3, 2), {}, {"posterior": "gibs"}, "Did you mean 'gibbs'"),
        (lambda: BoltzmannMachine(3, 2), {"learning": "cd"}, {"posterior": "mean_field"}, 'must be "gibbs"'),
    ],
)
def test_wrong_settings_get_a_sentence(
    machine: Callable[[], BoltzmannMachine], settings: dict, options: dict, sentence: str
) -> None:
    made = machine()
    with pytest.raises(InvalidArgumentError, match=sentence):
        make_pairwise_procedure(made, LearningSettings(**settings), **options).start(
            Batch(torch.zeros(2, made.visible.size)), make_generator(0)
        )


# -- planted bugs ---------------------------------------------------------------------------------------------------


def no_bug(patch: pytest.MonkeyPatch) -> None:
    """Nothing planted."""


def one_sided(patch: pytest.MonkeyPatch) -> None:
    """A pseudo-likelihood whose pairs hear only one of their two conditionals."""
    products = pairwise.pair_products
    patch.setattr(pairwise, "pair_products", lambda model, left, right: products(model, left.tril(), right))


def biases_left_behind(patch: pytest.MonkeyPatch) -> None:
    """The centred gradient without ``- dJ o`` in the biases."""
    set_gradients = PairwiseLearning._set_gradients

    def forgetful(self: PairwiseLearning, ascent: Any) -> None:
        set_gradients(self, ascent)
        self.model.visible.set_gradients(-ascent.x / self.model.temperature, {})

    patch.setattr(PairwiseLearning, "_set_gradients", forgetful)


def forgotten_temperature(patch: pytest.MonkeyPatch) -> None:
    """Conditionals at temperature 1."""
    fields = BoltzmannMachine.fields
    patch.setattr(BoltzmannMachine, "fields", lambda self, x: fields(self, x) * self.temperature)


@pytest.mark.parametrize("plant", [no_bug, one_sided, biases_left_behind, forgotten_temperature])
def test_planted_bugs_are_seen(plant: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = tiny_machine("grid", make_generator(3))
    batch = some_batch(machine, make_generator(4))
    wanted = autodiff_step(machine, batch, mean_pseudo_likelihood_of, centred=True)
    plant(monkeypatch)
    gap = largest_gap(library_step(machine, batch, PseudoLikelihoodPairs()), wanted)
    assert (gap < 1e-9) == (plant is no_bug)
