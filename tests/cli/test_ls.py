"""`deepbelief ls`: what lies in a folder, damaged things among it."""

from __future__ import annotations

import json

import pytest

from deepbelief.recipes.fit_model import FitSettings, list_fits
from deepbelief.recipes.run_folder import list_runs
from deepbelief.recipes.settings import RunSettings, write_settings


@pytest.fixture
def folder(tmp_path):
    """A run and a fit that were begun, and of each one that is damaged."""
    for name in ("run", "fit", "bad-run", "bad-fit"):
        (tmp_path / name).mkdir()
    write_settings(RunSettings(), tmp_path / "run" / "settings.yaml")
    (tmp_path / "fit" / "fit.yaml").write_text(FitSettings("RBM", "digits").to_yaml(), encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("damage", [b"a: [1", b"nonsense: 1", b"\xff\xfe\x00", b"- 1", b""])
def test_a_damaged_place_does_not_hide_the_others(folder, damage):
    (folder / "bad-run" / "settings.yaml").write_bytes(damage)
    (folder / "bad-fit" / "fit.yaml").write_bytes(damage)
    found = {row["folder"].rpartition("/")[2]: row for row in list_runs(folder) + list_fits(folder)}
    assert found["run"]["state"] == found["fit"]["state"] == "interrupted"
    assert found["fit"]["model"] == "RBM"
    for name in ("bad-fit", *(["bad-run"] if damage else [])):  # an empty file of a run is one of defaults
        assert found[name]["state"] == "damaged"
        assert "\n" not in found[name]["number"]
        assert "must" in found[name]["number"]


def test_the_command_lists_them(folder, call):
    (folder / "bad-fit" / "fit.yaml").write_bytes(b"a: [1")
    done = call("ls", folder, "--json")
    states = [row["state"] for row in json.loads(done.stdout)["runs"]]
    assert done.exit_code == 0, done.output
    assert sorted(states) == ["damaged", "interrupted", "interrupted"]
