"""Spreading labels against its closed form, and its sentences."""

from __future__ import annotations

import pytest
import torch

from deepbelief.belief.spreading import _normalized_graph, spread_labels
from deepbelief.errors import DeepBeliefError


def two_clouds(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """40 codes around each of two directions, and which."""
    which = torch.arange(80) % 2
    centres = torch.tensor([[3.0, 0.0, 0.0], [0.0, 3.0, 0.0]])
    return centres[which] + 0.4 * torch.randn(80, 3, generator=generator), which


def test_the_iteration_reaches_its_closed_form(generator: torch.Generator) -> None:
    codes, which = two_clouds(generator)
    y = torch.where(torch.arange(80) < 6, which, -1)
    alpha = 0.8
    spread = spread_labels(codes, y, n_neighbors=7, alpha=alpha, max_iter=200)
    start = (y.unsqueeze(1) == torch.tensor([0, 1])).double()
    graph = torch.from_numpy(_normalized_graph(codes, 7).toarray())
    limit = torch.linalg.solve(torch.eye(80, dtype=torch.float64) - alpha * graph, (1 - alpha) * start)
    limit /= limit.sum(0)
    expected = limit / limit.sum(1, keepdim=True)
    expected[y >= 0] = start[y >= 0]
    torch.testing.assert_close(spread, expected.float(), rtol=1e-5, atol=1e-6)


def test_labels_reach_their_cloud_and_stay_where_they_were_given(generator: torch.Generator) -> None:
    codes, which = two_clouds(generator)
    y = torch.full((80,), -1)
    y[0], y[1] = 0, 1
    spread = spread_labels(codes, y)
    assert (spread.argmax(1) == which).all()
    assert spread[0].tolist() == [1.0, 0.0]
    torch.testing.assert_close(spread.sum(1), torch.ones(80))


def test_a_part_of_the_graph_without_labels_is_left_undecided(generator: torch.Generator) -> None:
    codes, _ = two_clouds(generator)
    codes = torch.cat([codes, -10 + 0.01 * torch.randn(20, 3, generator=generator)])
    y = torch.full((100,), -1)
    y[0], y[1] = 0, 1
    assert (spread_labels(codes, y, n_neighbors=5)[80:] == 0.5).all()


@pytest.mark.parametrize(
    ("y", "options", "sentence"),
    [
        ([-1, -1, -1], {"n_neighbors": 1}, "y must hold at least one known label"),
        ([0, 1, -1], {"n_neighbors": 3}, "n_neighbors must be at least 1 and at most 2"),
        ([0, 1, -1], {"n_neighbors": 1, "alpha": 1.5}, "alpha must be at least 0 and at most 1"),
    ],
)
def test_sentences(y: list[int], options: dict[str, float], sentence: str) -> None:
    with pytest.raises(DeepBeliefError, match=sentence):
        spread_labels(torch.eye(3), torch.tensor(y), **options)
