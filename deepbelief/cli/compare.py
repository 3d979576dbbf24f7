"""``deepbelief compare``: families of models on one data set, on equal terms, on one page."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from deepbelief.cli.shared import DataDir, Json, bold, print_json, print_table, running, tell
from deepbelief.errors import InvalidArgumentError

PAGE = "compare.html"


def compare(
    data: Annotated[
        str, typer.Option(help="A named set of pictures, like digits or mnist (see data list).")
    ] = "digits",
    models: Annotated[
        str, typer.Option(help="Families with commas: rbm, dbn, dbm, convolutional, autoencoder, vae, gan.")
    ] = "rbm,dbn,dbm",
    epochs: Annotated[int, typer.Option(min=1, help="The budget in passes over the data.")] = 50,
    seconds: Annotated[float | None, typer.Option(help="The budget in seconds instead, for each fit.")] = None,
    seeds: Annotated[str, typer.Option(help="One fit of every family for each, with commas.")] = "0,1",
    width: Annotated[int, typer.Option(min=2, help="Units of every hidden layer.")] = 64,
    betas: Annotated[int, typer.Option(min=10, help="Temperatures of annealing, where log Z needs it.")] = 300,
    tune: Annotated[
        bool, typer.Option("--tune/--no-tune", help="Choose each learning rate on held-out training cases.")
    ] = True,
    most: Annotated[int, typer.Option(min=100, help="At most so many training cases and test cases.")] = 60_000,
    out: Annotated[Path, typer.Option(help="The folder to write.")] = Path("comparison"),
    quick: Annotated[bool, typer.Option("--quick", help="Tiny models for a moment, to see that it works.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Keep the fits that are in --out already.")] = False,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Compare families: likelihood with its kind, samples, features, completion, cost, with n/a where there is none.

    Every family sees the same cases for the same budget, and is measured by the same networks and tests, beside
    held-out data and copies of training data. Writes `compare.html`, `results.json` and `samples.npz`.

    Example: `deepbelief compare --data digits --models rbm,dbn,dbm --out comparison`
    """
    from deepbelief.recipes.compare import CompareSettings
    from deepbelief.recipes.compare import compare as run

    began = time.monotonic()
    given: dict[str, Any] = {"data": data, "models": tuple(filter(None, models.split(",")))}
    given["data_dir"] = None if data_dir is None else str(data_dir)
    if quick:
        settings = CompareSettings.quick(**given)
    else:
        rates: dict[str, Any] = {} if tune else {"rates": (1.0,)}
        budget: dict[str, Any] = {"epochs": epochs, "seconds": seconds, "seeds": _numbers(seeds)}
        settings = CompareSettings(**given, **budget, width=width, betas=betas, most=most, **rates)
    with running(out, "compare"):
        results = run(settings, out, resume=resume)
    page = draw(out)
    if json:
        print_json([row.to_dict() for row in results])
    else:
        _print(results, settings.models)
    tell(f"Done in {time.monotonic() - began:.0f} s. Open {bold(page)}; everything is in {out / 'results.json'}.")


def draw(folder: Path) -> Path:
    """Write the page of the comparison in `folder`."""
    import json as text
    from dataclasses import asdict

    import numpy as np

    from deepbelief.data.registry import SETS
    from deepbelief.recipes.compare import SAMPLES, CompareSettings
    from deepbelief.recipes.run_folder import RESULTS
    from deepbelief.report.comparison import write_comparison
    from deepbelief.types import Result

    settings = CompareSettings.read(folder)
    results = [Result(**row) for row in text.loads((folder / RESULTS).read_text(encoding="utf-8"))]
    with np.load(folder / SAMPLES, allow_pickle=False) as archive:
        samples = {name: archive[name] for name in archive.files}
    shape = SETS[settings.data].image_shape
    command = f"deepbelief compare --data {settings.data} --models {','.join(settings.models)} --out {folder.name}"
    return write_comparison(folder / PAGE, results, samples, asdict(settings), shape, command)


def _print(results: list[Any], models: tuple[str, ...]) -> None:
    from deepbelief.report.comparison import make_tables

    for table in make_tables(results, models, charts=False):
        rows = [
            [name, *(" ".join(filter(None, (row.cells[i].text, row.cells[i].kind_name))) for row in table.rows)]
            for i, name in enumerate(table.columns)
        ]
        print_table(table.title, ["", *(row.name for row in table.rows)], rows)


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError as error:
        raise InvalidArgumentError(f"--seeds must be numbers with commas, like 0,1,2. Got {text!r}.") from error
