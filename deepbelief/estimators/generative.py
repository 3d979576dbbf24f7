"""What estimators of a generative module share: codes, samples, completions, scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import check_array
from torch import Tensor

from deepbelief.energy.partition.choose import log_z as choose_log_z
from deepbelief.errors import InvalidDataError, check_count
from deepbelief.estimators.arrays import (
    CHUNK,
    checked,
    dense_chunks,
    device_of,
    flat,
    in_type,
    through,
    to_tensor,
    working_type,
)
from deepbelief.estimators.columns import Columns
from deepbelief.estimators.learning import binarizer_of
from deepbelief.estimators.rowwise import hash_of_each_row
from deepbelief.estimators.seeds import seed_of
from deepbelief.rng import make_generator
from deepbelief.types import Bound

Array = NDArray[Any]
LOG_Z_STREAM, SAMPLE_STREAM, COMPLETE_STREAM, BITS_STREAM, START_STREAM = (
    101,
    102,
    103,
    104,
    106,
)  # apart from the streams of learning


def encode(module: Any, columns: Columns, x: Any) -> Array:
    """The means of the last hidden layer."""
    return through(module, lambda twin, rows: twin.encode(rows), x, columns.inward)


def decode(module: Any, columns: Columns, z: Array) -> Array:
    """The means of the data given codes, on the data's scale."""
    return columns.outward(through(module, lambda twin, rows: twin.decode(rows), z, lambda rows: rows))


def sample(module: Any, columns: Columns, n: int, random_state: Any, **options: Any) -> Array:
    """`n` draws of the module, on the data's scale."""
    generator = make_generator(seed_of(random_state), device_of(module), stream=SAMPLE_STREAM)
    return columns.outward(module.sample(n, generator=generator, **options).cpu().numpy())


def known_entries(x: Array, known: Any) -> NDArray[np.bool_]:
    """Where `x` holds data: where it is not NaN, and where `known`, (d,) or (n, d), says so if it is given."""
    there = ~np.isnan(x) if x.dtype.kind == "f" else np.ones(x.shape, dtype=bool)
    if known is None:
        return there
    given = np.asarray(known)
    if given.dtype != bool or given.shape not in (x.shape, x.shape[1:]):
        raise InvalidDataError(
            f"known must be booleans of shape {x.shape} or {x.shape[1:]}. Got {given.dtype} {given.shape}."
        )
    if (given & ~there).any():
        raise InvalidDataError("known must be False where X is NaN. Got a NaN that is said to be known. Mark it False.")
    return np.broadcast_to(given, x.shape)


def complete(estimator: Any, module: Any, columns: Columns, x: Any, known: Any, random_state: Any, **o: Any) -> Array:
    """`x` with what is missing filled in by its mean given the rest; known entries come back as they were.

    A `condition` among the options has a row for each of `x`.
    """
    data = checked(estimator, x, allow_nan=True)
    data = data.toarray() if hasattr(data, "toarray") else data
    mask = known_entries(data, known)
    device = device_of(module)
    dtype = working_type(data, device)
    twin = in_type(module, dtype)
    generator = make_generator(seed_of(random_state), device, stream=COMPLETE_STREAM)
    condition, parts = o.pop("condition", None), []
    for first in range(0, len(data), CHUNK):
        rows, there = data[first : first + CHUNK], mask[first : first + CHUNK]
        inner = to_tensor(np.nan_to_num(columns.inward(np.where(there, rows, 0))), dtype, device)
        own = {} if condition is None else {"condition": condition[first : first + CHUNK]}
        filled = twin.complete(inner, torch.tensor(there, device=device), generator=generator, **own, **o)
        parts.append(np.where(there, rows, columns.outward(filled.cpu().numpy())))
    return np.concatenate(parts)


def as_seen(estimator: Any, rows: Tensor, seed: int) -> Tensor:
    """`rows` as the units learned them: in bits where the estimator binarizes."""
    binarizer = binarizer_of(estimator, seed)
    if binarizer is None:
        return rows
    return binarizer.apply(rows, make_generator(seed, rows.device, stream=BITS_STREAM))


