"""`fit`: every estimator by its name, and the verbs that use what it saved."""

import csv
import json
import math

import numpy as np
import pytest
import yaml
from PIL import Image

from deepbelief import CycleGAN, load_estimator
from deepbelief.data.sets import load_set
from deepbelief.estimators.storage import ESTIMATORS
from deepbelief.recipes.fit_model import FitSettings, defaults
from tests.cli.test_use import told

SHORT = ["--set", "epochs=1"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Small files of every form that estimators take."""
    folder, random = tmp_path_factory.mktemp("files"), np.random.default_rng(0)
    side = random.integers(0, 2, 60)
    flowers = [[*np.round(random.normal(k, 0.3, 2), 3), ["iris", "rose"][k]] for k in side]
    ratings = [[u, i, 5 if (u + i) % 2 else 1] for u in range(12) for i in range(8)]
    wave = [[round(math.sin(t / 3), 4), round(math.cos(t / 3), 4)] for t in range(80)]
    counts = random.integers(0, 3, (40, 5)).tolist()
    tables = {
        "flowers": (["a", "b", "species"], flowers),
        "ratings": (["user", "item", "rating"], ratings),
        "wave": (["x", "y"], wave),
        "counts": (list("abcde"), counts),
        "bits": (list("abcde"), random.integers(0, 2, (60, 5)).tolist()),
    }
    for name, (columns, rows) in tables.items():
        with (folder / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([columns, *rows])
    return folder


FITS = {
    "Autoencoder": (
        "flowers",
        [*SHORT, "--set", "hidden_layer_sizes=[4]", "--set", "n_components=2", "--label", "species"],
    ),
    "AnomalyDetector": ("bits", ["--set", "estimator=BernoulliRBM"]),
    "SeriesAnomalyDetector": ("wave", ["--set", "estimator=RBM", "--set", "window=3"]),
    "BernoulliRBM": ("bits", ["--set", "n_iter=1", "--set", "n_components=3"]),
    "RBM": ("bits", [*SHORT, *["--set", "n_components=4", "--set", "group_size=2", "--set", "group_cost=0.1"]]),
    "BoltzmannMachine": ("bits", SHORT),
    "ClassificationRBM": ("flowers", [*SHORT, "--set", "n_components=3", "--label", "species"]),
    "ConvolutionalBeliefNetwork": (
        "bits",
        [*SHORT, *["--set", "n_filters=2", "--set", "filter_size=1", "--set", "pool=1"]],
    ),
    "CycleGAN": ("flowers", [*SHORT, "--set", "hidden_layer_sizes=[4]", "--label", "species"]),
    "GAN": (
        "flowers",
        [*SHORT, *["--set", "conditional=true", "--set", "hidden_layer_sizes=[4]", "--label", "species"]],
    ),
    "VAE": ("bits", [*SHORT, "--set", "hidden_layer_sizes=[4]", "--set", "n_components=2"]),
    "RBMVAE": ("bits", [*SHORT, "--set", "hidden_layer_sizes=[4]", "--set", "n_bits=[3,2]"]),
    "VAEStack": (
        "bits",
        [*SHORT, *["--set", "top_epochs=1", "--set", "hidden_layer_sizes=[4]", "--set", "n_components=2"]],
    ),
    "ConditionalRBM": ("wave", [*SHORT, "--set", "n_components=3"]),
    "RatingsRBM": ("ratings", [*SHORT, "--set", "n_components=3", "--label", "rating"]),
    "ReplicatedSoftmax": ("counts", [*SHORT, "--set", "n_components=3"]),
    "DeepBeliefNetwork": ("bits", [*SHORT, "--set", "hidden_layer_sizes=[4,3]"]),
    "DeepBeliefClassifier": (
        "flowers",
        [
            "--set",
            "pretrain_epochs=1",
            "--set",
            "fine_tune_epochs=1",
            "--set",
            "hidden_layer_sizes=[4]",
            "--label",
            "species",
        ],
    ),
    "DeepBeliefRegressor": (
        "wave",
        [
            "--set",
            "pretrain_epochs=1",
            "--set",
            "fine_tune_epochs=1",
            "--set",
            "hidden_layer_sizes=[4]",
            "--label",
            "y",
        ],
    ),
    "DeepBoltzmannClassifier": (
        "flowers",
        [
            "--set",
            "pretrain_epochs=1",
            "--set",
            "fine_tune_epochs=1",
            "--set",
            "hidden_layer_sizes=[4,3]",
            "--label",
            "species",
        ],
    ),
    "DeepBoltzmannMachine": ("bits", [*SHORT, "--set", "hidden_layer_sizes=[4,3]"]),
}
WITHOUT_NUMBERS = ("CycleGAN", "GAN")  # no likelihood, nothing to predict


def test_every_estimator_is_fitted_here():
    assert set(FITS) == set(ESTIMATORS)


@pytest.mark.parametrize("name", FITS)
def test_fit_keeps_the_estimator_and_its_numbers(name, files, call, tmp_path):
    data, options = FITS[name]
    rows = told(call("fit", name, files / f"{data}.csv", *options, "--out", tmp_path / "fit", "--json"))
    assert bool(rows) is (name not in WITHOUT_NUMBERS)
    assert all(row["value"] is None or math.isfinite(row["value"]) for row in rows)
    assert json.loads((tmp_path / "fit" / "results.json").read_text()) == rows
    assert type(load_estimator(tmp_path / "fit" / "model")).__name__ == name


@pytest.mark.parametrize(("options", "says"), [([], True), (["--json"], False), (["--held-out", "0"], False)])
def test_who_waits_is_told_what_for(options, says, files, call, tmp_path):
    done = call("fit", "RBM", files / "bits.csv", *SHORT, "--set=n_components=3", *options, "--out", tmp_path / "fit")
    assert ("held-out cases; log Z may take a while" in done.stderr) is says


@pytest.mark.parametrize(
    ("name", "stages", "judged"),
    [
        ("VAE", ["training"], False),
        ("ReplicatedSoftmax", ["training"], False),  # its law depends on the length of the document
        ("AnomalyDetector", [], False),  # around a BernoulliRBM, which keeps no history
        ("BernoulliRBM", [], True),
        ("DeepBoltzmannClassifier", ["layer 1", "layer 2", "all layers", "fine-tuning"], True),
    ],
)
def test_report_draws_the_page_of_a_fit(name, stages, judged, files, call, tmp_path):
    data, options = FITS[name]
    told(call("fit", name, files / f"{data}.csv", *options, "--out", tmp_path / "fit", "--json"))
    page = told(call("report", tmp_path / "fit", "--chain-steps", 16, "--json"))["report"]
    assert page == str(tmp_path / "fit" / "report.html")
    text = (tmp_path / "fit" / "report.html").read_text()
    assert ("Relaxation time of chains" in text) == judged
    assert ("Learning curves" in text) == bool(stages)
    assert all(stage in text for stage in stages[1:])
    told(call("report", tmp_path / "fit", "--chain-steps", 0, "--out", tmp_path / "kept.html", "--json"))
    assert "Relaxation time of chains" not in (tmp_path / "kept.html").read_text()


def test_the_verbs_use_a_deep_boltzmann_machine(call, tmp_path):
    folder, sizes = tmp_path / "dbm", ["--set", "hidden_layer_sizes=[8,5]"]
    told(call("fit", "DeepBoltzmannMachine", "digits", *SHORT, *sizes, "--out", folder, "--json"))
    assert np.shape(told(call("sample", folder, "-n", 3, "--steps", 5, "--json"))["samples"]) == (3, 64)
    call("sample", folder, "-n", 4, "--steps", 5, "--out", tmp_path / "s.png")
    assert Image.open(tmp_path / "s.png").size[0] > 16
    np.save(tmp_path / "x.npy", load_set("digits", split="test").x[:6].numpy())
    scored = told(call("score", folder, tmp_path / "x.npy", "--anomalies", 1, "--json"))
    assert (scored["kind"], len(scored["scores"]), len(scored["anomalies"])) == ("lower_bound", 6, 1)
    assert told(call("features", folder, tmp_path / "x.npy", "--json"))["units"] == 5
    filled = told(call("complete", folder, tmp_path / "x.npy", "--mask", "left", "--steps", 8, "--json"))
    assert np.shape(filled["cases"]) == (6, 64)
    done = call("predict", folder, tmp_path / "x.npy")
    assert (done.exit_code, "which predicts nothing" in done.stderr) == (1, True)


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("RBM", "pt"),
        ("DeepBeliefNetwork", "pt"),
        ("BoltzmannMachine", "metropolis"),
        ("BoltzmannMachine", "pt"),
        ("DeepBoltzmannMachine", "pt"),
    ],
)
def test_an_estimator_draws_by_each_of_its_methods(name, method, files, call, tmp_path):
    told(call("fit", name, files / "bits.csv", *FITS[name][1], "--out", tmp_path / "fit", "--json"))
    words = ("sample", tmp_path / "fit", "-n", 40, "--steps", 5, "--bits", "--seed", 3, "--json")
    plain, drawn = told(call(*words))["samples"], told(call(*words, "--method", method))["samples"]
    wanted = load_estimator(tmp_path / "fit" / "model").sample(40, n_steps=5, random_state=3, method=method)
    assert drawn == wanted.tolist() != plain


def test_what_an_estimator_has_no_choice_of_is_refused(files, call, tmp_path):
    told(call("fit", "VAE", files / "bits.csv", *FITS["VAE"][1], "--out", tmp_path / "vae", "--json"))
    done = call("sample", tmp_path / "vae", "--method", "pt")
    assert (done.exit_code, "Got VAE, which draws in one way only" in done.stderr) == (1, True)
    done = call("score", tmp_path / "vae", files / "bits.csv", "--schedule", "adaptive")
    assert (done.exit_code, "--schedule must be left out for an estimator" in done.stderr) == (1, True)


def test_classes_are_predicted_and_drawn_by_name(files, call, tmp_path):
    options = ["--label", "species", "--set", "epochs=60", "--set", "n_components=5", "--set", "learning_rate=0.05"]
    told(call("fit", "ClassificationRBM", files / "flowers.csv", *options, "--out", tmp_path / "c", "--json"))
    found = told(call("predict", tmp_path / "c", files / "flowers.csv", "--json"))["predictions"]
    with (files / "flowers.csv").open() as file:
        names = [row["species"] for row in csv.DictReader(file)]
    right = np.mean([row["class"] == name for row, name in zip(found, names, strict=True)])
    assert right > 0.9  # the two classes lie three standard deviations apart
    assert len(told(call("sample", tmp_path / "c", "-n", 2, "--label", "rose", "--json"))["samples"]) == 2


def test_a_generative_adversarial_network_draws_classes_by_name_and_has_no_score(files, call, tmp_path):
    folder, options = tmp_path / "gan", FITS["GAN"][1]
    told(call("fit", "GAN", files / "flowers.csv", *options, "--out", folder, "--json"))
    assert np.shape(told(call("sample", folder, "-n", 2, "--label", "rose", "--json"))["samples"]) == (2, 2)
    done = call("score", folder, files / "flowers.csv")
    assert (done.exit_code, "has no likelihood of its own" in done.stderr) == (1, True), done.stderr


def test_a_cycle_gan_translates_both_ways(files, call, tmp_path):
    folder, options = tmp_path / "cycle", FITS["CycleGAN"][1]
    told(call("fit", "CycleGAN", files / "flowers.csv", *options, "--out", folder, "--json"))
    estimator, x = load_estimator(folder / "model"), np.loadtxt(files / "flowers.csv", str, delimiter=",")[1:, :2]
    x = x.astype(np.float32)
    there = told(call("features", folder, files / "flowers.csv", "--json"))["features"]
    back = told(call("features", folder, files / "flowers.csv", "--back", "--json"))["cases"]
    assert np.allclose(there, estimator.transform(x), atol=1e-5)
    assert np.allclose(back, estimator.inverse_transform(x), atol=1e-5)
    assert not np.allclose(there, back, atol=1e-3)
    done = call("features", folder, files / "flowers.csv", "--back", "--out", tmp_path / "x.csv")
    assert "60 cases are in" in done.stderr
    assert (tmp_path / "x.csv").read_text().splitlines()[0] == "a,b"


def test_a_cycle_gan_saved_from_python_takes_a_second_set_of_another_width(call, tmp_path):
    random = np.random.default_rng(0)
    x, y = random.normal(size=(20, 3)).astype(np.float32), random.normal(size=(15, 2)).astype(np.float32)
    model = CycleGAN((4,), epochs=1, random_state=0).fit(x, y)
    model.save(tmp_path / "model")
    np.save(tmp_path / "y.npy", y)
    back = told(call("features", tmp_path / "model", tmp_path / "y.npy", "--back", "--json"))["cases"]
    assert np.allclose(back, model.inverse_transform(y), atol=1e-5)


def test_a_stack_fills_in_what_is_missing(files, call, tmp_path):
    told(call("fit", "VAEStack", files / "bits.csv", *FITS["VAEStack"][1], "--out", tmp_path / "stack", "--json"))
    holes = np.loadtxt(files / "bits.csv", delimiter=",", skiprows=1, dtype=np.float32)[:4]
    holes[:, 1] = np.nan
    np.save(tmp_path / "holes.npy", holes)
    filled = told(call("complete", tmp_path / "stack", tmp_path / "holes.npy", "--steps", 8, "--json"))["cases"]
    wanted = load_estimator(tmp_path / "stack" / "model").complete(holes, n_steps=8, random_state=0)
    assert np.allclose(filled, wanted, atol=1e-5)


def test_codes_come_back_as_cases_where_there_is_a_way(files, call, tmp_path):
    folder, codes, cases = tmp_path / "vae", tmp_path / "z.npy", tmp_path / "x.npy"
    told(call("fit", "VAE", files / "bits.csv", *FITS["VAE"][1], "--out", folder, "--json"))
    call("features", folder, files / "bits.csv", "--out", codes)
    call("features", folder, codes, "--back", "--out", cases)
    assert np.allclose(np.load(cases), load_estimator(folder / "model").inverse_transform(np.load(codes)), atol=1e-5)
    told(call("fit", "GAN", files / "bits.csv", *SHORT, "--out", tmp_path / "gan", "--json"))
    done = call("features", tmp_path / "gan", codes, "--back")
    assert (done.exit_code, "GAN, which knows no way from codes to cases" in done.stderr) == (1, True), done.stderr


@pytest.mark.parametrize(
    ("name", "data", "more", "first"),
    [
        ("AnomalyDetector", "bits", ["--set", "method=combined"], 0),
        ("SeriesAnomalyDetector", "wave", ["--set", "window=3"], 2),
    ],
)
def test_a_detector_scores_and_names_the_odd(name, data, more, first, files, call, tmp_path):
    folder = tmp_path / "odd"
    told(call("fit", name, files / f"{data}.csv", "--set", "estimator=RBM", *more, "--out", folder, "--json"))
    scored = told(call("score", folder, files / f"{data}.csv", "--anomalies", 2, "--json"))
    scores = scored["scores"]
    assert scores[:first] == [None] * first  # no window ends there yet
    assert scored["n_odd"] == sum(score < 0 for score in scores[first:])
    assert [row["score"] for row in scored["anomalies"]] == sorted(scores[first:])[:2]
    wanted = [-1 if score is not None and score < 0 else 1 for score in scores]
    found = told(call("predict", folder, files / f"{data}.csv", "--json"))["predictions"]
    if name == "AnomalyDetector":
        assert [row["value"] for row in found] == wanted
    done = call("score", folder, files / f"{data}.csv", "--anomalies", 1, "--out", tmp_path / "s.csv")
    assert "are odd" in done.stdout
    assert len((tmp_path / "s.csv").read_text().splitlines()) == 1 + len(scores)


@pytest.mark.parametrize("name", ["Autoencoder", "CycleGAN", "ConvolutionalBeliefNetwork", "GAN", "VAE"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_networks_that_convolve_take_the_shape_of_the_pictures(name, mode, call, tmp_path):
    shape, random = {"L": (6, 7), "RGB": (3, 6, 7)}[mode], np.random.default_rng(0)
    for i in range(20):
        picture = random.integers(0, 256, (6, 7, 3)).astype(np.uint8)
        (tmp_path / "in" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).convert(mode).save(tmp_path / "in" / "ab"[i % 2] / f"{i}.png")
    small = {"Autoencoder": "channels=[2]", "VAE": "channels=[2]", "GAN": "n_filters=[2]", "CycleGAN": "channels=[2]"}
    words = ["--set", "filter_size=2", "--set", "n_filters=2", "--set", "pool=1"]
    if name in small:
        words = ["--set", "network=convolutional", "--set", small[name]]
    told(call("fit", name, tmp_path / "in", *SHORT, *words, "--held-out", 0, "--out", tmp_path / "fit", "--json"))
    estimator = load_estimator(tmp_path / "fit" / "model")
    found = estimator.image_shape_ if hasattr(estimator, "image_shape_") else estimator.image_shape
    assert tuple(found)[-len(shape) :] == shape
    if name == "CycleGAN":
        assert tuple(estimator.image_shape_of_y_)[-len(shape) :] == shape


def test_an_array_with_its_colours_last_is_told_to_a_network_that_convolves(call, tmp_path):
    np.save(tmp_path / "last.npy", np.random.default_rng(0).integers(0, 256, (20, 6, 7, 3)).astype(np.uint8))
    words = ("fit", "GAN", tmp_path / "last.npy", *SHORT, "--out", tmp_path / "fit")
    assert "its channels first" in call(*words, "--set", "network=convolutional").stderr
    told(call(*words, "--json"))  # a dense one does not ask


def test_a_refused_fit_can_be_asked_for_again(files, call, tmp_path):
    data, (wrong, right) = files / "flowers.csv", (["--set", f"pack={m}"] for m in (0, 1))
    options = ["--label", "species", *SHORT, "--set", "hidden_layer_sizes=[4]", "--out", tmp_path / "gan", "--json"]
    done = call("fit", "GAN", data, *wrong, *options)
    assert (done.exit_code, "pack must be at least 1" in done.stderr) == (1, True)
    told(call("fit", "GAN", data, *right, *options))
    done = call("fit", "GAN", data, *right, *options)
    assert (done.exit_code, "must be new or empty" in done.stderr) == (1, True)


def test_a_detector_is_exported_by_the_model_inside(files, call, tmp_path):
    folder = tmp_path / "odd"
    told(call("fit", "AnomalyDetector", files / "bits.csv", "--set", "estimator=RBM", "--out", folder, "--json"))
    done = call("export", folder, "--out", tmp_path / "x.onnx")
    assert (done.exit_code, "an estimator around another" in done.stderr) == (1, True)
    call("export", folder / "model" / "inner", "--out", tmp_path / "x.onnx", "--json")
    assert (tmp_path / "x.onnx").exists()


def test_settings_can_be_printed_and_run_again(files, call, tmp_path):
    done = call("fit", "RBM", files / "bits.csv", *SHORT, "--set", "n_components=2", "--seed", 3, "--print-settings")
    kept = yaml.safe_load(done.stdout)
    assert kept["arguments"] == {**defaults("RBM"), "epochs": 1, "n_components": 2, "watch": []}
    (tmp_path / "s.yaml").write_text(done.stdout)
    again = told(call("fit", "--settings", tmp_path / "s.yaml", "--out", tmp_path / "a", "--json"))
    direct = [*SHORT, "--set", "n_components=2", "--seed", 3]
    assert again == told(call("fit", "RBM", files / "bits.csv", *direct, "--out", tmp_path / "b", "--json"))
    assert FitSettings.from_file(tmp_path / "a" / "fit.yaml").seed == 3


def test_a_fit_resumes_to_the_same_numbers(files, call, tmp_path):
    options = ["--set", "epochs=2", "--set", "n_components=3"]
    rows = told(call("fit", "RBM", files / "bits.csv", *options, "--out", tmp_path / "r", "--json"))
    (tmp_path / "r" / "results.json").unlink()  # as if it had been stopped at its last checkpoint
    assert told(call("fit", "--resume", "--out", tmp_path / "r", "--json")) == rows


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["DeepBeliefNetwrk", "digits"], "Did you mean 'DeepBeliefNetwork'?"),
        (["RBM", "digits", "--set", "n_componets=4"], "Did you mean 'n_components'?"),
        (["RBM"], "Try: deepbelief fit RBM digits"),
        (["RBM", "nowhere.csv"], "The data file must exist"),
        (["DeepBeliefClassifier", "bits"], "Name their column with --label"),
        (["--resume"], "--resume needs the folder of the fit"),
        (["--settings", "nowhere.yaml"], "the settings file must exist"),
    ],
)
def test_wrong_words_get_a_sentence(words, sentence, files, call, tmp_path):
    words = [str(files / "bits.csv") if word == "bits" else word for word in words]
    out = [] if words == ["--resume"] else ["--out", tmp_path / "x"]
    done = call("fit", *words, *out)
    assert (done.exit_code, sentence in done.stderr) == (1, True), done.stderr


def test_a_used_folder_is_not_written_over(files, call, tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "mine.txt").write_text("mine")
    for more in ([], ["--overwrite"]):
        done = call("fit", "RBM", files / "bits.csv", "--out", tmp_path / "x", *more)
        assert (done.exit_code, "must be new or empty" in done.stderr) == (1, True)
