"""Boltzmann machines of every sort against the law that defines them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from deepbelief.energy.boltzmann import BoltzmannMachine
from deepbelief.energy.graph import Graph
from deepbelief.energy.kernels.clamped import run_chain
from deepbelief.energy.kernels.coloured import ColouredGibbs, ColouredMetropolis
from deepbelief.energy.partition.ais import ais, reverse_ais
from deepbelief.energy.partition.choose import log_z
from deepbelief.energy.partition.exact import exact_log_z
from deepbelief.energy.pseudolikelihood import pseudo_log_likelihood
from deepbelief.energy.site_posterior import log_sum_hidden, mean_field
from deepbelief.errors import InvalidArgumentError
from deepbelief.protocols import Coder, Completer, Density, Sampler, Storable
from deepbelief.storage import load_model, save_model
from deepbelief.types import Bound, Clamp
from deepbelief.units.binomial import Binomial
from deepbelief.units.gaussian import Gaussian
from deepbelief.units.multinomial import Multinomial
from tests.oracle.joint import Joint
from tests.oracle.pairwise import (
    ALL_VISIBLE,
    SORTS,
    WITH_HIDDEN,
    columns_by_site,
    known_site,
    law_of,
    matrix_of,
    mean_log_likelihood_of,
    tiny_machine,
)
from tests.oracle.pvalues import FALSE_ALARM, means_p_value

close = torch.testing.assert_close


@pytest.fixture(params=SORTS)
def machine(request: pytest.FixtureRequest, generator: torch.Generator) -> BoltzmannMachine:
    return tiny_machine(request.param, generator)


@pytest.fixture
def law(machine: BoltzmannMachine) -> Joint:
    return law_of(machine)


def test_energy_and_fields_are_their_definition(machine: BoltzmannMachine, law: Joint) -> None:
    x = law.states
    close(machine.energy(x) / machine.temperature, law.energy(x))
    close(machine.fields(x), law.field - x @ law.precision)


def test_conditional_means_are_those_of_the_law(
    machine: BoltzmannMachine, law: Joint, generator: torch.Generator
) -> None:
    x = law.draw(3, generator)
    found = machine.conditional_mean(x)
    for columns in columns_by_site(machine):
        others = torch.ones(machine.size, dtype=torch.bool)
        others[columns] = False
        wanted = torch.stack([law.given(row, others).moments()[0][columns] for row in x])
        close(found[:, columns], wanted)


def test_log_z_by_enumeration(machine: BoltzmannMachine, law: Joint) -> None:
    assert exact_log_z(machine).kind == "exact"  # type: ignore[arg-type]
    close(float(exact_log_z(machine)), law.log_z.item())  # type: ignore[arg-type]


def test_listed_rows_have_the_moments_of_the_law(machine: BoltzmannMachine, law: Joint) -> None:
    rows, weights = (torch.cat(parts) for parts in zip(*machine.enumerate(chunk=7), strict=True))
    assert len(rows) == machine.n_enumerated < len(law.states)
    p, (mean, second) = torch.softmax(weights, 0), law.moments()
    close(p @ rows, mean)
    a, b = machine.pairs
    close(p @ (rows[:, a] * rows[:, b]), second[a, b])


def test_log_likelihood_is_that_of_the_law(machine: BoltzmannMachine, law: Joint, generator: torch.Generator) -> None:
    v = law.halves(law.draw(5, generator))[0]
    found = machine.log_likelihood(v)
    assert (found.kind, found.stderr) == ("exact", 0.0)
    close(found.mean().value, mean_log_likelihood_of(machine, v).item())


@pytest.mark.parametrize("sort", ["hidden", "mixed", "chain of hidden"])
def test_mean_field_bounds_what_it_cannot_sum(
    sort: str, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = tiny_machine(sort, generator, scale=1.5)
    v = torch.cat(list(machine.visible.states()))
    exact = log_sum_hidden(machine, v)
    monkeypatch.setattr("deepbelief.energy.site_posterior.FEW", 1)
    bound = log_sum_hidden(machine, v)
    assert (exact[1], bound[1]) == (True, False)
    assert (bound[0] <= exact[0] + 1e-9).all()
    assert (bound[0] < exact[0] - 1e-6).any()
    assert machine.log_likelihood(v).kind == "lower_bound"
    loose = Bound(1.0, "estimate", 0.1, "x", 0.5, 1.5)
    scored = machine.log_likelihood(v, log_z=loose)
    assert (scored.kind, scored.high) == ("estimate", None)
    close(scored.low, bound[0].mean().item() - 1.5)


@pytest.mark.parametrize("sort", ["restricted"])
def test_encoding_is_exact_where_hidden_units_are_independent(sort: str, generator: torch.Generator) -> None:
    machine = tiny_machine(sort, generator)
    law = law_of(machine)
    v = law.halves(law.draw(4, generator))[0]
    close(machine.encode(v), torch.stack([law.given_visible(row).moments()[0][3:] for row in v]))
    h = law.halves(law.draw(4, generator))[1]
    close(machine.decode(h), torch.stack([law.given_hidden(row).moments()[0][:3] for row in h]))


@pytest.mark.parametrize("sort", WITH_HIDDEN)
def test_mean_field_is_a_fixed_point_and_each_case_is_its_own(sort: str, generator: torch.Generator) -> None:
    machine = tiny_machine(sort, generator)
    v = torch.cat(list(machine.visible.states()))
    known = torch.arange(machine.size) < v.shape[1]
    x = mean_field(machine, v, known=known)
    close(machine.conditional_mean(x)[:, v.shape[1] :], x[:, v.shape[1] :], rtol=0, atol=1e-5)
    close(mean_field(machine, v[2:3], known=known), x[2:3], rtol=0, atol=1e-12)


@pytest.mark.parametrize("sort", ALL_VISIBLE)
def test_pseudo_likelihood_is_the_sum_of_conditionals(sort: str, generator: torch.Generator) -> None:
    machine = tiny_machine(sort, generator)
    x = law_of(machine).draw(5, generator)
    close(machine.pseudo_log_likelihood(x).value, pseudo_log_likelihood(machine, x).value)


def test_samples_have_the_law(machine: BoltzmannMachine, law: Joint, generator: torch.Generator) -> None:
    kernel = machine.kernel()
    state = kernel.init(10_000, generator=generator)
    for _ in range(40):
        state, _ = kernel.step(state, generator=generator)
    assert law.p_value(state.x) > FALSE_ALARM
    v = machine.sample(20, n_steps=3, generator=generator)
    machine.visible.check_values(v)
    assert v.shape == machine.sample(20, n_steps=3, generator=generator, mean=True).shape


@pytest.mark.parametrize(("method", "kind"), [("gibbs", ColouredGibbs), ("metropolis", ColouredMetropolis)])
def test_samples_are_the_ends_of_the_chains_asked_for(
    machine: BoltzmannMachine, method: str, kind: type[ColouredGibbs]
) -> None:
    kernel, generator = kind(machine), torch.Generator().manual_seed(1)
    state, _ = run_chain(kernel, kernel.init(50, generator=generator), 4, generator=generator)
    options: dict[str, Any] = {"n_steps": 4, "method": method, "generator": generator.manual_seed(1)}
    assert torch.equal(machine.sample(50, **options), state.x[:, : machine.visible.size])


def test_conditions_are_kept_and_completion_is_the_conditional_mean(
    machine: BoltzmannMachine, law: Joint, generator: torch.Generator
) -> None:
    row, known = law.draw(1, generator)[0], known_site(machine)
    n_visible = machine.visible.size
    v = machine.sample(50, condition=Clamp(row[:n_visible], known), n_steps=3, generator=generator)
    assert (v[:, known] == row[:n_visible][known]).all()
    copies = row[:n_visible].expand(400, -1)
    found = machine.complete(copies, known.expand(400, -1), n_steps=60, n_average=30, generator=generator)
    everywhere = torch.cat([known, torch.zeros(machine.size - n_visible, dtype=torch.bool)])
    mean = law.given(row, everywhere).moments()[0][:n_visible]
    assert means_p_value(found, torch.where(known, row[:n_visible], mean)) > FALSE_ALARM


@pytest.mark.parametrize("reverse", [False, True])
def test_annealing_is_unbiased(
    machine: BoltzmannMachine, law: Joint, reverse: bool, generator: torch.Generator
) -> None:
    betas = [0.0, 0.3, 0.6, 0.85, 1.0]
    ratio = law.log_z.item() - machine.annealing_path().independent_log_z()
    if reverse:
        samples = law.draw(10_000, generator)
        weights = reverse_ais(machine, samples, betas=betas, generator=generator).log_weights + ratio
    else:
        weights = ais(machine, n_chains=10_000, betas=betas, generator=generator).log_weights - ratio
    assert means_p_value(weights.exp(), 1.0) > FALSE_ALARM


def test_log_z_by_annealing_brackets(machine: BoltzmannMachine, law: Joint, generator: torch.Generator) -> None:
    found = log_z(machine, "ais", n_chains=200, betas=50, burn_in=20, generator=generator)
    assert found.kind == "estimate"
    assert found.low is not None
    assert found.high is not None
    assert found.low - 5 * found.stderr < law.log_z.item() < found.high + 5 * found.stderr


def test_storage_rebuilds_the_machine(machine: BoltzmannMachine, law: Joint, tmp_path) -> None:  # type: ignore[no-untyped-def]
    save_model(machine, tmp_path / "model")
    twin = load_model(tmp_path / "model")
    close(twin.energy(law.states), machine.energy(law.states), rtol=0, atol=0)
    close(matrix_of(twin), matrix_of(machine), rtol=0, atol=0)
    assert all(isinstance(machine, kind) for kind in (Sampler, Density, Completer, Coder, Storable))


def test_match_data_starts_at_the_means_of_data(machine: BoltzmannMachine, generator: torch.Generator) -> None:
    x = machine.sample(300, n_steps=3, generator=generator)
    machine.match_data(x)
    with torch.no_grad():
        machine.coupling.zero_()
    mean = machine.conditional_mean(torch.zeros(1, machine.size).double())[0, : x.shape[1]]
    close(mean, x.mean(0))
    close(machine.offset[: x.shape[1]], x.mean(0))


def test_a_sparse_machine_is_the_dense_one(generator: torch.Generator) -> None:
    graph = Graph.grid((15, 16), periodic=True)
    machine = BoltzmannMachine(240, graph=graph, coupling_std=0.5, generator=generator).double()
    x = (torch.rand(7, 240, generator=generator) < 0.5).double()
    assert machine.plan().patterns
    sparse = machine.interaction()
    matrix = matrix_of(machine)
    close(sparse.whole(x), x @ matrix)
    for number, block in enumerate(machine.plan().blocks):
        close(sparse.on(number, x), x @ matrix[:, block.columns])


def test_a_large_grid_stays_small(generator: torch.Generator) -> None:
    machine = BoltzmannMachine(256 * 256, graph=Graph.grid((256, 256)), coupling_std=0.1, generator=generator)
    assert len(machine.plan().blocks) == 2
    assert machine.sample(2, n_steps=2, generator=generator).shape == (2, 256 * 256)
    assert machine.coupling.numel() == 2 * 256 * 255
    assert machine.n_enumerated == math.inf


WRONG = [
    (
        lambda: BoltzmannMachine(Gaussian(2)),
        "units must be discrete in a pairwise model: .*Got gaussian units. Use an RBM",
    ),
    (lambda: BoltzmannMachine(Binomial(2, 3)), "Got binomial units. Use an RBM"),
    (lambda: BoltzmannMachine(2, Multinomial(2, 3)), "Got multinomial units. Use an RBM"),
    (lambda: BoltzmannMachine(3, temperature=0.0), "temperature must be above 0. Got temperature=0.0"),
    (lambda: BoltzmannMachine(3, graph=Graph.full(4)), "graph must have 3 sites, one for each variable. Got 4"),
    (lambda: BoltzmannMachine(3).encode(torch.zeros(1, 3)), "encode needs hidden units"),
    (lambda: BoltzmannMachine(3).decode(torch.zeros(1, 3)), "decode needs hidden units"),
    (lambda: BoltzmannMachine(3, 2).pseudo_log_likelihood(torch.zeros(1, 3)), "without hidden units"),
    (lambda: BoltzmannMachine(3).sample(0), "n must be at least 1"),
    (lambda: BoltzmannMachine(3).sample(1, method="metropolys"), "Did you mean 'metropolis'"),  # type: ignore[arg-type]
    (lambda: exact_log_z(BoltzmannMachine(60)), r"at most .* states to be enumerated.*Use ais"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("call", "sentence"), WRONG)
def test_wrong_arguments_get_a_sentence(call, sentence: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InvalidArgumentError, match=sentence):
        call()
