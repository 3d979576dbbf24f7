"""``deepbelief report``: the page of a run, drawn again from what the run kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deepbelief.cli.shared import Json, bold, print_json, tell


def report(
    folder: Annotated[Path, typer.Argument(metavar="RUN_FOLDER", help="The folder of a finished run.")],
    out: Annotated[Path | None, typer.Option(help="The page to write [default: RUN_FOLDER/report.html].")] = None,
    json: Json = False,
) -> None:
    """Draw the page of a run again, without the model or the data, and print its advice.

    Example: `deepbelief report runs/digits --out page.html`
    """
    page = draw(folder, out)
    advice = read_advice(folder)
    if json:
        print_json({"report": str(page), "advice": advice})
        return
    for sentence in advice:
        typer.echo(f"- {sentence}")
    tell(f"Open {bold(page)} in a browser.")


def read_advice(folder: Path) -> list[str]:
    """The sentences of advice that the run in `folder` kept."""
    from deepbelief.evaluation.gallery import Gallery
    from deepbelief.recipes.run_folder import GALLERY, find_run

    return list(Gallery.from_folder(find_run(folder) / GALLERY).advice)


def draw(folder: Path, out: Path | None = None) -> Path:
    """Write the page of the run in `folder` and return its path."""
    from deepbelief.evaluation.gallery import Gallery
    from deepbelief.recipes.run_folder import GALLERY, REPORT, find_run
    from deepbelief.report.page import write_report

    return write_report(Gallery.from_folder(find_run(folder) / GALLERY), out or folder / REPORT)
