"""The verbs that use a trained model, each once for people and once for scripts."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from deepbelief.belief.untied import UntiedDBN
from deepbelief.data.sets import load_set
from deepbelief.energy.rbm import RBM
from deepbelief.evaluation.likelihood import model_log_z
from deepbelief.rng import make_generator
from deepbelief.storage import load_model, save_model


def told(done):
    """The JSON of a verb that went well."""
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def test_sample(trained, call, tmp_path):
    assert np.shape(told(call("sample", trained, "-n", 3, "--steps", 5, "--json"))["samples"]) == (3, 64)
    lines = call("sample", trained, "-n", 3, "--steps", 5, "--bits").stdout.splitlines()
    assert len(lines) == 4
    assert set(lines[1].split(",")) <= {"0", "1"}
    call("sample", trained, "-n", 4, "--steps", 5, "--out", tmp_path / "s.png")
    assert Image.open(tmp_path / "s.png").size[0] > 16
    call("sample", trained / "model", "-n", 4, "--steps", 5, "--out", tmp_path / "s.npy")
    assert np.load(tmp_path / "s.npy").shape == (4, 64)


def test_a_network_with_ways_up_of_its_own_is_used_alike(trained, call, tmp_path):
    net = UntiedDBN.from_dbn(load_model(trained / "model"))
    save_model(net, tmp_path / "untied")
    assert np.shape(told(call("sample", tmp_path / "untied", "-n", 3, "--steps", 5, "--json"))["samples"]) == (3, 64)


def test_sample_repeats_with_its_seed(trained, call):
    one, same, other = (call("sample", trained, "-n", 2, "--steps", 5, "--seed", s).stdout for s in (1, 1, 2))
    assert one == same != other


def test_sample_tempers_when_asked(trained, call):
    words = ("sample", trained, "-n", 3, "--steps", 5, "--bits", "--json")
    plain, named, tempered = (told(call(*words, *more)) for more in ([], ["--method", "gibbs"], ["--method", "pt"]))
    assert plain == named
    assert plain["samples"] != tempered["samples"]
    assert np.shape(tempered["samples"]) == (3, 64)
    done = call(*words, "--method", "metropolis")
    assert (done.exit_code, "method must be one of 'gibbs', 'pt'" in done.stderr) == (1, True)


def test_complete_keeps_what_is_given(trained, call, tmp_path):
    x = load_set("digits", split="test").scaled()[:5].numpy()
    holes = x.copy()
    holes[:, 40:] = np.nan
    np.save(tmp_path / "holes.npy", holes * 16)
    found = told(call("complete", trained, tmp_path / "holes.npy", "--steps", 50, "--json"))
    assert found["filled"] == 5 * 24
    filled = np.array(found["cases"])
    assert np.allclose(filled[:, :40], x[:, :40], atol=1e-6)
    assert np.isfinite(filled).all()
    call("complete", trained, "digits", "--mask", "left", "-n", 4, "--steps", 50, "--out", tmp_path / "c.png")
    assert (tmp_path / "c.png").exists()


def test_complete_needs_something_to_fill_in(trained, call):
    done = call("complete", trained, "digits")
    assert (done.exit_code, "Got none. Hide some" in done.stderr) == (1, True)


def test_score_says_its_kind_and_finds_the_odd_one(trained, call, tmp_path):
    x = load_set("digits", split="test").x[:20].numpy().copy()
    x[7] = 16 - x[7]
    np.save(tmp_path / "x.npy", x)
    found = told(call("score", trained, tmp_path / "x.npy", "--betas", 20, "--anomalies", 2, "--json"))
    assert found["kind"] == "lower_bound"
    assert len(found["scores"]) == 20
    assert found["anomalies"][0]["row"] == 7
    done = call("score", trained, tmp_path / "x.npy", "--betas", 20, "--anomalies", 1, "--out", tmp_path / "s.csv")
    assert "(lower_bound) nats per case, 20 cases" in done.stdout
    assert (tmp_path / "s.csv").read_text().startswith("log_likelihood\n-")


def test_score_can_place_its_temperatures_by_a_pilot_run(tmp_path, call):
    rbm = RBM(24, 22, weight_std=0.5, generator=make_generator(0))  # too large for a sum, so mild that one try will do
    save_model(rbm, tmp_path / "rbm")
    x = np.random.RandomState(0).randint(2, size=(9, 24)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    words = ("score", tmp_path / "rbm", tmp_path / "x.npy", "--betas", 20, "--json")
    fixed, adaptive = (told(call(*words, "--schedule", schedule)) for schedule in ("fixed", "adaptive"))
    assert told(call(*words))["mean"] == fixed["mean"] != adaptive["mean"]
    options = {"n_chains": 100, "betas": 20, "schedule": "adaptive", "generator": make_generator(0)}
    wanted = rbm.log_likelihood(torch.tensor(x), log_z=model_log_z(rbm, torch.tensor(x), **options))
    assert adaptive["mean"] == pytest.approx(float(wanted), abs=1e-5)
    done = call(*words, "--schedule", "adaptiv")
    assert (done.exit_code, "Did you mean 'adaptive'" in done.stderr) == (1, True)


def test_annealing_from_below_is_for_vaes_and_fitted_rbms(trained, call):
    done = call("score", trained, "digits", "--annealed", "9")
    assert done.exit_code == 1
    assert "is for a VAE or an RBM of `fit`. Got a DBN or an RBM of `train`" in done.stderr


def test_features(trained, call, tmp_path):
    call("features", trained, "digits", "--out", tmp_path / "codes.npy")
    codes = np.load(tmp_path / "codes.npy")
    assert codes.shape == (359, 10)
    assert told(call("features", trained, "digits", "--layer", 1, "--json"))["units"] == 12
    done = call("features", trained, "digits", "--layer", 3)
    assert (done.exit_code, "The model has 2 layers" in done.stderr) == (1, True)
    done = call("features", trained, tmp_path / "codes.npy", "--back")
    assert (done.exit_code, "--back must be left out" in done.stderr) == (1, True)


def test_predict_agrees_with_the_measured_error(trained, call):
    rows = told(call("predict", trained, "digits", "--json"))["predictions"]
    truth = load_set("digits", split="test").y.tolist()
    wrong = sum(int(row["class"]) != y for row, y in zip(rows, truth, strict=True)) / len(truth)
    results = json.loads((trained / "results.json").read_text())
    (error,) = [row["value"] for row in results if row["quantity"] == "test error rate"]
    assert 100 * wrong == pytest.approx(error)


def test_report_draws_the_same_page_again(trained, call, tmp_path):
    page = told(call("report", trained, "--out", tmp_path / "page.html", "--json"))["report"]
    assert (tmp_path / "page.html").read_text() == (trained / "report.html").read_text()
    assert page == str(tmp_path / "page.html")
    advice = told(call("report", trained, "--out", tmp_path / "page.html", "--json"))["advice"]
    assert call("report", trained).stdout.splitlines() == [f"- {sentence}" for sentence in advice]
    done = call("report", trained, "--data", "digits")
    assert (done.exit_code, "--data is for fits" in done.stderr) == (1, True)
    done = call("report", tmp_path)
    assert (done.exit_code, "the folder of a run must hold settings.yaml" in done.stderr) == (1, True)


def test_data_lists_fetches_and_describes(call, tmp_path):
    assert "digits" in {row["name"] for row in told(call("data", "--json"))}
    assert "built in" in call("data").stdout
    assert told(call("data", "fetch", "digits", "--json"))["where"] == "built in"
    np.save(tmp_path / "x.npy", np.eye(6, dtype=np.uint8))
    facts = told(call("data", "describe", tmp_path / "x.npy", "--json"))
    assert (facts["cases"], facts["columns"]) == (6, 6)
    assert "Bernoulli" in facts["advice"][0]
    done = call("data", "fetch", "mnits")
    assert (done.exit_code, "Did you mean 'mnist'?" in done.stderr) == (1, True)


def test_ls_knows_the_parts_and_the_runs(trained, call):
    found = told(call("ls", trained.parent, "--json"))
    assert {"DBN", "RBM"} <= set(found["models"])
    assert {"VAE", "GAN", "DeepBeliefNetwork"} <= set(found["estimators"])
    assert "gaussian" in found["units"]
    assert [(run["folder"], run["state"]) for run in found["runs"]] == [(str(trained), "finished")]
    assert "finished" in call("ls", trained.parent).stdout


def test_a_wrong_folder_is_told(trained, call, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    done = call("score", tmp_path, "digits")
    assert (done.exit_code, "belongs to another library" in done.stderr) == (1, True)
    done = call("score", trained / "classifier", "digits")
    assert (done.exit_code, "MODEL must be a DBN or an RBM" in done.stderr) == (1, True)
    copy = shutil.copytree(trained, tmp_path / "copy")
    shutil.rmtree(copy / "classifier")
    done = call("predict", copy, "digits")
    assert (done.exit_code, "Train with labels" in done.stderr) == (1, True)


def test_cases_of_another_width_are_refused(trained, call, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((3, 5), dtype=np.uint8))
    done = call("features", trained, tmp_path / "x.npy")
    assert (done.exit_code, "must have 64 columns" in done.stderr) == (1, True)
