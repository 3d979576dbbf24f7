"""What is watched while an RBM learns means what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from deepbelief.data.source import make_source
from deepbelief.energy.gradients.settings import RULES, LearningSettings, make_procedure
from deepbelief.energy.rbm import RBM
from deepbelief.energy.watch import OF_THE_MODEL, QUANTITIES, make_watch, reconstruction_error, saturation
from deepbelief.errors import InvalidArgumentError
from deepbelief.training.trainer import Trainer
from deepbelief.types import Bound
from tests.oracle.joint import Joint, mean_log_likelihood
from tests.oracle.pvalues import FALSE_ALARM, means_p_value
from tests.oracle.zoo import DISCRETE, ZOO, tiny_rbm

PAGE = Path(__file__).resolve().parents[2] / "docs" / "logged-numbers.md"
OF_THE_TRAINER = {"epoch", "step", "seconds"}


def test_the_page_on_logged_numbers_has_a_row_for_every_look() -> None:
    text = PAGE.read_text("utf-8")
    assert [name for name in QUANTITIES if f"\n| `{name}` |" not in text] == []


@pytest.mark.parametrize("rule", sorted(set(RULES) - {"score"}))  # "score" needs other units
def test_the_page_on_logged_numbers_has_a_row_for_what_a_rule_logs(rule: str, generator: torch.Generator) -> None:
    rbm, x = RBM(5, 3, generator=generator), torch.randint(2, (20, 5), generator=generator).float()
    procedure = make_procedure(rbm, LearningSettings(learning=rule, epochs=1, n_replicas=3))  # type: ignore[arg-type]
    (row,) = Trainer(epochs=1, progress=False).fit(procedure, make_source(x, batch_size=10)).history
    rows = [line for line in PAGE.read_text("utf-8").splitlines() if f'"{rule}"' in line]
    assert [name for name in set(row) - OF_THE_TRAINER if not any(f"| `{name}` |" in line for line in rows)] == []


def test_all_quantities_of_a_discrete_model(generator: torch.Generator) -> None:
    rbm = tiny_rbm("bernoulli", "bernoulli", generator)
    train, held_out = rbm.sample(30, generator=generator), rbm.sample(20, generator=generator)
    seen = make_watch(rbm, train, held_out, QUANTITIES)(1)
    assert list(seen) == list(OF_THE_MODEL)
    assert seen["log_likelihood"].kind == "exact"
    torch.testing.assert_close(float(seen["log_likelihood"]), mean_log_likelihood(rbm, held_out).item())
    gap = mean_log_likelihood(rbm, train) - mean_log_likelihood(rbm, held_out)
    torch.testing.assert_close(seen["free_energy_gap"], gap.item())
    assert isinstance(seen["pseudo_likelihood"], Bound)


def test_what_cannot_be_had_is_left_out(generator: torch.Generator) -> None:
    rbm = tiny_rbm("gaussian", "gaussian", generator)
    seen = make_watch(rbm, rbm.sample(30, generator=generator), quantities=QUANTITIES, betas=10)(1)
    assert set(seen) == {"reconstruction_error", "log_likelihood"}
    assert seen["log_likelihood"].kind == "estimate"


def test_watching_repeats_itself(generator: torch.Generator) -> None:
    rbm = tiny_rbm("spin", "categorical", generator)
    watch = make_watch(rbm, rbm.sample(30, generator=generator))
    assert {k: float(v) for k, v in watch(1).items()} == {k: float(v) for k, v in watch(2).items()}


def test_reconstruction_error_is_its_definition(generator: torch.Generator) -> None:
    rbm = tiny_rbm("bernoulli", "spin", generator)
    joint = Joint.of(rbm)
    row = joint.draw(1, generator)[:, :3]
    posterior = joint.given_visible(row[0])
    errors = (row - rbm.mean_v_from_h(posterior.states[:, 3:])).square().sum(1)
    draws = torch.tensor([reconstruction_error(rbm, row, generator) for _ in range(1000)])
    assert means_p_value(draws, (posterior.probabilities @ errors).item()) > FALSE_ALARM


@pytest.mark.parametrize("hidden", DISCRETE)
def test_a_fresh_model_is_not_saturated_and_one_of_huge_weights_is(hidden: str, generator: torch.Generator) -> None:
    v = torch.ones(4, 3)
    assert saturation(RBM(ZOO["bernoulli"](), ZOO[hidden](), weight_std=0.0), v) == 0.0
    assert saturation(RBM(ZOO["bernoulli"](), ZOO[hidden](), weight_std=1e4, generator=generator), v) == 1.0


def test_unknown_quantities_get_a_sentence() -> None:
    with pytest.raises(InvalidArgumentError, match="Did you mean 'log_likelihood'"):
        make_watch(RBM(2, 2), torch.zeros(1, 2), quantities=["loglikelihood"])
