"""Read a person's own file: ``.npy``, ``.npz``, ``.csv``, ``.parquet`` or a folder of images, as one `Table`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepbelief.data.arrays import as_matrix, as_target, image_shape_of
from deepbelief.data.images import read_image_folder
from deepbelief.data.memmap import open_npy
from deepbelief.data.npz import load_npz
from deepbelief.data.tables import encode_labels, matrix_of_columns, read_csv_columns, read_parquet_columns
from deepbelief.errors import DataNotFoundError, InvalidArgumentError, InvalidDataError, check, check_choice

DATA_KEYS = ("x", "X", "data", "images", "features", "arr_0")
LABEL_KEYS = ("y", "Y", "label", "labels", "target", "targets")
MAP_ABOVE_BYTES = 512 * 2**20


@dataclass(frozen=True)
class Table:
    """What a file holds: cases ``x`` (n, d), and where it tells, labels, names and the shape of an image.

    ``x`` is a tensor (bytes stay bytes), or a `numpy.memmap` when the file is large; `make_source` takes either. ``y``
    holds class numbers where there are ``class_names`` (-1: no label), else float targets, (n, k) of k columns.
    ``scale`` is what brings grey levels into [0, 1]. Columns of a table that are no numbers never get here: they are an
    error.
    """

    x: Tensor | np.memmap[Any, Any]
    y: Tensor | None = None
    feature_names: list[str] | None = None
    class_names: list[str] | None = None
    image_shape: tuple[int, ...] | None = None
    scale: float | None = None

    def __len__(self) -> int:
        return len(self.x)


def read_file(
    path: str | Path,
    *,
    label: str | None = None,
    key: str | None = None,
    target: str = "auto",
    allow_nan: bool = False,
    map_above: int = MAP_ABOVE_BYTES,
) -> Table:
    """Read a file or a folder of images, by its suffix.

    ``label`` names the column (csv, parquet) or array (npz) with the labels, or several columns of values with commas
    between them; ``key`` names the array of an npz with the cases. ``target`` says what labels are: "class", "value" (a
    regression target), or "auto": text, booleans and whole numbers are classes, other numbers values; an empty label is
    class -1, unlabelled. ``allow_nan`` keeps empty entries as NaN instead of refusing them. A ``.npy`` file above
    ``map_above`` bytes is mapped, not read, and so is an array of an ``.npz`` that was stored without compression
    (`numpy.savez`); compressed ones are read whole.

    Raises `DataNotFoundError` where there is no such file, and `InvalidDataError` for what cannot be read as cases.
    """
    check_choice("target", target, ("auto", "class", "value"))
    path = Path(path).expanduser()
    if not path.exists():
        raise DataNotFoundError(f"The data file must exist. Got {str(path)!r}. Check the path.")
    if path.is_dir():
        return _read_folder(path, label)
    if path.stat().st_size == 0:
        raise InvalidDataError(f"The data file must not be empty. Got {str(path)!r} with 0 bytes.")
    readers: Mapping[str, Callable[[], Table]] = {
        ".npy": lambda: _read_npy(path, label, allow_nan, map_above),
        ".npz": lambda: _read_npz(path, label, key, target, allow_nan, map_above),
        ".csv": lambda: _from_columns(read_csv_columns(path), path, label, target, allow_nan),
        ".parquet": lambda: _from_columns(read_parquet_columns(path), path, label, target, allow_nan),
    }
    suffix = path.suffix.lower()
    if suffix not in readers:
        raise InvalidArgumentError(
            f"The data file must end in {', '.join(readers)}, or be a folder of images. Got {str(path)!r}. Convert it."
        )
    return readers[suffix]()


def _read_npy(path: Path, label: str | None, allow_nan: bool, map_above: int) -> Table:
    _refuse_label(path, label, "a .npy file holds one array; use .npz for cases and labels")
    array = open_npy(path)
    shape = image_shape_of(array)
    scale = _grey_scale(array, shape)
    if array.nbytes > map_above and isinstance(array, np.memmap):
        return Table(array, image_shape=shape, scale=scale)
    return Table(as_matrix(np.array(array), dtype=None, allow_nan=allow_nan), image_shape=shape, scale=scale)


def _read_npz(path: Path, label: str | None, key: str | None, target: str, allow_nan: bool, map_above: int) -> Table:
    arrays = load_npz(path, map_above)
    x = arrays[_pick_key(arrays, key, path)]
    labels = [name for name in LABEL_KEYS if name in arrays]
    if label is not None:
        check_choice(f"label (an array of {path.name})", label, arrays)
        labels = [label]
    shape = image_shape_of(x)
    scale = _grey_scale(x, shape)
    y, class_names = (None, None) if not labels else encode_labels(arrays[labels[0]], len(x), target, labels[0])
    if isinstance(x, np.memmap):
        return Table(x, y, None, class_names, shape, scale)
    return Table(as_matrix(x, dtype=None, allow_nan=allow_nan), y, None, class_names, shape, scale)


def _pick_key(arrays: Mapping[str, NDArray[Any]], key: str | None, path: Path) -> str:
    if key is not None:
        check_choice(f"key (an array of {path.name})", key, arrays)
        return key
    candidates = [name for name in arrays if arrays[name].ndim >= 2]
    known = [name for name in DATA_KEYS if name in candidates] or candidates
    if len(known) == 1 or (known and known[0] in DATA_KEYS):
        return known[0]
    raise InvalidDataError(
        f"key must say which array of {path.name} holds the cases. Got none, and the arrays are {', '.join(arrays)}. "
        "On the command line: --key NAME."
    )


def _from_columns(
    columns: dict[str, NDArray[Any]], path: Path, label: str | None, target: str, allow_nan: bool
) -> Table:
    names = [] if label is None else [label] if label in columns else [name.strip() for name in label.split(",")]
    for name in names:
        check_choice(f"label (a column of {path.name})", name, columns)
    check(
        len(names) < 2 or target != "class",
        f"label must be one column where it names classes. Got label={label!r}. Take one of them.",
    )
    targets = {name: columns.pop(name) for name in dict.fromkeys(names)}
    x = as_matrix(matrix_of_columns(columns, path.name), name=path.name, allow_nan=allow_nan, names=list(columns))
    if len(targets) > 1:
        values = [encode_labels(column, len(x), "value", name)[0] for name, column in targets.items()]
        return Table(x, torch.stack(values, 1), list(columns))
    y, class_names = None, None
    for name, column in targets.items():
        y, class_names = encode_labels(column, len(x), target, name)
    return Table(x, y, list(columns), class_names)


def _read_folder(path: Path, label: str | None) -> Table:
    _refuse_label(path, label, "the subfolders of a folder of images are its labels")
    images, labels, class_names = read_image_folder(path)
    y = None if labels is None else as_target(labels, len(images))
    shape = image_shape_of(images)
    return Table(as_matrix(images, dtype=None), y, None, class_names, shape, 1 / 255)


def _refuse_label(path: Path, label: str | None, why: str) -> None:
    if label is not None:
        raise InvalidArgumentError(f"label must be left out for {path.name!r}. Got label={label!r}: {why}.")


def _grey_scale(array: NDArray[Any], image_shape: tuple[int, ...] | None) -> float | None:
    """Bytes that form images are grey levels, unless they are bits already."""
    grey = image_shape is not None and array.dtype == np.uint8 and array.size > 0 and int(np.max(array[:4096])) > 1
    return 1 / 255 if grey else None
