"""A run keeps everything, resumes as if it had never stopped, and refuses what cannot work before it starts."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from deepbelief.belief.dbn import DBN
from deepbelief.belief.unrolled import UnrolledDBN
from deepbelief.energy.rbm import RBM
from deepbelief.errors import DataNotFoundError, InvalidArgumentError, InvalidDataError
from deepbelief.evaluation.gallery import Gallery
from deepbelief.recipes.run import run
from deepbelief.recipes.run_data import Preparation, load_run_data
from deepbelief.recipes.run_defaults import settings_for
from deepbelief.recipes.run_fine_tuning import labelled_rows
from deepbelief.recipes.run_folder import list_runs, read_results
from deepbelief.recipes.settings import DataSettings
from deepbelief.storage import load_model
from deepbelief.types import KINDS

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("small_run.py")
spec = importlib.util.spec_from_file_location("small_run", SCRIPT)
small_run = importlib.util.module_from_spec(spec)
spec.loader.exec_module(small_run)
small = small_run.small
STEPS_OF_A_LAYER = 18  # 3 epochs of 6 batches


def weights(folder: Path) -> dict[str, bytes]:
    """The files that a run's end must have, byte for byte."""
    names = ("model/model.safetensors", "model/config.json", "classifier/model.safetensors", "classifier/config.json")
    return {name: (folder / name).read_bytes() for name in (*names, "results.json", "settings.yaml")}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    run(small(), folder, progress=False)
    return folder


def test_a_run_keeps_everything(uninterrupted):
    results = read_results(uninterrupted)
    rows = json.loads((uninterrupted / "results.json").read_text())
    assert all(set(row) == {"quantity", "value", "kind", "stderr", "unit", "data", "model"} for row in rows)
    assert all(row["kind"] in KINDS for row in rows)
    likelihoods = {r.model: r.kind for r in results if r.quantity == "test log-likelihood"}
    assert likelihoods["RBM 64-12"] == "exact"
    assert likelihoods["DBN 64-12-10"] == "lower_bound"
    assert [r.model for r in results if r.quantity == "test error rate"] == ["DBN 64-12-10, fine-tuned"]
    history = json.loads((uninterrupted / "history.json").read_text())
    assert list(history) == ["layer 1", "layer 2", "fine-tuning"]
    assert "free_energy_gap" in history["layer 2"][-1]
    assert "held_out.error_rate" in history["fine-tuning"][0]
    assert isinstance(load_model(uninterrupted / "model"), DBN)
    assert isinstance(load_model(uninterrupted / "classifier"), UnrolledDBN)
    assert Preparation.read(uninterrupted / "model").scored == "stochastic"
    assert Preparation.read(uninterrupted / "classifier").binarization == "none"


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(uninterrupted, tmp_path):
    run(small(), tmp_path / "again", progress=False)
    assert weights(tmp_path / "again") == weights(uninterrupted)
    run(small(seed=1), tmp_path / "other", progress=False)
    assert weights(tmp_path / "other")["model/model.safetensors"] != weights(uninterrupted)["model/model.safetensors"]


@pytest.mark.parametrize("steps", [STEPS_OF_A_LAYER + 9, 2 * STEPS_OF_A_LAYER + 8], ids=["layer 2", "fine-tuning"])
def test_a_killed_run_resumes_bit_for_bit(uninterrupted, tmp_path, steps):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), str(tmp_path / "killed"), str(steps), "SIGKILL"]
    killed = subprocess.run(command, env=environment, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert not (tmp_path / "killed" / "results.json").exists()
    run(small(), tmp_path / "killed", resume=True, progress=False)
    assert weights(tmp_path / "killed") == weights(uninterrupted)


def test_ctrl_c_keeps_a_checkpoint_in_the_middle_of_an_epoch(uninterrupted, tmp_path, monkeypatch):
    monkeypatch.setattr("deepbelief.training.trainer.Trainer._run_step", small_run.Trainer._run_step)
    small_run.stop_at(STEPS_OF_A_LAYER + 10, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="after step 10"):
        run(small(), tmp_path / "stopped", progress=False)
    monkeypatch.undo()
    run(small(), tmp_path / "stopped", resume=True, progress=False)
    assert weights(tmp_path / "stopped") == weights(uninterrupted)


def test_a_finished_run_says_so(uninterrupted, capsys):
    before = (uninterrupted / "results.json").stat().st_mtime_ns
    results = run(small(), uninterrupted, resume=True)
    assert "is finished" in capsys.readouterr().err
    assert results == read_results(uninterrupted)
    assert (uninterrupted / "results.json").stat().st_mtime_ns == before


def test_a_folder_is_never_overwritten_by_accident(uninterrupted, tmp_path):
    with pytest.raises(InvalidArgumentError, match="holds a run"):
        run(small(), uninterrupted, progress=False)
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InvalidArgumentError, match="must be new or empty"):
        run(small(), tmp_path, overwrite=True, progress=False)
    with pytest.raises(InvalidArgumentError, match=r"Got another batch_size"):
        run(small(batch_size=10), uninterrupted, resume=True, progress=False)
    assert [found["state"] for found in list_runs(uninterrupted.parent)] == ["finished"]


def test_a_run_fills_a_gallery(tmp_path):
    settings = small(evaluation={"gallery": True}, fine_tuning=None, model={"labels_in_top": True})
    results = run(settings, tmp_path / "run", progress=False)
    gallery = Gallery.from_folder(tmp_path / "run" / "gallery")
    assert gallery.class_samples.shape == (10, 10, 64)
    assert gallery.image_shape == (8, 8)
    assert [r.model for r in results if r.quantity == "test error rate"] == [
        "DBN 64-12-10 + label, by the label's free energy"
    ]


