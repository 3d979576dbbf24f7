"""A small training that tests run in this process, and as a script in others."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).with_name("small_training.py")


@pytest.fixture(scope="session")
def small() -> ModuleType:
    """The module ``small_training.py``; its path is ``small.__file__``."""
    spec = importlib.util.spec_from_file_location("small_training", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
