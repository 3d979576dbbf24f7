"""Ratings as triples of who, what and how much; named sets of them, found and fetched as the other sets are."""

from __future__ import annotations

import csv
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepbelief.data.download import fetch_files
from deepbelief.data.registry import Arrays, FileSpec, SetSpec
from deepbelief.errors import InvalidDataError, check, check_choice
from deepbelief.rng import make_generator

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Ratings:
    """Triples: ``users[i]`` gave ``items[i]`` the rating ``values[i]``; `titles` names items where names are known."""

    users: Integers
    items: Integers
    values: NDArray[np.float64]
    titles: dict[int, str] | None = None

    def __len__(self) -> int:
        return len(self.users)

    def take(self, index: NDArray[Any]) -> Ratings:
        """Some of the triples."""
        return Ratings(self.users[index], self.items[index], self.values[index], self.titles)

    @property
    def pairs(self) -> Integers:
        """Users and items as two columns: (n, 2)."""
        return np.stack([self.users, self.items], 1)


def split_ratings(data: Ratings, fraction: float, *, seed: int = 0) -> tuple[Ratings, Ratings]:
    """(kept, held out): a random share `fraction` of the triples is held out, whoever and whatever they are of.

    >>> kept, held = split_ratings(Ratings(np.arange(10), np.arange(10), np.ones(10)), 0.2)
    >>> len(kept), len(held)
    (8, 2)
    """
    import torch

    check(0 < fraction < 1, f"fraction must be above 0 and below 1. Got fraction={fraction}.")
    order = torch.randperm(len(data), generator=make_generator(seed)).numpy()
    n_held = round(fraction * len(data))
    check(0 < n_held < len(data), f"data must have enough ratings to split. Got {len(data)} for fraction={fraction}.")
    return data.take(np.sort(order[n_held:])), data.take(np.sort(order[:n_held]))


def load_ratings(
    name: str = "movielens-latest-small",
    *,
    data_dir: str | Path | None = None,
    download: bool = True,
    progress: bool = True,
) -> Ratings:
    """A named set of ratings with the items' titles.

    Files are looked for in `data_dir`, in the folder that ``DEEPBELIEF_DATA`` names, and in the user's cache, and
    downloaded otherwise. Raises `DataNotFoundError` with the files to put there where that fails.
    """
    check_choice("name", name, RATING_SETS)
    spec = RATING_SETS[name]
    return read_movielens(fetch_files(spec, "all", data_dir, download=download, progress=progress))


def read_movielens(paths: list[Path]) -> Ratings:
    """MovieLens' ``ratings.csv`` (userId, movieId, rating, ...) and ``movies.csv``, as files or in one zip."""
    ratings, movies = _texts(paths)
    rows = list(csv.reader(io.StringIO(ratings)))
    if not rows or rows[0][:3] != ["userId", "movieId", "rating"]:
        raise InvalidDataError(f"ratings.csv must begin with userId,movieId,rating. Got {','.join(rows[0][:3])!r}.")
    table = np.array([row[:3] for row in rows[1:]], dtype=np.float64)
    titles = {int(row[0]): row[1] for row in list(csv.reader(io.StringIO(movies)))[1:]}
    return Ratings(table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), table[:, 2], titles)


def _texts(paths: list[Path]) -> list[str]:
    names = ("ratings.csv", "movies.csv")
    if paths[0].suffix != ".zip":
        return [path.read_text(encoding="utf-8") for path in paths]
    try:
        with zipfile.ZipFile(paths[0]) as archive:
            inside = {Path(name).name: name for name in archive.namelist()}
            return [archive.read(inside[name]).decode("utf-8") for name in names]
    except (zipfile.BadZipFile, KeyError) as error:
        raise InvalidDataError(f"{paths[0].name} must be a zip of {' and '.join(names)}. Got: {error}.") from error


def _as_bytes(part: str, paths: list[Path]) -> Arrays:
    """Users and items of the triples as a matrix; only for those who ask a `SetSpec` to read itself."""
    found = read_movielens(paths)
    return (2 * found.values[:, None]).astype(np.uint8), found.pairs


RATING_SETS: dict[str, SetSpec] = {
    "movielens-latest-small": SetSpec(
        name="movielens-latest-small",
        description="100,836 ratings from 0.5 to 5.0 of 9,724 films by 610 people",
        cases=100_836,
        image_shape=(1,),
        scale=0.5,
        class_names=None,
        source="F. M. Harper, J. A. Konstan, ACM TiiS 5(4), 2015",
        licence="GroupLens' terms: research, with acknowledgement, not for commercial use",
        read=_as_bytes,
        folders=("ml-latest-small",),
        parts={
            "all": (
                (
                    FileSpec("ratings.csv", ("aa289ca83157595d0df6aea1be6a4ded676ddc4385472e8313a8ed9805352646",)),
                    FileSpec("movies.csv", ("5a5f32dd9bb3797b8e728a1b98958789d2b13f294a69fdfbc5727f8a9611aa07",)),
                ),
                (
                    FileSpec(
                        "ml-latest-small.zip",
                        urls=("https://files.grouplens.org/datasets/movielens/ml-latest-small.zip",),
                    ),
                ),
            )
        },
    )
}
