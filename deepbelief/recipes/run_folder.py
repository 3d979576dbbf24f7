"""The folder of a run: what lies where, whether a run may start there, and how it is found again.

settings.yaml   checkpoints/   model/   classifier/   history.json   gallery/   results.json (written last)
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deepbelief.errors import DeepBeliefError, InvalidArgumentError, StorageError
from deepbelief.files import atomic_write_text
from deepbelief.recipes.settings import RunSettings, read_settings, write_settings
from deepbelief.types import Result

SETTINGS, RESULTS, HISTORY, REPORT = "settings.yaml", "results.json", "history.json", "report.html"
FIT_SETTINGS = "fit.yaml"  # in the place of the first, of a fit
MODEL, CLASSIFIER, GALLERY, CHECKPOINTS = "model", "classifier", "gallery", "checkpoints"
PRODUCTS = (RESULTS, REPORT, HISTORY, GALLERY, CLASSIFIER, MODEL, CHECKPOINTS, SETTINGS)  # the order of removal


def open_folder(settings: RunSettings, folder: Path, *, resume: bool, overwrite: bool) -> bool:
    """Make `folder` ready for a run of `settings`; True if that run is finished already.

    Raises `InvalidArgumentError` when the folder holds something else, or a run of other settings.
    """
    is_used = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    has_run = (folder / SETTINGS).exists()
    is_begun = has_run and any(part.name != SETTINGS for part in folder.iterdir())  # else it was refused before
    if has_run and resume:
        _check_same(settings, read_settings(folder / SETTINGS), folder)
        return (folder / RESULTS).exists()
    if is_used and not has_run:
        raise InvalidArgumentError(
            f"the run's folder must be new or empty. Got {str(folder)!r}. Choose another folder."
        )
    if is_begun and not overwrite:
        raise InvalidArgumentError(
            f"the run's folder must be new. Got {str(folder)!r}, which holds a run. "
            "Go on with it (resume), write over it (overwrite), or choose another folder."
        )
    for name in PRODUCTS if has_run else ():
        _remove(folder / name)
    write_settings(settings, folder / SETTINGS)
    return False


def find_run(folder: str | Path) -> Path:
    """`folder` if it holds a run; a sentence otherwise."""
    path = Path(folder)
    if not (path / SETTINGS).is_file():
        raise InvalidArgumentError(f"the folder of a run must hold {SETTINGS}. Got {str(folder)!r}. Check the path.")
    return path


def find_model(folder: str | Path, part: str = MODEL) -> Path:
    """The folder of a saved model: `folder` itself, or the `part` of the run in it."""
    path = Path(folder)
    return path / part if (path / part).is_dir() else path


def check_finished(folder: Path) -> None:
    """Refuse the folder of a run or a fit that has no model yet, in whose place nobody would look for one."""
    for verb, settings in (("train", SETTINGS), ("fit", FIT_SETTINGS)):
        if (folder / settings).is_file() and not (folder / MODEL).is_dir():
            raise InvalidArgumentError(
                f"MODEL must have learned to its end. Got {str(folder)!r}, which has no model yet. "
                f"Go on with: deepbelief {verb} --resume --out {folder}"
            )


def write_json(path: Path, value: Any) -> None:
    """Plain values as JSON, atomically."""
    atomic_write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_results(folder: Path, results: Sequence[Result]) -> None:
    """Write ``results.json``, which marks the run as finished."""
    write_json(folder / RESULTS, [result.to_dict() for result in results])


def read_results(folder: Path) -> list[Result]:
    """The results of a finished run."""
    path = folder / RESULTS
    try:
        return [Result(**row) for row in json.loads(path.read_text(encoding="utf-8"))]
    except OSError as error:
        raise StorageError(f"{path} must be readable. Got {error.strerror}. Finish the run with resume.") from error
    except (ValueError, TypeError) as error:
        raise StorageError(f"{path} is damaged ({error}). Delete it and resume the run.") from error


def list_runs(folder: Path) -> list[dict[str, str]]:
    """The runs in `folder` and in the folders just below it: what each is and how far it came."""
    return list_places(folder, SETTINGS, _names)


def _names(folder: Path) -> dict[str, str]:
    plan = read_settings(folder / SETTINGS)
    sizes = "-".join(map(str, plan.model.layers))
    return {"model": f"{plan.model.kind.upper()} {sizes}", "data": plan.data.name}


def list_places(folder: Path, settings: str, names: Callable[[Path], dict[str, str]]) -> list[dict[str, str]]:
    """`folder` and the folders just below it, where they hold such a file of settings: model, data and how far each is.

    One that cannot be read does not hide the others: its state is "damaged", and its number is what was wrong.
    """
    places = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    return [_describe(place, names) for place in places if (place / settings).is_file()]


def _describe(place: Path, names: Callable[[Path], dict[str, str]]) -> dict[str, str]:
    row = {"folder": str(place), "model": "", "data": ""}
    try:
        return row | names(place) | _how_far(place)
    except DeepBeliefError as error:
        return {**row, "state": "damaged", "number": str(error)}


def _how_far(folder: Path) -> dict[str, str]:
    """Whether a run or a fit is finished, and its main number."""
    done = (folder / RESULTS).exists()
    wanted = ("test error rate", "test log-likelihood")
    rows = [row for name in wanted for row in (read_results(folder) if done else []) if row.quantity == name]
    number = f"{rows[0].quantity} {rows[0].value:.4g} {rows[0].unit} ({rows[0].kind})" if rows else ""
    return {"state": "finished" if done else "interrupted", "number": number}


def recipe_names() -> list[str]:
    """The recipes: the files here that can be reproduced."""
    files = Path(__file__).parent.glob("*.py")
    return sorted(file.stem for file in files if "\ndef reproduce(" in file.read_text(encoding="utf-8"))


def _check_same(wanted: RunSettings, saved: RunSettings, folder: Path) -> None:
    if wanted == saved:
        return
    name = next(_differences(wanted.to_dict(), saved.to_dict()))
    raise InvalidArgumentError(
        f"a resumed run must have the settings it was started with. Got another {name} than {folder / SETTINGS}. "
        "Resume without settings, or start a new folder."
    )


def _differences(a: Mapping[str, Any], b: Mapping[str, Any], where: str = "") -> Any:
    for name in a:
        one, other = a[name], b.get(name)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            yield from _differences(one, other, f"{where}{name}.")
        elif one != other:
            yield f"{where}{name}"


def _remove(path: Path) -> None:
    try:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"{path} must be removable. Got: {error.strerror}. Choose another folder.") from error