def all_rows(estimator: Any, module: Any, columns: Columns, x: Any, dtype: torch.dtype | None = None) -> Tensor:
    """All rows of `x` as the units see them, in one tensor on the module's device."""
    device = device_of(module)
    dtype = working_type(x, device) if dtype is None else dtype
    rows = torch.cat([to_tensor(columns.inward(chunk), dtype, device) for chunk in dense_chunks(x)])
    return as_seen(estimator, rows, seed_of_scores(estimator))


def seed_of_scores(estimator: Any) -> int:
    """The seed of everything that scoring draws: the one that the last fit used."""
    return int(estimator._seed)


def log_z_of(estimator: Any, rbm: Any) -> Bound:
    """log Z of two layers, computed when first asked for and kept until the next fit."""
    if estimator._log_z is None:
        generator = make_generator(seed_of_scores(estimator), device_of(rbm), stream=LOG_Z_STREAM)
        estimator._log_z = choose_log_z(rbm, generator=generator)
    return estimator._log_z


def on_data_scale(bound: Bound, columns: Columns) -> Bound:
    """A log density of standardized columns as one of the columns themselves."""
    shift = columns.log_scale
    ends = [None if end is None else end - shift for end in (bound.low, bound.high)]
    return Bound(bound.value - shift, bound.kind, bound.stderr, bound.method, *ends)


def checked_codes(z: Any, width: int) -> Array:
    """Codes as a float matrix of `width` columns."""
    codes = check_array(flat(z), dtype=(np.float64, np.float32))
    if codes.shape[1] != width:
        raise InvalidDataError(f"X must have {width} columns, one for each hidden unit. Got {codes.shape[1]}.")
    return codes


@torch.no_grad()
def likelihood_row_by_row(estimator: Any, module: Any, columns: Columns, x: Any, **options: Any) -> Bound:
    """The module's `log_likelihood` of each case, by draws that depend on the seed and on that case alone.

    So a case's score does not depend on its company. The errors of the cases' values are independent.
    """
    rows = all_rows(estimator, module, columns, checked(estimator, x))
    twin, generator = in_type(module, rows.dtype), torch.Generator(device=rows.device)
    found = []
    for row, key in zip(rows, hash_of_each_row(rows.cpu().numpy(), seed_of_scores(estimator)), strict=True):
        found.append(twin.log_likelihood(row.unsqueeze(0), generator=generator.manual_seed(int(key)), **options))
    first = found[0]
    ends = [_mean_of([getattr(bound, end) for bound in found]) for end in ("low", "high")]
    error = float(np.sqrt(np.mean(np.square([bound.stderr for bound in found])) / len(found)))
    value = torch.cat([bound.value for bound in found])
    return on_data_scale(Bound(value, first.kind, error, first.method, *ends), columns)


@torch.no_grad()
def bound_of_stack(estimator: Any, module: Any, columns: Columns, x: Any, n_samples: int) -> Bound:
    """The lower bound of each case by a belief network (for one layer without labels, the RBM's own number)."""
    check_count("n_samples", n_samples, low=1)
    rows = all_rows(estimator, module, columns, checked(estimator, x))
    generator = make_generator(seed_of_scores(estimator), rows.device, stream=LOG_Z_STREAM)
    options = {"generator": generator, "log_z": log_z_of(estimator, module.top), "n_samples": n_samples}
    return on_data_scale(in_type(module, rows.dtype).log_likelihood(rows, **options), columns)


def values_of(bound: Bound) -> Array:
    """The values of the cases as an array: (n_samples,)."""
    assert isinstance(bound.value, Tensor)
    return bound.value.cpu().numpy()


def _mean_of(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def starting_rows(columns: Columns, x: Any, seed: int, dtype: torch.dtype) -> tuple[Tensor, NDArray[np.int64]]:
    """Cases to start learning from, as the units see them, and which they are: of many a random part is enough."""
    order = torch.randperm(x.shape[0], generator=make_generator(seed, stream=START_STREAM))[:CHUNK].numpy()
    return to_tensor(columns.inward(next(dense_chunks(x[order]))), dtype, torch.device("cpu")), order
