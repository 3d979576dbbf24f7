"""Rating sets: files and zips read alike, splits are a partition, damage is told."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from deepbelief.data.ratings import Ratings, load_ratings, read_movielens, split_ratings
from deepbelief.errors import DataNotFoundError, InvalidArgumentError, InvalidDataError

RATINGS = "userId,movieId,rating,timestamp\n1,10,4.0,7\n1,20,0.5,8\n2,10,5.0,9\n"
MOVIES = 'movieId,title,genres\n10,"Heat, The (1995)",Crime\n20,Café (1996),Drama\n'


def files(folder: Path) -> list[Path]:
    paths = [folder / "ratings.csv", folder / "movies.csv"]
    for path, text in zip(paths, (RATINGS, MOVIES), strict=True):
        path.write_text(text, encoding="utf-8")
    return paths


def test_files_and_zips_are_read_alike(tmp_path: Path) -> None:
    paths = files(tmp_path)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for path in paths:
            archive.write(path, f"ml-latest-small/{path.name}")
    for found in (read_movielens(paths), read_movielens([tmp_path / "all.zip"])):
        assert found.pairs.tolist() == [[1, 10], [1, 20], [2, 10]]
        assert found.values.tolist() == [4.0, 0.5, 5.0]
        assert found.titles == {10: "Heat, The (1995)", 20: "Café (1996)"}


def test_damaged_files_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"no zip")
    with pytest.raises(InvalidDataError, match="must be a zip"):
        read_movielens([tmp_path / "a.zip"])
    paths = files(tmp_path)
    paths[0].write_text("user,film\n")
    with pytest.raises(InvalidDataError, match="must begin with"):
        read_movielens(paths)
    with pytest.raises(InvalidDataError, match="sha256"):  # a file of that name with other contents
        load_ratings(data_dir=tmp_path, download=False)


def test_an_absent_set_says_which_files_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEEPBELIEF_DATA", raising=False)
    monkeypatch.setattr("deepbelief.data.download.cache_folder", lambda: tmp_path / "cache")
    with pytest.raises(DataNotFoundError, match=r"ratings\.csv and movies\.csv"):
        load_ratings(data_dir=tmp_path, download=False)


def test_a_split_is_a_partition_that_the_seed_decides() -> None:
    data = Ratings(np.arange(100), np.arange(100) % 7, np.ones(100))
    kept, held = split_ratings(data, 0.1, seed=3)
    assert sorted([*kept.users.tolist(), *held.users.tolist()]) == list(range(100))
    assert len(held) == 10
    assert np.array_equal(split_ratings(data, 0.1, seed=3)[1].users, held.users)
    assert not np.array_equal(split_ratings(data, 0.1, seed=4)[1].users, held.users)
    with pytest.raises(InvalidArgumentError, match="fraction must be"):
        split_ratings(data, 1.0)
