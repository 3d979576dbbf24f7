"""``deepbelief report``: the page of a run, drawn again from what the run kept, or that of a fit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepbelief.cli.shared import Json, bold, print_json, tell
from deepbelief.errors import InvalidArgumentError, check

if TYPE_CHECKING:
    from deepbelief.evaluation.gallery import Gallery


def report(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder of a finished run, or of a fit.")],
    out: Annotated[Path | None, typer.Option(help="The page to write [default: FOLDER/report.html].")] = None,
    data: Annotated[
        str | None, typer.Option(help="A file or set to lay a fit's chains beside [default: its own].")
    ] = None,
    chain_steps: Annotated[int, typer.Option(min=0, help="Sweeps of a fit's chains; 0 for none, and no data.")] = 400,
    json: Json = False,
) -> None:
    """Draw the page of a run or of a fit, and print its advice.

    A run kept everything, and needs neither model nor data. Of a fit, or an estimator saved from Python, the curves and
    numbers are drawn, and the model's chains are run beside the data, where it has chains.

    Examples:

    - `deepbelief report runs/digits --out page.html`

    - `deepbelief report runs/DeepBoltzmannMachine-digits`

    - `deepbelief report saved-from-python --data measurements.csv`
    """
    if is_run(folder):
        if data is not None:
            raise InvalidArgumentError(
                f"--data is for fits. Got {str(folder)!r}, a run, whose chains were judged before."
            )
        page, advice = draw(folder, out), read_advice(folder)
    else:
        gallery = _of_a_fit(folder, data, chain_steps)
        page, advice = _write(gallery, folder, out), gallery.advice
    if json:
        print_json({"report": str(page), "advice": advice})
        return
    for sentence in advice:
        typer.echo(f"- {sentence}")
    tell(f"Open {bold(page)} in a browser.")


def is_run(folder: Path) -> bool:
    """Whether `folder` holds a run of `train`; a folder of neither kind gets a sentence."""
    from deepbelief.estimators.storage import ESTIMATOR_FILE
    from deepbelief.recipes.run_folder import find_model, find_run

    if (find_model(folder) / ESTIMATOR_FILE).exists():
        return False
    check(folder.is_dir(), f"FOLDER must be that of a run or of a fit. Got {str(folder)!r}, which is none. Check it.")
    return find_run(folder) == folder


def read_advice(folder: Path) -> list[str]:
    """The sentences of advice that the run in `folder` kept."""
    from deepbelief.evaluation.gallery import Gallery
    from deepbelief.recipes.run_folder import GALLERY, find_run

    return list(Gallery.from_folder(find_run(folder) / GALLERY).advice)


def draw(folder: Path, out: Path | None = None) -> Path:
    """Write the page of the run in `folder` and return its path."""
    from deepbelief.evaluation.gallery import Gallery
    from deepbelief.recipes.run_folder import GALLERY, find_run

    return _write(Gallery.from_folder(find_run(folder) / GALLERY), folder, out)


def _of_a_fit(folder: Path, data: str | None, chain_steps: int) -> Gallery:
    from deepbelief.recipes.fit_report import fit_gallery

    return fit_gallery(folder, data=data, n_steps=chain_steps)


def _write(gallery: Gallery, folder: Path, out: Path | None) -> Path:
    from deepbelief.recipes.run_folder import REPORT
    from deepbelief.report.page import write_report

    return write_report(gallery, out or folder / REPORT)
