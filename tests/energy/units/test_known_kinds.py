"""A model loads in a process that never imported the kinds of its units."""

import subprocess
import sys
from pathlib import Path

import pytest

from deepbelief.energy.rbm import RBM
from deepbelief.energy.units.catalog import KINDS, make_units
from deepbelief.energy.units.side_by_side import SideBySide
from deepbelief.storage import save_model

ROOT = Path(__file__).resolve().parents[3]
LOAD = "import sys; from deepbelief.storage import load_model; print(load_model(sys.argv[1]).visible.kind)"


@pytest.mark.parametrize("kind", KINDS)
def test_a_fresh_process_loads_units_of_every_kind(kind: str, tmp_path: Path) -> None:
    parts = SideBySide([make_units("spin", 2), make_units("gaussian", 2)])
    visible = parts if kind == SideBySide.kind else make_units(kind, 4, n_values=2)
    save_model(RBM(visible, 3), tmp_path / "model")
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(tmp_path / "model")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.stdout.strip(), done.returncode) == (kind, 0), done.stderr
