"""What a newcomer gets wrong: one sentence that names the thing, before any work, and nothing left behind."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import Result

from deepbelief.data.memmap import open_npy
from deepbelief.data.npz import load_npz
from deepbelief.errors import InvalidDataError
from tests.cli.test_use import told

Call = Callable[..., Result]
ONE = ("--set", "epochs=1")


def refused(done: Result) -> str:
    """The sentence of an error that was foreseen: not a traceback."""
    assert (done.exit_code, type(done.exception)) == (1, SystemExit), done.output
    return " ".join(done.stderr.split())


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with small files of every kind."""
    draw = np.random.default_rng(0)
    bits = (draw.random((60, 6)) < [0.1, 0.3, 0.5, 0.7, 0.9, 0.5]).astype("float32")
    np.save(tmp_path / "bits.npy", bits)
    np.save(tmp_path / "one.npy", bits[:1])
    np.savez(tmp_path / "two.npz", a=bits, b=bits)
    np.save(tmp_path / "objects.npy", np.array(["a", None]), allow_pickle=True)
    (tmp_path / "junk.npy").write_bytes(b"hello")
    (tmp_path / "junk.npz").write_bytes(b"hello")
    kinds = ["rose", "lily"] * 30
    rows = [",".join(f"{x:.3f}" for x in row) for row in draw.normal([0, 3, -3], [1, 2, 0.5], (60, 3))]
    (tmp_path / "flowers.csv").write_text(
        "\n".join(["a,b,c,kind", *(f"{r},{k}" for r, k in zip(rows, kinds, strict=True))])
    )
    pairs = [(user, item) for user in range(12) for item in range(8)]
    (tmp_path / "ratings.csv").write_text(
        "\n".join(["user,item,rating", *(f"{u},{i},{3 + (u + i) % 3}" for u, i in pairs)])
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("train digts", "Got 'digts'. Did you mean 'digits'?"),
        ("train flowers.csv --label knd", "Got 'knd'. Did you mean 'kind'?"),
        ("train two.npz", "the arrays are a, b. On the command line: --key NAME."),
        ("train bits.npy --set learning.learning_rate=-1", "learning_rate must be at least 0. Got learning_rate=-1.0."),
        ("train bits.npy --set learning.momentum=2", "momentum must be at least 0 and below 1."),
        ("train junk.npy", "which holds Python objects or something else. Write it with numpy.save"),
        ("fit RBM bits.npy --set n_component=5", "Got 'n_component'. Did you mean 'n_components'?"),
        ("fit RBM bits.npy --set random_state=5", "Got random_state. Say --seed."),
        ("fit RBM bits.npy --set checkpoint_dir=x", "Got checkpoint_dir. Leave it out."),
        ("fit RBM bits.npy --set visible=gausian", "Got visible='gausian'. Did you mean 'gaussian'?"),
        ("fit RBM bits.npy --set hidden=spn", "Got hidden='spn'. Did you mean 'spin'?"),
        ("fit DeepBoltzmannMachine bits.npy --set hidden=spn", "Got hidden='spn'. Did you mean 'spin'?"),
        ("fit RBM bits.npy --out junk.npy/x", "junk.npy/x/fit.yaml must be writable. Got: Not a directory."),
        ("fit DeepBeliefRegressor flowers.csv --label kind", "kind must hold numbers for target='value'."),
        ("fit ConvolutionalBeliefNetwork bits.npy", "Got filter_size=5. Pictures are 1 x 6."),
        ("compare --data one.npy --models rbm", "one.npy must have cases enough to hold some out. Got 1."),
        ("features none none.npy --out codes.txt", "--out must end in .npy or .csv. Got 'codes.txt'."),
        ("score none none.npy --out scores.txt", "--out must end in .npy or .csv. Got 'scores.txt'."),
        ("export none --out model.txt", "--out must end in .onnx. Got 'model.txt'."),
        ("ls none", "FOLDER must be a folder. Got 'none'."),
    ],
)
def test_a_wrong_word_gets_its_sentence(here: Path, call: Call, words: str, sentence: str) -> None:
    assert sentence in refused(call(*words.split()))
    assert not list(here.rglob("model"))


