"""The frame of the command line: quick help, exit codes, sentences, and JSON that nothing else disturbs."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deepbelief.cli import main as main_file
from deepbelief.cli.main import app

VERBS = (
    *("demo", "train", "fit", "sample", "complete", "walk", "score", "evaluate", "features", "predict"),
    *("export", "compare", "report", "data", "ls"),
)
HEAVY = ("torch", "numpy", "scipy", "sklearn", "matplotlib", "pandas", "lightning", "yaml")


def test_help_imports_nothing_heavy():
    code = f"""
import sys
from typer.testing import CliRunner
from deepbelief.cli.main import app
assert CliRunner().invoke(app, ["--help"]).exit_code == 0
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_program_and_the_module_are_one():
    done = subprocess.run([sys.executable, "-m", "deepbelief", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()[0]) == (0, "deepbelief")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({}, {"GOMP_SPINCOUNT": main_file.PATIENCE}),
        ({"GOMP_SPINCOUNT": "7"}, {"GOMP_SPINCOUNT": "7"}),
        ({"OMP_WAIT_POLICY": "active"}, {"OMP_WAIT_POLICY": "active"}),
    ],
)
def test_threads_sleep_soon_unless_told_otherwise(given, kept, monkeypatch):
    """Before torch is imported, whose threads would otherwise turn for milliseconds beside a program that is busy."""
    environment = dict(given)
    monkeypatch.setattr(main_file.os, "environ", environment)
    monkeypatch.setattr(main_file, "app", lambda prog_name: None)
    main_file.main()
    assert environment == kept


@pytest.mark.parametrize("verb", VERBS)
def test_every_help_teaches_with_an_example(call, verb):
    done = call(verb, "--help")
    assert done.exit_code == 0
    assert "Example" in done.stdout
    assert f"deepbelief {verb}" in done.stdout
    assert "--json" in done.stdout


def test_no_verb_shows_the_help(call):
    assert "demo" in call().output


def test_an_unknown_verb_is_a_usage_error_with_a_suggestion(call):
    done = call("trian")
    assert done.exit_code == 2
    assert "train" in done.stderr


def test_an_unknown_option_is_a_usage_error(call):
    assert call("ls", "--jsn").exit_code == 2


def test_a_known_error_is_one_sentence_without_a_traceback():
    done = subprocess.run(
        [sys.executable, "-m", "deepbelief", "sample", "no/such/model"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: folder must be a saved model with config.json. Got ")
    assert len(done.stderr.splitlines()) == 1


def test_ctrl_c_anywhere_exits_with_130(call, monkeypatch):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("deepbelief.data.sets.list_sets", interrupted)
    done = call("data")
    assert (done.exit_code, done.stderr.strip()) == (130, "Interrupted.")


def test_ctrl_c_in_training_keeps_a_checkpoint_and_says_how_to_go_on(tmp_path, tiny, call):
    code = f"""
import os, signal, sys
from deepbelief.training.trainer import Trainer
original = Trainer._run_step
def step(self, batch):
    original(self, batch)
    if self.step == 3:
        os.kill(os.getpid(), signal.{signal.SIGINT.name})
Trainer._run_step = step
sys.argv[1:] = {["train", "digits", "--out", str(tmp_path / "run"), *tiny]!r}
from deepbelief.cli.main import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 130, done.stderr
    assert f"continue with: deepbelief train --resume --out {tmp_path / 'run'}" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "run" / "checkpoints" / "layer-1" / "checkpoint.safetensors").exists()
    resumed = call("train", "--resume", "--out", tmp_path / "run", "--json")
    assert resumed.exit_code == 0, resumed.stderr
    assert json.loads(resumed.stdout)


def test_every_verb_has_a_file_of_its_own():
    files = {path.stem for path in Path(main_file.__file__).parent.glob("*.py")}
    names = {command.name for command in app.registered_commands} | {group.name for group in app.registered_groups}
    assert names == set(VERBS)
    assert names <= files
