"""``deepbelief compare``: families of models on one data set, on equal terms, on one page."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepbelief.cli.shared import DataDir, Json, bold, print_json, print_tables, running, tell
from deepbelief.errors import InvalidArgumentError

if TYPE_CHECKING:
    from deepbelief.recipes.compare_settings import CompareSettings
    from deepbelief.types import Result

PAGE = "compare.html"


def compare(
    data: Annotated[str, typer.Option(help="A named set, like digits or mnist, or a file.")] = "digits",
    label: Annotated[str | None, typer.Option(help="The column (or npz array) of a file with its classes.")] = None,
    key: Annotated[str | None, typer.Option(help="The array of an npz with the cases.")] = None,
    held_out: Annotated[float, typer.Option(min=0.05, max=0.9, help="The share of a file to measure on.")] = 0.3,
    models: Annotated[
        str,
        typer.Option(
            help="Families with commas: rbm, boltzmann, dbn, dbm, convolutional, autoencoder, vae, iwae, rbmvae, "
            "vaestack, gan, wgan-gp, hinge, dcgan."
        ),
    ] = "rbm,dbn,dbm",
    epochs: Annotated[int, typer.Option(min=1, help="The budget in passes over the data.")] = 50,
    seconds: Annotated[float | None, typer.Option(help="The budget in seconds instead, for each fit.")] = None,
    seeds: Annotated[str, typer.Option(help="One fit of every family for each, with commas.")] = "0,1",
    width: Annotated[int, typer.Option(min=2, help="Units of every hidden layer.")] = 64,
    betas: Annotated[int, typer.Option(min=10, help="Temperatures of annealing, where log Z needs it.")] = 300,
    sweeps: Annotated[int, typer.Option(min=4, help="Steps of the chains that fill in what is hidden.")] = 1000,
    tune: Annotated[
        bool, typer.Option("--tune/--no-tune", help="Choose each learning rate on held-out training cases.")
    ] = True,
    most: Annotated[int, typer.Option(min=100, help="At most so many training cases.")] = 60_000,
    most_test: Annotated[int, typer.Option(min=100, help="At most so many cases to measure on.")] = 60_000,
    out: Annotated[Path, typer.Option(help="The folder to write.")] = Path("comparison"),
    quick: Annotated[bool, typer.Option("--quick", help="Tiny models for a moment, to see that it works.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Keep the fits that are in --out already.")] = False,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Compare families: likelihood with its kind, samples, features, completion, cost, with n/a where there is none.

    Every family sees the same cases for the same budget, and is measured by the same networks and tests, beside
    held-out data and copies of training data. Writes `compare.html`, `results.json` and `samples.npz`.

    Examples:

    - `deepbelief compare --data digits --models rbm,dbn,dbm --out comparison`

    - `deepbelief compare --data flowers.csv --label species --models rbm,vae,gan`
    """
    from deepbelief.recipes.compare import compare as run
    from deepbelief.recipes.compare_settings import CompareSettings

    began = time.monotonic()
    given: dict[str, Any] = {"data": data, "models": tuple(filter(None, models.split(",")))}
    given |= {"label": label, "key": key, "held_out": held_out}
    given["data_dir"] = None if data_dir is None else str(data_dir)
    if quick:
        settings = CompareSettings.quick(**given)
    else:
        rates: dict[str, Any] = {} if tune else {"rates": (1.0,)}
        sizes: dict[str, Any] = {"most": most, "most_test": most_test}
        budget: dict[str, Any] = {"epochs": epochs, "seconds": seconds, "seeds": _numbers(seeds)}
        settings = CompareSettings(**given, **budget, width=width, betas=betas, sweeps=sweeps, **sizes, **rates)
    with running(out, "compare"):
        results = run(settings, out, resume=resume)
    page = draw(out)
    if json:
        print_json([row.to_dict() for row in results])
    else:
        print_tables(results, settings.models)
        tell_unable(results, settings.models)
    tell(f"Done in {time.monotonic() - began:.0f} s. Open {bold(page)}; everything is in {out / 'results.json'}.")


def draw(folder: Path) -> Path:
    """Write the page of the comparison in `folder`."""
    import json as text
    from dataclasses import asdict

    import numpy as np

    from deepbelief.recipes.compare import FACTS, SAMPLES
    from deepbelief.recipes.compare_settings import CompareSettings
    from deepbelief.recipes.run_folder import read_results
    from deepbelief.report.comparison import write_comparison

    settings = CompareSettings.read(folder)
    facts = text.loads((folder / FACTS).read_text(encoding="utf-8"))
    with np.load(folder / SAMPLES, allow_pickle=False) as archive:
        samples = {name: archive[name] for name in archive.files}
    command = command_of(settings, folder.name)
    return write_comparison(folder / PAGE, read_results(folder), samples, asdict(settings), facts, command)


def tell_unable(results: list[Result], models: tuple[str, ...]) -> None:
    """Name the families that these cases have nothing for."""
    from deepbelief.recipes.families import FAMILIES

    for name in models:
        if not any(row.model == name for row in results):
            tell(f"{name} needs {FAMILIES[name].needs}, and is n/a here.")


def command_of(settings: CompareSettings, out: str) -> str:
    """The command line of these settings: what is not as it is by itself.

    >>> from deepbelief.recipes.compare_settings import CompareSettings
    >>> command_of(CompareSettings(models=("rbm",), rates=(1.0,), most_test=500), "look")
    'deepbelief compare --data digits --models rbm --most-test 500 --no-tune --out look'
    """
    import shlex

    usual = type(settings)(data=settings.data)
    words = ["deepbelief", "compare", "--data", settings.data, "--models", ",".join(settings.models)]
    quick = usual.quick(data=settings.data)
    if all(getattr(settings, name) == getattr(quick, name) for name in ("networks", "width", "epochs", "most")):
        words, usual = [*words, "--quick"], quick
    sizes = ("width", "betas", "sweeps", "most", "most_test")
    for name in ("label", "key", "held_out", "epochs", "seconds", "seeds", *sizes):
        value = getattr(settings, name)
        if value != getattr(usual, name):
            text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            words += [f"--{name.replace('_', '-')}", text]
    return shlex.join([*words, *(["--no-tune"] if settings.rates == (1.0,) else []), "--out", out])


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError as error:
        raise InvalidArgumentError(f"--seeds must be numbers with commas, like 0,1,2. Got {text!r}.") from error
