"""The chains of every family: states of cases have the enumerated law given them, and ends the law of the model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from deepbelief.autoencoders.vae_builders import dense_vae
from deepbelief.belief.convolutional_dbn import ConvolutionalDBN
from deepbelief.belief.dbn import DBN
from deepbelief.energy.boltzmann import BoltzmannMachine
from deepbelief.energy.classification_rbm import ClassificationRBM
from deepbelief.energy.convolutional_rbm import ConvolutionalRBM
from deepbelief.energy.dbm import DBM
from deepbelief.energy.rbm import RBM
from deepbelief.energy.replicated_softmax import ReplicatedSoftmax
from deepbelief.errors import InvalidArgumentError
from deepbelief.evaluation import chain_view
from deepbelief.evaluation.advice import hidden_means, unit_advice
from deepbelief.evaluation.chain_findings import judge_chains
from deepbelief.evaluation.chain_view import ChainView, part_with_chains
from deepbelief.evaluation.chains import diagnose_model, diagnosis_rows, ends_as_data
from deepbelief.evaluation.pictures import chain_frames
from deepbelief.maths.enumeration import all_digits
from deepbelief.units.bernoulli import Bernoulli
from tests.oracle.deep import exact_log_p
from tests.oracle.pvalues import FALSE_ALARM, counts_p_value

N = 2000


@torch.no_grad()
def of_three_bits(family: str, generator: torch.Generator) -> Any:
    """A small model of three bits with couplings that matter, in double precision."""
    model: Any = {
        "boltzmann": lambda: BoltzmannMachine(3, 2, temperature=1.4),
        "dbm": lambda: DBM([3, 2, 2]),
        "classification": lambda: ClassificationRBM(3, 2, 3),
        "rbm": lambda: RBM(3, 2),
    }[family]().double()
    for parameter in model.parameters():
        parameter.copy_(0.9 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model


FAMILIES = ["boltzmann", "dbm", "classification", "rbm"]


def law_of_states(view: ChainView) -> tuple[Tensor, Tensor]:
    """Every state's row and ``-F`` of it."""
    units = view.part.plan().units if view.is_whole else view.part.visible
    rows = torch.cat([units.from_digits(digits) for digits in all_digits(list(units.bases))]).double()
    return rows, -view.free_energy(rows)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_free_energy_is_that_of_the_law(family: str, generator: torch.Generator) -> None:
    model = of_three_bits(family, generator)
    rows, log_weight = law_of_states(ChainView(model))
    x = torch.cat(list(all_digits([2] * 3))).double()
    there = (rows[:, :3].unsqueeze(0) == x.unsqueeze(1)).all(2)
    found = torch.stack([log_weight[mask].logsumexp(0) for mask in there]) - log_weight.logsumexp(0)
    wanted = exact_log_p(model, x) if family == "dbm" else model.log_likelihood(x).value
    torch.testing.assert_close(found, wanted)


def given_case(view: ChainView, generator: torch.Generator) -> float:
    """The p-value that states of one case have the law of all units given it."""
    case = torch.tensor([1.0, 0.0, 1.0]).double()
    rows, log_weight = law_of_states(view)
    there = (rows[:, :3] == case).all(1)
    states = view.states(case.expand(N, -1), generator)
    assert (states[:, :3] == case).all()
    numbers = (states.unsqueeze(1) == rows[there]).all(2).double().argmax(1)
    return counts_p_value(torch.bincount(numbers, minlength=int(there.sum())), log_weight[there].softmax(0))


@pytest.mark.parametrize("family", FAMILIES[:3])
def test_states_of_a_case_have_the_law_given_it(
    family: str, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = ChainView(of_three_bits(family, generator))
    assert given_case(view, generator) > FALSE_ALARM
    monkeypatch.setattr(chain_view, "CLAMPED_SWEEPS", 0)  # the planted bug: what no case names stays at its offset
    if family == "boltzmann":
        assert given_case(view, generator) < FALSE_ALARM


@pytest.mark.parametrize("family", FAMILIES)
def test_ends_of_chains_have_the_law_of_the_data(family: str, generator: torch.Generator) -> None:
    model = of_three_bits(family, generator)
    x = (torch.rand(40, 3, generator=generator) < 0.5).double()
    found = diagnose_model(model, x, n_chains=N, n_steps=60, generator=generator)
    states = torch.cat(list(all_digits([2] * 3))).double()
    law = (exact_log_p(model, states) if family == "dbm" else model.log_likelihood(states).value).exp()
    ends = ends_as_data(model, found, generator)
    numbers = (ends.unsqueeze(1) == states).all(2).double().argmax(1)
    assert counts_p_value(torch.bincount(numbers, minlength=8), law) > FALSE_ALARM
    gap = {row.quantity for row in diagnosis_rows(model, found, data="d", model_name=family)}
    assert ("energy gap of chains from two sides" in gap) == (family == "boltzmann")
    wrong = of_three_bits(family, generator)
    planted = ends_as_data(wrong, diagnose_model(wrong, x, n_chains=N, n_steps=60, generator=generator), generator)
    numbers = (planted.unsqueeze(1) == states).all(2).double().argmax(1)
    assert counts_p_value(torch.bincount(numbers, minlength=8), law) < FALSE_ALARM


def pictures(n_layers: int, generator: torch.Generator) -> ConvolutionalDBN:
    below = ConvolutionalRBM((1, 6, 6), 3, 3, weight_std=0.5, generator=generator)
    above = ConvolutionalRBM(below.pooled_shape, 2, 1, pool=1, weight_std=0.5, generator=generator)
    return ConvolutionalDBN([below, above][:n_layers])


@pytest.mark.parametrize("n_layers", [1, 2])
def test_convolutional_stacks_are_judged_and_pictured(n_layers: int, generator: torch.Generator) -> None:
    net = pictures(n_layers, generator)
    x = (torch.rand(50, 36, generator=generator) < 0.4).float()
    judged = judge_chains(net, x, x, n_steps=20, data="d", model_name="m", generator=generator)
    assert judged.comparison is not None
    assert {"AA_syn, held-out cases", "R-hat of chains from data and from independent units"} <= {
        row.quantity for row in judged.results
    }
    assert chain_frames(net, x[:5], [0, 1, 3], generator=generator).shape == (5, 3, 36)
    assert hidden_means(net, x) == {}  # pooled units are off by design, which is no fault


def test_hidden_units_of_machines_without_a_stack_are_told(generator: torch.Generator) -> None:
    x = (torch.rand(50, 6, generator=generator) < 0.5).float()
    for model in (DBM([6, 10, 8], generator=generator), ClassificationRBM(6, 10, 2), BoltzmannMachine(6, 10)):
        assert unit_advice(model, x) == []
        hidden = model.units[1] if isinstance(model, DBM) else model.hidden
        with torch.no_grad():
            hidden.bias[:5] = -30.0
        (sentence,) = unit_advice(model, x)
        assert sentence.startswith("50% of the hidden units of layer 1")
    assert unit_advice(BoltzmannMachine(6), x) == []


def test_models_without_one_law_have_no_chains() -> None:
    assert part_with_chains(DBN.of_sizes([4, 3])) is not None
    for model in (dense_vae(Bernoulli(4), [2], hidden=[[3]]), ReplicatedSoftmax(5, 2)):
        assert part_with_chains(model) is None
        with pytest.raises(InvalidArgumentError, match=r"model must have chains of one law\. Got"):
            ChainView(model)
