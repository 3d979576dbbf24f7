"""``deepbelief export``: a model as an ONNX file, for other runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deepbelief.cli.models import ModelFolder
from deepbelief.cli.shared import Json, bold, print_json, tell


def export(
    model: ModelFolder,
    way: Annotated[
        str | None,
        typer.Option(help="encode, decode, reconstruct, generate or predict [default: the first the model has]."),
    ] = None,
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("model.onnx"),
    json: Json = False,
) -> None:
    """Write a way of the model as an ONNX file, compared with onnxruntime before it takes its name.

    It takes cases as the model saw them, scaled or standardized, and a conditional model's labels or condition beside.

    Example: `deepbelief export runs/digits --way encode --out encoder.onnx`
    """
    from deepbelief.recipes.export_model import export_model

    chosen, difference = export_model(model, out, way)
    inputs = {chosen.names[0]: chosen.n_inputs, **{n: rows.shape[1:].numel() for n, rows in chosen.also.items()}}
    if json:
        facts = {"file": str(out), "inputs": inputs, "output": chosen.names[1], "largest_difference": difference}
        print_json(facts)
        return
    given = ", ".join(f"{name} ({width})" for name, width in inputs.items())
    tell(f"{bold(out)} takes {given} and gives {chosen.names[1]}; onnxruntime is within {difference:.1e} of torch.")
