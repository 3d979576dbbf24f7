"""``deepbelief features``: the codes of cases, for any other tool, and cases from codes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepbelief.cli.conditions import Condition, condition_of_cases, refuse_condition
from deepbelief.cli.faces import find_face
from deepbelief.cli.models import CasesFile, Label, ModelFolder, check_out, load_stack, read_cases, write_rows
from deepbelief.cli.shared import Json, bold, print_json, tell
from deepbelief.errors import check, check_range

if TYPE_CHECKING:
    from torch import Tensor

    from deepbelief.recipes.run_data import Preparation


def features(
    model: ModelFolder,
    file: CasesFile,
    layer: Annotated[int | None, typer.Option(min=1, help="The layer, from 1 [default: the top].")] = None,
    back: Annotated[
        bool,
        typer.Option("--back", help="FILE holds codes (of a CycleGAN, cases of Y): write the cases they stand for."),
    ] = False,
    label: Label = None,
    condition: Condition = None,
    out: Annotated[Path | None, typer.Option(help="A .npy or .csv file [default: csv on standard output].")] = None,
    json: Json = False,
) -> None:
    """Write the means of a hidden layer for each case: features for a classifier, a search or a map.

    Of a CycleGAN these are the cases of X, translated; `--back` translates those of Y.

    Examples:

    - `deepbelief features runs/digits digits --out codes.npy`

    - `deepbelief features runs/CycleGAN-photos paintings.npy --back --out photos.npy`
    """
    check_out(out)
    face = find_face(model)
    if face is not None:
        check(layer is None, f"--layer must be left out for an estimator, whose features are one kind. Got {layer}.")
        given = face.codes(file, label) if back else face.cases(file, label)
        each = condition_of_cases(face, condition, file, label, given.shape[0])
        rows, how = face.from_codes(given, each) if back else face.features(given, each), face.how
    else:
        check(not back, "--back must be left out for a DBN or an RBM of `train`. Got it. Export the model's decode.")
        refuse_condition(condition)
        rows, how = _of_layer(model, file, layer, label)
    names = how.feature_names if back else [f"unit_{i}" for i in range(rows.shape[1])]
    if out is not None or not json:
        write_rows(rows, out, names)
    n, width, place = rows.shape[0], rows.shape[1], None if out is None else str(out)
    if json and back:
        print_json({"cases": None if out else rows.tolist(), "file": place})
    elif json:
        print_json({"cases": n, "units": width, "file": place, "features": None if out else rows.tolist()})
    elif out is not None:
        tell(f"{f'{n:,} cases' if back else f'{width} features of {n:,} cases'} are in {bold(out)}.")


def _of_layer(model: Path, file: str, layer: int | None, label: str | None) -> tuple[Tensor, Preparation]:
    """The means of one layer of a stack, (n, units), and how its data are read."""
    import torch

    dbn, how = load_stack(model)
    depth = len(dbn.layers)
    check_range("--layer", layer or depth, low=1, high=depth, remedy=f"The model has {depth} layers.")
    x = how.shown(read_cases(file, how, label))
    with torch.no_grad():
        chunks = [dbn.encode(r) if layer in (None, depth) else dbn.upward(r, n_layers=layer) for r in x.split(4096)]
    return torch.cat(chunks), how
