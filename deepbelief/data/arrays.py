"""Turn what people have (arrays, tensors, sparse matrices, frames, lists) into checked tensors, cases first."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from deepbelief.errors import InvalidDataError

FRAME_LIBRARIES = ("pandas", "polars")


def as_matrix(
    x: Any,
    *,
    name: str = "X",
    dtype: torch.dtype | None = torch.float32,
    allow_nan: bool = False,
    names: list[str] | None = None,
) -> Tensor:
    """`x` as an (n, d) tensor of finite numbers; images (n, h, w) or (n, h, w, c) are flattened row by row.

    Takes NumPy arrays, torch tensors (dense or sparse), scipy sparse matrices, pandas and polars frames and nested
    lists. ``dtype=None`` keeps bytes as bytes (booleans become bytes of 0 and 1) and makes float32 of all else.
    ``allow_nan`` lets NaN through, for data with missing entries. ``names`` are the columns' names for messages, where
    `x` is no frame.

    Raises `InvalidDataError` for NaN or infinite entries (with their place), no cases or no columns, a wrong number of
    dimensions, and columns that hold no numbers (by name).

    >>> as_matrix([[0, 1], [2, 3]]).dtype
    torch.float32
    >>> as_matrix(np.zeros((5, 8, 8), dtype=np.uint8), dtype=None).shape
    torch.Size([5, 64])
    """
    raw = _to_tensor(x, name)
    _check_shape(raw, name)
    matrix = raw.reshape(len(raw), -1).to(_target_dtype(raw, dtype))
    check_finite(matrix, name, names or feature_names(x), allow_nan)
    return matrix


def as_target(y: Any, n_cases: int, *, name: str = "y") -> Tensor:
    """Labels or targets as a tensor of `n_cases` rows: whole numbers become int64, other numbers float32.

    >>> as_target([0, 2, 1], 3)
    tensor([0, 2, 1])
    """
    raw = _to_tensor(y, name)
    if raw.ndim == 2 and raw.shape[1] == 1:
        raw = raw[:, 0]
    if raw.ndim not in (1, 2):
        raise InvalidDataError(f"{name} must have 1 or 2 dimensions. Got shape {tuple(raw.shape)}.")
    if len(raw) != n_cases:
        raise InvalidDataError(f"{name} must have one row per case. Got {len(raw)} rows for {n_cases} cases.")
    target = raw.to(torch.float32 if raw.is_floating_point() else torch.int64)
    check_finite(target.reshape(n_cases, -1), name, None, allow_nan=False)
    return target


def as_weight(weight: Any, n_cases: int, *, name: str = "weight") -> Tensor:
    """Case weights as float32: one per case, none negative, not all zero."""
    target = as_target(weight, n_cases, name=name).to(torch.float32)
    if target.ndim != 1:
        raise InvalidDataError(f"{name} must have one number per case. Got shape {tuple(target.shape)}.")
    if target.min() < 0:
        raise InvalidDataError(f"{name} must be at least 0. Got {target.min().item():g}.")
    if not target.any():
        raise InvalidDataError(f"{name} must be above 0 for some case. Got {n_cases} zeros.")
    return target


def feature_names(x: Any) -> list[str] | None:
    """The column names of a frame, or None where `x` has none (or they are no strings).

    >>> feature_names(np.zeros((2, 3))) is None
    True
    """
    if not is_frame(x):
        return None
    names = list(x.columns)
    return names if all(isinstance(name, str) for name in names) else None


def is_frame(x: Any) -> bool:
    """Whether `x` is a pandas or polars frame; neither library is imported to find out."""
    return type(x).__module__.split(".")[0] in FRAME_LIBRARIES and hasattr(x, "columns")


def image_shape_of(x: Any) -> tuple[int, ...] | None:
    """(h, w) or (h, w, c) where `x` is a stack of images, else None.

    >>> image_shape_of(np.zeros((5, 28, 28)))
    (28, 28)
    """
    shape = tuple(getattr(x, "shape", ()))
    return tuple(int(size) for size in shape[1:]) if len(shape) in (3, 4) else None


def _to_tensor(x: Any, name: str) -> Tensor:
    if isinstance(x, Tensor):
        dense = x.detach()
        dense = dense if dense.layout == torch.strided else dense.to_dense()
        return _check_real(dense, name)
    if sparse.issparse(x):
        return _from_numpy(x.toarray(), name)
    if is_frame(x):
        return _from_numpy(_frame_to_numpy(x, name), name)
    try:
        return _from_numpy(np.asarray(x), name)
    except ValueError as error:
        if isinstance(error, InvalidDataError):
            raise
        raise InvalidDataError(f"{name} must be a rectangular array of numbers. Got rows of unequal length.") from error


def _frame_to_numpy(frame: Any, name: str) -> NDArray[Any]:
    columns = [(str(label), frame[label]) for label in frame.columns]
    if len({label for label, _ in columns}) < len(columns):
        raise InvalidDataError(f"{name} must have distinct column names. Got {[label for label, _ in columns]}.")
    arrays = {label: _column_to_numpy(column) for label, column in columns}
    text = [label for label, array in arrays.items() if array.dtype.kind not in "buif"]
    if text:
        raise InvalidDataError(
            f"{name} must hold numbers only. Got non-numeric columns {', '.join(map(repr, text))}. "
            "Drop them, encode them as numbers, or name one as the label."
        )
    return np.column_stack(list(arrays.values())) if arrays else np.empty((len(frame), 0), dtype=np.float32)


def _column_to_numpy(column: Any) -> NDArray[Any]:
    values = np.asarray(column.to_numpy())
    # nullable numbers arrive as objects, and so does text
    if values.dtype.kind != "O" or not all(isinstance(v, numbers.Real) or _is_missing(v) for v in values):
        return values
    return np.array([np.nan if _is_missing(value) else float(value) for value in values], dtype=np.float64)


def _is_missing(value: Any) -> bool:
    return value is None or type(value).__name__ == "NAType" or bool(value != value)


def _from_numpy(array: NDArray[Any], name: str) -> Tensor:
    if array.dtype.kind == "c":
        raise InvalidDataError(f"{name} must hold real numbers. Complex data not supported. Got {array.dtype}.")
    if array.dtype.kind == "O":
        array = _objects_to_floats(array, name)
    if array.dtype.kind not in "buif":
        raise InvalidDataError(f"{name} must hold numbers. Got type {array.dtype}. Encode text as numbers first.")
    array = array.astype(_torch_friendly(array.dtype), copy=False)
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()
    return torch.from_numpy(array)


def _objects_to_floats(array: NDArray[Any], name: str) -> NDArray[np.float64]:
    try:
        return array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidDataError(f"{name} must hold numbers. Got Python objects: {error}.") from error


def _torch_friendly(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The nearest type that torch knows: native byte order, signed words, no long doubles."""
    unsigned = {2: np.int32, 4: np.int64, 8: np.int64}
    if dtype.kind == "u" and dtype.itemsize in unsigned:
        return np.dtype(unsigned[dtype.itemsize])
    if dtype.kind == "f" and dtype.itemsize > 8:
        return np.dtype(np.float64)
    return dtype.newbyteorder("=")


