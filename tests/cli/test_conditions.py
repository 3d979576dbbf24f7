"""The verbs on conditional models: labels of the file, a class or numbers for all; and what is missing is said."""

import csv

import numpy as np
import pytest
from scipy.stats import norm

from deepbelief import VAE, ConditionalRBM, load_estimator
from tests.cli.test_use import told

RNG = np.random.default_rng(0)
NAMES = ["iris", "rose"]


def write(path, columns, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


@pytest.fixture(scope="module")
def garden(tmp_path_factory):
    """Two kinds of flowers that lie 10 apart, some with a hole, and models of them."""
    folder = tmp_path_factory.mktemp("garden")
    kinds = RNG.integers(0, 2, 80)
    rows = [[*np.round(RNG.normal(10 * k, 1, 2), 3), NAMES[k]] for k in kinds]
    write(folder / "flowers.csv", ["a", "b", "species"], rows)
    write(folder / "bare.csv", ["a", "b"], [row[:2] for row in rows])
    write(folder / "roses.csv", ["a", "b", "species"], [row for row in rows if row[2] == "rose"])
    write(folder / "holes.csv", ["a", "b", "species"], [["", 10, "rose"], ["", 10, "rose"]])
    write(folder / "unknown.csv", ["a", "b", "species"], [[1, 2, "tulip"], [1, 2, "rose"]])
    write(folder / "unlabelled.csv", ["a", "b", "species"], [[1, 2, "rose"], [1, 2, ""]])
    c = RNG.normal(size=(200, 1))
    x = 10 * np.hstack([c, -c]) + RNG.normal(size=(200, 2))
    plan = {"hidden_layer_sizes": (16,), "epochs": 40, "learning_rate": 1e-2, "n_importance_samples": 50}
    VAE(1, conditional=True, random_state=0, **plan).fit(x, c).save(folder / "numbers")
    VAE(1, random_state=0, **{**plan, "epochs": 1}).fit(x).save(folder / "plain")
    options = {"epochs": 30, "batch_size": 20, "random_state": 0}
    ConditionalRBM(3, **options).fit(x, context=c).save(folder / "context")
    np.save(folder / "x.npy", x[:9])
    np.save(folder / "c.npy", c[:9])
    return folder


@pytest.fixture(scope="module")
def flowers(garden):
    from typer.testing import CliRunner

    from deepbelief.cli.main import app

    sets = ["conditional=true", "hidden_layer_sizes=[8]", "n_components=1", "epochs=60", "learning_rate=0.01"]
    words = ["fit", "VAE", str(garden / "flowers.csv"), "--label", "species", "--out", str(garden / "flowers")]
    done = CliRunner().invoke(app, [*words, *(w for s in [*sets, "batch_size=20"] for w in ("--set", s)), "--json"])
    assert done.exit_code == 0, done.stderr
    return garden / "flowers"


def test_labels_of_the_file_are_the_condition(garden, flowers, call):
    right = told(call("score", flowers, garden / "flowers.csv", "--json"))
    assert right["kind"] == "lower_bound"
    for kind in NAMES:  # a class for all is right for some only
        assert (
            told(call("score", flowers, garden / "flowers.csv", "--condition", kind, "--json"))["mean"] < right["mean"]
        )
    # a file with one class alone numbers its classes otherwise; names must decide
    roses = told(call("score", flowers, garden / "roses.csv", "--json"))
    same = told(call("score", flowers, garden / "roses.csv", "--condition", "rose", "--json"))
    assert roses["scores"] == same["scores"]
    assert told(call("features", flowers, garden / "roses.csv", "--json"))["units"] == 1


def test_holes_are_filled_as_the_condition_says(garden, flowers, call):
    filled = np.array(told(call("complete", flowers, garden / "holes.csv", "--json"))["cases"])
    assert np.abs(filled[:, 0] - 10).max() < 4  # four deviations, and the other kind lies at 0
    again = told(call("complete", flowers, garden / "holes.csv", "--condition", "rose", "--json"))["cases"]
    assert again == filled.tolist()


def test_draws_are_of_the_class_that_is_asked_for(garden, flowers, call):
    for k, kind in enumerate(NAMES):
        drawn = told(call("sample", flowers, "-n", 20, "--label", kind, "--json"))["samples"]
        assert drawn == told(call("sample", flowers, "-n", 20, "--condition", kind, "--json"))["samples"]
        assert abs(np.mean(drawn) - 10 * k) < 3


def test_numbers_are_a_condition_too(garden, call):
    drawn = np.array(told(call("sample", garden / "numbers", "-n", 50, "--condition", "1.0", "--json"))["samples"])
    assert np.allclose(drawn.mean(0), [10, -10], atol=4)
    scored = told(call("score", garden / "numbers", garden / "x.npy", "--condition", garden / "c.npy", "--json"))
    model = load_estimator(garden / "numbers")
    x, c = np.load(garden / "x.npy"), np.load(garden / "c.npy")
    assert np.allclose(scored["scores"], model.score_samples(x.astype(np.float32), c), rtol=1e-5)
    options = ["--condition", garden / "c.npy", "--mask", "random", "--json"]
    assert np.shape(told(call("complete", garden / "numbers", garden / "x.npy", *options))["cases"]) == (9, 2)


def test_several_columns_are_a_condition_together(garden, tmp_path, call):
    generator = np.random.default_rng(1)
    u, v = generator.normal(size=(2, 300))
    cases = np.column_stack([3 * u - v, u + 2 * v]) + generator.normal(0, 0.3, (300, 2))
    write(tmp_path / "field.csv", ["a", "u", "b", "v"], np.column_stack([cases[:, 0], u, cases[:, 1], v]).round(4))
    sets = [
        f"--set={text}" for text in ("n_components=1", "hidden_layer_sizes=[32]", "epochs=80", "learning_rate=0.01")
    ]
    words = ["fit", "VAE", tmp_path / "field.csv", "--label", "u,v", "--set=conditional=true", *sets]
    assert call(*words, "--out", tmp_path / "field").exit_code == 0
    drawn = told(call("sample", tmp_path / "field", "-n", 50, "--condition", "1,0.5", "--json"))["samples"]
    assert np.allclose(np.mean(drawn, 0), [2.5, 2], atol=0.5)
    right = told(call("score", tmp_path / "field", tmp_path / "field.csv", "--json"))["mean"]  # its own columns
    assert (
        told(call("score", tmp_path / "field", tmp_path / "field.csv", "--condition", "0,0", "--json"))["mean"] < right
    )
    fitted = ["fit", "DeepBeliefRegressor", tmp_path / "field.csv", "--label", "u, v", "--out", tmp_path / "values"]
    fitted += ["--set=pretrain_epochs=5", "--set=fine_tune_epochs=60", "--set=hidden_layer_sizes=[32]"]
    assert call(*fitted).exit_code == 0
    rows = told(call("predict", tmp_path / "values", tmp_path / "field.csv", "--json"))["predictions"]
    assert np.abs(np.array([[row["value_0"], row["value_1"]] for row in rows]) - np.column_stack([u, v])).mean() < 0.2
    assert call("report", tmp_path / "values").exit_code == 0
    for model, more in (("DeepBeliefClassifier", []), ("GAN", ["--set=conditional=true"])):
        done = call("fit", model, tmp_path / "field.csv", "--label", "u,v", *more, "--out", tmp_path / model)
        assert f"{model} must be given a class for each case. Got numbers, 2 for each." in done.stderr


def test_annealing_scores_a_vae_no_looser_than_samples(garden, flowers, call):
    words = ["score", garden / "numbers", garden / "x.npy", "--condition", garden / "c.npy", "--json"]
    plain, annealed = told(call(*words)), told(call(*words, "--annealed", "40", "--seed", "3"))
    assert annealed["kind"] == "lower_bound"
    assert annealed["method"] == "annealed bound, 2 runs of 40 temperatures"
    assert annealed["mean"] > plain["mean"] - 0.2  # its noise; one code, which samples score well too
    model, x, c = load_estimator(garden / "numbers"), np.load(garden / "x.npy"), np.load(garden / "c.npy")
    same = model.annealed_log_likelihood(x.astype(np.float32), c, n_temperatures=40, random_state=3)
    assert np.allclose(annealed["scores"], same.value, rtol=1e-5)
    done = call("score", flowers, garden / "roses.csv", "--annealed", "5")
    assert "(lower_bound) nats per case" in done.stdout


def test_contexts_of_a_conditional_rbm(garden, call):
    drawn = np.array(told(call("sample", garden / "context", "-n", 200, "--condition", "1.0", "--json"))["samples"])
    assert np.allclose(drawn.mean(0), [10, -10], atol=4)
    scored = told(call("score", garden / "context", garden / "x.npy", "--condition", garden / "c.npy", "--json"))
    assert scored["kind"] == "exact"
    x, c = np.load(garden / "x.npy"), np.load(garden / "c.npy")
    best = norm.logpdf(x, 10 * np.hstack([c, -c]), 1).sum(1).mean()
    assert best - 6 < scored["mean"] < best + 3
    options = ["--condition", garden / "c.npy", "--mask", "random", "--json"]
    assert np.shape(told(call("complete", garden / "context", garden / "x.npy", *options))["cases"]) == (9, 2)


def test_frames_of_a_sequence_are_scored_in_their_rows(garden, call):
    wave = np.sin(np.arange(200.0) / 3)[:, None] + 0.01 * RNG.normal(size=(200, 1))
    ConditionalRBM(3, order=2, visible="gaussian", epochs=20, batch_size=20, random_state=0).fit(wave).save(
        garden / "w"
    )
    wave[150] += 5
    np.save(garden / "wave.npy", wave)
    found = told(call("score", garden / "w", garden / "wave.npy", "--anomalies", 1, "--json"))
    assert (found["first_row"], len(found["scores"])) == (2, 198)
    assert found["anomalies"][0]["row"] in (150, 151, 152)  # the jump, or what is given it


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["score", "flowers", "bare.csv"], "Say --condition, or name the column"),
        (["score", "flowers", "unknown.csv"], "'tulip'"),
        (["score", "flowers", "unlabelled.csv"], "must be there for every case. Got none in row 1"),
        (["score", "flowers", "bare.csv", "--condition", "ros"], "Did you mean 'rose'?"),
        (["sample", "flowers"], "--label or --condition must name the condition of a VAE: a class"),
        (["sample", "flowers", "--label", "rose", "--condition", "rose"], "Leave out one"),
        (["sample", "numbers"], "1 numbers, or a file of them"),
        (["sample", "numbers", "--condition", "1,2"], "--condition must have 1 numbers, as in fit. Got 2"),
        (["sample", "numbers", "--condition", "red"], "must be numbers like 0.5,2 or a file"),
        (["score", "numbers", "x.npy"], "a conditional VAE must be given a condition. Got none"),
        (["score", "numbers", "bare.csv", "--condition", "c.npy"], "one for each of 80 cases. Got 9"),
        (["score", "plain", "x.npy", "--condition", "1"], "for VAE, which takes none"),
        (["score", "context", "x.npy", "--annealed", "9"], "is for a VAE or an RBM of `fit`. Got ConditionalRBM"),
        (["sample", "context"], "--condition must name the condition of a ConditionalRBM: 1 numbers"),
        (["score", "context", "x.npy"], "a conditional ConditionalRBM must be given a condition"),
        (
            ["fit", "VAE", "flowers.csv", "--label", "a,species", "--set", "conditional=true"],
            "species must hold numbers",
        ),
        (["fit", "VAE", "flowers.csv", "--label", "a,c", "--set", "conditional=true", "--out", "new"], "Got 'c'"),
        (["fit", "VAE", "bare.csv", "--set", "conditional=true", "--out", "new"], "Name their column with --label"),
    ],
)
def test_what_is_missing_is_said_in_one_sentence(words, sentence, garden, flowers, call):
    there = [garden / word if (garden / word).exists() or word == "new" else word for word in words]
    done = call(*there)
    assert (done.exit_code, sentence in done.stderr) == (1, True), done.stderr
