"""``deepbelief walk``: ways through the space of codes, each over its twin in pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepbelief.cli.conditions import Condition, condition_of_cases, given_condition, refuse_condition
from deepbelief.cli.faces import Face, find_face
from deepbelief.cli.models import Label, ModelFolder, load_stack, read_cases, write_rows
from deepbelief.cli.shared import Json, Seed, bold, print_json, tell
from deepbelief.errors import InvalidArgumentError, check, check_choice, check_count

if TYPE_CHECKING:
    from torch import Tensor

    from deepbelief.recipes.run_data import Preparation

SUFFIXES = (".png", ".csv", ".npy")
TAIL = 0.05  # of the cases at each end of a traversal: their codes are no further out


class Way(StrEnum):
    """The way between two codes."""

    straight = "straight"
    spherical = "spherical"


@dataclass(frozen=True)
class Ground:
    """What is walked on: a coder, the cases of the file with their condition rows, and how to write cases back."""

    coder: Any
    how: Preparation
    x: Tensor
    condition: Tensor | None
    image_shape: list[int] | None
    written: Callable[[Tensor], Tensor]

    def given(self, rows: list[int] | None = None) -> dict[str, Any]:
        """The condition of some cases, as the functions of `evaluation.latent` take it."""
        return {} if self.condition is None else {"condition": self.condition if rows is None else self.condition[rows]}


def walk(
    model: ModelFolder,
    file: Annotated[
        str | None,
        typer.Argument(metavar="FILE", help="A file or a named set to walk in; none for a GAN, which walks in noise."),
    ] = None,
    rows: Annotated[
        str, typer.Option(help="Rows of FILE, from 0: a walk goes from each to the next; others start at each.")
    ] = "0,1",
    path: Annotated[Way | None, typer.Option(help="The way between two codes [default: straight].")] = None,
    add: Annotated[
        str | None, typer.Option(metavar="CLASS", help="Add an attribute: the mean code of this class less another.")
    ] = None,
    less: Annotated[
        str | None, typer.Option(metavar="CLASS", help="The class whose mean code is taken off [default: all others].")
    ] = None,
    unit: Annotated[str | None, typer.Option(help="Move these numbers of the code alone, from 0, like 0,3.")] = None,
    values: Annotated[
        str | None,
        typer.Option(
            help="How much is added [default: from 0 to 1], or what the units are set to "
            "[default: from the 5 % to the 95 % quantile of the cases in FILE]."
        ),
    ] = None,
    n: Annotated[int, typer.Option("--n", "-n", min=2, help="Steps of a walk, both ends included.")] = 8,
    walks: Annotated[
        int | None, typer.Option(min=1, help="How many walks between draws of a GAN's noise [default: 4].")
    ] = None,
    seed: Seed = 0,
    label: Label = None,
    condition: Condition = None,
    out: Annotated[
        Path | None, typer.Option(help="A .png, .csv or .npy file [default: csv on standard output].")
    ] = None,
    json: Json = False,
) -> None:
    """Walk through codes: between cases, along an attribute, along one number of the code, or through a GAN's noise.

    In the picture each walk in codes stands over its twin in pixels; one that looks no better shows nothing.

    Examples:

    - `deepbelief walk runs/VAE-digits digits --rows 0,1,2 --out walks.png`

    - `deepbelief walk runs/VAE-digits digits --add 8 --less 3 --rows 13,23 --out eights.png`

    - `deepbelief walk runs/VAE-digits digits --unit 0,1 --rows 0 --out numbers.png`

    - `deepbelief walk runs/GAN-digits --walks 4 --out noise.png`
    """
    _check_options(path, add, less, unit, values, out)
    if file is None:
        check(None is add is unit, "--add and --unit must go with a FILE. Got none. Name the cases to start from.")
        pair, ground = _through_noise(model, walks or 4, n, path, condition, seed)
        _check_picture(out, ground.image_shape)
        _write(*pair, ground, out, json=json)
        return
    check(walks is None, f"--walks is for a GAN without a FILE. Got --walks {walks}. Name cases by --rows.")
    chosen, steps = _whole_numbers("--rows", rows), None if values is None else _numbers("--values", values)
    ground = _ground(model, file, label, condition, out)
    for row in chosen:
        check_count("--rows", row, low=0, high=len(ground.x) - 1)
    if add is not None:
        pair = _attribute(ground, chosen, steps, n, _sides(ground.how, file, label, add, less))
    elif unit is not None:
        pair = _traversal(ground, chosen, steps, n, _whole_numbers("--unit", unit))
    else:
        pair = _interpolation(ground, chosen, n, (path or Way.straight).value)
    codes, pixels = (ground.written(part) for part in pair)
    _write(codes, pixels, ground, out, json=json)


def _interpolation(ground: Ground, rows: list[int], n: int, path: str) -> tuple[Tensor, Tensor]:
    """(walks, n, features) by codes, and by pixels."""
    from deepbelief.evaluation.latent import beside_pixels, interpolate

    check(len(rows) >= 2, f"--rows must name 2 cases or more to walk between. Got {len(rows)}.")
    first, last = rows[:-1], rows[1:]
    given = ground.given(first)
    if given:
        given["last_condition"] = ground.given(last)["condition"]
    return beside_pixels(interpolate, ground.coder, ground.x[first], ground.x[last], n, path=path, **given)


def _attribute(
    ground: Ground, rows: list[int], amounts: list[float] | None, n: int, sides: tuple[list[int], list[int]]
) -> tuple[Tensor, Tensor]:
    """The attribute's vector among codes, and that among pixels, added in the same amounts."""
    import torch

    from deepbelief.evaluation.latent import PixelSpace, add_attribute, attribute_vector

    both = sides[0] + sides[1]
    has = torch.arange(len(both)) < len(sides[0])
    amounts = torch.linspace(0, 1, n).tolist() if amounts is None else amounts
    walks = []
    for space in (ground.coder, PixelSpace()):
        vector = attribute_vector(space, ground.x[both], has, **ground.given(both))
        walks.append(add_attribute(space, ground.x[rows], vector, amounts, **ground.given(rows)))
    return walks[0], walks[1]


