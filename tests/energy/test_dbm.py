"""Deep Boltzmann machines against enumeration."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from deepbelief.data.source import make_source
from deepbelief.energy.dbm import DBM
from deepbelief.energy.even_odd import EvenOdd
from deepbelief.energy.gradients.deep import DBMLearning
from deepbelief.energy.gradients.exact import ExactModel
from deepbelief.energy.gradients.negative import PositivePhase
from deepbelief.energy.gradients.pcd import PersistentChains
from deepbelief.energy.kernels.gibbs import BlockGibbs, ChainState
from deepbelief.energy.mean_field import bound, infer
from deepbelief.energy.partition.ais import PathFromBase, ais, reverse_ais
from deepbelief.energy.partition.exact import exact_log_z
from deepbelief.errors import InvalidArgumentError
from deepbelief.rng import make_generator
from deepbelief.storage import load_model, save_model
from deepbelief.training.trainer import Trainer
from deepbelief.types import Batch, Bound, Clamp
from deepbelief.units.base import Units
from deepbelief.units.poisson import Poisson
from tests.oracle.checks import make_context, step_taken
from tests.oracle.deep import STACKS, exact_log_p, tiny_dbm, twin
from tests.oracle.joint import Joint
from tests.oracle.pvalues import FALSE_ALARM, means_p_value

close = torch.testing.assert_close
DISCRETE = [name for name in STACKS if name != "gaussian data"]


@pytest.fixture(params=STACKS)
def dbm(request: pytest.FixtureRequest, generator: torch.Generator) -> DBM:
    """Each stack in turn; parametrize it indirectly with names to choose some."""
    return tiny_dbm(STACKS[request.param], generator)


@pytest.fixture
def joint(dbm: DBM) -> Joint:
    return Joint.of(twin(dbm))


@pytest.fixture
def x(dbm: DBM, generator: torch.Generator) -> Tensor:
    return dbm.visible.sample(torch.randn(5, dbm.visible.size, generator=generator).double(), generator).detach()


def test_the_energy_is_that_of_the_definition(dbm: DBM, joint: Joint, generator: torch.Generator) -> None:
    z = joint.draw(20, generator)
    view = dbm.even_odd()
    close(dbm.energy(view.split(*joint.halves(z))), joint.energy(z))


def test_log_z_by_enumeration(dbm: DBM, joint: Joint) -> None:
    close(float(exact_log_z(dbm.even_odd())), joint.log_z.item())


def gibbs_p_value(dbm: DBM, joint: Joint, generator: torch.Generator, clamp: Clamp | None = None) -> float:
    state = ChainState(*joint.halves(joint.draw(20_000, generator)))
    state, _ = BlockGibbs(dbm.even_odd()).step(state, clamp=clamp, generator=generator)
    return joint.p_value(torch.cat([state.v, state.h], 1))


def test_block_gibbs_keeps_the_law(dbm: DBM, joint: Joint, generator: torch.Generator) -> None:
    assert gibbs_p_value(dbm, joint, generator) > FALSE_ALARM


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_annealing_is_unbiased(dbm: DBM, joint: Joint, reverse: bool, generator: torch.Generator) -> None:
    view, betas = dbm.even_odd(), [0.0, 0.3, 0.6, 0.85, 1.0]
    ratio = joint.log_z.item() - PathFromBase(view).independent_log_z()
    if reverse:
        samples = joint.halves(joint.draw(10_000, generator))[0]
        weights = reverse_ais(view, samples, betas=betas, generator=generator).log_weights + ratio
    else:
        weights = ais(view, n_chains=10_000, betas=betas, generator=generator).log_weights - ratio
    assert means_p_value(weights.exp(), 1.0) > FALSE_ALARM


# -- inference ----------------------------------------------------------------------------------------------------


def test_the_bound_lies_below_and_rises_with_every_round(dbm: DBM, x: Tensor) -> None:
    log_z = exact_log_z(dbm.even_odd())
    bounds = [dbm.log_likelihood(x, log_z=log_z, n_steps=n).value for n in (1, 2, 3, 50)]
    for lower, higher in pairwise(bounds):
        assert (higher - lower > -1e-6).all()  # type: ignore[operator]
    assert (bounds[-1] < exact_log_p(dbm, x)).all()  # type: ignore[operator]


def test_the_bound_is_exact_when_the_layers_above_are_cut_off(dbm: DBM, x: Tensor) -> None:
    with torch.no_grad():
        for weight in dbm.weights[1:]:
            weight.zero_()
    close(dbm.log_likelihood(x, log_z=exact_log_z(dbm.even_odd())).value, exact_log_p(dbm, x).detach())


def test_an_estimated_log_z_falls_on_the_safe_side(generator: torch.Generator) -> None:
    dbm = tiny_dbm(STACKS["bernoulli"], generator)
    z = Bound(5.0, "estimate", 0.2, "twice annealed", 4.5, 5.75)
    found = dbm.log_likelihood(torch.zeros(2, 3).double(), log_z=z)
    free = dbm.log_likelihood(torch.zeros(2, 3).double(), log_z=Bound(0.0, "exact"))
    close(float(found), float(free) - 5.75)
    close(found.high, float(free) - 4.5)
    assert (found.kind, found.stderr) == ("lower_bound", 0.2)


# -- learning -----------------------------------------------------------------------------------------------------


class Objective(torch.nn.Module):
    """The mean-field bound at its optimum, with the exact log Z, as a function of the parameters."""

    def __init__(self, dbm: DBM, l2: float) -> None:
        super().__init__()
        self.dbm, self.l2 = dbm, l2

    def forward(self, x: Tensor, share: Tensor) -> Tensor:
        units, weights = self.dbm.units, self.dbm.weights
        posterior = infer(units, weights, x, n_steps=400, tolerance=0.0)
        decay = self.l2 / 2 * torch.stack([weight.square().sum() for weight in weights]).sum()
        return share @ bound(units, weights, posterior) - Joint.of(twin(self.dbm)).log_z - decay


def shifts(dbm: DBM, weights: list[Tensor]) -> list[Tensor]:
    """``W_l o_{l+1} + W_{l-1}' o_{l-1}`` of each layer."""
    found = [torch.zeros_like(offset) for offset in dbm.offsets]
    for layer, weight in enumerate(weights):
        found[layer] = found[layer] + weight @ dbm.offsets[layer + 1]
        found[layer + 1] = found[layer + 1] + dbm.offsets[layer] @ weight
    return found


