"""Data-parallel learning and annealing in two processes: the law of one."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch

from deepbelief.energy.partition.exact import exact_log_z
from deepbelief.energy.partition.lengths import log_z_of_lengths
from deepbelief.energy.rbm import RBM
from tests.oracle.launch import launch, outcomes

pytestmark = pytest.mark.distributed

SCRIPT = Path(__file__).with_name("two_processes.py")
FALSE_ALARM_Z = 4.9  # two-sided 1e-6
T_OF_TEN = 11.7  # the same of Student's t with 9 degrees of freedom: ten populations give a standard error


@pytest.fixture(scope="module")
def small() -> dict[str, Any]:
    return runpy.run_path(str(SCRIPT))


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    out = tmp_path_factory.mktemp("two") / "out"
    launch([str(SCRIPT), str(out)])
    return outcomes(out)


def rebuilt(state: dict[str, torch.Tensor]) -> RBM:
    rbm = RBM(6, 3)
    rbm.load_state_dict(state)
    return rbm


@pytest.mark.parametrize("learning", ["exact", "pcd", "cd", "ahead"])
def test_both_processes_hold_one_model(two: list[dict[str, Any]], learning: str) -> None:
    for name, value in two[0][learning].items():
        assert torch.equal(value, two[1][learning][name]), name


def test_exact_learning_takes_the_steps_of_one_process(two: list[dict[str, Any]], small: dict[str, Any]) -> None:
    # the gradient is the same sum in another order, the ragged last batch (20 cases) included
    one = small["train"]("exact", seed=3).state_dict()
    for name, value in one.items():
        torch.testing.assert_close(two[0]["exact"][name], value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("learning", ["pcd", "cd", "ahead"])
def test_random_learning_has_the_law_of_one_process(
    two: list[dict[str, Any]], small: dict[str, Any], learning: str
) -> None:
    """The mean log-likelihood reached in two processes lies where that of single processes with other seeds lies."""
    x = small["data"]()

    def reached(rbm: RBM) -> float:
        return float(rbm.log_likelihood(x).mean())

    alone = torch.tensor([reached(small["train"](learning, seed=seed)) for seed in range(10, 22)])
    mine = reached(rebuilt(two[0][learning]))
    # a prediction interval of Student's t with 11 degrees of freedom; its two-sided 1e-6 point is 9.7
    assert abs(mine - alone.mean()) < 9.7 * alone.std() * (1 + 1 / len(alone)) ** 0.5


def test_what_is_done_meanwhile_neither_sees_nor_changes_what_travels(two: list[dict[str, Any]]) -> None:
    for name, value in two[0]["in turns"].items():
        assert torch.equal(value, two[0]["ahead"][name]), name


def test_each_process_has_its_own_share_of_the_chains(two: list[dict[str, Any]]) -> None:
    assert [outcome["chains"] for outcome in two] == [21, 20]


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_annealed_chains_are_split_and_differ(two: list[dict[str, Any]], small: dict[str, Any], direction: str) -> None:
    log_z, stderr, log_weights = two[0][direction]
    assert log_z == two[1][direction][0]
    assert len(log_weights) == small["N_CHAINS"]
    halves = log_weights.chunk(2)
    assert not torch.equal(halves[0], halves[1])  # the two processes must not run the same chains
    truth = float(exact_log_z(rebuilt(two[0]["exact"])))
    assert abs(log_z - truth) < FALSE_ALARM_Z * stderr + stderr**2  # stderr^2: the bias of a logarithm is half of it


def test_ladders_are_split_and_joined(two: list[dict[str, Any]]) -> None:
    truth = float(exact_log_z(rebuilt(two[0]["exact"])))
    assert two[0]["tempered"] == two[1]["tempered"]
    for value, stderr, low, high in two[0]["tempered"]:
        assert abs(value - truth) < T_OF_TEN * stderr  # a jackknife over ten groups
        assert low < truth < high
        assert stderr < 0.05


def test_documents_of_many_lengths_are_annealed_by_both(two: list[dict[str, Any]], small: dict[str, Any]) -> None:
    truth = log_z_of_lengths(small["topics"](), torch.tensor(small["LENGTHS"]), "exact").value
    for mine, theirs in zip(*(outcome["lengths"].values() for outcome in two), strict=True):
        assert all(torch.equal(one, other) for one, other in zip(mine, theirs, strict=True))
    value, stderr, states = two[0]["lengths"]["up"]
    assert states.shape == (len(truth), small["N_CHAINS"], 4)
    halves = states.chunk(2, 1)
    assert not torch.equal(halves[0], halves[1])  # the two processes must not run the same chains
    assert ((value - truth).abs() < T_OF_TEN * stderr + stderr**2).all()
    for start in ("from the ends", "from documents"):
        low, high, stderr = two[0]["lengths"][start]
        assert ((low - truth).abs() < T_OF_TEN * stderr + stderr**2).all()
        assert (high >= truth - T_OF_TEN * stderr).all()
        assert (high - low < 1).all()
