"""From what people have to checked arrays, from arrays to tensors a few rows at a time, and back to NumPy."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data
from torch import Tensor, nn

from deepbelief.data.arrays import as_weight, image_shape_of
from deepbelief.data.memmap import release_pages
from deepbelief.data.part import VIEWS, is_mapped, part_of
from deepbelief.errors import InvalidDataError

TYPES = (np.float64, np.float32, np.uint8)  # kept as they are; all else becomes the first of them
CHUNK = 8192  # rows made dense and moved to the device at a time


def flat(x: Any) -> Any:
    """`x` as scikit-learn likes it: torch tensors become NumPy arrays, images (n, h, w[, c]) become rows."""
    if isinstance(x, Tensor):
        dense = x.detach().cpu() if x.layout == torch.strided else x.detach().cpu().to_dense()
        x = (dense.float() if dense.dtype in (torch.bfloat16, torch.float16) else dense).numpy()
    if not image_shape_of(x):
        return x
    return (x if isinstance(x, np.memmap) else np.asarray(x)).reshape(len(x), -1)


def checked(estimator: BaseEstimator, x: Any, *, reset: bool = False, allow_nan: bool = False) -> Any:
    """`x` as a matrix of floats or bytes (csr where it was sparse), with its width and column names checked."""
    finite: Any = "allow-nan" if allow_nan else True
    options = {"accept_sparse": "csr", "dtype": TYPES, "ensure_all_finite": finite}
    if is_mapped(x) and x.dtype in TYPES:
        return _checked_in_chunks(estimator, flat(x), reset, options)
    return validated(estimator, x, reset=reset, **options)


def validated(estimator: BaseEstimator, x: Any, *y: Any, **options: Any) -> Any:
    """`x`, `flat`, by scikit-learn's `validate_data`; text in it is told with where it is and what to do."""
    try:
        return validate_data(estimator, flat(x), *y, **options)
    except ValueError as error:
        before, _, text = str(error).partition("could not convert string to float: ")
        kinds = dict(x.dtypes.items()) if hasattr(getattr(x, "dtypes", None), "items") else {}
        columns = [repr(name) for name, kind in kinds.items() if kind.kind not in "biuf"]
        if before or not text or not (columns or np.asarray(x).dtype.kind in "OUS"):
            raise
        where = f" in {', '.join(columns[:5])}" if columns else ""
        remedy = "Code it as numbers first, as pandas.get_dummies(X) or scikit-learn's OneHotEncoder do."
        raise InvalidDataError(f"X must hold numbers. Got the text {text}{where}. {remedy}") from None


def _checked_in_chunks(estimator: BaseEstimator, x: Any, reset: bool, options: dict[str, Any]) -> Any:
    """A mapped file may be larger than memory: its pages must not all be here at once, and it stays a mapped file."""
    first = x[:1] if isinstance(x, VIEWS) else x
    validate_data(estimator, first, reset=reset, **options | {"ensure_all_finite": False})
    _check_chunks(estimator, x, options)
    return x


def _check_chunks(estimator: BaseEstimator, x: Any, options: dict[str, Any]) -> None:
    for rows in dense_chunks(x):
        validate_data(estimator, rows, reset=False, **options)


def checked_pair(estimator: BaseEstimator, x: Any, y: Any, **options: Any) -> tuple[Any, Any]:
    """`x` and `y` of a supervised fit, checked together; a mapped file stays one, as in `checked`."""
    of_x: dict[str, Any] = {"accept_sparse": "csr", "dtype": TYPES}
    if not (is_mapped(x) and x.dtype in TYPES):
        return validated(estimator, x, y, **of_x, **options)
    rows = flat(x)
    _, target = validate_data(estimator, rows, y, **of_x, **options, ensure_all_finite=False)
    _check_chunks(estimator, rows, of_x)
    return rows, target


def checked_weight(sample_weight: Any, n_cases: int) -> NDArray[np.float32] | None:
    """Case weights: one per case, none negative, not all zero; None stays None."""
    return None if sample_weight is None else as_weight(sample_weight, n_cases, name="sample_weight").numpy()


def without_weightless(weight: NDArray[np.float32] | None, *arrays: Any) -> tuple[Any, ...]:
    """The rows of `weight` and of each array whose weight is above 0: a weight of 0 is a case that is not there.

    Of a mapped file these rows are a view, not a copy.
    """
    if weight is None or weight.all():
        return weight, *arrays
    kept = np.flatnonzero(weight)
    return weight[kept], *(part_of(array, kept) for array in arrays)


def working_type(x: Any, device: torch.device) -> torch.dtype:
    """float64 in, float64 out; all else is computed in float32."""
    return torch.float64 if x.dtype == np.float64 and device.type != "mps" else torch.float32


def dense_chunks(x: Any, size: int = CHUNK) -> Iterator[NDArray[Any]]:
    """The rows of a dense or sparse matrix, `size` at a time, dense."""
    for first in range(0, x.shape[0], size):
        rows = x[first : first + size]
        yield rows.toarray() if sparse.issparse(rows) else rows
        release_pages(x)


def to_tensor(rows: NDArray[Any], dtype: torch.dtype, device: torch.device) -> Tensor:
    """A tensor of `rows`; memory that may not be written to, or lies backwards, is copied: torch cannot share it."""
    shareable = rows.flags.writeable and all(stride >= 0 for stride in rows.strides)
    return torch.as_tensor(rows if shareable else rows.copy()).to(device, dtype)


def device_of(module: nn.Module) -> torch.device:
    """Where the module's parameters are."""
    return next(module.parameters()).device


def in_type(module: Any, dtype: torch.dtype) -> Any:
    """`module` itself if it has this type already, else a copy in it."""
    return module if next(module.parameters()).dtype == dtype else copy.deepcopy(module).to(dtype)


def through(
    module: nn.Module, function: Callable[[Any, Tensor], Tensor], x: Any, inward: Callable[[Any], Any]
) -> NDArray[Any]:
    """``function(module, rows)`` for all rows of `x` in its own type, gathered into one array on the CPU."""
    device = device_of(module)
    dtype = working_type(x, device)
    twin = in_type(module, dtype)
    with torch.no_grad():
        parts = [function(twin, to_tensor(inward(rows), dtype, device)).cpu() for rows in dense_chunks(x)]
    return torch.cat(parts).numpy()