def bias_pieces(dbm: DBM, rows: list[Tensor]) -> dict[str, Tensor]:
    """Rows of one number per unit, by the names of the bias parameters that hold them."""
    pieces = {}
    for layer, row in enumerate(rows):
        start = 0
        for name, parameter in dbm.units[layer].named_parameters():
            if name.split(".")[-1] == "bias":
                pieces[f"layers.{layer}.{name}"] = row[start : start + len(parameter)]
                start += len(parameter)
    return pieces


def exact_step(dbm: DBM, x: Tensor, share: Tensor, centred: bool, l2: float) -> dict[str, Tensor]:
    """The gradient by automatic differentiation; centred, in the parameters of the centred energy, carried back."""
    own = {name: value.detach().clone() for name, value in dbm.named_parameters()}
    names = [f"couplings.{layer}" for layer in range(len(dbm.weights))]
    plain = {name: value.requires_grad_() for name, value in own.items()}
    if centred:
        primed = dict(own)
        for name, shift in bias_pieces(dbm, shifts(dbm, [own[n] for n in names])).items():
            primed[name] = (own[name] + shift).detach().requires_grad_()
        back = bias_pieces(dbm, shifts(dbm, [primed[n] for n in names]))
        plain = {name: value - back[name] if name in back else value for name, value in primed.items()}
        own = primed
    value = torch.func.functional_call(Objective(dbm, l2), {f"dbm.{n}": v for n, v in plain.items()}, (x, share))
    step = dict(zip(own, torch.autograd.grad(value, list(own.values())), strict=True))
    if centred:
        for name, shift in bias_pieces(dbm, shifts(dbm, [step[n] for n in names])).items():
            step[name] = step[name] - shift
    return step


