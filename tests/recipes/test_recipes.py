"""Every named recipe runs from its data to its numbers, in small on the embedded digits, and resumes."""

from __future__ import annotations

import importlib
import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from deepbelief.errors import DataNotFoundError
from deepbelief.recipes.recipe import Options, Recipe, main, run_once
from deepbelief.recipes.run_folder import recipe_names
from deepbelief.types import KINDS, Result

NAMES = recipe_names()


def recipe_of(name: str) -> Recipe:
    found = importlib.import_module(f"deepbelief.recipes.{name}").RECIPE
    assert isinstance(found, Recipe)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_runs_whole_and_again(name: str, tmp_path: Path) -> None:
    recipe = recipe_of(name)
    options = Options(seed=1, out=tmp_path, quick=True, progress=False, threads=1)
    first = run_once(recipe, options)
    rows = json.loads((options.folder(name) / "results.json").read_text())
    assert [row["quantity"] for row in rows] == [row.quantity for row in first]
    assert all(row["kind"] in KINDS and row["value"] is not None and math.isfinite(row["value"]) for row in rows)
    again = run_once(recipe, Options(seed=1, out=tmp_path, quick=True, resume=True, progress=False, threads=1))
    timed = [row.quantity for row in first].index("time")
    assert [row.value for row in again[:timed]] == [row.value for row in first[:timed]]


def test_what_is_wrong_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def reproduce(options: Options) -> list[Result]:
        raise DataNotFoundError("Data set 'mnist' must be in a data folder.")

    monkeypatch.setattr(sys, "argv", ["recipe"])
    with pytest.raises(SystemExit, match=r"^Error: Data set 'mnist' must be in a data folder\.$"):
        main(replace(recipe_of(NAMES[0]), reproduce=reproduce))


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_says_what_was_published_and_what_it_reached(name: str) -> None:
    recipe = recipe_of(name)
    assert recipe.name == name
    assert all([recipe.paper, recipe.published, recipe.setting, recipe.reached, recipe.time])
    assert recipe.command == f"python -m deepbelief.recipes.{name}"
