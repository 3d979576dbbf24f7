"""Columns of csv and parquet files, and labels of any type as class numbers or targets."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepbelief.errors import InvalidDataError, missing_extra

SEPARATORS = (",", ";", "\t", "|")
MISSING = frozenset({"", "nan", "na", "n/a", "null", "none"})


def read_csv_columns(path: Path) -> dict[str, NDArray[Any]]:
    """The columns of a csv file by name; a file whose first line holds numbers only has columns "0", "1", ...

    pandas reads it where installed, since it is many times faster; the standard library otherwise, with the same
    result.
    """
    separator, header, n_columns = _look_at(path)
    names = header or [str(i) for i in range(n_columns)]
    _check_names(names, path)
    try:
        import pandas
    except ImportError:
        return _read_with_csv(path, separator, names, header is not None)
    try:
        frame = pandas.read_csv(
            path, sep=separator, header=0 if header else None, names=names, index_col=False, na_values=list(MISSING)
        )
    except (pandas.errors.ParserError, UnicodeDecodeError) as error:
        raise InvalidDataError(f"{path.name} must be a csv file with rows of equal length. Got: {error}") from error
    return _frame_columns(frame, path)


def read_parquet_columns(path: Path) -> dict[str, NDArray[Any]]:
    """The columns of a parquet file by name; needs pandas and pyarrow."""
    try:
        import pandas
        import pyarrow
    except ImportError as error:
        raise missing_extra("pandas with pyarrow", "frames", "Reading parquet files") from error
    try:
        return _frame_columns(pandas.read_parquet(path, engine="pyarrow"), path)
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise InvalidDataError(f"{path.name} must be a whole parquet file. Got: {error}") from error


def matrix_of_columns(columns: dict[str, NDArray[Any]], file_name: str) -> NDArray[np.float64]:
    """The columns side by side; those that hold no numbers are named in the error."""
    text = [name for name, column in columns.items() if column.dtype.kind not in "buif"]
    if text:
        raise InvalidDataError(
            f"{file_name} must hold numbers only. Got non-numeric columns {', '.join(map(repr, text))}. "
            "Drop them, encode them as numbers, or name one of them as the label."
        )
    if not columns:
        raise InvalidDataError(f"{file_name} must have at least one column beside the label. Got none.")
    return np.column_stack([column.astype(np.float64) for column in columns.values()])


def encode_labels(values: Any, n_cases: int, target: str, name: str) -> tuple[Tensor, list[str] | None]:
    """Labels as (class numbers, class names) or (float targets, None); an empty label becomes class -1.

    >>> encode_labels(np.array(["cat", "dog", "cat"]), 3, "auto", "label")
    (tensor([0, 1, 0]), ['cat', 'dog'])
    >>> encode_labels(np.array([0.5, 1.25]), 2, "auto", "label")
    (tensor([0.5000, 1.2500]), None)
    """
    column = np.asarray(values)
    column = column[:, 0] if column.ndim == 2 and column.shape[1] == 1 else column
    if column.ndim != 1 or len(column) != n_cases:
        raise InvalidDataError(f"{name} must have one label per case. Got shape {column.shape} for {n_cases} cases.")
    missing = np.array([_is_missing(value) for value in column.tolist()], dtype=bool)
    if missing.all():
        raise InvalidDataError(f"{name} must have a label for some case. Got {n_cases} empty labels.")
    if target == "value" or (target == "auto" and _is_continuous(column[~missing])):
        return _encode_values(column, missing, name), None
    return _encode_classes(column, missing)


def _encode_values(column: NDArray[Any], missing: NDArray[np.bool_], name: str) -> Tensor:
    if missing.any():
        row = int(missing.argmax())
        raise InvalidDataError(f"{name} must have a value for every case. Got none in row {row}. Drop such rows.")
    try:
        return torch.from_numpy(column.astype(np.float32))
    except ValueError as error:
        raise InvalidDataError(f"{name} must hold numbers for target='value'. Got text: {error}.") from error


def _encode_classes(column: NDArray[Any], missing: NDArray[np.bool_]) -> tuple[Tensor, list[str]]:
    known = column[~missing]
    if known.dtype.kind == "f" and bool((known == np.round(known)).all()):
        known = known.astype(np.int64)  # an empty label turns a column of whole numbers into floats
    if known.dtype.kind == "O":
        known = known.astype(str)
    classes, codes = np.unique(known, return_inverse=True)
    y = torch.full((len(column),), -1, dtype=torch.int64)
    y[torch.from_numpy(~missing)] = torch.from_numpy(codes.astype(np.int64))
    return y, [str(value) for value in classes]


def _is_continuous(known: NDArray[Any]) -> bool:
    return known.dtype.kind == "f" and bool((known != np.round(known)).any())


def _is_missing(value: Any) -> bool:
    return value is None or value == "" or type(value).__name__ == "NAType" or value != value


def _look_at(path: Path) -> tuple[str, list[str] | None, int]:
    """Separator, header (None if the first line holds numbers only) and number of columns."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            line = file.readline()
    except UnicodeDecodeError as error:
        raise InvalidDataError(f"{path.name} must be a csv file in UTF-8. Got other bytes: {error}") from error
    separator = max(SEPARATORS, key=line.count)
    fields = next(csv.reader([line], delimiter=separator), [])
    if not any(field.strip() for field in fields):
        raise InvalidDataError(f"{path.name} must begin with column names or numbers. Got an empty line.")
    numeric = all(_number(field) is not None for field in fields)
    return separator, None if numeric else [field.strip() for field in fields], len(fields)