@pytest.mark.parametrize("momentum", [0.0, 0.5], ids=["in one product", "by the gradient"])
@pytest.mark.parametrize("centred", [True, False], ids=["centred", "plain"])
def test_the_gradient_is_that_of_the_best_bound(dbm: DBM, x: Tensor, centred: bool, momentum: float) -> None:
    weight = torch.tensor([1.0, 2.0, 0.5, 1.0, 1.0]).double()
    options: dict[str, Any] = {"mean_field_steps": 400, "centred": centred, "momentum": momentum, "l2": 0.3}
    procedure = DBMLearning(dbm, ExactModel(), learning_rate=1.0, offset_rate=0.0, **options)
    with torch.no_grad():
        procedure.dbm.infer = lambda x, n_steps: infer(dbm.units, dbm.weights, x, n_steps=n_steps, tolerance=0.0)  # type: ignore[method-assign, assignment]
    wanted = exact_step(dbm, x, weight / weight.sum(), centred, l2=0.3)
    close(step_taken(dbm, lambda: procedure.step(Batch(x, weight=weight), make_context(torch.Generator()))), wanted)


def test_sparsity_pulls_hidden_biases_and_nothing_else(generator: torch.Generator) -> None:
    dbm = tiny_dbm(STACKS["three hidden"], generator)
    batch = Batch(dbm.sample(6, n_steps=2, generator=generator))
    found = []
    for options in ({}, {"sparsity_target": 0.1, "sparsity_cost": 0.5}):
        procedure = DBMLearning(dbm, ExactModel(), learning_rate=1.0, offset_rate=0.0, centred=False, **options)  # type: ignore[arg-type]
        found.append(step_taken(dbm, partial(procedure.step, batch, make_context(generator))))
    pulls = {f"layers.{layer}.bias": -0.5 * (dbm.offsets[layer] - 0.1) for layer in (1, 2, 3)}
    for name, plain in found[0].items():
        close(found[1][name] - plain, pulls.get(name, torch.zeros_like(plain)))


@pytest.mark.parametrize("dbm", ["bernoulli", "three hidden", "gaussian data"], indirect=True)
def test_the_models_half_averages_to_the_exact_one(dbm: DBM, joint: Joint, generator: torch.Generator) -> None:
    """One step from chains that have the law already: persistent chains give its moments."""
    view, chains = dbm.even_odd(), PersistentChains(5000, 1)
    v, h = joint.halves(joint.draw(5000, generator))
    chains.v, chains.h = v, h
    found, _ = chains.moments(view, PositivePhase(v, v, h), generator)
    mean, second = joint.moments()
    n = view.visible.size
    rows = torch.cat(
        [found.left, found.right * 5000, (found.left.unsqueeze(2) * found.right.unsqueeze(1) * 5000).flatten(1)], 1
    )
    assert means_p_value(rows, torch.cat([mean, second[:n, n:].flatten()])) > FALSE_ALARM


def test_learning_raises_the_likelihood_from_small_weights(generator: torch.Generator) -> None:
    patterns = torch.tensor([[0, 0, 1, 1, 0], [1, 1, 0, 0, 1], [0, 1, 0, 1, 0]]).double()
    dbm = DBM([5, 4, 3], generator=generator).double()
    dbm.match_data(patterns)
    before = exact_log_p(dbm, patterns).mean().item()
    procedure = DBMLearning(dbm, PersistentChains(50, 2), learning_rate=0.2)
    procedure.start(Batch(patterns), generator)
    for _ in range(600):
        procedure.step(Batch(patterns), make_context(generator))
    assert exact_log_p(dbm, patterns).mean().item() > before + 1  # of the 3.5 - log 3 = 2.4 nats that there are
    found = dbm.log_likelihood(patterns, log_z=exact_log_z(dbm.even_odd()))
    assert float(found) < exact_log_p(dbm, patterns).mean().item()


