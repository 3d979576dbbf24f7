"""Two processes learn what one does, hold one model, and resume exactly: every model of the newer wings, one launch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from deepbelief import load_estimator
from deepbelief.storage import read_state, state_to_bytes
from tests.contracts import two_processes, wings
from tests.oracle.launch import launch, outcomes

pytestmark = pytest.mark.distributed

Both = list[dict[str, Any]]
BY_CASE = [name for name in wings.EVERY if name == wings.STACK or wings.WINGS[name].by_case]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("two")


@pytest.fixture(scope="module")
def two(folder: Path) -> Both:
    launch(["-m", two_processes.__name__, str(folder / "out")])
    return outcomes(folder / "out")


def same(a: Any, b: Any) -> bool:
    return state_to_bytes(a) == state_to_bytes(b)


def read_state_of(folder: Path) -> dict[str, Any]:
    """The weights in a saved model's folder, or in that of a checkpoint."""
    if (folder / "config.json").exists():
        return dict(load_estimator(folder).module_.state_dict())
    return read_state(folder / "checkpoint.safetensors")["module"]


def furthest(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    return max(float((value.double() - other[name].double()).abs().amax()) for name, value in one.items())


@pytest.mark.parametrize("name", BY_CASE)
def test_two_processes_take_the_steps_of_one_given_its_noise(two: Both, name: str) -> None:
    alone = two_processes.with_noise_by_case(name)
    # float64 sums in another order: rounding at 1e-16 a step, far below any slip in what is averaged
    torch.testing.assert_close(two[0]["by case"][name], alone, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", wings.EVERY)
def test_both_processes_hold_one_model_and_one_history(two: Both, name: str) -> None:
    first, second = (outcome["whole"][name] for outcome in two)
    for part in ("module", "buffers", "history"):
        assert same(first[part], second[part]), part


@pytest.mark.parametrize("name", wings.EVERY)
def test_resume_in_two_processes_is_exact(two: Both, name: str) -> None:
    for outcome in two:
        assert same(outcome["resumed"][name], outcome["whole"][name])


def test_only_the_first_process_writes(two: Both, folder: Path) -> None:
    written = {path.name for path in folder.iterdir()} - {"out.0", "out.1"}
    assert written == {f"0-{number}" for number in range(len(wings.EVERY))} | {"fit"}
    assert {path.name for path in (folder / "fit").iterdir()} == {"checkpoints", "fit.yaml", "model", "results.json"}
    saved, learned = (read_state_of(folder / "fit" / name) for name in ("model", "checkpoints"))
    assert same(saved, learned)


def test_each_process_has_chains_and_a_history_of_its_own(two: Both) -> None:
    chains = [outcome["whole"]["rbm vae, relaxed"]["procedure"]["chains"]["h"] for outcome in two]
    kept = [outcome["whole"]["cycle gan, history"]["procedure"]["made_x"] for outcome in two]
    assert [len(part) for part in (*chains, *kept)] == [7, 7, 10, 10]
    assert not torch.equal(*chains)
    assert not torch.equal(*kept)


def test_an_estimator_learns_in_both(two: Both) -> None:
    assert same(two[0]["estimator"], two[1]["estimator"])


def test_planted_bugs_are_found(two: Both) -> None:
    """What stays at home shows: models that differ between processes, steps that are not those of one process."""
    first, second = (outcome["bugs"] for outcome in two)
    for bug in ("statistics", "offsets"):
        assert not same(first[bug]["buffers"], second[bug]["buffers"])
    for bug in ("rates", "free bits"):
        alone = two_processes.with_noise_by_case(two_processes.BUGS[bug][0])
        assert furthest(first[bug]["module"], alone) > 1e-6
    assert len(first["history"]["procedure"]["made_x"]) == 20
