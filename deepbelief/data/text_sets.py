"""Named sets of documents as word counts, found (as the other named sets are) in a data folder."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from deepbelief.data.download import fetch_files, find_files
from deepbelief.data.order import holdout
from deepbelief.data.registry import FileSpec
from deepbelief.data.sets import SPLIT_SEED, SPLITS, TEST_FRACTION
from deepbelief.errors import InvalidDataError, check_choice

Documents = tuple[sparse.csr_matrix, NDArray[np.int64] | None, list[str], list[str] | None]


@dataclass(frozen=True)
class CountSet:
    """One split of a named set of documents.

    ``x`` (documents, words) holds counts as a scipy CSR matrix of int32, ``vocabulary`` the word of each column, ``y``
    the class of each document where the files tell it. Documents without a word of the vocabulary are kept, as empty
    rows.
    """

    name: str
    split: str
    x: sparse.csr_matrix
    y: NDArray[np.int64] | None
    vocabulary: list[str]
    class_names: list[str] | None
    description: str
    source: str
    licence: str

    def __len__(self) -> int:
        return int(self.x.shape[0])

    @property
    def lengths(self) -> NDArray[np.int64]:
        """How many words each document has."""
        return np.asarray(self.x.sum(1), dtype=np.int64).ravel()


@dataclass(frozen=True)
class TextSpec:
    """One named set of documents: its files with their checksums, and how a part of it is read from them."""

    name: str
    description: str
    source: str
    licence: str
    read: Callable[[str, list[Path]], Documents]
    parts: Mapping[str, tuple[tuple[FileSpec, ...], ...]]
    subfolders: tuple[str, ...]


def load_counts(name: str, *, split: str = "train", data_dir: str | Path | None = None) -> CountSet:
    """One split of a named set of documents: "20news" (1,994 words) or "20news-5000" (5,000 words, with classes).

    "train" and "test" are the split by date; "fit" and "valid" divide train by a fixed draw of 80% and 20%; "all" is
    both. Files are looked for in `data_dir`, in the folder that ``DEEPBELIEF_DATA`` names, and in the user's cache, and
    must have the right checksums. Raises `DataNotFoundError` with the files to put there where they are absent.
    """
    check_choice("name", name, TEXT_SETS)
    check_choice("split", split, SPLITS)
    spec = TEXT_SETS[name]
    wanted = ["train", "test"] if split == "all" else ["test" if split == "test" else "train"]
    parts = [spec.read(part, fetch_files(spec, part, data_dir)) for part in wanted]
    x, labels = sparse.vstack([part[0] for part in parts], format="csr"), [part[1] for part in parts]
    y = None if labels[0] is None else np.concatenate([label for label in labels if label is not None])
    if split in ("fit", "valid"):
        kept, held = holdout(x.shape[0], TEST_FRACTION, seed=SPLIT_SEED)
        rows = (kept if split == "fit" else held).numpy()
        x, y = x[rows], None if y is None else y[rows]
    vocabulary, class_names = parts[0][2:]
    return CountSet(name, split, x, y, vocabulary, class_names, spec.description, spec.source, spec.licence)


def where_counts_are(name: str, data_dir: str | Path | None = None) -> str | None:
    """The folder in which the set was found, or None."""
    found = [find_files(TEXT_SETS[name], part, data_dir) for part in ("train", "test")]
    return None if found[0] is None or found[1] is None else str(found[0][0].parent)


def read_feat(part: str, paths: list[Path]) -> Documents:
    """Lines ``label id:count id:count ...``, ids from 1, and a vocabulary of a word a line whose first is an end mark.

    The label of these files is always 1 and the end mark never occurs: both are left out.
    """
    text, words = (_lines(path) for path in paths)
    vocabulary = [line.split()[0] for line in words]
    counts: list[int] = []
    columns: list[int] = []
    ends = [0]
    for line in text:
        pairs = [item.split(":") for item in line.split()[1:]]
        columns += [int(word) - 1 for word, _ in pairs]
        counts += [int(count) for _, count in pairs]
        ends.append(len(counts))
    if columns and not 1 <= min(columns) <= max(columns) < len(vocabulary):
        raise InvalidDataError(f"{paths[0].name} must hold words 2 to {len(vocabulary)}. Got another one.")
    shape = (len(text), len(vocabulary))
    x = sparse.csr_matrix((np.array(counts, dtype=np.int32), np.array(columns), np.array(ends)), shape=shape)
    x.sum_duplicates()
    return x[:, 1:], None, vocabulary[1:], None


def read_bag_of_words(part: str, paths: list[Path]) -> Documents:
    """An npz with the parts of a CSR matrix and labels for train and test, ``vocab`` and ``groups``."""
    with np.load(paths[0], allow_pickle=False) as archive:
        data, indices, ends, labels = (archive[f"{part}_{key}"] for key in ("data", "indices", "indptr", "labels"))
        vocabulary, groups = ([word.decode() for word in archive[key].tolist()] for key in ("vocab", "groups"))
    x = sparse.csr_matrix((data.astype(np.int32), indices.astype(np.int32), ends), shape=(len(labels), len(vocabulary)))
    return x, labels.astype(np.int64), vocabulary, groups


def _lines(path: Path) -> list[str]:
    raw: Any = path.read_bytes()
    try:
        raw = gzip.decompress(raw) if path.suffix == ".gz" else raw
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InvalidDataError(f"{path.name} must be a whole gzip file. Got: {error}.") from error
    return raw.decode("utf-8").splitlines()


_VOCABULARY = FileSpec("vocab.new", ("75594f361e317a8c8fafca9846e903143ff25bb57ac4207ff850ef4245eb94bb",))
_FEAT = {
    "train": "ca79e021d323d0fff658c9fdb8d00f167d35876db8fb04554a2eb5b0d17a0e57",
    "test": "4f302d9c1dd26178798f4be88666772da7dcc85a07809f394656a9db07eabf75",
}
_BAG = FileSpec("20news_bydate_bow5000.npz", ("40b4e6cb27f26c92439a2da94cafb4ce58bd55c8710c95b4de778137d3f45734",))

_SMALL = TextSpec(
    name="20news",
    description="20 Newsgroups by date, 11,259 documents to train and 7,488 to test, counts of 1,994 stemmed words",
    source="K. Lang, ICML 1995; counts of Y. Miao, L. Yu, P. Blunsom, ICML 2016",
    licence="not stated by the publishers",
    read=read_feat,
    parts={part: ((FileSpec(f"{part}.feat.gz", (sha256,)), _VOCABULARY),) for part, sha256 in _FEAT.items()},
    subfolders=("20news",),
)

_LARGE = TextSpec(
    name="20news-5000",
    description="20 Newsgroups by date, 11,314 documents to train and 7,532 to test, the 5,000 words of most documents",
    source="K. Lang, ICML 1995",
    licence="not stated by the publishers",
    read=read_bag_of_words,
    parts={"train": ((_BAG,),), "test": ((_BAG,),)},
    subfolders=("20news-5000", "20news"),
)

TEXT_SETS: dict[str, TextSpec] = {spec.name: spec for spec in (_SMALL, _LARGE)}
