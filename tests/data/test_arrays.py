"""What people hand in becomes one checked tensor, or one sentence."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy import sparse

from deepbelief.data.arrays import as_matrix, as_target, as_weight, feature_names, image_shape_of
from deepbelief.errors import InvalidDataError

NUMBERS = [[0.0, 1.5], [2.0, 3.0], [4.0, 5.0]]


@pytest.mark.parametrize(
    "x",
    [
        NUMBERS,
        np.array(NUMBERS),
        np.array(NUMBERS, dtype=">f4"),
        np.array(NUMBERS)[::-1][::-1],
        np.asfortranarray(NUMBERS),
        np.array(NUMBERS, dtype=object),
        np.array(NUMBERS, dtype=np.float16),
        np.array(NUMBERS, dtype=np.longdouble),
        torch.tensor(NUMBERS, dtype=torch.float64, requires_grad=True),
        torch.tensor(NUMBERS).to_sparse(),
        sparse.csr_matrix(NUMBERS),
        sparse.coo_array(NUMBERS),
        pd.DataFrame(NUMBERS),
        pd.DataFrame(NUMBERS, columns=["a", "b"], dtype="Float64"),
        pd.DataFrame(NUMBERS, columns=["a", "b"], dtype=object),
        pl.DataFrame(NUMBERS, orient="row"),
    ],
    ids=lambda x: f"{type(x).__module__}.{type(x).__name__}-{getattr(x, 'dtype', '')}",
)
def test_every_container_gives_the_same_matrix(x):
    matrix = as_matrix(x)
    assert matrix.dtype == torch.float32
    assert not matrix.requires_grad
    torch.testing.assert_close(matrix, torch.tensor(NUMBERS), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [np.uint8, bool])
def test_bytes_stay_bytes_when_asked(dtype):
    x = np.array([[0, 1], [1, 1]], dtype=dtype)
    kept = as_matrix(x, dtype=None)
    assert kept.dtype == torch.uint8
    assert kept.tolist() == [[0, 1], [1, 1]]
    assert as_matrix(x).dtype == torch.float32


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.uint64, np.int8, np.int64])
def test_wide_integers_become_floats(dtype):
    assert as_matrix(np.array([[0, 200 % np.iinfo(dtype).max]], dtype=dtype), dtype=None).dtype == torch.float32


def test_images_are_flattened_row_by_row():
    images = np.arange(2 * 3 * 4 * 3).reshape(2, 3, 4, 3)
    assert as_matrix(images)[1].tolist() == images[1].ravel().tolist()
    assert image_shape_of(images) == (3, 4, 3)
    assert image_shape_of(np.zeros((4, 3))) is None


def test_read_only_arrays_are_copied_rather_than_shared():
    x = np.zeros((2, 2), dtype=np.float32)
    x.flags.writeable = False
    as_matrix(x)[0, 0] = 1.0
    assert x[0, 0] == 0.0


@pytest.mark.parametrize(
    ("x", "sentence"),
    [
        ([[1.0, np.nan]], "X must be finite. Got NaN in row 0, column 1 (1 of 2 entries)"),
        ([[1.0], [np.inf]], "Got infinity (or a number too large for its type) in row 1, column 0"),
        (np.array([[1e300]]), "too large for its type"),
        (pd.DataFrame({"age": [1.0, np.nan]}), "Got NaN in row 1, column 'age'"),
        (pd.DataFrame({"age": pd.array([1, None], dtype="Int64")}), "Got NaN in row 1, column 'age'"),
        (np.empty((0, 3)), "at least one case and one column. Got shape (0, 3)"),
        (np.empty((3, 0)), "at least one case and one column. Got shape (3, 0)"),
        ([1.0, 2.0], "must have 2 dimensions (cases, columns). Got shape (2,). Reshape your data"),
        (3.0, "must have 2 dimensions"),
        (np.zeros((1, 1, 1, 1, 1)), "Got shape (1, 1, 1, 1, 1)"),
        ([[1.0, 2.0], [3.0]], "rectangular array of numbers. Got rows of unequal length"),
        ([["a", "b"]], "must hold numbers. Got type <U1"),
        (np.array([["a", 1]], dtype=object), "must hold numbers. Got Python objects"),
        (np.array([[1j]]), "Complex data not supported"),
        (torch.tensor([[1j]]), "Complex data not supported"),
        (pd.DataFrame({"n": [1], "town": ["Rome"], "day": [pd.Timestamp(0)]}), "non-numeric columns 'town', 'day'"),
        (pl.DataFrame({"n": [1], "town": ["Rome"]}), "non-numeric columns 'town'"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "distinct column names"),
    ],
)
def test_bad_data_gets_a_sentence(x, sentence):
    with pytest.raises(InvalidDataError) as caught:
        as_matrix(x)
    assert sentence in str(caught.value)


def test_missing_entries_pass_only_when_asked_and_infinity_never():
    assert torch.isnan(as_matrix([[np.nan, 1.0]], allow_nan=True)).tolist() == [[True, False]]
    with pytest.raises(InvalidDataError, match="infinity"):
        as_matrix([[np.nan, np.inf]], allow_nan=True)


def test_feature_names():
    assert feature_names(pd.DataFrame({"a": [1], "b": [2]})) == ["a", "b"]
    assert feature_names(pl.DataFrame({"a": [1]})) == ["a"]
    assert feature_names(pd.DataFrame([[1, 2]])) is None
    assert feature_names([[1, 2]]) is None


def test_targets_keep_their_kind():
    assert as_target(np.array([1, 0], dtype=np.uint8), 2).dtype == torch.int64
    assert as_target([0.5, 1.0], 2).dtype == torch.float32
    assert as_target([[1], [2]], 2).shape == (2,)
    assert as_target(pd.Series([1, 2]), 2).tolist() == [1, 2]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: as_target([1, 2], 3), "one row per case. Got 2 rows for 3 cases"),
        (lambda: as_target([1.0, np.nan], 2), "y must be finite"),
        (lambda: as_target(["cat", "dog"], 2), "must hold numbers"),
        (lambda: as_weight([1.0, -1.0], 2), "at least 0. Got -1"),
        (lambda: as_weight([0, 0], 2), "above 0 for some case"),
        (lambda: as_weight([[1, 2]], 1), "one number per case"),
    ],
)
def test_bad_targets_and_weights_get_a_sentence(make, sentence):
    with pytest.raises(InvalidDataError) as caught:
        make()
    assert sentence in str(caught.value)
