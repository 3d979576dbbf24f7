"""``deepbelief predict``: classes or values from a fine-tuned network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepbelief.cli.faces import find_face, value_rows
from deepbelief.cli.models import CasesFile, Label, ModelFolder, load_classifier, read_cases
from deepbelief.cli.shared import Json, Seed, bold, print_json, tell

if TYPE_CHECKING:
    from torch import Tensor

    from deepbelief.recipes.run_data import Preparation


def predict(
    model: ModelFolder,
    file: CasesFile,
    label: Label = None,
    out: Annotated[Path | None, typer.Option(help="A .csv file [default: csv on standard output].")] = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Predict the class of each case with its probability, or its value.

    Example: `deepbelief predict runs/measurements new.csv --out predictions.csv`
    """
    import sys

    import torch

    from deepbelief.errors import InvalidArgumentError
    from deepbelief.files import atomic_write_text
    from deepbelief.rng import make_generator

    if out is not None and out.suffix != ".csv":
        raise InvalidArgumentError(f"--out must end in .csv. Got {str(out)!r}.")
    face = find_face(model)
    if face is not None:
        rows = face.predictions(face.cases(file, label))
    else:
        network, how = load_classifier(model)
        x = how.bits(read_cases(file, how, label), make_generator(seed), seed=seed)
        with torch.no_grad():
            rows = predictions(torch.cat([network(chunk) for chunk in x.split(4096)]), how)
    if json:
        print_json({"predictions": rows})
        return
    lines = [",".join(rows[0]), *(",".join(str(value) for value in row.values()) for row in rows)]
    text = "\n".join(lines) + "\n"
    if out is None:
        sys.stdout.write(text)
    else:
        atomic_write_text(out, text)
        tell(f"{len(rows):,} predictions are in {bold(out)}.")


def predictions(outputs: Tensor, how: Preparation) -> list[dict[str, Any]]:
    """Class and probability of each case, or its value where the network was trained on values."""
    import torch

    if how.task == "value":
        values = outputs * how.target_spread + how.target_shift
        return value_rows(values)
    sureness, guess = torch.softmax(outputs, 1).max(1)
    names = how.class_names or [str(i) for i in range(outputs.shape[1])]
    return [
        {"class": names[number], "probability": round(p, 6)}
        for number, p in zip(guess.tolist(), sureness.tolist(), strict=True)
    ]
