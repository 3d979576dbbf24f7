"""Find a named set's files in the data folders, or download them once from their publishers."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

from deepbelief.data.registry import SETS, FileSpec, HasFiles
from deepbelief.errors import DataNotFoundError, DeepBeliefError, InvalidDataError, StorageError

ENVIRONMENT = "DEEPBELIEF_DATA"


class DownloadError(DeepBeliefError, ConnectionError):
    """A file that could not be fetched, or arrived with the wrong checksum; nothing of it was kept."""


def data_folders(data_dir: str | Path | None = None) -> list[Path]:
    """Where named sets are looked for: `data_dir`, then ``DEEPBELIEF_DATA``, then the user's cache."""
    named = [data_dir, os.environ.get(ENVIRONMENT)]
    return [*[Path(folder).expanduser() for folder in named if folder], cache_folder()]


def cache_folder() -> Path:
    """The user's own folder for downloaded data."""
    import platformdirs

    return platformdirs.user_cache_path("deepbelief") / "data"


def find_files(spec: HasFiles, part: str, data_dir: str | Path | None = None) -> list[Path] | None:
    """The verified files of one part of a set, or None where no complete group of them is here.

    Both ``<folder>/<set>/<file>`` and ``<folder>/<file>`` will do. Raises `InvalidDataError` for a file with the wrong
    checksum.
    """
    for group in spec.parts[part]:
        paths = [_find(spec, file, data_dir) for file in group]
        found = [path for path in paths if path is not None]
        if len(found) == len(group):
            return found
    return None


def fetch_files(
    spec: HasFiles, part: str, data_dir: str | Path | None = None, *, download: bool = True, progress: bool = True
) -> list[Path]:
    """The verified files of one part of a set, downloaded where they are missing.

    Raises `DataNotFoundError` with the names of the files and the folder to put them in where they are neither here nor
    to be had.
    """
    found = find_files(spec, part, data_dir)
    if found is not None:
        return found
    target = _download_folder(data_dir) / spec.name
    if not download:
        raise _not_found(spec, part, target, "downloading is switched off")
    if not all(file.urls for file in spec.parts[part][-1]):
        raise _not_found(spec, part, target, "its publishers offer no stable download")
    return [
        _find(spec, file, data_dir) or _fetch_one(spec, part, file, target / file.name, progress)
        for file in spec.parts[part][-1]
    ]


def fetch(url: str, path: Path, sha256: Sequence[str], *, progress: bool = True) -> Path:
    """Download `url` to `path`, whole and verified, or not at all.

    The file grows under a temporary name beside `path` and takes its name only once its checksum is right, so an
    interruption leaves nothing that could be mistaken for the file. Raises `DownloadError`, or `StorageError` where
    the disk refuses.
    """
    import pooch
    import requests

    part = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.touch(exist_ok=False)
    except OSError as error:
        raise _cannot_write(path, error) from error
    try:
        with part.open("wb") as file:
            pooch.HTTPDownloader(progressbar=progress)(url, file, None)
        verify(part, sha256, url)
        part.replace(path)
    except requests.exceptions.RequestException as error:
        raise DownloadError(f"{url} could not be fetched ({_reason(error)})") from error
    except InvalidDataError as error:
        raise DownloadError(f"{url} sent a file with the wrong checksum") from error
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        part.unlink(missing_ok=True)
    return path


def verify(path: Path, sha256: Sequence[str], name: str | None = None) -> None:
    """Raise `InvalidDataError` unless the file has one of the sums (no sums: nothing is known to compare with)."""
    found = checksum(path)
    if sha256 and found not in sha256:
        raise InvalidDataError(
            f"{name or path} must have the sha256 sum {' or '.join(sha256)}. Got {found}. "
            "Delete the file and fetch it again: it is damaged or another version."
        )


def checksum(path: Path) -> str:
    """The sha256 sum of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _find(spec: HasFiles, file: FileSpec, data_dir: str | Path | None) -> Path | None:
    for path, is_flat in _candidates(spec, file, data_dir):
        if not path.is_file():
            continue
        # MNIST and Fashion-MNIST share their file names: without a folder of its own, a file may be the other set's
        if is_flat and checksum(path) in _sums_of_other_sets(spec, file):
            continue
        verify(path, file.sha256)
        return path
    return None


def _candidates(spec: HasFiles, file: FileSpec, data_dir: str | Path | None) -> Iterator[tuple[Path, bool]]:
    for folder in data_folders(data_dir):
        for subfolder in spec.subfolders:
            yield folder / subfolder / file.name, False
        yield folder / file.name, folder.name not in spec.subfolders


def _sums_of_other_sets(spec: HasFiles, file: FileSpec) -> set[str]:
    others = [other for other in SETS.values() if other.name != spec.name]
    files = [f for other in others for groups in other.parts.values() for group in groups for f in group]
    return {known for f in files if f.name == file.name for known in f.sha256} - set(file.sha256)


def _fetch_one(spec: HasFiles, part: str, file: FileSpec, path: Path, progress: bool) -> Path:
    failures: list[str] = []
    for url in file.urls:
        try:
            return fetch(url, path, file.sha256, progress=progress)
        except DownloadError as error:
            failures.append(str(error))
    raise _not_found(spec, part, path.parent, "; ".join(failures))


def _download_folder(data_dir: str | Path | None) -> Path:
    """The first data folder that may be written to; one that was asked for by name is taken at its word."""
    if data_dir:
        return Path(data_dir).expanduser()
    return next((f for f in data_folders() if f.is_dir() and os.access(f, os.W_OK)), cache_folder())


def _not_found(spec: HasFiles, part: str, target: Path, reason: str) -> DataNotFoundError:
    ways = [" and ".join(file.name for file in group) for group in spec.parts[part]]
    return DataNotFoundError(
        f"Data set {spec.name!r} ({part}) must be in a data folder or be downloadable. Got neither: {reason}. "
        f"Put {' or '.join(ways)} into {target}, or set {ENVIRONMENT} (or --data-dir) to the folder that holds them."
    )


def _cannot_write(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"{path} could not be written: {error.strerror or error}. Free some space, or choose another folder with "
        f"{ENVIRONMENT} or --data-dir."
    )


def _reason(error: Exception) -> str:
    """What went wrong in a few words: the libraries below say it in three hundred."""
    name = type(error).__name__
    known = {"ConnectionError": "no connection", "ChunkedEncodingError": "the connection broke", "SSLError": "bad TLS"}
    timed_out = "Timeout" in name
    return "no answer in time" if timed_out else known.get(name, str(error).split("\n")[0][:200])
