"""``deepbelief train``: a model from a named set or a person's own file."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepbelief.cli.shared import (
    DataDir,
    Json,
    bold,
    is_first_process,
    parse_change,
    parse_sizes,
    print_json,
    print_results,
    running,
    tell,
)
from deepbelief.errors import InvalidArgumentError

if TYPE_CHECKING:
    from deepbelief.recipes.settings import RunSettings

Source = Annotated[
    str | None,
    typer.Argument(metavar="FILE_OR_SET", help="A csv, npy, npz, parquet, folder of images, or a named set."),
]


class Target(StrEnum):
    """What labels are."""

    classes = "class"
    values = "value"


def train(
    source: Source = None,
    label: Annotated[str | None, typer.Option(help="The column (or npz array) with the labels.")] = None,
    target: Annotated[
        Target | None, typer.Option(help="What the labels are [default: by looking at them].", show_default=False)
    ] = None,
    key: Annotated[str | None, typer.Option(help="The array of an npz with the cases.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder [default: runs/NAME].")] = None,
    layers: Annotated[str | None, typer.Option(help="Hidden units of each layer, like 200,100.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of each layer.")] = None,
    settings: Annotated[Path | None, typer.Option(help="A YAML file of settings to run.")] = None,
    change: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Change one setting, like seed=1.")
    ] = None,
    print_settings: Annotated[bool, typer.Option("--print-settings", help="Print the settings and stop.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the interrupted run in --out.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an older run in --out.")] = False,
    seed: Annotated[int | None, typer.Option(min=0, help="Drives every random number.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, ...")] = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Train a model on your own file or on a named set; sensible settings are chosen by looking at the data.

    Examples:

    - `deepbelief train measurements.csv --label species`

    - `deepbelief train digits --print-settings > s.yaml`, edit it, `deepbelief train --settings s.yaml --out run`

    - `deepbelief train --resume --out run` after Ctrl-C, a crash or a kill

    - `deepbelief train digits --set model.layers=[50] --set fine_tuning=null`

    - `torchrun --nproc-per-node 4 -m deepbelief train large.npy` for several processes or GPUs
    """
    from deepbelief.cli.report import draw
    from deepbelief.recipes.run import run

    sizes = None if layers is None else parse_sizes(layers)
    own: dict[str, Any] = {"name": source, "label": label, "key": key, "target": target and target.value}
    own |= {"data_dir": None if data_dir is None else str(data_dir)}
    given = {name: value for name, value in own.items() if value is not None}
    short = {"seed": seed, "device": device}
    if resume or settings is not None:
        plan = _resized(_saved(out) if resume else _read(settings, given), sizes, epochs)
    else:
        plan = _chosen(given, sizes, epochs)
    plan = _changed(plan, change or [], short)
    if print_settings:
        typer.echo(plan.to_yaml(), nl=False)
        return
    folder = out or Path("runs") / Path(plan.data.name).stem
    with running(folder):
        results = run(plan, folder, resume=resume, overwrite=overwrite, command=f"deepbelief train {plan.data.name}")
        page = draw(folder) if plan.evaluation.gallery and is_first_process() else None
    if not is_first_process():
        return
    if json:
        print_json([result.to_dict() for result in results])
    else:
        print_results(results, f"{folder} (everything is in results.json)")
    tell(f"The run is in {bold(folder)}{f'; open {page}' if page else ''}.")


def _saved(out: Path | None) -> RunSettings:
    from deepbelief.recipes.run_folder import SETTINGS, find_run
    from deepbelief.recipes.settings import read_settings

    if out is None:
        raise InvalidArgumentError("--resume needs the folder of the run. Got none. Say --out FOLDER.")
    return read_settings(find_run(out) / SETTINGS)


def _read(path: Path | None, given: dict[str, Any]) -> RunSettings:
    from deepbelief.recipes.settings import read_settings

    plan = read_settings(path or "")
    return plan.but(data=given) if given else plan


def _chosen(given: dict[str, Any], layers: list[int] | None, epochs: int | None) -> RunSettings:
    from deepbelief.recipes.run_data import find_data
    from deepbelief.recipes.run_defaults import settings_for
    from deepbelief.recipes.settings import DataSettings

    if "name" not in given:
        raise InvalidArgumentError("train needs data. Got none. Name a file or a set, like: deepbelief train digits")
    find_data(given["name"])
    plan, reasons = settings_for(DataSettings(**given), layers=layers, epochs=epochs)
    for reason in reasons:
        tell(f"[dim]-[/dim] {reason}")
    return plan


def _resized(plan: RunSettings, layers: list[int] | None, epochs: int | None) -> RunSettings:
    """Settings from a file with other layers or epochs."""
    learning = [item.to_dict() for item in plan.learning]
    if layers is not None and len(learning) not in (1, len(layers)):
        learning = learning[-1:]
    if epochs is not None:
        learning = [{**item, "epochs": epochs} for item in learning]
    return plan.but(learning=learning, model={"layers": layers or plan.model.layers})


def _changed(plan: RunSettings, changes: list[str], short: dict[str, Any]) -> RunSettings:
    """The settings with what the options say."""
    for name in ("seed", "device"):
        plan = plan if short[name] is None else plan.but(**{name: short[name]})
    for change in changes:
        plan = _set(plan, change)
    return plan


def _set(plan: RunSettings, change: str) -> RunSettings:
    name, value = parse_change(change)
    part, _, inner = name.partition(".")
    if part == "learning" and inner:
        return plan.but(learning=[{**item.to_dict(), inner: value} for item in plan.learning])
    return plan.but(**{part: {inner: value} if inner else value})
