"""A gallery refuses arrays that do not fit, and comes back from its folder as it went."""

import json
from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest
import torch

from deepbelief.errors import DataNotFoundError, InvalidArgumentError, StorageError
from deepbelief.evaluation.gallery import Chains, CodeMap, Completions, Gallery, HardCases, Reconstructions
from deepbelief.report.page import render_report
from deepbelief.types import Bound


def same(a: object, b: object) -> bool:
    """Equal through records, lists and dicts; float64 may have become float32, NaN equals NaN."""
    if is_dataclass(a):
        return type(a) is type(b) and all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.shape == b.shape and np.array_equal(a.astype("f4"), b.astype("f4"))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b or (a != a and b != b)


def test_comes_back_from_its_folder(gallery, tmp_path):
    gallery.bounds["odd"] = Bound(float("-inf"), "estimate", float("nan"))
    assert gallery.to_folder(tmp_path / "deep" / "folder") == tmp_path / "deep" / "folder"
    again = Gallery.from_folder(tmp_path / "deep" / "folder")
    assert [f.name for f in fields(gallery) if not same(getattr(gallery, f.name), getattr(again, f.name))] == []
    assert sorted(path.name for path in (tmp_path / "deep" / "folder").iterdir()) == ["gallery.json", "gallery.npz"]


def test_page_drawn_from_the_folder_is_the_same(tmp_path):
    x = np.random.default_rng(0).random((5, 6)).astype(np.float32)
    gallery = Gallery("Six", image_shape=(2, 3), samples=x, filters=[x], settings={"rate": 0.1, "layers": [3, 2]})
    assert render_report(Gallery.from_folder(gallery.to_folder(tmp_path))) == render_report(gallery)


def test_empty_gallery_comes_back(tmp_path):
    assert Gallery.from_folder(Gallery("Nothing").to_folder(tmp_path)) == Gallery("Nothing")


def test_takes_tensors_and_numbers_of_any_library():
    rows = [{"epoch": np.int64(1), "loss": torch.tensor(0.5)}]
    gallery = Gallery("Tensors", samples=torch.rand(3, 4, requires_grad=True), histories={"layer 1": rows})
    assert gallery.samples.shape == (3, 4)
    assert '<section id="curves"' in render_report(gallery)


X = np.zeros((2, 6))
REFUSED = {
    "samples must have 2 dimensions. Got shape (6,).": {"samples": np.zeros(6)},
    "samples must hold numbers. Got an array of <U1.": {"samples": np.array([["a"]])},
    "samples must have 6 features": {"samples": np.zeros((2, 5))},
    "samples must not be empty. Got shape (0, 6).": {"samples": np.zeros((0, 6))},
    "filters[1] must have 6 features": {"filters": [X, np.zeros((2, 8))]},
    "filters[0] must have 2 dimensions": {"filters": [np.zeros((2, 2, 3))]},
    "drivers[1] must have 3 dimensions": {"drivers": [None, X]},
    "class_samples must have 3 dimensions": {"class_samples": X},
    "class_names must have one name per row of class_samples. Got 3 names for 2 rows.": {
        "class_samples": np.zeros((2, 1, 6)),
        "class_names": ["a", "b", "c"],
    },
    "confusion must be square. Got shape (2, 6).": {"confusion": X},
    "image_shape must be (height, width)": {"image_shape": (2, 3, 4)},
    "reconstructions.original must have 6 features": {
        "reconstructions": Reconstructions(np.zeros((2, 7)), np.zeros((2, 7)))
    },
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_wrong_shapes_are_refused_with_a_sentence(sentence):
    with pytest.raises(InvalidArgumentError) as caught:
        Gallery(**{"title": "Wrong", "image_shape": (2, 3), **REFUSED[sentence]})
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Chains(np.zeros((1, 3, 6)), np.arange(2)), "chains.steps must have one number per frame. Got 2 for 3"),
        (lambda: Completions(X, X[:1], X), "completions.original and completions.known must have one shape"),
        (lambda: Reconstructions(X, X[:, :5]), "reconstructions.original and reconstructions.reconstruction must"),
        (lambda: HardCases(X, np.zeros(2), np.zeros(3), np.zeros(2)), "hard_cases.predicted must have one number per"),
        (lambda: CodeMap(np.zeros((4, 3))), "code_map.points must have 2 columns. Got 3 columns."),
        (lambda: CodeMap(np.zeros((4, 2)), np.zeros(3)), "code_map.labels must have one label per point. Got 3 for 4"),
    ],
)
def test_parts_refuse_what_does_not_fit(make, sentence):
    with pytest.raises(InvalidArgumentError) as caught:
        make()
    assert str(caught.value).startswith(sentence)


def test_objects_that_are_no_data_are_refused_and_nothing_is_written(tmp_path):
    gallery = Gallery("Objects", settings={"optimizer": {"kind": object}})
    with pytest.raises(InvalidArgumentError, match=r"gallery\.settings\.optimizer\.kind must be made of numbers"):
        gallery.to_folder(tmp_path)
    assert list(tmp_path.iterdir()) == []


def damage(folder, **changes) -> None:
    record = json.loads((folder / "gallery.json").read_text())
    (folder / "gallery.json").write_text(json.dumps({**record, **changes}))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"format": "other"}, "must be a gallery that deepbelief wrote"),
        ({"version": 99}, "Got version 99. Use a newer deepbelief"),
        ({"gallery": {"title": "x", "odd": 1}}, "is damaged"),
        ({"gallery": {"title": "x", "samples": {"__array__": "absent"}}}, "is damaged"),
        ({"gallery": 3}, "is damaged"),
        ({"sha256": "0"}, "must be of one writing"),
    ],
)
def test_damaged_foreign_and_newer_folders_are_refused(tmp_path, changes, sentence):
    Gallery("Fine", samples=X).to_folder(tmp_path)
    damage(tmp_path, **changes)
    with pytest.raises(StorageError, match=sentence):
        Gallery.from_folder(tmp_path)


def test_arrays_of_another_writing_are_refused(tmp_path):
    Gallery("First", samples=X).to_folder(tmp_path / "first")
    Gallery("Second", samples=X + 1).to_folder(tmp_path / "second")
    (tmp_path / "first" / "gallery.npz").write_bytes((tmp_path / "second" / "gallery.npz").read_bytes())
    with pytest.raises(StorageError, match="must be of one writing"):
        Gallery.from_folder(tmp_path / "first")


def test_half_a_file_and_no_file_are_refused(tmp_path):
    with pytest.raises(DataNotFoundError, match=r"gallery\.json, which is not there"):
        Gallery.from_folder(tmp_path)
    Gallery("Fine").to_folder(tmp_path)
    text = (tmp_path / "gallery.json").read_text()
    (tmp_path / "gallery.json").write_text(text[: len(text) // 2])
    with pytest.raises(StorageError, match="must be JSON"):
        Gallery.from_folder(tmp_path)


def test_a_changed_copy_is_checked(gallery):
    with pytest.raises(InvalidArgumentError, match="confusion must be square"):
        replace(gallery, confusion=np.zeros((2, 3)))
