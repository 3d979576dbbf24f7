"""`train` and `demo`: one line on a person's own file, settings that print and run again, and what goes wrong."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from deepbelief.recipes.settings import RunSettings
from deepbelief.types import KINDS


def write_table(path, n=60):
    """Two clouds of points with names, as a csv."""
    numbers = np.random.default_rng(0)
    kind = numbers.integers(0, 2, n)
    x = numbers.normal(3 * kind[:, None], 1, (n, 3))
    lines = [
        "a,b,c,species",
        *(f"{a:.3f},{b:.3f},{c:.3f},{'cat' if k else 'dog'}" for (a, b, c), k in zip(x, kind, strict=True)),
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_one_line_on_a_csv(tmp_path, call, tiny):
    table = write_table(tmp_path / "pets.csv")
    done = call("train", table, "--label", "species", "--out", tmp_path / "run", *tiny)
    assert done.exit_code == 0, done.stderr
    assert "standardized and the units Gaussian" in done.stderr
    assert "test error rate" in done.stdout
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
    predicted = call("predict", tmp_path / "run", table)
    rows = predicted.stdout.splitlines()
    assert rows[0] == "class,probability"
    assert {row.split(",")[0] for row in rows[1:]} <= {"cat", "dog"}
    assert len(rows) == 61


def test_json_is_pure(trained, call):
    done = call("train", "--resume", "--out", trained, "--json")
    assert "is finished" in done.stderr
    rows = json.loads(done.stdout)
    assert {row["kind"] for row in rows} <= set(KINDS)
    assert rows == json.loads((trained / "results.json").read_text())


def test_settings_print_edit_and_run_again(tmp_path, call, tiny, trained):
    printed = call("train", "digits", *tiny, "--print-settings")
    settings = RunSettings.from_yaml(printed.stdout)
    assert settings.model.layers == [12, 10]
    file = tmp_path / "s.yaml"
    file.write_text(printed.stdout)
    done = call("train", "--settings", file, "--out", tmp_path / "run", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout) == json.loads((trained / "results.json").read_text())
    again = call("train", "--settings", file, "--set", "learning.k=2", "--set", "fine_tuning=null", "--print-settings")
    edited = RunSettings.from_yaml(again.stdout)
    assert (edited.learning[0].k, edited.fine_tuning) == (2, None)


def test_demo_tells_the_whole_story(tmp_path, call):
    done = call("demo", "--quick", "--out", tmp_path / "demo", "--json")
    assert done.exit_code == 0, done.stderr
    rows = json.loads(done.stdout)
    assert rows == json.loads((tmp_path / "demo" / "results.json").read_text())
    assert {"test log-likelihood", "test error rate"} <= {row["quantity"] for row in rows}
    page = (tmp_path / "demo" / "report.html").read_text()
    assert "deepbelief demo --data digits --seed 0 --quick" in page
    assert {path.name for path in (tmp_path / "demo").iterdir()} >= {"report.html", "results.json", "model"}
    assert "Done in" in done.stderr


def test_demo_says_which_files_are_missing(tmp_path, call, monkeypatch):
    monkeypatch.setenv("DEEPBELIEF_DATA", str(tmp_path))
    monkeypatch.setattr("deepbelief.data.download.cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr("pooch.HTTPDownloader.__call__", _offline)
    done = call("demo", "--data", "mnist", "--out", tmp_path / "demo")
    assert done.exit_code == 1
    assert "train-images-idx3-ubyte.gz" in done.stderr


def _offline(*_: object, **__: object) -> None:
    import requests

    raise requests.exceptions.ConnectionError("no network")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["digts"], "Did you mean 'digits'?"),
        (["no/such/file.csv"], "must exist. Got 'no/such/file.csv'"),
        ([], "train needs data. Got none."),
        (["digits", "--set", "modell.layers=[3]"], "Did you mean 'model'?"),
        (["digits", "--set", "model.layer=[3]"], "Did you mean 'layers'?"),
        (["digits", "--set", "seed"], "--set must be NAME=VALUE"),
        (["digits", "--layers", "ten"], "--layers must be numbers with commas"),
        (["--resume"], "--resume needs the folder of the run"),
        (["--resume", "--out", "nowhere"], "the folder of a run must hold settings.yaml"),
        (["--settings", "no.yaml"], "the settings file must exist"),
        (["digits", "--device", "gpux"], "device"),
    ],
)
def test_a_mistake_is_one_red_sentence(tmp_path, call, monkeypatch, words, sentence):
    monkeypatch.chdir(tmp_path)
    done = call("train", *words)
    assert done.exit_code == 1, done.output
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout


def test_text_columns_are_named(tmp_path, call):
    done = call("train", write_table(tmp_path / "pets.csv"), "--out", tmp_path / "run")
    assert done.exit_code == 1
    assert "species" in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_finished_run_is_not_overwritten_unless_told(trained, call):
    done = call("train", "digits", "--out", trained)
    assert done.exit_code == 1
    assert "holds a run" in done.stderr


@pytest.mark.distributed
def test_torchrun_trains_together_and_one_process_speaks(tmp_path):
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "deepbelief", "train"]
    words += ["digits", "--layers", "8", "--epochs", "1", "--set", "fine_tuning=null", "--json"]
    words += ["--set", "evaluation.gallery=false", "--set", "evaluation.betas=20", "--set", "evaluation.burn_in=2"]
    words += ["--set", "evaluation.samples=0", "--set", "evaluation.features=false", "--out", str(tmp_path / "run")]
    done = subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert rows == json.loads((tmp_path / "run" / "results.json").read_text())
    assert done.stderr.count("The run is in") == 1
