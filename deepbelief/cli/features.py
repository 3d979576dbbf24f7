"""``deepbelief features``: the codes of cases, for any other tool."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deepbelief.cli.conditions import Condition, condition_of_cases, refuse_condition
from deepbelief.cli.faces import find_face
from deepbelief.cli.models import CasesFile, Label, ModelFolder, load_stack, read_cases, write_rows
from deepbelief.cli.shared import Json, bold, print_json, tell


def features(
    model: ModelFolder,
    file: CasesFile,
    layer: Annotated[int | None, typer.Option(min=1, help="The layer, from 1 [default: the top].")] = None,
    label: Label = None,
    condition: Condition = None,
    out: Annotated[Path | None, typer.Option(help="A .npy or .csv file [default: csv on standard output].")] = None,
    json: Json = False,
) -> None:
    """Write the means of a hidden layer for each case: features for a classifier, a search or a map.

    Example: `deepbelief features runs/digits digits --out codes.npy`
    """
    import torch

    from deepbelief.errors import check, check_range

    face = find_face(model)
    if face is not None:
        check(layer is None, f"--layer must be left out for an estimator, whose features are one kind. Got {layer}.")
        cases = face.cases(file, label)
        codes = face.features(cases, condition_of_cases(face, condition, file, label, cases.shape[0]))
    else:
        refuse_condition(condition)
        dbn, how = load_stack(model)
        depth = len(dbn.layers)
        check_range("--layer", layer or depth, low=1, high=depth, remedy=f"The model has {depth} layers.")
        x = how.shown(read_cases(file, how, label))
        with torch.no_grad():
            chunks = [dbn.encode(r) if layer in (None, depth) else dbn.upward(r, n_layers=layer) for r in x.split(4096)]
        codes = torch.cat(chunks)
    if out is not None or not json:
        write_rows(codes, out, [f"unit_{i}" for i in range(codes.shape[1])])
    if json:
        shape = {"cases": codes.shape[0], "units": codes.shape[1]}
        print_json({**shape, "file": None if out is None else str(out), "features": None if out else codes.tolist()})
    elif out is not None:
        tell(f"{codes.shape[1]} features of {codes.shape[0]:,} cases are in {bold(out)}.")
