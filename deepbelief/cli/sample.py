"""``deepbelief sample``: new cases from a trained model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from deepbelief.cli.conditions import Condition, refuse_condition
from deepbelief.cli.faces import find_face
from deepbelief.cli.models import ModelFolder, check_out, load_stack, write_pictures, write_rows
from deepbelief.cli.shared import Json, Seed, bold, print_json, tell
from deepbelief.errors import InvalidArgumentError, check, check_choice


def sample(
    model: ModelFolder,
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="How many cases.")] = 16,
    label: Annotated[str | None, typer.Option(help="Draw this class, with a model of labelled cases.")] = None,
    condition: Condition = None,
    steps: Annotated[int, typer.Option(min=1, help="Sweeps of the chains (in the top RBM).")] = 1000,
    method: Annotated[
        str | None, typer.Option(help="gibbs, pt (parallel tempering) or metropolis, where there are several.")
    ] = None,
    mean: Annotated[
        bool, typer.Option("--mean/--bits", help="End with means, which make smoother pictures, or with draws.")
    ] = True,
    out: Annotated[
        Path | None, typer.Option(help="A .npy, .csv or .png file [default: csv on standard output].")
    ] = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Draw new cases: with a DBN by long Gibbs sampling in the top RBM, then one pass down.

    Examples:

    - `deepbelief sample runs/digits -n 64 --out samples.png`

    - `deepbelief sample runs/digits -n 64 --method pt`, where chains stay in one mode

    - `deepbelief sample runs/vae -n 10 --label rose`, from a conditional model
    """
    import torch

    from deepbelief.rng import make_generator

    face = find_face(model)
    dbn, how = load_stack(model) if face is None else (None, face.how)
    check_out(out, how.image_shape, pictures=True)
    if face is not None:
        rows = face.sample(n, label=label, condition=condition, seed=seed, steps=steps, mean=mean, method=method)
    else:
        assert dbn is not None
        refuse_condition(condition)
        check(
            label is None or dbn.n_classes is not None,
            f"--label must be left out for a model without labels in its top. Got {label!r}. "
            "Train it with --set model.labels_in_top=true.",
        )
        labels = None if label is None else torch.tensor(class_number(label, how.class_names)).repeat(n)
        options: dict[str, Any] = {"n_steps": steps, "mean": mean, "method": method or "gibbs"}
        drawn = dbn.sample(n, labels=labels, generator=make_generator(seed), **options)
        rows = how.raw(drawn)
    if out is not None and out.suffix == ".png":
        write_pictures(rows, how.image_shape, out)
    elif out is not None or not json:
        write_rows(rows, out, how.feature_names)
    if json:
        print_json({"samples": None if out else rows.tolist(), "file": None if out is None else str(out), "n": n})
    elif out is not None:
        tell(f"{n} cases are in {bold(out)}.")


def class_number(label: str, class_names: list[str] | None) -> int:
    """The number of a class that is given by name or by number."""
    if class_names is not None:
        check_choice("--label", label, class_names)
        return class_names.index(label)
    if not label.isdigit():
        raise InvalidArgumentError(f"--label must be a class number, for this model knows no names. Got {label!r}.")
    return int(label)
