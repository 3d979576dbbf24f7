"""`evaluate`: cheats and noise are told from data, models and samples alike, and what cannot be judged is refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from deepbelief import VAE
from deepbelief.data.sets import load_set
from deepbelief.evaluation.sample_quality import COPYING, FOUR, FRECHET, KERNEL, PAIRS_P
from deepbelief.evaluation.samples import COPIES, HELD_OUT
from tests.cli.test_use import told
from tests.oracle.pvalues import FALSE_ALARM

FAST = ("--networks", 1, "--network-epochs", 2, "-n", 170)
LIKELIHOOD = "test log-likelihood"


def found_by(done) -> dict[tuple[str, str], dict]:
    """The rows of `evaluate --json` by model and quantity."""
    return {(row["model"], row["quantity"]): row for row in told(done)["results"]}


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """Training and test digits cut at 1/2."""
    return tuple(
        (load_set("digits", split=split).scaled().numpy() > 0.5).astype(np.uint8) for split in ("train", "test")
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory, digits) -> Path:
    """The bits as files to learn from and new ones, and three sets of samples: copies, new digits, noise."""
    folder, (train, test) = tmp_path_factory.mktemp("files"), digits
    np.save(folder / "train.npy", train)
    np.save(folder / "new.npy", test[:190])
    noise = np.random.default_rng(0).random((200, 64)) < train.mean()
    for name, x in {"copies": train[:200], "real": test[190:], "noise": noise.astype(np.uint8)}.items():
        np.savez(folder / f"{name}.npz", x=x)
    return folder


def judged(call, files: Path, name: str) -> dict[tuple[str, str], dict]:
    words = ("evaluate", files / f"{name}.npz", files / "train.npy", "--held-out", files / "new.npy", *FAST)
    return found_by(call(*words, "--json"))


@pytest.fixture(scope="module")
def verdicts(call, files) -> dict[str, dict]:
    return {name: judged(call, files, name) for name in ("copies", "real", "noise")}


def number(rows: dict, model: str, quantity: str) -> float:
    return rows[model, quantity]["value"]


def test_copies_are_found_out_and_new_cases_are_not(verdicts):
    deviations = {}
    for name, rows in verdicts.items():
        row = rows[f"{name}.npz", COPYING]
        deviations[name] = row["value"] / row["stderr"]
    assert deviations["copies"] < -5 < deviations["real"] < 5 < deviations["noise"]
    copies = verdicts["copies"]
    noise = 5 * np.hypot(*(copies[model, COPYING]["stderr"] for model in ("copies.npz", COPIES)))
    assert abs(number(copies, "copies.npz", COPYING) - number(copies, COPIES, COPYING)) < noise


def test_noise_is_worse_than_data_in_every_distance(verdicts):
    noise, real = verdicts["noise"], verdicts["real"]
    for quantity in (FRECHET, KERNEL):
        floors = number(noise, HELD_OUT, quantity), number(real, "real.npz", quantity)
        assert number(noise, "noise.npz", quantity) > 3 * max(map(abs, floors))  # KID may be below 0
    for quantity in FOUR:
        if quantity != "recall":  # noise raises it
            assert number(noise, "noise.npz", quantity) < number(real, "real.npz", quantity)
    assert number(noise, "noise.npz", PAIRS_P) < FALSE_ALARM < number(real, "real.npz", PAIRS_P)


def test_samples_alone_have_no_likelihood_and_their_networks_are_named(call, files, verdicts):
    rows = verdicts["real"]
    assert LIKELIHOOD not in {quantity for _, quantity in rows}
    assert {model for model, _ in rows} == {"real.npz", HELD_OUT, COPIES}
    (named,) = [q for model, q in rows if model == "real.npz" and q.startswith("FD(")]
    words = ("evaluate", files / "real.npz", files / "train.npy", "--held-out", files / "new.npy", *FAST)
    said = call(*words).stdout
    assert named[3:-1].split(", ")[1] in said  # the hash
    assert "taught by clusters" in said
    assert "no sign of copies" in said
    assert said.count("95 samples, held-out cases and copies") == 1  # half of 190 new cases
    assert "time to draw 1,000 samples" not in {quantity for _, quantity in rows}
    assert "New cases: new.npy." in said


def test_a_model_of_fit_has_likelihood_and_features_beside(call, tmp_path):
    folder, sizes = tmp_path / "vae", ["--set", "hidden_layer_sizes=[16]", "--set", "n_components=4"]
    told(call("fit", "VAE", "digits", "--set", "epochs=2", *sizes, "--out", folder, "--json"))
    out = tmp_path / "quality.json"
    rows = found_by(call("evaluate", folder, "digits", *FAST, "--out", out, "--json"))
    assert {(r["model"], r["quantity"]) for r in json.loads(out.read_text())} == set(rows)
    assert rows["VAE", LIKELIHOOD]["kind"] == "lower_bound"
    assert rows["VAE", LIKELIHOOD]["data"] == "digits, bits (stochastic), 359 held-out cases"
    entropy, alone, noise = nats_of_drawn_bits()
    assert number(rows, "VAE", LIKELIHOOD) < -entropy + noise  # no model knows a draw better than who drew it
    assert abs(number(rows, "independent units", LIKELIHOOD) - alone) < noise
    assert number(rows, "raw inputs", "linear probe accuracy") == pytest.approx(100 * probe_of_pixels(), abs=0.1)
    assert number(rows, "VAE", "linear probe accuracy") < number(rows, "raw inputs", "linear probe accuracy")
    assert number(rows, "VAE", FRECHET) > number(rows, HELD_OUT, FRECHET)


def nats_of_drawn_bits() -> tuple[float, float, float]:
    """Of test digits' bits drawn by their grey levels: mean entropy, independent units' mean, 5 standard deviations.

    The units' means are those of the training grey levels, whose own draws move them by less than the test's do.
    """
    q = load_set("digits", split="test").scaled().double().clamp(1e-12, 1 - 1e-12)
    p = load_set("digits").scaled().double().mean(0).clamp(1e-3, 1 - 1e-3)
    entropy = -(q * q.log() + (1 - q) * (1 - q).log()).sum(1).mean()
    alone = (q * p.log() + (1 - q) * (1 - p).log()).sum(1).mean()
    spread = (q * (1 - q) * (p / (1 - p)).log().square()).sum().sqrt() / len(q)
    return float(entropy), float(alone), 5 * float(spread)


def probe_of_pixels() -> float:
    """The accuracy of the linear probe on grey levels, by itself."""
    train, test = load_set("digits"), load_set("digits", split="test")
    x, new = train.scaled().numpy(), test.scaled().numpy()
    mean, spread = x.mean(0), np.where(x.std(0) > 0, x.std(0), 1)
    probe = LogisticRegression(max_iter=2000, tol=1e-3).fit((x - mean) / spread, train.y)
    return probe.score((new - mean) / spread, test.y)


def test_a_stack_of_train_is_judged_by_its_bound(trained, call):
    rows = found_by(call("evaluate", trained, "digits", *FAST, "--steps", 5, "--betas", 20, "--json"))
    assert rows["DBN 64-12-10", LIKELIHOOD]["kind"] == "lower_bound"
    assert {("DBN 64-12-10", q) for q in (COPYING, "coverage", "linear probe accuracy")} <= set(rows)


@pytest.fixture(scope="module")
def flowers(tmp_path_factory) -> Path:
    """A table of two classes."""
    random = np.random.default_rng(0)
    side = random.integers(0, 2, 400)
    path = tmp_path_factory.mktemp("tables") / "flowers.csv"
    with path.open("w", newline="") as file:
        rows = [[*random.normal(40.0 * k, 9.0, 2).round(3), ["iris", "rose"][k]] for k in side]
        csv.writer(file).writerows([["a", "b", "species"], *rows])
    return path


@pytest.mark.parametrize("name", ["VAE", "GAN"])
def test_a_conditional_model_draws_for_the_labels_of_held_out_cases(name, flowers, call, tmp_path):
    sizes = ["--set", "hidden_layer_sizes=[8]", "--set", "n_components=2", "--set", "conditional=true"]
    more = ["--set", "epochs=1", "--held-out", 0.4, "--label", "species"]
    told(call("fit", name, flowers, *sizes, *more, "--out", tmp_path / "fit", "--json"))
    done = call("evaluate", tmp_path / "fit", flowers, *FAST, "--json")
    assert told(done)["division"] == "New cases: the 160 that the run kept back."
    rows = found_by(done)
    assert ((name, LIKELIHOOD) in rows) is (name == "VAE")
    assert rows[name, COPYING]["data"] == "flowers.csv, standardized"


def test_what_draws_nothing_is_refused(flowers, call, tmp_path):
    words = ("fit", "Autoencoder", flowers, "--label", "species", "--set", "epochs=1")
    told(call(*words, "--out", tmp_path / "a", "--json"))
    done = call("evaluate", tmp_path / "a", flowers)
    assert (done.exit_code, "Got Autoencoder, which draws no cases by itself" in done.stderr) == (1, True)


def test_what_does_not_fit_is_told_before_any_work(files, flowers, call, tmp_path):
    def refused(*words) -> str:
        done = call("evaluate", *words)
        assert done.exit_code == 1
        return done.stderr

    copies, train = files / "copies.npz", files / "train.npy"
    assert "the samples must have 2 columns" in refused(copies, flowers, "--label", "species")
    assert "must have 64 columns" in refused(self_made(tmp_path), flowers, "--label", "species")
    assert "Did you mean 'digits'" in refused(copies, "digist")
    assert "must be the folder of a model or a file of samples" in refused(tmp_path / "none", train)
    assert "--out must end in .json" in refused(copies, train, "--out", "x.csv")
    assert "Did you mean 'threshold'" in refused(copies, train, "--binarization", "treshold")
    np.save(tmp_path / "few.npy", np.eye(64, dtype=np.uint8)[:60])
    assert "at least 40 cases to learn from and 80 new ones. Got 30 and 30" in refused(copies, tmp_path / "few.npy")


def self_made(folder: Path) -> Path:
    """A model saved from Python, without a word on its data."""
    x = np.random.default_rng(0).integers(0, 2, (50, 64))
    return VAE(2, hidden_layer_sizes=(4,), epochs=1, random_state=0).fit(x).save(folder / "own")