def test_whole_numbers_are_values_to_whom_predicts_values(here: Path, call: Call) -> None:
    told(call("fit", "RatingsRBM", "ratings.csv", "--label", "rating", *ONE, "--out", "rated", "--json"))
    guessed = [row["value"] for row in told(call("predict", "rated", "ratings.csv", "--json"))["predictions"]]
    assert 3 <= min(guessed) <= max(guessed) <= 5  # the ratings are 3, 4 and 5, and not 0, 1 and 2
    (here / "ages.csv").write_text("\n".join(["x,age", *(f"{age / 10},{age}" for age in range(40, 80))]))
    fast = ["--set", "hidden_layer_sizes=[4]", "--set", "pretrain_epochs=1", "--set", "fine_tune_epochs=1"]
    told(call("fit", "DeepBeliefRegressor", "ages.csv", "--label", "age", *fast, "--out", "aged", "--json"))
    guessed = [row["value"] for row in told(call("predict", "aged", "ages.csv", "--json"))["predictions"]]
    assert 40 < np.mean(guessed) < 80


def test_columns_are_taken_by_their_names(here: Path, call: Call) -> None:
    small = (*ONE, "--set", "n_components=4")  # whose log Z is enumerated
    told(call("fit", "RBM", "flowers.csv", "--label", "kind", *small, "--out", "rbm", "--json"))
    lines = [line.split(",") for line in (here / "flowers.csv").read_text().splitlines()]
    (here / "turned.csv").write_text("\n".join(",".join(line[i] for i in (3, 2, 0, 1)) for line in lines))
    one, other = (told(call("score", "rbm", name, "--json"))["scores"] for name in ("flowers.csv", "turned.csv"))
    assert one == other
    other_way = told(call("complete", "rbm", "turned.csv", "--mask", "random", "--steps", 50, "--json"))["cases"]
    assert (
        other_way == told(call("complete", "rbm", "flowers.csv", "--mask", "random", "--steps", 50, "--json"))["cases"]
    )


def test_a_run_that_was_refused_leaves_its_folder_free(here: Path, call: Call) -> None:
    small = ("--epochs", 1, "--layers", "3", "--set", "evaluation.gallery=false", "--set", "evaluation.samples=0")
    (here / "two.csv").write_text("\n".join(["a,b,same", *(f"{i % 2},{i // 2 % 2},rose" for i in range(40))]))
    assert "at least 2 classes" in refused(call("train", "two.csv", "--label", "same", "--out", "run", *small))
    (here / "two.csv").write_text("\n".join(["a,b", *(f"{i % 2},{i // 2 % 2}" for i in range(40))]))
    told(call("train", "two.csv", "--out", "run", *small, "--json"))
    assert "which holds a run" in refused(call("train", "two.csv", "--out", "run", *small))


def test_every_fit_says_its_number_and_is_listed(here: Path, call: Call) -> None:
    done = call("fit", "Autoencoder", "bits.npy", *ONE, "--set", "pretrain_epochs=0", "--out", "runs/ae")
    assert "test squared" in done.stdout  # the rest is folded where a terminal is narrow
    (found,) = told(call("ls", "runs", "--json"))["runs"]
    assert found["model"] == "Autoencoder"
    assert (found["data"], found["state"], Path(found["folder"])) == ("bits.npy", "finished", Path("runs/ae"))


def test_an_array_of_an_archive_is_named(here: Path, call: Call) -> None:
    facts = told(call("data", "describe", "two.npz", "--key", "b", "--json"))
    assert (facts["cases"], facts["columns"]) == (60, 6)
    settings = call("train", "two.npz", "--key", "b", "--print-settings").stdout
    assert "key: b" in settings


def test_no_class_is_drawn_by_a_model_without_labels(here: Path, call: Call, trained: Path) -> None:
    sentence = refused(call("sample", trained, "--label", "3"))
    assert "Got '3'. Train it with --set model.labels_in_top=true." in sentence
    assert ".npy, .csv or .png. Got 'x.txt'" in refused(call("sample", trained, "--out", "x.txt"))
    assert "must be one of 'encode'" in refused(call("export", trained / "model", "--way", "predict"))


def test_nobody_is_told_to_unpickle(here: Path) -> None:
    for name in ("junk.npy", "objects.npy"):
        with pytest.raises(InvalidDataError, match="Python objects or something else") as caught:
            open_npy(here / name)
        assert "allow_pickle" not in str(caught.value)
    with pytest.raises(InvalidDataError, match="Python objects or something else") as caught:
        load_npz(here / "junk.npz", 0)
    assert "allow_pickle" not in str(caught.value)


def test_a_model_that_is_not_there_yet_is_said_so(here: Path, call: Call) -> None:
    for name, verb in (("settings.yaml", "train"), ("fit.yaml", "fit")):
        (here / verb).mkdir()
        (here / verb / name).write_text("")
        for words in (("sample", verb), ("score", verb, "bits.npy"), ("predict", verb, "bits.npy"), ("export", verb)):
            assert f"no model yet. Go on with: deepbelief {verb} --resume --out {verb}" in refused(call(*words))
