"""What the verbs share: errors as one red sentence, tables for people, JSON for scripts. Nothing heavy is imported."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from deepbelief.errors import DeepBeliefError, InvalidArgumentError

if TYPE_CHECKING:
    from deepbelief.types import Result

INTERRUPTED = 130
COLUMNS = 3  # of a comparison's table, beside the names of the quantities
SHOWN = (
    "test error rate",
    "test root mean squared error",
    "test R squared",
    "test log-likelihood",
    "test perplexity",
    "test pseudo-log-likelihood",
    "test squared error of reconstructions",
    "share of alarms",
    "completion",
    "linear probe accuracy",
    "5-nearest-neighbour accuracy",
)
NOT_SHOWN = ("AIS)", "over cases", "per class")
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, for scripts.")]
Seed = Annotated[int, typer.Option(help="Drives every random number.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, ...")]
DataDir = Annotated[Path | None, typer.Option(help="Where the files of named sets are looked for first.")]


class Program(TyperGroup):
    """A group of verbs whose known errors are one sentence: exit code 1, and 130 after Ctrl-C."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb."""
        try:
            return super().invoke(ctx)
        except DeepBeliefError as error:
            complain(str(error))
            raise typer.Exit(1) from error
        except KeyboardInterrupt as error:
            complain("Interrupted.")
            raise typer.Exit(INTERRUPTED) from error


def complain(sentence: str) -> None:
    """One red line on standard error."""
    typer.secho(f"Error: {sentence}" if sentence != "Interrupted." else sentence, fg="red", err=True)


def is_first_process() -> bool:
    """Whether this process speaks and writes: under ``torchrun`` only one does."""
    return os.environ.get("RANK", "0") == "0"


def tell(text: str = "") -> None:
    """A line for the person who waits, on standard error, with rich's markup."""
    if not is_first_process():
        return
    from rich.console import Console

    Console(stderr=True).print(text, highlight=False, soft_wrap=True)


def bold(text: object) -> str:
    """`text` in bold for `tell`; brackets in the name of a file are no markup."""
    from rich.markup import escape

    return f"[bold]{escape(str(text))}[/bold]"


def print_json(value: Any) -> None:
    """JSON on standard output; NaN and infinities become null."""
    sys.stdout.write(json.dumps(_finite(value), indent=2, ensure_ascii=False) + "\n")


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int] = ()) -> None:
    """A table on standard output."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if number in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def print_tables(results: Sequence[Result], models: Sequence[str]) -> None:
    """The tables of a comparison, a line for each quantity, a column for each of `models` and of the references.

    A few columns at a time: more would be broken within their numbers where a terminal is narrow.
    """
    from deepbelief.report.comparison import make_tables

    for table in make_tables(results, models, charts=False):
        for first in range(0, len(table.rows), COLUMNS):
            shown = table.rows[first : first + COLUMNS]
            rows = [
                [name, *(" ".join(filter(None, (row.cells[i].text, row.cells[i].kind_name))) for row in shown)]
                for i, name in enumerate(table.columns)
            ]
            print_table("" if first else table.title, ["", *(row.name for row in shown)], rows)


def print_results(results: Sequence[Result], title: str = "") -> None:
    """The closing table: the main numbers, each with its error, unit and kind."""
    from deepbelief.report.numbers import format_error, format_number, kind_name

    rows = []
    for row in results:
        if not row.quantity.startswith(SHOWN) or row.quantity.endswith(NOT_SHOWN):
            continue
        error = format_error(row.stderr)
        number = format_number(row.value, row.stderr) + (f" ± {error}" if error else "")
        quantity = row.quantity.split(" (probabilities")[0]
        rows.append((quantity, f"{number} {row.unit}".strip(), kind_name(row.kind), row.model))
    print_table(title, ["quantity", "value", "kind", "model"], rows)


def parse_sizes(text: str) -> list[int]:
    """``200,100`` as numbers."""
    try:
        return [int(size) for size in text.split(",")]
    except ValueError as error:
        raise InvalidArgumentError(f"--layers must be numbers with commas, like 200,100. Got {text!r}.") from error


def parse_change(change: str) -> tuple[str, Any]:
    """``NAME=VALUE`` as a name and a value as YAML reads it."""
    import yaml

    name, sign, text = change.partition("=")
    if not sign:
        raise InvalidArgumentError(f"--set must be NAME=VALUE, like seed=1. Got {change!r}.")
    try:
        return name, yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidArgumentError(f"--set {name} must have a value that YAML can read. Got {text!r}.") from error


@contextmanager
def running(folder: Path, verb: str = "train") -> Iterator[None]:
    """Ctrl-C ends with a sentence on how to go on, and exit code 130."""
    try:
        yield
    except KeyboardInterrupt as error:
        complain(f"Interrupted. A checkpoint is kept; continue with: deepbelief {verb} --resume --out {folder}")
        raise typer.Exit(INTERRUPTED) from error


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and value - value != 0 else value
