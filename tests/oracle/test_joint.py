"""The twin itself, against sums and integrals that are slower still."""

from __future__ import annotations

import pytest
import torch

from tests.oracle.joint import Joint, find, rows_of
from tests.oracle.pvalues import FALSE_ALARM
from tests.oracle.zoo import PAIRS, ZOO, tiny_rbm


@pytest.mark.parametrize(
    ("kind", "n"),
    [
        ("bernoulli", 8),
        ("spin", 8),
        ("gaussian", 1),
        ("categorical", 9),
        ("side_by_side", 12),
        ("binomial", 16),
        ("multinomial", 10),
    ],
)
def test_rows_are_all_states(kind: str, n: int) -> None:
    rows = rows_of(ZOO[kind]())
    assert len(rows) == len(set(rows)) == n


def test_gaussian_columns_are_integrated(generator: torch.Generator) -> None:
    joint = Joint.of(tiny_rbm("gaussian", "spin", generator))
    line = torch.linspace(-15, 15, 401, dtype=torch.float64)
    plane = torch.cartesian_prod(line, line)
    for state in joint.states[:3].detach():
        rows = torch.cat([plane, state[2:].expand(len(plane), -1)], 1)
        total = torch.exp(-joint.energy(rows)).sum() * (line[1] - line[0]) ** 2
        torch.testing.assert_close(total.log(), joint.given_hidden(state[2:]).log_z)


@pytest.mark.parametrize(("visible", "hidden"), PAIRS)
def test_draws_have_the_law(visible: str, hidden: str, generator: torch.Generator) -> None:
    joint = Joint.of(tiny_rbm(visible, hidden, generator))
    assert joint.p_value(joint.draw(4000, generator)) > FALSE_ALARM


def test_the_law_of_total_probability(generator: torch.Generator) -> None:
    joint = Joint.of(tiny_rbm("categorical", "with_gaussian", generator))
    parts = torch.stack(
        [joint.given_visible(torch.tensor(row, dtype=torch.float64)).log_z for row in rows_of(ZOO["categorical"]())]
    )
    torch.testing.assert_close(torch.logsumexp(parts, 0), joint.log_z)


def test_rows_that_are_no_states_are_not_found() -> None:
    states = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    assert find(states, torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.5, 1.0], [0.0, 1.0]])).tolist() == [1, -1, -1, 0]
