"""``deepbelief fit``: any model of the library, by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from deepbelief.cli.shared import (
    DataDir,
    Json,
    bold,
    is_first_process,
    parse_change,
    print_json,
    print_results,
    running,
    tell,
)
from deepbelief.errors import InvalidArgumentError

Estimator = Annotated[
    str | None, typer.Argument(metavar="ESTIMATOR", help="Its class's name, like DeepBoltzmannMachine (see ls).")
]
Source = Annotated[
    str | None,
    typer.Argument(metavar="FILE_OR_SET", help="A csv, npy, npz, parquet, folder of images, or a named set."),
]


def fit(
    estimator: Estimator = None,
    source: Source = None,
    label: Annotated[
        str | None, typer.Option(help="The column (or npz array) with classes, ratings or values; a,b for several.")
    ] = None,
    key: Annotated[str | None, typer.Option(help="The array of an npz with the cases.")] = None,
    held_out: Annotated[float, typer.Option(min=0, max=0.9, help="The share of a file to score by.")] = 0.1,
    change: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="An argument, like n_components=50.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The fit's folder [default: runs/ESTIMATOR-NAME].")] = None,
    settings: Annotated[Path | None, typer.Option(help="A YAML file of settings to run.")] = None,
    print_settings: Annotated[bool, typer.Option("--print-settings", help="Print the settings and stop.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the interrupted fit in --out.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an older fit in --out.")] = False,
    seed: Annotated[int | None, typer.Option(min=0, help="Drives every random number.")] = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Fit one estimator of the library, with the arguments that it has in Python, and score it on held-out cases.

    `train` builds deep belief networks and chooses settings; `fit` reaches every model and chooses nothing. The other
    verbs (sample, complete, score, features, predict) use what it made.

    Examples:

    - `deepbelief fit DeepBoltzmannMachine digits --set hidden_layer_sizes=[100,50] --set epochs=20`

    - `deepbelief fit ClassificationRBM flowers.csv --label species`

    - `deepbelief fit RatingsRBM ratings.csv --label rating` with columns user, item, rating

    - `deepbelief fit RBM digits --print-settings > s.yaml`, edit it, `deepbelief fit --settings s.yaml --out run`
    """
    from deepbelief.recipes.fit_model import FitSettings, fit_model
    from deepbelief.recipes.run_folder import FIT_SETTINGS

    given: dict[str, Any] = {"estimator": estimator, "data": source, "label": label, "key": key, "seed": seed}
    given |= {"data_dir": None if data_dir is None else str(data_dir)}
    given = {name: value for name, value in given.items() if value is not None}
    changed = dict(parse_change(item) for item in change or [])
    if resume or settings is not None:
        if resume and out is None:
            raise InvalidArgumentError("--resume needs the folder of the fit. Got none. Say --out FOLDER.")
        kept = FitSettings.from_file(out / FIT_SETTINGS if resume and out else Path(settings or ""))
        plan = FitSettings(**{**vars(kept), **given, "arguments": kept.arguments | changed})
    else:
        if estimator is None or source is None:
            raise InvalidArgumentError("fit needs an estimator and data. Try: deepbelief fit RBM digits")
        plan = FitSettings(**given, held_out=held_out, arguments=changed)
    if print_settings:
        typer.echo(plan.to_yaml(), nl=False)
        return
    folder = out or Path("runs") / f"{plan.estimator}-{Path(plan.data).stem}"
    with running(folder, "fit"):
        words: dict[str, Any] = {} if json else {"verbose": 1, "tell": tell}
        results = fit_model(plan, folder, resume=resume, overwrite=overwrite, **words)
    if not is_first_process():
        return
    if json:
        print_json([result.to_dict() for result in results])
    elif results:  # a model without a number to score by has no table
        print_results(results, f"{folder} (everything is in results.json)")
    tell(f"The fitted {plan.estimator} is in {bold(folder)}; how it learned: deepbelief report {bold(folder)}")
