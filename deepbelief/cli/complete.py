"""``deepbelief complete``: fill in what is missing."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepbelief.cli.conditions import Condition, condition_of_cases, refuse_condition
from deepbelief.cli.faces import find_face
from deepbelief.cli.models import (
    CasesFile,
    Label,
    ModelFolder,
    check_out,
    load_stack,
    read_cases,
    write_pictures,
    write_rows,
)
from deepbelief.cli.shared import Json, Seed, bold, print_json, tell
from deepbelief.errors import InvalidArgumentError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from deepbelief.recipes.run_data import Preparation


class Given(StrEnum):
    """Which part of each case is given."""

    left = "left"
    right = "right"
    top = "top"
    bottom = "bottom"
    random = "random"


def complete(
    model: ModelFolder,
    file: CasesFile,
    given: Annotated[
        Given | None,
        typer.Option("--mask", help="The half that is given [default: all entries but empty or NaN ones]."),
    ] = None,
    label: Label = None,
    condition: Condition = None,
    most: Annotated[int | None, typer.Option("--n", "-n", min=1, help="Only the first so many cases.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the clamped chain.")] = 200,
    out: Annotated[
        Path | None, typer.Option(help="A .npy, .csv or .png file [default: csv on standard output].")
    ] = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Fill in missing entries with their mean given the rest; what is given stays as it is.

    Missing are empty and NaN entries, or with `--mask left` all but the left half of each picture.

    Examples:

    - `deepbelief complete runs/measurements holes.csv --out whole.csv`

    - `deepbelief complete runs/digits digits --mask left -n 25 --out completed.png`

    - `deepbelief complete runs/vae holes.csv --condition rose`, with a conditional model
    """
    import torch

    from deepbelief.rng import make_generator

    face = find_face(model)
    how = load_stack(model)[1] if face is None else face.how
    check_out(out, how.image_shape, pictures=True)
    generator = make_generator(seed)
    x = how.shown(read_cases(file, how, label, allow_nan=True)[:most])
    known = ~torch.isnan(x) & known_entries(given, how, len(x), generator)
    if bool(known.all()):
        raise InvalidArgumentError(
            "FILE must have empty or NaN entries to fill in. Got none. Hide some, for example with --mask left."
        )
    shown = torch.where(known, x, 0.0)
    if face is not None:
        given_each = condition_of_cases(face, condition, file, label, len(x))
        rows = face.complete(shown, known, condition=given_each, seed=seed, steps=steps)
    else:
        refuse_condition(condition)
        rows = how.raw(load_stack(model)[0].complete(shown, known, n_steps=steps, generator=generator))
    if out is not None and out.suffix == ".png":
        write_pictures(rows, how.image_shape, out)
    elif out is not None or not json:
        write_rows(rows, out, how.feature_names)
    filled = int((~known).sum())
    if json:
        print_json(
            {"filled": filled, "cases": None if out else rows.tolist(), "file": None if out is None else str(out)}
        )
    elif out is not None:
        tell(f"Filled in {filled:,} entries of {len(x):,} cases; they are in {bold(out)}.")


def known_entries(given: Given | None, how: Preparation, n: int, generator: torch.Generator) -> Tensor:
    """(n, features): True where an entry is given."""
    import torch

    from deepbelief.data.masks import random_mask
    from deepbelief.evaluation.pictures import picture_half

    if given is None:
        return torch.ones(n, how.n_features, dtype=torch.bool)
    if given is Given.random:
        return random_mask(n, how.n_features, 0.5, generator)
    if how.image_shape is None:
        raise InvalidArgumentError(
            f"--mask must be random for data that are no pictures. Got {given.value!r}. Use --mask random."
        )
    return picture_half(how.image_shape, given.value).expand(n, -1)
