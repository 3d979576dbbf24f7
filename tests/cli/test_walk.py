"""`walk`: ways through codes over their twins in pixels, for every kind of model, as pictures and as rows."""

import csv

import numpy as np
import pytest
from PIL import Image

from deepbelief import GAN, RBM, RBMVAE, VAE, Autoencoder, VAEStack, load_estimator
from deepbelief.data.sets import load_set
from deepbelief.recipes.run_data import Preparation
from tests.cli.test_use import told

PATHS = ("straight", "spherical")
SMALL = {"epochs": 2, "random_state": 0}
PLANS = {
    "vae": VAE(2, hidden_layer_sizes=(16,), **SMALL),
    "conditional": VAE(2, hidden_layer_sizes=(16,), conditional=True, **SMALL),
    "rbm_vae": RBMVAE((3, 2), hidden_layer_sizes=(16,), **SMALL),
    "stack": VAEStack(hidden_layer_sizes=(4,), n_components=2, top_epochs=1, **SMALL),
    "autoencoder": Autoencoder((16,), n_components=2, **SMALL),
    "rbm": RBM(3, **SMALL),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """One small model of digits of every kind, and a table with names for classes."""
    folder, train = tmp_path_factory.mktemp("models"), load_set("digits", split="train")
    x, y = train.scaled()[:200].numpy(), train.y[:200].numpy()
    for name, estimator in PLANS.items():
        estimator.fit(x, y).save(folder / name) if name == "conditional" else estimator.fit(x).save(folder / name)
        Preparation(64, train.scale, image_shape=[8, 8]).write(folder / name)
    GAN(2, hidden_layer_sizes=(4,), **SMALL).fit(x).save(folder / "gan")
    test = load_set("digits", split="test")
    np.save(folder / "x.npy", test.x[:30].numpy())
    flowers = np.random.default_rng(0).normal(5, 2, (40, 2)).astype(np.float32)
    VAE(1, hidden_layer_sizes=(8,), **SMALL).fit(flowers).save(folder / "flowers")
    with (folder / "flowers.csv").open("w", newline="") as file:
        rows = [[*row, ["iris", "rose"][i % 2] if i else ""] for i, row in enumerate(flowers.tolist())]
        csv.writer(file).writerows([["a", "b", "kind"], *rows])
    return folder


def digits():
    return load_set("digits", split="test").scaled().numpy()


@pytest.mark.parametrize("kind", PLANS)
def test_between_cases_both_ends_are_what_the_model_makes_of_them(kind, models, call):
    options = ["--rows", "0,5,9", "-n", 3, "--json", *(["--condition", "4"] if kind == "conditional" else [])]
    found = told(call("walk", models / kind, models / "x.npy", *options))
    codes, pixels = np.array(found["codes"]), np.array(found["pixels"])
    assert codes.shape == pixels.shape == (2, 3, 64)
    x = digits()[[0, 5, 9]]
    model, given = load_estimator(models / kind), {"y": 4} if kind == "conditional" else {}
    ends = model.inverse_transform(model.transform(x, **given), **given)
    np.testing.assert_allclose(codes[:, 0], ends[:2], atol=1e-5)
    np.testing.assert_allclose(codes[:, -1], ends[1:], atol=1e-5)
    np.testing.assert_allclose(pixels, np.stack([x[:2], (x[:2] + x[1:]) / 2, x[1:]], 1), atol=1e-6)


def test_a_deep_belief_network_of_train_walks_too(trained, call):
    for options in (["--path", "spherical"], ["--add", "8", "--less", "3"], ["--unit", "0"]):
        found = told(call("walk", trained, "digits", *options, "-n", 4, "--json"))
        assert np.shape(found["codes"]) == np.shape(found["pixels"]) == (found["walks"], 4, 64)
        assert np.isfinite(found["codes"]).all()


def test_labels_of_a_named_set_are_the_condition_of_each_end(models, call):
    found = np.array(told(call("walk", models / "conditional", "digits", "-n", 2, "--json"))["codes"])
    model, x, y = load_estimator(models / "conditional"), digits()[:2], load_set("digits", split="test").y[:2].numpy()
    assert y[0] != y[1]
    np.testing.assert_allclose(found[0], model.inverse_transform(model.transform(x, y), y), atol=1e-5)


def test_an_arc_keeps_its_ends_and_leaves_the_line(models, call):
    both = [told(call("walk", models / "vae", "digits", "-n", 3, "--path", p, "--json")) for p in PATHS]
    line, arc = (np.array(found["codes"]) for found in both)
    np.testing.assert_allclose(line[:, [0, 2]], arc[:, [0, 2]], atol=1e-5)
    assert np.abs(line[:, 1] - arc[:, 1]).max() > 1e-4


def test_an_attribute_is_the_difference_of_two_classes(models, call):
    model, y = load_estimator(models / "vae"), load_set("digits", split="test").y.numpy()
    z, x = model.transform(digits()), digits()
    for less, lack in (("3", y == 3), (None, y != 8)):
        options = ["--add", "8", "--rows", "2", "--values", "-1,0.5", *(["--less", less] if less else [])]
        found = told(call("walk", models / "vae", "digits", *options, "--json"))
        vector, plain = (rows[y == 8].mean(0) - rows[lack].mean(0) for rows in (z, x))
        wanted = model.inverse_transform(np.stack([z[2] - vector, z[2] + vector / 2]))
        np.testing.assert_allclose(found["codes"][0], wanted, atol=1e-4)
        np.testing.assert_allclose(found["pixels"][0], [x[2] - plain, x[2] + plain / 2], atol=1e-4)


def test_a_traversal_sets_one_number_over_a_fade_of_its_ends(models, call):
    model, options = load_estimator(models / "vae"), ["--unit", "1,0", "--rows", "3", "-n", 3]
    z = model.transform(digits())
    ends = np.quantile(z, [0.05, 0.95], axis=0)
    found = told(call("walk", models / "vae", "digits", *options, "--json"))
    for walk, fade, unit in zip(found["codes"], found["pixels"], (1, 0), strict=True):
        codes = np.repeat(z[3:4], 3, 0)
        codes[:, unit] = [ends[0, unit], ends[:, unit].mean(), ends[1, unit]]
        np.testing.assert_allclose(walk, model.inverse_transform(codes), atol=1e-4)
        np.testing.assert_allclose(fade, [walk[0], (np.array(walk[0]) + walk[2]) / 2, walk[2]], atol=1e-5)
    told_values = told(call("walk", models / "vae", "digits", "--unit", "0", "--values", "-2,-1,2", "--json"))
    walk, fade = np.array(told_values["codes"][0]), np.array(told_values["pixels"][0])
    np.testing.assert_allclose(fade[1], 0.75 * walk[0] + 0.25 * walk[2], atol=1e-5)


@pytest.mark.parametrize("path", [None, *PATHS])
def test_a_gan_walks_between_draws_of_its_noise(path, models, call, tmp_path):
    words = ["walk", models / "gan", "--walks", 3, "-n", 5, "--seed", 7, *(["--path", path] if path else [])]
    found = told(call(*words, "--json"))
    gan = load_estimator(models / "gan")
    for walk, (drawn, fade) in enumerate(zip(np.array(found["codes"]), np.array(found["pixels"]), strict=True)):
        wanted = gan.interpolate(5, random_state=7 + walk, spherical=path != "straight")
        np.testing.assert_allclose(drawn, wanted, atol=1e-6)
        np.testing.assert_allclose(fade, np.linspace(wanted[0], wanted[-1], 5), atol=1e-6)
    assert not np.allclose(found["codes"][0], found["codes"][1])
    assert "3 walks of 5 steps" in call(*words, "--out", tmp_path / "w.csv").stderr
    Preparation(64, 1 / 16, image_shape=[8, 8]).write(models / "gan")
    assert call(*words, "--out", tmp_path / "w.png").exit_code == 0
    assert Image.open(tmp_path / "w.png").size[0] % 5 == 0


def test_a_conditional_gan_walks_within_a_class(models, call):
    train = load_set("digits", split="train")
    GAN(2, hidden_layer_sizes=(4,), conditional=True, **SMALL).fit(
        train.scaled()[:200].numpy(), train.y[:200].numpy()
    ).save(models / "classes")
    found = told(call("walk", models / "classes", "--walks", 1, "--condition", "4", "--json"))
    wanted = load_estimator(models / "classes").interpolate(8, label=4, random_state=0)
    np.testing.assert_allclose(found["codes"][0], wanted, atol=1e-6)


def test_the_picture_shows_each_walk_over_its_twin(models, trained, call, tmp_path):
    done = call("walk", trained, "digits", "--rows", "0,1,2", "-n", 5, "--out", tmp_path / "w.png")
    assert "2 walks of 5 steps" in done.stderr
    picture = np.asarray(Image.open(tmp_path / "w.png").convert("RGBA"))
    tile = picture.shape[1] // 5
    assert picture.shape[0] == 4 * tile + tile // 4  # four lines and one gap between the two pairs
    middle = lambda line, step, gap: picture[line * tile + gap + 3 : (line + 1) * tile + gap - 3, step * tile + 3 :][
        :, : tile - 6, 0
    ]
    for walk, gap in ((0, 0), (1, tile // 4)):  # the ends of the twin in pixels are the cases themselves
        for step, row in ((0, walk), (4, walk + 1)):
            shown = middle(2 * walk + 1, step, gap)[6::12, 6::12]
            np.testing.assert_allclose(shown / 255, digits()[row].reshape(8, 8), atol=0.01)
    assert (picture[2 * tile : 2 * tile + tile // 4, :, 3] == 0).all()


def test_rows_name_their_walk_their_step_and_their_space(models, call, tmp_path):
    words = ["walk", models / "flowers", models / "flowers.csv", "--label", "kind", "--add", "rose", "--rows", "1,2"]
    call(*words, "-n", 4, "--out", tmp_path / "w.csv")
    lines = (tmp_path / "w.csv").read_text().splitlines()
    assert lines[0] == "walk,step,in_pixels,column_0,column_1"
    table = np.array([[float(cell) for cell in line.split(",")] for line in lines[1:]])
    assert table[:, :3].tolist() == [[w, s, p] for w in range(2) for s in range(4) for p in range(2)]
    found = told(call(*words, "-n", 4, "--json"))
    np.testing.assert_allclose(table[1::2, 3:].reshape(2, 4, 2), found["pixels"], rtol=1e-5)
    np.testing.assert_allclose(table[::2, 3:].reshape(2, 4, 2), found["codes"], rtol=1e-5)
    assert np.abs(np.array(found["codes"]) - 5).max() < 10  # on the scale of the file, whose mean is 5
    call(*words, "-n", 4, "--out", tmp_path / "w.npy")
    np.testing.assert_allclose(np.load(tmp_path / "w.npy"), table, rtol=1e-5)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["gan", "x.npy"], "FILE must be left out for a GAN"),
        (["gan", "--unit", "0"], "--add and --unit must go with a FILE"),
        (["gan", "--condition", "4"], "for GAN, which takes none"),
        (["vae"], "FILE must name the cases to walk between. Got none"),
        (["vae", "x.npy", "--walks", "2"], "--walks is for a GAN without a FILE. Got --walks 2"),
        (["conditional", "x.npy"], "a conditional VAE must be given a condition. Got none"),
        (["vae", "x.npy", "--condition", "4"], "for VAE, which takes none"),
        (["vae", "x.npy", "--rows", "0"], "--rows must name 2 cases or more"),
        (["vae", "x.npy", "--rows", "0,x"], "--rows must be numbers like 0,3. Got '0,x'"),
        (["vae", "x.npy", "--rows", "0,30"], "--rows must be at least 0 and at most 29"),
        (["vae", "x.npy", "--unit", "2"], "--unit must be at least 0 and at most 1"),
        (["vae", "x.npy", "--unit", "0", "--values", "1"], "--values must be 2 numbers or more whose ends differ"),
        (["vae", "x.npy", "--unit", "0", "--values", "nan,1"], "--values must be numbers like -1,0.5. Got 'nan,1'"),
        (["vae", "x.npy", "--values", "1,2"], "--values must go with --add or --unit"),
        (["vae", "x.npy", "--unit", "0", "--add", "8"], "--add and --unit are two walks. Got both"),
        (["vae", "x.npy", "--less", "8"], "--less must go with --add"),
        (["vae", "x.npy", "--unit", "0", "--path", "spherical"], "--path must be left out with --add and --unit"),
        (["vae", "x.npy", "--add", "8"], "Name their column in FILE with --label"),
        (["vae", "digits", "--add", "eight"], "--add must be one of '0', '1'"),
        (["vae", "digits", "--add", "8", "--less", "8"], "--less must be another class than --add"),
        (["vae", "x.npy", "--out", "w.gif"], "--out must end in .png, .npy or .csv"),
        (["flowers", "flowers.csv", "--label", "kind", "--out", "w.png"], "for data that are no pictures"),
        (["flowers", "flowers.csv", "--label", "kind", "--add", "ros"], "Did you mean 'rose'?"),
    ],
)
def test_what_makes_no_walk_gets_one_sentence(words, sentence, models, call):
    there = [models / word if (models / word).exists() else word for word in words]
    done = call("walk", *there)
    assert (done.exit_code, sentence in done.stderr) == (1, True), done.stderr