def _traversal(
    ground: Ground, rows: list[int], values: list[float] | None, n: int, units: list[int]
) -> tuple[Tensor, Tensor]:
    """Each unit set to its values, over the line in pixels between both ends: a unit has no twin among the pixels."""
    import torch

    from deepbelief.evaluation.latent import cross_fade, traverse

    check(
        values is None or (len(values) >= 2 and values[0] != values[-1]),
        f"--values must be 2 numbers or more whose ends differ. Got {values}.",
    )
    z = ground.coder.encode(ground.x, **ground.given()).detach()
    walks, fades = [], []
    for index in units:
        check_count("--unit", index, low=0, high=z.shape[1] - 1)
        levels = _range(z[:, index], n) if values is None else values
        parts = [traverse(ground.coder, ground.x[[row]], levels, [index], **ground.given([row])) for row in rows]
        ends = torch.tensor(levels)
        walks.append(torch.cat(parts))
        fades.append(cross_fade(walks[-1], (ends - ends[0]) / (ends[-1] - ends[0])))
    return torch.cat(walks), torch.cat(fades)


def _through_noise(
    model: Path, walks: int, n: int, path: Way | None, condition: str | None, seed: int
) -> tuple[tuple[Tensor, Tensor], Ground]:
    """Walks between pairs of draws of the noise, on arcs unless told, over the lines in pixels between their ends."""
    import torch

    from deepbelief.evaluation.latent import PixelSpace, cross_fade

    face = find_face(model)
    if face is None or not hasattr(face.estimator, "interpolate"):
        raise InvalidArgumentError("FILE must name the cases to walk between. Got none. Only a GAN walks without.")
    label = None if condition is None else given_condition(face, condition, 1)
    way: dict[str, Any] = {"label": label, "spherical": path is not Way.straight}
    drawn = [face.estimator.interpolate(n, random_state=seed + walk, **way) for walk in range(walks)]
    found = torch.stack([torch.as_tensor(cases).float() for cases in drawn])
    shape = _shape_of(face, face.how)
    ground = Ground(PixelSpace(), face.how, found.flatten(0, 1), None, shape, lambda walks: walks)
    return (found, cross_fade(found, torch.linspace(0, 1, n))), ground


def _range(z: Tensor, n: int) -> list[float]:
    """`n` values between the quantiles of one number of the cases' codes."""
    import torch

    low, high = (float(torch.quantile(z, share)) for share in (TAIL, 1 - TAIL))
    if low == high:
        raise InvalidArgumentError(
            f"--values must say what a unit is set to that is alike in all cases. Got {low:g}. Say --values 0,0.5,1."
        )
    levels: list[float] = torch.linspace(low, high, n).tolist()
    return levels


def _ground(model: Path, file: str, label: str | None, condition: str | None, out: Path | None) -> Ground:
    face = find_face(model)
    how = load_stack(model)[1] if face is None else face.how
    shape = _shape_of(face, how)
    _check_picture(out, shape)
    if face is not None:
        return _face_ground(face, file, label, condition, shape)
    refuse_condition(condition)
    x = how.shown(read_cases(file, how, label))
    return Ground(load_stack(model)[0], how, x, None, shape, how.raw)


def _shape_of(face: Face | None, how: Preparation) -> list[int] | None:
    return how.image_shape or list(getattr(getattr(face, "estimator", None), "image_shape_", None) or []) or None


def _check_picture(out: Path | None, shape: list[int] | None) -> None:
    if out is not None and out.suffix == ".png" and shape is None:
        raise InvalidArgumentError(f"--out must end in .npy or .csv for data that are no pictures. Got {str(out)!r}.")


def _face_ground(face: Face, file: str, label: str | None, condition: str | None, shape: list[int] | None) -> Ground:
    """An estimator knows the scale of its data itself."""
    import torch

    from deepbelief.estimators.coder import EstimatorCoder

    check(
        not hasattr(face.estimator, "interpolate"),
        f"FILE must be left out for a GAN, which finds no codes of cases but walks through its noise. Got {file!r}.",
    )
    coder = EstimatorCoder(face.estimator)
    cases = face.cases(file, label)
    x = torch.as_tensor(cases.toarray() if hasattr(cases, "toarray") else cases).float()
    y = condition_of_cases(face, condition, file, label, len(x))
    return Ground(coder, face.how, x, coder.condition_rows(y, len(x)), shape, lambda walks: walks)


