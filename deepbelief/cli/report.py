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
    """Draw the page of a run again, without the model or the data.

    Example: `deepbelief report runs/digits --out page.html`
    """
    page = draw(folder, out)
    if json:
        print_json({"report": str(page)})
    else:
        tell(f"Open {bold(page)} in a browser.")


def draw(folder: Path, out: Path | None = None) -> Path:
    """Write the page of the run in `folder` and return its path."""
    from deepbelief.evaluation.gallery import Gallery
    from deepbelief.recipes.run_folder import GALLERY, REPORT, find_run
    from deepbelief.report.page import write_report

    return write_report(Gallery.from_folder(find_run(folder) / GALLERY), out or folder / REPORT)
