"""``deepbelief ls``: what there is: estimators, models, kinds of units, recipes, and the runs in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from deepbelief.cli.shared import Json, print_json, print_table


def ls(
    folder: Annotated[Path, typer.Argument(help="Where to look for runs.")] = Path(),
    json: Json = False,
) -> None:
    """List the estimators, models, kinds of units, recipes and data sets, and the runs and fits in a folder.

    Example: `deepbelief ls runs`
    """
    from deepbelief.errors import DataNotFoundError
    from deepbelief.recipes.fit_model import list_fits
    from deepbelief.recipes.run_folder import list_runs

    if not folder.is_dir():
        raise DataNotFoundError(f"FOLDER must be a folder. Got {str(folder)!r}. Check the path.")
    runs = list_runs(folder) + list_fits(folder)
    found: dict[str, Any] = {**known_parts(), "runs": runs}
    if json:
        print_json(found)
        return
    rows = [(name, ", ".join(found[name])) for name in ("estimators", "models", "units", "learning", "sets", "recipes")]
    print_table("", ["", ""], rows)
    if not runs:
        typer.echo(f"No runs in {folder}. Try: deepbelief demo")
        return
    columns = ["folder", "model", "data", "state", "number"]
    print_table(f"Runs in {folder}", columns, [[run[name] for name in columns] for run in runs])


def known_parts() -> dict[str, list[str]]:
    """The names of all parts."""
    from deepbelief.data.registry import SETS
    from deepbelief.energy.gradients.settings import RULES
    from deepbelief.estimators.storage import ESTIMATORS
    from deepbelief.recipes.run_folder import recipe_names
    from deepbelief.storage import MODELS
    from deepbelief.units.catalog import KINDS

    parts = {
        "estimators": sorted(ESTIMATORS),
        "models": list(MODELS),
        "units": list(KINDS),
        "learning": list(RULES),
        "sets": list(SETS),
    }
    return {**parts, "recipes": recipe_names()}
