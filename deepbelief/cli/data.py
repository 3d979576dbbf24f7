"""``deepbelief data``: the named sets, fetching one, and a look at a file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from deepbelief.cli.shared import DataDir, Json, Program, print_json, print_table, tell

app = typer.Typer(cls=Program, rich_markup_mode="markdown")


@app.callback(invoke_without_command=True)
def data(context: typer.Context, data_dir: DataDir = None, json: Json = False) -> None:
    """List the named sets and where they are; or fetch one, or describe a file.

    Examples: `deepbelief data`, `deepbelief data fetch mnist`, `deepbelief data describe mine.csv --label species`
    """
    if context.invoked_subcommand is not None:
        return
    from deepbelief.data.sets import list_sets

    found = list_sets(data_dir)
    if json:
        print_json([asdict(item) for item in found])
        return
    rows = [
        (s.name, f"{s.cases:,}", str(s.n_features), s.problem or s.where or "to be fetched", s.description)
        for s in found
    ]
    print_table("", ["set", "cases", "columns", "where", "what it is"], rows, right=[1, 2])


@app.command("fetch")
def fetch(
    name: Annotated[str, typer.Argument(help="The name of a set.")], data_dir: DataDir = None, json: Json = False
) -> None:
    """Download a named set from its publishers, with a checksum; nothing happens if it is here.

    Example: `deepbelief data fetch mnist`
    """
    from deepbelief.data.sets import list_sets, load_set

    load_set(name, split="all", data_dir=data_dir)
    (found,) = [item for item in list_sets(data_dir) if item.name == name]
    if json:
        print_json(asdict(found))
    else:
        tell(f"{name} is here: {found.where}")


@app.command("describe")
def describe(
    file: Annotated[str, typer.Argument(metavar="FILE_OR_SET", help="A file, a folder of images, or a named set.")],
    label: Annotated[str | None, typer.Option(help="The column (or npz array) with the labels.")] = None,
    key: Annotated[str | None, typer.Option(help="The array of an npz with the cases.")] = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Say what a file holds, and what `deepbelief train` would make of it.

    Example: `deepbelief data describe measurements.csv --label species`
    """
    from deepbelief.recipes.run_data import find_data
    from deepbelief.recipes.run_defaults import describe_table, read_table, settings_for
    from deepbelief.recipes.settings import DataSettings

    find_data(file)
    plan = DataSettings(name=file, label=label, key=key, data_dir=None if data_dir is None else str(data_dir))
    table = read_table(plan)
    facts: dict[str, Any] = describe_table(table)
    reasons = settings_for(plan, table)[1]
    if json:
        print_json({**facts, "advice": reasons})
        return
    print_table(Path(file).name, ["", ""], [(key, str(value)) for key, value in facts.items()])
    for reason in reasons:
        typer.echo(f"- {reason}")
