"""A program to call, and one small run that the verbs share."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from deepbelief.cli.main import app

TINY = [
    *("--epochs", "2", "--layers", "12,10", "--device", "cpu", "--set", "threads=1", "--set", "data.max_train=120"),
    *("--set", "fine_tuning.epochs=2", "--set", "evaluation.betas=20", "--set", "evaluation.chains=4"),
    *("--set", "evaluation.burn_in=2", "--set", "evaluation.samples=0", "--set", "evaluation.features=false"),
]


@pytest.fixture(scope="session")
def tiny() -> list[str]:
    """Options that make `train` a matter of seconds."""
    return TINY


@pytest.fixture(scope="session")
def call() -> Callable[..., Result]:
    """Call a verb: ``call("ls", "--json")``."""

    def invoke(*words: object) -> Result:
        return CliRunner().invoke(app, [str(word) for word in words])

    return invoke


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, call: Callable[..., Result]) -> Path:
    """The folder of a finished small run on digits."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    done = call("train", "digits", "--out", folder, *TINY)
    assert done.exit_code == 0, done.output
    return folder