def test_an_rbm_is_kept_as_an_rbm(tmp_path):
    settings = small(model={"kind": "rbm", "layers": [5]}, fine_tuning=None, data={"binarization": "threshold"})
    results = run(settings, tmp_path / "run", progress=False)
    assert isinstance(load_model(tmp_path / "run" / "model"), RBM)
    assert {r.kind for r in results if r.quantity == "test log-likelihood"} == {"exact"}


def test_inverted_images_are_the_same_cases(tmp_path):
    plain, inverted = (load_run_data(small(data={"binarization": "threshold", "inverted": i})) for i in (False, True))
    assert torch.equal(plain.test_bits(0), 1 - inverted.test_bits(0))


def test_grey_levels_that_were_learned_as_they_are_are_scored_by_draws():
    data = load_run_data(small(data={"binarization": "none"}))
    bits = data.test_bits(0)
    assert bool(((bits == 0) | (bits == 1)).all())
    batch = next(iter(data.source(20, 0, torch.device("cpu")).batches(0, generator=torch.Generator())))
    assert bool(((batch.x > 0) & (batch.x < 1)).any())


def test_standardized_columns_use_the_training_cases_alone(tmp_path):
    x = np.random.default_rng(0).normal(5, 3, (80, 4)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x, y=x[:, 0] * 2)
    model = {"visible": "gaussian", "layers": [6]}
    own = {"name": str(tmp_path / "x.npz"), "preparation": "standardize", "binarization": "none"}
    settings = small(data={**own, "max_train": None, "max_test": None}, model=model)
    data = load_run_data(settings)
    how = data.preparation
    seen = how.values(data.train)
    assert torch.allclose(seen.mean(0), torch.zeros(4), atol=1e-5)
    assert torch.allclose(how.raw(how.shown(seen)), data.train, atol=1e-4)
    results = run(settings, tmp_path / "run", progress=False)
    assert [r.unit for r in results if r.quantity == "test root mean squared error"] == ["target units"]


def test_few_labels_are_drawn_evenly():
    data = load_run_data(small())
    rows, aside = labelled_rows(data, small(fine_tuning={"n_labels": 20, "early_stopping": None}))
    assert torch.bincount(data.train_y[rows]).tolist() == [2] * 10
    assert len(aside) == 0


@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        ({"data": {"name": "digts"}}, InvalidArgumentError, "Did you mean 'digits'"),
        ({"data": {"name": "no/such.csv"}}, DataNotFoundError, "must exist. Got 'no/such.csv'"),
        ({"model": {"tied": True}}, InvalidArgumentError, "must not shrink over two layers when tied"),
        (
            {"model": {"tied": True, "visible": "gaussian", "layers": [4, 4]}},
            InvalidArgumentError,
            "or in at least 3 layers.* Got gaussian data, bernoulli units, 2 layers",
        ),
        (
            {"model": {"tied": True, "visible": "gaussian", "layers": [5, 4, 4]}},
            InvalidArgumentError,
            "must not shrink over two layers when tied. Got 4 above 5",
        ),
        ({"model": {"visible": "categorical", "n_values": 7}}, InvalidArgumentError, "n_values must divide"),
        ({"fine_tuning": {"n_labels": 1000}}, InvalidArgumentError, "There are no more labelled cases"),
        ({"data": {"preparation": "standardize"}}, InvalidArgumentError, "binarization must be none"),
    ],
)
def test_what_cannot_work_is_refused_before_learning(tmp_path, changes, error, sentence):
    with pytest.raises(error, match=sentence):
        run(small(**changes), tmp_path / "run", progress=False)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_labels_are_asked_for_before_learning(tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 2, (30, 6)).astype(np.uint8))
    with pytest.raises(InvalidDataError, match="fine_tuning needs labels"):
        run(small(data={"name": str(tmp_path / "x.npy")}), tmp_path / "run", progress=False)


@pytest.mark.parametrize(
    ("values", "visible", "preparation", "binarization"),
    [
        ([0, 1], "bernoulli", "none", "none"),
        ([0.0, 0.25, 1.0], "bernoulli", "none", "stochastic"),
        ([-1, 1], "spin", "unit", "none"),
        ([-3.5, 0.0, 12.0], "gaussian", "standardize", "none"),
    ],
)
def test_defaults_fit_the_data(tmp_path, values, visible, preparation, binarization):
    x = np.random.default_rng(0).choice(values, (40, 5))
    np.save(tmp_path / "x.npy", x)
    settings, reasons = settings_for(DataSettings(name=str(tmp_path / "x.npy")))
    assert settings.model.visible == visible
    assert (settings.data.preparation, settings.data.binarization) == (preparation, binarization)
    assert settings.fine_tuning is None
    assert reasons
    load_run_data(settings)


@pytest.mark.parametrize(("largest", "task"), [(300, "value"), (4, "class")])
def test_whole_numbers_that_hardly_repeat_are_values(tmp_path, largest, task):
    numbers = np.random.default_rng(0)
    np.savez(tmp_path / "x.npz", x=numbers.normal(size=(60, 4)), y=numbers.integers(0, largest, 60))
    settings, reasons = settings_for(DataSettings(name=str(tmp_path / "x.npz")))
    assert load_run_data(settings).task == task
    assert any(word in reasons[-1] for word in ("values", "classes"))


def test_limits_draw_from_all_classes():
    data = load_run_data(small(data={"max_train": 100}))
    assert len(data.train) == 100
    assert len(data.train_y.unique()) == 10