def test_a_resumed_training_is_one_that_never_stopped(tmp_path: Path) -> None:
    x = torch.rand(60, 6, generator=make_generator(1)).round()

    def trained(epochs: list[int], folder: Path) -> DBM:
        for number, n in enumerate(epochs):
            dbm = DBM([6, 4, 3], generator=make_generator(0))
            source = make_source(x, batch_size=7)
            procedure = DBMLearning(dbm, PersistentChains(8), momentum=0.5)
            trainer = Trainer(epochs=4, max_steps=n, checkpoint_dir=folder, progress=False, averaging=0.9)
            trainer.fit(procedure, source, resume_from=folder if number else None)
        return dbm

    whole, halves = trained([36], tmp_path / "a"), trained([11, 36], tmp_path / "b")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, halves.state_dict()[name]), name


# -- use ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dbm", ["bernoulli", "mixed"], indirect=True)
def test_samples_under_a_condition_have_the_conditional_law(dbm: DBM, joint: Joint, generator: torch.Generator) -> None:
    n, d = 4000, dbm.visible.size
    row = joint.draw(1, generator)[0]
    width = 3 if dbm.visible.kind == "categorical" else 1
    known = torch.arange(d) < width
    drawn = dbm.sample(n, condition=Clamp(row[:d], known), generator=generator, n_steps=40)
    everywhere = torch.cat([known, torch.zeros(joint.states.shape[1] - d, dtype=torch.bool)])
    assert means_p_value(drawn[:, width:], joint.given(row, everywhere).moments()[0][width:d]) > FALSE_ALARM
    filled = dbm.complete(row[:d].expand(200, -1), known, generator=generator, n_steps=60, n_average=20)
    assert (filled[:, :width] == row[:width]).all()
    assert means_p_value(filled[:, width:], joint.given(row, everywhere).moments()[0][width:d]) > FALSE_ALARM


def test_codes_have_the_shapes_of_the_layers(dbm: DBM, x: Tensor) -> None:
    z = dbm.encode(x)
    assert z.shape == (5, dbm.units[-1].size)
    assert dbm.decode(z).shape == dbm.reconstruct(x).shape == x.shape


def test_saved_and_loaded(dbm: DBM, x: Tensor, tmp_path: Path) -> None:
    save_model(dbm, tmp_path / "m")
    loaded = load_model(tmp_path / "m")
    close(loaded.encode(x), dbm.encode(x))
    close(loaded.offsets, dbm.offsets)


def test_too_few_layers_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="at least 2 hidden"):
        DBM([3, 2])


def test_neighbours_without_a_law_are_refused() -> None:
    """Two layers of counts without a limit: their log Z is infinite for any positive weight."""
    with pytest.raises(InvalidArgumentError, match="poisson units must stand beside units of bounded values"):
        DBM([3, Poisson(2), Poisson(2)])
    assert DBM([Poisson(3), 2, Poisson(2)]).log_likelihood(torch.zeros(1, 3)).kind == "lower_bound"


# -- planted bugs -------------------------------------------------------------------------------------------------


def test_a_chain_that_forgets_the_layer_above_is_caught(
    generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    dbm = tiny_dbm(STACKS["bernoulli"], generator, scale=2.0)
    joint = Joint.of(twin(dbm))
    monkeypatch.setattr(EvenOdd, "input_h_from_v", lambda self, v: v[:, : dbm.visible.size] @ dbm.weights[0])
    assert gibbs_p_value(dbm, joint, generator) < FALSE_ALARM


def test_an_entropy_that_is_forgotten_is_caught(generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    dbm = tiny_dbm(STACKS["bernoulli"], generator)
    x = torch.zeros(2, 3).double()
    truth, log_z = exact_log_p(dbm, x), exact_log_z(dbm.even_odd())
    monkeypatch.setattr(Units, "cumulant", lambda self, inputs: 2 * self.cumulants(inputs).sum(-1))
    assert (dbm.log_likelihood(x, log_z=log_z).value > truth).any()  # type: ignore[operator]
