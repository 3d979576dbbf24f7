"""A model loads in a process that never imported the kinds of its units."""

import subprocess
import sys
from pathlib import Path

from deepbelief.energy.rbm import RBM
from deepbelief.storage import save_model
from deepbelief.units.catalog import KINDS, make_units
from deepbelief.units.side_by_side import SideBySide

ROOT = Path(__file__).resolve().parents[3]
LOAD = (
    "import sys; from deepbelief.storage import load_model; print([load_model(p).visible.kind for p in sys.argv[1:]])"
)


def test_a_fresh_process_loads_units_of_every_kind(tmp_path: Path) -> None:
    parts = SideBySide([make_units("spin", 2), make_units("gaussian", 2)])
    for kind in KINDS:
        save_model(RBM(parts if kind == SideBySide.kind else make_units(kind, 4, n_values=2), 3), tmp_path / kind)
    folders = [str(tmp_path / kind) for kind in KINDS]
    done = subprocess.run([sys.executable, "-c", LOAD, *folders], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == (str(list(KINDS)), 0), done.stderr
