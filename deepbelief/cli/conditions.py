"""What conditional models are given beside the cases: a class, numbers, a file of them, or the labels of the cases."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepbelief.errors import InvalidArgumentError, InvalidDataError, check, check_choice

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deepbelief.cli.faces import Face

Condition = Annotated[
    str | None,
    typer.Option(
        metavar="CLASS|NUMBERS|FILE",
        help="What a conditional model is given: a class, numbers like 0.5,2 or a file with a row for each case "
        "[default: the label column of FILE].",
    ),
]


def width_of(estimator: Any) -> int | None:
    """How many numbers the condition of an estimator has; None for one that takes none."""
    if type(estimator).__name__ == "ConditionalRBM":
        return int(estimator.module_.n_context)
    if not getattr(estimator, "conditional", False):
        return None
    return len(estimator.classes_) if hasattr(estimator, "classes_") else int(estimator._n_condition)


def class_value(face: Face, name: str, option: str) -> Any:
    """The label that an estimator knows a class by, from the name or number that a person gives."""
    known, names = getattr(face.estimator, "classes_", None), face.how.class_names
    if names is not None:
        check_choice(option, name, names)
        return names.index(name)
    if known is None:
        check(name.isdigit(), f"{option} must be a class number, for this model knows no names. Got {name!r}.")
        return int(name)
    by_name = {str(value): value for value in known.tolist()}
    check_choice(option, name, by_name)
    return by_name[name]


def given_condition(face: Face, given: str, n: int) -> Any:
    """The condition of `n` cases that ``--condition`` names: a class's label, or rows of numbers (n, width)."""
    width, kind = width_of(face.estimator), type(face.estimator).__name__
    if width is None:
        raise InvalidArgumentError(f"--condition must be left out. Got {given!r} for {kind}, which takes none.")
    if hasattr(face.estimator, "classes_"):
        return class_value(face, given, "--condition")
    rows = _numbers(given)
    if rows.shape[1] != width:
        raise InvalidArgumentError(f"--condition must have {width} numbers, as in fit. Got {rows.shape[1]}.")
    if len(rows) not in (1, n):
        raise InvalidArgumentError(f"--condition must have one row, or one for each of {n} cases. Got {len(rows)}.")
    return rows.repeat(n, 0) if len(rows) == 1 else rows


def condition_of_cases(face: Face, given: str | None, file: str, label: str | None, n: int) -> Any:
    """The condition of the first `n` cases of a file: as it was given, else the file's labels; None where none is."""
    if given is not None:
        return given_condition(face, given, n)
    if width_of(face.estimator) is None:
        return None
    if getattr(face.estimator, "_of_frames", False):
        return None  # frames of a sequence are each other's condition
    return _labels(face, file, label)[:n]


def refuse_condition(condition: str | None) -> None:
    """Raise where a stack, which takes none, is given a condition."""
    check(condition is None, f"--condition must be left out for a DBN or an RBM of `train`. Got {condition!r}.")


def _numbers(given: str) -> NDArray[Any]:
    import numpy as np

    from deepbelief.data.files import read_file

    if Path(given).exists():
        return np.asarray(read_file(given).x, dtype=np.float64)
    try:
        return np.array([[float(part) for part in given.split(",")]])
    except ValueError as error:
        raise InvalidArgumentError(
            f"--condition must be numbers like 0.5,2 or a file that exists. Got {given!r}."
        ) from error


def _labels(face: Face, file: str, label: str | None) -> Any:
    """The labels of a file's cases, or of a named set's test cases, as the estimator knows them."""
    import numpy as np

    from deepbelief.data.files import read_file
    from deepbelief.data.registry import SETS
    from deepbelief.data.sets import load_set

    how, kind = face.how, type(face.estimator).__name__
    if file in SETS and not Path(file).exists():
        found = load_set(file, split="test").y
        return None if found is None else found.numpy()
    column = label or how.label
    remedy = "Say --condition, or name the column of each case's condition with --label."
    if column is None or kind == "ConditionalRBM":
        raise InvalidArgumentError(f"a conditional {kind} must be given a condition. Got none. {remedy}")
    try:
        table = read_file(file, label=column, key=how.key, target=how.task or "auto", allow_nan=True)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"a conditional {kind} must be given a condition. Got: {error} {remedy}") from error
    assert table.y is not None
    y = table.y.numpy()
    if table.class_names is None:
        return y.reshape(len(y), -1)
    if (y < 0).any():
        raise InvalidDataError(f"{column} must be there for every case. Got none in row {int((y < 0).argmax())}.")
    values = [class_value(face, name, column) for name in table.class_names]
    return np.asarray(values)[y]
