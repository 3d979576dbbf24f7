"""Draws by parallel tempering from every model that has them: the law at enumeration, where plain chains miss it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from deepbelief.belief.convolutional_dbn import ConvolutionalDBN
from deepbelief.energy.boltzmann import BoltzmannMachine
from deepbelief.energy.convolutional_rbm import ConvolutionalRBM
from deepbelief.energy.dbm import DBM
from deepbelief.energy.kernels import tempering
from deepbelief.errors import InvalidArgumentError
from deepbelief.types import Clamp
from tests.oracle import convolution, deep
from tests.oracle.joint import Joint, find
from tests.oracle.pairwise import known_site, law_of, tiny_machine
from tests.oracle.pvalues import FALSE_ALARM, counts_p_value, means_p_value
from tests.oracle.wells import WELLS, shared_wells
from tests.oracle.zoo import tiny_classifier

N, STEPS, REPLICAS = 1000, 60, 6
TEMPERED: dict[str, Any] = {"method": "pt", "n_replicas": REPLICAS}


def law_of_model(model: Any) -> Joint:
    """The law of all units, the data first."""
    if isinstance(model, DBM):
        return Joint.of(deep.twin(model))
    if isinstance(model, BoltzmannMachine):
        return law_of(model)
    return Joint.of(convolution.twin(model) if isinstance(model, ConvolutionalRBM) else model.rbm)


def p_value(law: Joint, v: Tensor) -> float:
    """How well independent rows fit the law of the first columns, which are discrete."""
    states, place = torch.unique(law.states[:, : v.shape[1]], dim=0, return_inverse=True)
    p = torch.zeros(len(states)).double().index_add(0, place, law.probabilities.detach())
    where = find(states, v)
    return counts_p_value(torch.bincount(where, minlength=len(states)), p) if (where >= 0).all() else 0.0


@pytest.mark.parametrize("which", WELLS)
def test_tempered_draws_have_the_law_where_plain_ones_do_not(which: str, generator: torch.Generator) -> None:
    model = WELLS[which]()
    law = law_of_model(model)
    assert p_value(law, model.sample(N, n_steps=STEPS, generator=generator, **TEMPERED)) > FALSE_ALARM
    assert p_value(law, model.sample(N, n_steps=STEPS, generator=generator)) < FALSE_ALARM


@pytest.mark.parametrize("which", ["dbm", "machine"])
def test_draws_of_another_rung_are_seen(
    which: str, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, model = tempering.burn_in, WELLS[which]()

    def hot(kernel: Any, state: Any, n_steps: int, **options: Any) -> Any:
        """Temperatures that end where the model's has not begun."""
        found = run(kernel, state, n_steps, **options)
        kernel.ladder = kernel.ladder.at(0.3 * kernel.betas)
        return found

    monkeypatch.setattr(tempering, "burn_in", hot)
    assert p_value(law_of_model(model), model.sample(N, n_steps=STEPS, generator=generator, **TEMPERED)) < FALSE_ALARM


def conditions(generator: torch.Generator) -> dict[str, tuple[Any, Tensor]]:
    """Models of several kinds of units, and which entries of the data to hold."""
    dbm = deep.tiny_dbm(deep.STACKS["mixed"], generator, scale=1.0)
    machine = tiny_machine("mixed", generator, scale=1.0)
    return {"dbm": (dbm, torch.arange(dbm.visible.size) < 3), "machine": (machine, known_site(machine))}


@pytest.mark.parametrize("which", ["dbm", "machine"])
def test_what_is_known_stays_and_the_rest_follows_it(which: str, generator: torch.Generator) -> None:
    model, known = conditions(generator)[which]
    law, d = law_of_model(model), model.visible.size
    row = law.draw(1, generator)[0]
    given = law.given(row, torch.cat([known, torch.zeros(len(row) - d, dtype=torch.bool)]))
    options = {"condition": Clamp(row[:d], known), "n_steps": 30, "generator": generator, **TEMPERED}
    drawn = model.sample(N, **options)
    assert (drawn[:, known] == row[:d][known]).all()
    assert p_value(given, drawn) > FALSE_ALARM
    assert p_value(law, drawn) < FALSE_ALARM
    means = model.sample(N, mean=True, **options)
    assert (means[:, known] == row[:d][known]).all()
    assert means_p_value(means[:, ~known], given.moments()[0][:d][~known]) > FALSE_ALARM


def test_labels_are_held(generator: torch.Generator) -> None:
    model = tiny_classifier("spin", "bernoulli", generator)
    law, d = law_of_model(model), model.n_features
    label = torch.cat([torch.zeros(d), torch.tensor([0.0, 0, 1]), torch.zeros(model.hidden.size)]).double()
    given = law.given(label, (torch.arange(len(label)) >= d) & (torch.arange(len(label)) < d + 3))
    drawn = model.sample(N, labels=torch.tensor(2), n_steps=30, generator=generator, **TEMPERED)
    assert p_value(given, drawn) > FALSE_ALARM


def test_a_stack_runs_its_top_that_way(generator: torch.Generator) -> None:
    rbm = shared_wells()
    drawn = ConvolutionalDBN([rbm]).sample(5, n_steps=4, generator=generator.manual_seed(1), **TEMPERED)
    assert torch.equal(drawn, rbm.sample(5, n_steps=4, generator=generator.manual_seed(1), **TEMPERED))
    condition = Clamp(torch.zeros(4).double(), torch.tensor([True, False, False, False]))
    with pytest.raises(InvalidArgumentError, match='method must be "gibbs" with a condition'):
        ConvolutionalDBN([rbm]).sample(5, condition=condition, method="pt")


@pytest.mark.parametrize("which", WELLS)
def test_another_method_or_a_single_replica_gets_a_sentence(which: str) -> None:
    with pytest.raises(InvalidArgumentError, match="method must be one of 'gibbs'"):
        WELLS[which]().sample(1, method="ptt")
    with pytest.raises(InvalidArgumentError, match=r"n_replicas must be at least 2\. Got n_replicas=1"):
        WELLS[which]().sample(1, method="pt", n_replicas=1)
