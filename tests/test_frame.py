"""The frame around the package: make's targets, the pins, the licence, and what a built package contains."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import deepbelief
from deepbelief.native.library import library as kernels

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
PINS = [line for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines() if not line.startswith("#")]
FRAME = ["Makefile", "constraints.txt", "pyproject.toml", ".ci/run"]


def normal(name: str) -> str:
    """A distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def named(requirements: list[str]) -> set[str]:
    """The distributions that requirements name."""
    return {normal(re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0]) for requirement in requirements}


def make(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run make as a person would, untouched by the make that may run these tests."""
    environment = {key: value for key, value in os.environ.items() if key not in {"MAKEFLAGS", "MFLAGS", "MAKELEVEL"}}
    return subprocess.run(
        ["make", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_every_pin_is_exact_and_they_are_sorted_and_unique() -> None:
    names = [normal(line.split("==")[0]) for line in PINS]
    assert [line for line in PINS if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []
    assert names == sorted(set(names))


def test_everything_that_the_project_names_is_pinned() -> None:
    extras = PROJECT["optional-dependencies"]
    wanted = named(PROJECT["dependencies"]) | set().union(*(named(extra) for extra in extras.values()))
    assert wanted - named(PINS) == {"deepbelief"}
    assert {"torch==2.13.0"} <= set(PINS)
    assert {"setuptools", "wheel"} <= named(PINS)


@pytest.mark.parametrize("path", FRAME)
def test_no_address_of_a_package_index_is_written_down(path: str) -> None:
    text = (ROOT / path).read_text("utf-8")
    assert not re.search(r"https?://|index-url|find-links|trusted-host", text)


def test_make_demo_and_make_test_make_the_environment_first(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    for target, last in (("demo", "deepbelief demo --out demo"), ("test", "-m pytest"), ("slow", "-m slow")):
        lines = make("-n", target, folder=tmp_path).stdout.splitlines()
        installs = [number for number, line in enumerate(lines) if "pip install" in line]
        assert installs
        assert last in lines[-1]
        assert "torch" in lines[installs[0]]
        assert all("--constraint constraints.txt" in lines[number] for number in installs)


def test_environment_is_made_once_until_its_settings_change(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/.installed").touch()
    os.utime(tmp_path / ".venv/.installed", (2e9, 2e9))
    assert "pip install" not in make("-n", "test", folder=tmp_path).stdout
    os.utime(tmp_path / "constraints.txt", (2.1e9, 2.1e9))
    assert "pip install" in make("-n", "test", folder=tmp_path).stdout


def test_an_old_python_is_refused_with_a_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    old = tmp_path / "old-python"
    old.write_text("#!/bin/sh\n[ \"$1\" = --version ] && echo 'Python 3.9.2' && exit 0\nexit 1\n")
    old.chmod(0o755)
    done = make("env", f"PYTHON={old}", folder=tmp_path)
    assert done.returncode != 0
    assert f"Python must be at least 3.11. Got PYTHON={old} (Python 3.9.2). Install Python 3.11" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_make_help_lists_every_target() -> None:
    text = (ROOT / "Makefile").read_text("utf-8")
    phony = set(re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)[0].split())
    assert set(re.findall(r"^  make ([a-z]+) ", make("help").stdout, re.MULTILINE)) == phony
    assert set(re.findall(r"^([a-z]+):", text, re.MULTILINE)) == phony


def test_continuous_integration_runs_make_test() -> None:
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    assert "set -euo pipefail" in script.read_text("utf-8")
    assert script.read_text("utf-8").splitlines()[-1] == "make test"


def test_version_and_licence_are_told_once_and_alike() -> None:
    assert PROJECT["version"] == deepbelief.__version__
    assert f"## [{deepbelief.__version__}]" in (ROOT / "CHANGELOG.md").read_text("utf-8")
    licence = (ROOT / "LICENSE").read_text("utf-8")
    assert licence.startswith("MIT License")
    assert "The deepbelief authors" in licence


def test_built_package_holds_the_library_and_nothing_else(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "wheel"
    target.mkdir()
    left_out = shutil.ignore_patterns("__pycache__", "*.so", "*.pyd")
    shutil.copytree(ROOT / "deepbelief", source / "deepbelief", ignore=left_out)
    shutil.copytree(ROOT / "tests", source / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = "import setuptools.build_meta as backend, sys; backend.build_wheel(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", build, str(target)], cwd=source, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(target.glob("*.whl"))) as wheel:
        built = {name for name in wheel.namelist() if ".dist-info/" not in name}
    compiled = {
        name for name in built if name.startswith("deepbelief/native/_kernels.") and name.endswith((".so", ".pyd"))
    }
    library = {path.relative_to(source).as_posix() for path in (source / "deepbelief").rglob("*") if path.is_file()}
    assert built - compiled == library
    assert len(compiled) == (1 if kernels() else 0)