def _check_names(names: list[str], path: Path) -> None:
    double = sorted({name for name in names if names.count(name) > 1})
    if double:
        raise InvalidDataError(
            f"{path.name} must have distinct column names. Got {', '.join(map(repr, double))} twice."
        )


def _read_with_csv(path: Path, separator: str, names: list[str], has_header: bool) -> dict[str, NDArray[Any]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = [row for row in csv.reader(file, delimiter=separator) if row][int(has_header) :]
    if not rows:
        raise InvalidDataError(f"{path.name} must have at least one row of data. Got none.")
    for number, row in enumerate(rows, start=1):
        if len(row) != len(names):
            raise InvalidDataError(
                f"{path.name} must be a csv file with rows of equal length. "
                f"Got {len(row)} fields instead of {len(names)} in row {number}."
            )
    return {name: _typed(list(column)) for name, column in zip(names, zip(*rows, strict=True), strict=True)}


def _typed(fields: list[str]) -> NDArray[Any]:
    numbers = [_number(field) for field in fields]
    if all(number is not None for number in numbers):
        column = np.array(numbers, dtype=np.float64)
        whole = bool(np.isfinite(column).all()) and not any(set(field) & set(".eE") for field in fields)
        return column.astype(np.int64) if whole else column
    return np.array([None if field.strip().lower() in MISSING else field.strip() for field in fields], dtype=object)


def _number(field: str) -> float | None:
    if field.strip().lower() in MISSING:
        return float("nan")
    try:
        return float(field)
    except ValueError:
        return None


def _frame_columns(frame: Any, path: Path) -> dict[str, NDArray[Any]]:
    if len(frame) == 0:
        raise InvalidDataError(f"{path.name} must have at least one row of data. Got none.")
    columns: dict[str, NDArray[Any]] = {}
    for name in frame.columns:
        column = frame[name]
        numeric = getattr(column.dtype, "_is_numeric", column.dtype.kind in "buif")
        columns[str(name)] = (
            column.to_numpy(dtype=np.float64, na_value=np.nan)
            if _nullable(column, numeric)
            else (column.to_numpy() if numeric else column.to_numpy(dtype=object))
        )
    return columns


def _nullable(column: Any, numeric: bool) -> bool:
    return bool(numeric and column.isna().any())
