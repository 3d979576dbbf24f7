"""A person's own file becomes a table, or one sentence."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from deepbelief.data.files import read_file
from deepbelief.data.source import make_source
from deepbelief.errors import DataNotFoundError, InvalidArgumentError, InvalidDataError, MissingExtraError
from deepbelief.report.tiles import to_pictures
from deepbelief.rng import make_generator

FRAME = pd.DataFrame({"age": [1, 2, 3], "height": [0.5, 1.5, 2.5], "kind": ["cat", "dog", "cat"]})


@pytest.fixture(params=["pandas", "csv module"])
def csv_reader(request, monkeypatch):
    """Both ways to read a csv file must give the same table."""
    if request.param != "pandas":
        monkeypatch.setitem(__import__("sys").modules, "pandas", None)


def write(path, text):
    path.write_text(text)
    return path


def test_npy_is_read_and_bytes_stay_bytes(tmp_path):
    images = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    np.save(tmp_path / "x.npy", images)
    table = read_file(tmp_path / "x.npy")
    assert table.x.dtype == torch.uint8
    assert table.x.tolist() == images.reshape(2, 12).tolist()
    assert (table.image_shape, table.scale, table.y) == ((3, 4), 1 / 255, None)


def test_a_large_npy_is_mapped_and_streams(tmp_path):
    x = np.arange(20, dtype=np.float32).reshape(10, 2)
    np.save(tmp_path / "x.npy", x)
    table = read_file(tmp_path / "x.npy", map_above=40)
    assert isinstance(table.x, np.memmap)
    assert len(table) == 10
    torch.testing.assert_close(next(make_source(table.x).chunks()).x, torch.from_numpy(x))


def test_npz_finds_cases_and_labels_by_their_usual_names(tmp_path):
    np.savez(tmp_path / "d.npz", other=np.zeros((3, 3)), x=np.ones((3, 2)), y=np.array(["b", "a", "b"]))
    table = read_file(tmp_path / "d.npz")
    assert table.x.tolist() == [[1, 1]] * 3
    assert (table.y.tolist(), table.class_names) == ([1, 0, 1], ["a", "b"])


def test_large_arrays_of_an_npz_are_mapped_where_they_lie(tmp_path):
    x, y = np.random.default_rng(0).random((50, 3)).astype(np.float32), np.arange(50) % 2
    for order in "CF":
        np.savez(tmp_path / "d.npz", x=np.asarray(x, order=order), y=y)
        table = read_file(tmp_path / "d.npz", map_above=500)
        assert isinstance(table.x, np.memmap)
        assert np.array_equal(table.x, x)
        assert not table.x.flags.writeable
        assert table.y.tolist() == y.tolist()
        batches = list(
            make_source(table.x, table.y, batch_size=20, shuffle=False).batches(0, generator=make_generator(0))
        )
        assert np.array_equal(np.concatenate([b.x.numpy() for b in batches]), x)


def test_compressed_arrays_of_an_npz_are_read(tmp_path):
    np.savez_compressed(tmp_path / "d.npz", x=np.ones((50, 3)))
    assert not isinstance(read_file(tmp_path / "d.npz", map_above=10).x, np.memmap)


def test_npz_takes_keys(tmp_path):
    np.savez(tmp_path / "d.npz", first=np.zeros((3, 3)), second=np.ones((3, 2)), kind=np.array([5, 7, 5]))
    table = read_file(tmp_path / "d.npz", key="second", label="kind")
    assert table.x.shape == (3, 2)
    assert (table.y.tolist(), table.class_names) == ([0, 1, 0], ["5", "7"])
    with pytest.raises(InvalidDataError, match="key must say which array"):
        read_file(tmp_path / "d.npz")
    with pytest.raises(InvalidArgumentError, match="Did you mean 'second'"):
        read_file(tmp_path / "d.npz", key="secnd")


@pytest.mark.usefixtures("csv_reader")
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_csv_with_names_and_a_label(tmp_path, separator):
    FRAME.to_csv(tmp_path / "d.csv", sep=separator, index=False)
    table = read_file(tmp_path / "d.csv", label="kind")
    assert table.x.tolist() == [[1, 0.5], [2, 1.5], [3, 2.5]]
    assert table.feature_names == ["age", "height"]
    assert (table.y.tolist(), table.class_names) == ([0, 1, 0], ["cat", "dog"])


@pytest.mark.usefixtures("csv_reader")
def test_csv_without_names_keeps_its_first_row(tmp_path):
    table = read_file(write(tmp_path / "d.csv", "1,2\n3,4\n"))
    assert table.x.tolist() == [[1, 2], [3, 4]]
    assert table.feature_names == ["0", "1"]


@pytest.mark.usefixtures("csv_reader")
def test_csv_labels_may_be_numbers_or_missing(tmp_path):
    path = write(tmp_path / "d.csv", 'a,class,"value, dollars"\n1,3,0.5\n2,,1.5\n3,1,2\n')
    assert read_file(path, label="class", allow_nan=True).y.tolist() == [1, -1, 0]
    assert read_file(path, label="class", allow_nan=True).class_names == ["1", "3"]
    with_value = read_file(path, label="value, dollars", allow_nan=True)
    assert (with_value.y.tolist(), with_value.class_names) == ([0.5, 1.5, 2.0], None)
    assert read_file(path, label="a", target="value", allow_nan=True).y.tolist() == [1.0, 2.0, 3.0]
    with pytest.raises(InvalidDataError, match=r"must have a value for every case\. Got none in row 1"):
        read_file(path, label="class", target="value")


@pytest.mark.usefixtures("csv_reader")
@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("town,age,name\nRome,3,Anna\n", "non-numeric columns 'town', 'name'"),
        ("age,height\n1,2\n3,\n", "Got NaN in row 1, column 'height'"),
        ("age,height\n", "at least one row of data"),
        ("a,b\n1,2\n3,4,5\n", "rows of equal length"),
        ("a,a\n1,2\n", "distinct column names. Got 'a' twice"),
        ("\n1,2\n", "Got an empty line"),
    ],
)
def test_a_bad_csv_gets_a_sentence(tmp_path, text, sentence):
    path = write(tmp_path / "d.csv", text)
    with pytest.raises(InvalidDataError) as caught:
        read_file(path)
    assert sentence in str(caught.value)


@pytest.mark.usefixtures("csv_reader")
def test_csv_that_is_no_text_gets_a_sentence(tmp_path):
    (tmp_path / "d.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(InvalidDataError, match="UTF-8"):
        read_file(tmp_path / "d.csv")


def test_an_unknown_label_is_answered_with_the_nearest(tmp_path):
    FRAME.to_csv(tmp_path / "d.csv", index=False)
    with pytest.raises(InvalidArgumentError, match="Did you mean 'kind'"):
        read_file(tmp_path / "d.csv", label="kin")


def test_parquet_reads_like_csv(tmp_path):
    FRAME.to_parquet(tmp_path / "d.parquet")
    FRAME.to_csv(tmp_path / "d.csv", index=False)
    one, other = (read_file(tmp_path / name, label="kind") for name in ("d.parquet", "d.csv"))
    assert torch.equal(one.x, other.x)
    assert torch.equal(one.y, other.y)
    assert (one.feature_names, one.class_names) == (other.feature_names, other.class_names)


def test_parquet_without_its_libraries_says_what_to_install(tmp_path, monkeypatch):
    FRAME.to_parquet(tmp_path / "d.parquet")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'deepbelief\[frames\]'"):
        read_file(tmp_path / "d.parquet")


def save_image(path, size=(4, 3), mode="L", value=7):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)


def test_a_folder_of_grey_images(tmp_path):
    for i in range(3):
        save_image(tmp_path / f"{i}.png", value=i)
    (tmp_path / "notes.txt").write_text("not an image")
    table = read_file(tmp_path)
    assert table.x.tolist() == [[i] * 12 for i in range(3)]
    assert (table.image_shape, table.scale, table.y) == ((3, 4), 1 / 255, None)


def test_one_colour_image_makes_all_colour(tmp_path):
    save_image(tmp_path / "a.png")
    save_image(tmp_path / "b.png", mode="RGB", value=(1, 2, 3))
    table = read_file(tmp_path)
    assert table.image_shape == (3, 3, 4)
    assert table.x[:, ::12].tolist() == [[7, 7, 7], [1, 2, 3]]  # the channels one after another


def test_colours_of_a_folder_are_those_of_the_page(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (4, 5, 7, 3)).astype(np.uint8)
    for i, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / f"{i}.png")
    table = read_file(tmp_path)
    assert np.array_equal(to_pictures(table.x.numpy(), table.image_shape), pictures)


def test_subfolders_are_class_labels(tmp_path):
    for i, name in enumerate(["dog", "cat", "dog/puppy"]):
        save_image(tmp_path / name / f"{i}.png", value=i)
    table = read_file(tmp_path)
    assert table.class_names == ["cat", "dog"]
    assert dict(zip(table.x[:, 0].tolist(), table.y.tolist(), strict=True)) == {0: 1, 1: 0, 2: 1}


def odd_size(folder):
    save_image(folder / "a.png")
    save_image(folder / "odd.png", size=(5, 3))


def damaged(folder):
    save_image(folder / "a.png")
    (folder / "b.png").write_bytes((folder / "a.png").read_bytes()[:45])


def no_image(folder):
    (folder / "a.png").write_text("hello")


def mixed(folder):
    save_image(folder / "a.png")
    save_image(folder / "cat" / "b.png")


def deep(folder):
    Image.fromarray(np.zeros((2, 2), dtype=np.uint16)).save(folder / "a.png")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (odd_size, "one size. Got 3x5 in 'odd.png' and 3x4 in 'a.png'"),
        (damaged, "must be readable. Got 'b.png'"),
        (no_image, "must be readable. Got 'a.png'"),
        (mixed, "'a.png' lies beside the subfolder 'cat'"),
        (deep, "must have 8 bits a channel. Got mode 'I;16' in 'a.png'"),
        (lambda folder: None, "must hold images"),
    ],
)
def test_a_bad_folder_gets_a_sentence(tmp_path, make, sentence):
    make(tmp_path)
    with pytest.raises(InvalidDataError) as caught:
        read_file(tmp_path)
    assert sentence in str(caught.value)


def test_missing_empty_and_foreign_files_get_a_sentence(tmp_path):
    with pytest.raises(DataNotFoundError, match="must exist"):
        read_file(tmp_path / "none.csv")
    with pytest.raises(InvalidDataError, match="must not be empty"):
        read_file(write(tmp_path / "d.csv", ""))
    with pytest.raises(InvalidArgumentError, match=r"must end in \.npy, \.npz, \.csv, \.parquet, or be a folder"):
        read_file(write(tmp_path / "d.xlsx", "x"))


@pytest.mark.parametrize("suffix", ["npy", "npz", "parquet"])
def test_damaged_files_get_a_sentence(tmp_path, suffix):
    with pytest.raises(InvalidDataError):
        read_file(write(tmp_path / f"d.{suffix}", "this is text"))


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_nothing_is_unpickled(tmp_path, suffix):
    save = np.save if suffix == "npy" else np.savez
    save(tmp_path / f"d.{suffix}", np.array([[{}]], dtype=object), allow_pickle=True)
    with pytest.raises(InvalidDataError, match=r"Python objects|allow_pickle=False"):
        read_file(tmp_path / f"d.{suffix}")


def test_labels_are_refused_where_there_can_be_none(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((2, 2)))
    with pytest.raises(InvalidArgumentError, match=r"use \.npz for cases and labels"):
        read_file(tmp_path / "x.npy", label="y")