def _check_real(x: Tensor, name: str) -> Tensor:
    if x.is_complex():
        raise InvalidDataError(f"{name} must hold real numbers. Complex data not supported. Got {x.dtype}.")
    return x


def _target_dtype(raw: Tensor, dtype: torch.dtype | None) -> torch.dtype:
    if dtype is not None:
        return dtype
    return torch.uint8 if raw.dtype in (torch.uint8, torch.bool) else torch.float32


def _check_shape(x: Tensor, name: str) -> None:
    shape = tuple(x.shape)
    if x.ndim < 2:
        raise InvalidDataError(
            f"{name} must have 2 dimensions (cases, columns). Got shape {shape}. Reshape your data: "
            f"{name}.reshape(1, -1) makes one case of it, {name}.reshape(-1, 1) one column."
        )
    if x.ndim > 4:
        raise InvalidDataError(f"{name} must be (cases, columns) or images (n, h, w[, c]). Got shape {shape}.")
    if x.numel() == 0:
        raise InvalidDataError(f"{name} must have at least one case and one column. Got shape {shape}.")


def check_finite(x: Tensor, name: str, names: list[str] | None, allow_nan: bool) -> None:
    """Refuse infinities and (unless allowed) NaN in a matrix, with their place."""
    if not x.is_floating_point() or bool(torch.isfinite(x.sum())):  # a sum that overflows is looked at entry by entry
        return
    bad = torch.isinf(x) if allow_nan else ~torch.isfinite(x)
    if not bool(bad.any()):
        return
    row, column = (int(i) for i in bad.nonzero()[0])
    place = f"row {row}, column {names[column]!r}" if names else f"row {row}, column {column}"
    what = "NaN" if bool(torch.isnan(x[row, column])) else "infinity (or a number too large for its type)"
    raise InvalidDataError(
        f"{name} must be finite. Got {what} in {place} ({int(bad.sum())} of {x.numel()} entries). "
        "Remove or fill these entries, or complete them with a model that was trained on whole cases."
    )