def _sides(how: Preparation, file: str, label: str | None, add: str, less: str | None) -> tuple[list[int], list[int]]:
    """The rows of the cases that have the attribute, and of those that are to lack it."""
    labels = _labels(how, file, label)
    known = sorted(set(labels) - {""})
    check_choice("--add", add, known)
    if less is not None:
        check_choice("--less", less, known)
        check(less != add, f"--less must be another class than --add. Got {less!r} twice.")
    have = [row for row, name in enumerate(labels) if name == add]
    lack = [row for row, name in enumerate(labels) if name not in ("", add) and less in (None, name)]
    check(len(lack) > 0, f"FILE must have cases of another class than {add!r}. Got none.")
    return have, lack


def _labels(how: Preparation, file: str, label: str | None) -> list[str]:
    """The name of each case's class, or its number where classes have no names; empty where there is none."""
    from deepbelief.data.files import read_file
    from deepbelief.data.registry import SETS
    from deepbelief.data.sets import load_set

    column = label or how.label
    if file in SETS and not Path(file).exists():
        part = load_set(file, split="test")
        y, names = part.y, part.class_names
    else:
        check(column is not None, "--add must go with labels. Got none. Name their column in FILE with --label.")
        table = read_file(file, label=column, key=how.key, target="class", allow_nan=True)
        y, names = table.y, table.class_names
    if y is None:
        raise InvalidArgumentError(f"--add must go with labels. Got {file!r}, which has none. Use another FILE.")
    numbers = [int(value) for value in y.tolist()]
    return ["" if value < 0 else str(value) if names is None else names[value] for value in numbers]


def _write(codes: Tensor, pixels: Tensor, ground: Ground, out: Path | None, *, json: bool) -> None:
    """Both as a picture, or as rows that name their walk, their step and whether they went through pixels."""
    import torch

    walks, steps, _ = codes.shape
    if out is not None and out.suffix == ".png":
        _write_picture(codes, pixels, ground, out)
    elif out is not None or not json:
        places = torch.cartesian_prod(torch.arange(walks), torch.arange(steps), torch.arange(2)).float()
        table = torch.cat([places, torch.stack([codes, pixels], 2).flatten(0, 2)], 1)
        names = ground.how.feature_names or [f"column_{i}" for i in range(codes.shape[2])]
        write_rows(table, out, ["walk", "step", "in_pixels", *names])
    if json:
        rows = {"codes": None if out else codes.tolist(), "pixels": None if out else pixels.tolist()}
        print_json({"walks": walks, "steps": steps, **rows, "file": None if out is None else str(out)})
    elif out is not None:
        found = "1 walk of {} steps is" if walks == 1 else f"{walks} walks of {{}} steps are"
        tell(f"{found.format(steps)} in {bold(out)}, each by codes over its twin by pixels.")


def _write_picture(codes: Tensor, pixels: Tensor, ground: Ground, out: Path) -> None:
    """Two lines for each walk: codes above, pixels below, in the greys of the cases themselves."""
    import torch

    from deepbelief.files import atomic_write_bytes
    from deepbelief.report.tiles import grey_range, png_of_tiles

    assert ground.image_shape is not None
    lines = torch.stack([codes, pixels], 1).flatten(0, 2).numpy()
    limits = grey_range(ground.written(ground.x).numpy())
    shape, columns = tuple(ground.image_shape), codes.shape[1]
    atomic_write_bytes(out, png_of_tiles(lines, shape, columns=columns, limits=limits, rows_together=2))


def _check_options(
    path: Way | None, add: str | None, less: str | None, unit: str | None, values: str | None, out: Path | None
) -> None:
    """Raise for options of two kinds of walks, before any work."""
    check(add is None or unit is None, "--add and --unit are two walks. Got both. Leave out one.")
    check(less is None or add is not None, f"--less must go with --add. Got --less {less} alone. Say --add CLASS.")
    if path is not None and (add is not None or unit is not None):
        raise InvalidArgumentError(f"--path must be left out with --add and --unit, which go straight. Got {path}.")
    if values is not None and add is None and unit is None:
        raise InvalidArgumentError(f"--values must go with --add or --unit. Got {values!r} alone. Say --n for steps.")
    if out is not None and out.suffix not in SUFFIXES:
        raise InvalidArgumentError(f"--out must end in .png, .npy or .csv. Got {str(out)!r}.")


def _numbers(option: str, text: str) -> list[float]:
    import math

    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    check(bool(found) and all(map(math.isfinite, found)), f"{option} must be numbers like -1,0.5. Got {text!r}.")
    return found


def _whole_numbers(option: str, text: str) -> list[int]:
    parts = text.split(",")
    check(all(part.strip().isdecimal() for part in parts), f"{option} must be numbers like 0,3. Got {text!r}.")
    return [int(part) for part in parts]
