"""The command line: one verb per file, heavy imports only inside the verb that runs."""

from __future__ import annotations

import os

import typer

from deepbelief import __version__
from deepbelief.cli import (
    compare,
    complete,
    data,
    demo,
    evaluate,
    export,
    features,
    fit,
    ls,
    predict,
    report,
    sample,
    score,
    train,
    walk,
)
from deepbelief.cli.shared import Program

HELP = """Deep belief networks: learn without labels, sample, complete, score and classify, with honest numbers.

Try `deepbelief demo`, then `deepbelief train your.csv --label your_column`.
Every verb has `--help` with an example, and `--json` for scripts.
"""

app = typer.Typer(
    name="deepbelief",
    help=HELP,
    cls=Program,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)

app.command("demo")(demo.demo)
app.command("train")(train.train)
app.command("fit")(fit.fit)
app.command("sample")(sample.sample)
app.command("complete")(complete.complete)
app.command("walk")(walk.walk)
app.command("score")(score.score)
app.command("evaluate")(evaluate.evaluate)
app.command("features")(features.features)
app.command("predict")(predict.predict)
app.command("export")(export.export)
app.command("compare")(compare.compare)
app.command("report")(report.report)
app.add_typer(data.app, name="data")
app.command("ls")(ls.ls)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"deepbelief {__version__}")
        raise typer.Exit


@app.callback()
def program(
    version: bool = typer.Option(False, "--version", callback=_show_version, is_eager=True, help="Print the version."),
) -> None:
    """Deep belief networks on the command line."""


# Threads that wait for the others of their team turn round and round, for milliseconds as they come: beside one program
# that keeps a core busy, a training on two threads then takes 40 times as long. Tens of microseconds span our gaps.
PATIENCE = "3000"  # turns


def main() -> None:
    """Run the command line."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", PATIENCE)  # read when torch is imported, which no verb has done yet
    app(prog_name="deepbelief")
